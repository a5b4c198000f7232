//! Ceph's crc32c: the raw CRC from a starting value, not inverted at the end.

use crc_fast::{CrcAlgorithm, Digest};

/// The value that the crc of a segment starts from.
pub(crate) const SEED: u32 = u32::MAX;

/// The crc of a segment.
#[inline]
pub(crate) fn segment(bytes: &[u8]) -> u32 {
    append(SEED, bytes)
}

/// Goes on from `crc`, which may be a starting value, over more bytes.
#[inline]
pub(crate) fn append(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(crc) = super::crc_x86::append(crc, bytes) {
        return crc;
    }
    elsewhere(crc, bytes)
}

/// On any processor.
fn elsewhere(crc: u32, bytes: &[u8]) -> u32 {
    // The standard's crc32c starts from that value, too, and inverts at the end.
    if crc == SEED {
        return !crc_fast::crc32_iscsi(bytes);
    }
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(crc));
    digest.update(bytes);
    !(digest.finalize() as u32)
}

/// One bit more, a zero, as the definition has it.
pub(super) const fn bit(crc: u32) -> u32 {
    (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_definition(crc: u32, bytes: &[u8]) -> u32 {
        bytes.iter().fold(crc, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
    }

    #[test]
    fn it_is_the_definition_for_every_start_and_cut() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|i| (i * i) as u8).collect();
        for length in (0..2000).chain([4095, 4096, 4097, 9999]) {
            let bytes = &bytes[length % 9..][..length];
            assert_eq!(segment(bytes), by_definition(SEED, bytes), "{length}");
            for seed in [0, SEED, 0x1234_5678] {
                let crc = by_definition(seed, bytes);
                assert_eq!((append(seed, bytes), elsewhere(seed, bytes)), (crc, crc), "{length}");
            }
            let (head, tail) = bytes.split_at(length / 3);
            assert_eq!(append(append(SEED, head), tail), segment(bytes), "{length}");
        }
        assert_eq!(!segment(b"123456789"), 0xe306_9283);
    }
}
