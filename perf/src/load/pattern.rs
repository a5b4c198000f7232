//! The bytes that are sent, so that every byte of an echo tells which connection and offset it
//! belongs to.

/// Length of the repeating part: a prime above 64 KiB, so that no shift by a buffer or a message
/// goes unseen.
const PERIOD: usize = 65_537;

/// How far apart the streams of neighbouring connections begin, so that one never looks like the
/// other.
const STRIDE: usize = 7_919;

/// An endless stream of bytes for each connection, any piece of which is a slice of one shared
/// buffer.
#[derive(Debug)]
pub struct Pattern {
    bytes: Vec<u8>,
    longest: usize,
}

impl Pattern {
    /// A pattern whose slices may be as long as `longest` bytes.
    pub fn new(longest: usize) -> Self {
        // xorshift64 (Marsaglia, 2003): any generator without short cycles would do.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes: Vec<u8> = (0..PERIOD)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 56) as u8
            })
            .collect();
        bytes.extend_from_within(..longest.min(PERIOD));
        while bytes.len() < PERIOD + longest {
            let missing = PERIOD + longest - bytes.len();
            bytes.extend_from_within(PERIOD..PERIOD + missing.min(PERIOD));
        }
        Self { bytes, longest }
    }

    /// Longest slice there is, in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The `length` bytes at `offset` of the stream of connection `index`; at most
    /// [`longest`](Self::longest).
    pub fn slice(&self, index: usize, offset: u64, length: usize) -> &[u8] {
        let start = (index * STRIDE + (offset % PERIOD as u64) as usize) % PERIOD;
        &self.bytes[start..start + length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_pieces_of_one_stream() {
        for longest in [1, 1000, PERIOD, 3 * PERIOD + 5] {
            let pattern = Pattern::new(longest);
            let byte = |offset| pattern.slice(3, offset, 1)[0];
            for offset in [0, 40_000, 65_536, 10_000_000_000] {
                let slice = pattern.slice(3, offset, longest);
                assert!((0..longest).all(|i| slice[i] == byte(offset + i as u64)));
            }
        }
    }

    #[test]
    fn streams_and_shifts_differ() {
        let pattern = Pattern::new(64);
        for other in 1..1000 {
            assert_ne!(pattern.slice(0, 0, 64), pattern.slice(other, 0, 64));
        }
        for shift in [1, 64, 4096, 65_536] {
            assert_ne!(pattern.slice(0, 0, 64), pattern.slice(0, shift, 64));
        }
    }
}
