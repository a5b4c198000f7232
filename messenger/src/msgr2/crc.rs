//! Ceph's crc32c: the raw CRC from a starting value, not inverted at the end.

use crc_fast::{CrcAlgorithm, Digest};

/// The value that the crc of a segment starts from.
pub(crate) const SEED: u32 = u32::MAX;

/// The crc of a segment.
pub(crate) fn segment(bytes: &[u8]) -> u32 {
    // The standard's crc32c starts from the same value and inverts at the end.
    !crc_fast::crc32_iscsi(bytes)
}

/// The crc of so few bytes from a start of zero.
pub(crate) fn from_zero<const N: usize>(bytes: &[u8; N]) -> u32 {
    // A start only adds what it makes of zeros, and the other start is the one that is fast.
    segment(bytes) ^ const { of_zeros(N) }
}

/// The crc of so many zeros, from [`SEED`].
const fn of_zeros(mut count: usize) -> u32 {
    let mut crc = SEED;
    while count > 0 {
        crc = byte(crc, 0);
        count -= 1;
    }
    crc
}

/// One byte more, bit by bit, as the definition has it.
const fn byte(mut crc: u32, byte: u8) -> u32 {
    crc ^= byte as u32;
    let mut bit = 0;
    while bit < 8 {
        crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        bit += 1;
    }
    crc
}

/// Goes on from `crc`, which may be a starting value, over more bytes.
pub(crate) fn append(crc: u32, bytes: &[u8]) -> u32 {
    // Most begin a segment, and a digest takes longer to set up than a short one to go through.
    if crc == SEED {
        return segment(bytes);
    }
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(crc));
    digest.update(bytes);
    !(digest.finalize() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_definition(crc: u32, bytes: &[u8]) -> u32 {
        bytes.iter().fold(crc, |crc, next| byte(crc, *next))
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
        let covered: &[u8; 28] = bytes[1..].first_chunk().unwrap();
        assert_eq!(from_zero(covered), by_definition(0, covered));
    }
}
