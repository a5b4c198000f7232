//! Ceph's crc32c: the raw CRC from a starting value, not inverted at the end.

use crc_fast::{CrcAlgorithm, Digest};

/// The value that the crc of a segment starts from.
pub(crate) const SEED: u32 = u32::MAX;

/// The crc of a segment.
pub(crate) fn segment(bytes: &[u8]) -> u32 {
    // The standard's crc32c starts from the same value and inverts at the end.
    !crc_fast::crc32_iscsi(bytes)
}

/// Goes on from `crc`, which may be a starting value, over more bytes.
pub(crate) fn append(crc: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(crc));
    digest.update(bytes);
    !(digest.finalize() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as the definition has it.
    fn by_definition(mut crc: u32, bytes: &[u8]) -> u32 {
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            }
        }
        crc
    }

    #[test]
    fn it_is_the_definition_for_every_start_and_cut() {
        let bytes: Vec<u8> = (0..1000_u32).map(|i| (i * i) as u8).collect();
        for length in (0..300).chain([511, 512, 513, 1000]) {
            let bytes = &bytes[..length];
            assert_eq!(segment(bytes), by_definition(SEED, bytes), "{length}");
            for seed in [0, SEED, 0x1234_5678] {
                assert_eq!(append(seed, bytes), by_definition(seed, bytes), "{length}");
            }
            let (head, tail) = bytes.split_at(length / 3);
            assert_eq!(append(append(SEED, head), tail), segment(bytes), "{length}");
        }
        assert_eq!(!segment(b"123456789"), 0xe306_9283);
    }
}
