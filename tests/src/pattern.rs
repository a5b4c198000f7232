//! Bytes that say themselves whether they arrived once and in order.

/// An endless pseudo-random stream. Both ends make it from the same seed, so that the receiver needs
/// nothing of the sender's to check each byte; and since no stretch of it repeats, a byte that is
/// lost, doubled or swapped is found at its own position.
#[derive(Debug, Clone)]
pub struct Pattern {
    seed: u64,
    position: u64,
    expected: Vec<u8>,
}

impl Pattern {
    /// The stream of this seed, from its beginning.
    pub fn new(seed: u64) -> Self {
        Self::at(seed, 0)
    }

    /// The stream of this seed, from `position`: for who goes on where another has stopped.
    pub fn at(seed: u64, position: u64) -> Self {
        Self { seed, position, expected: Vec::new() }
    }

    /// How many bytes were filled or checked so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Fills `bytes` with the next bytes of the stream.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        // A stretch that begins inside a word: up to the next one.
        let inside = (self.position % 8) as usize;
        let head_bytes = if inside == 0 { 0 } else { (8 - inside).min(bytes.len()) };
        let (head, rest) = bytes.split_at_mut(head_bytes);
        head.copy_from_slice(&self.word(self.position / 8)[inside..][..head_bytes]);

        let mut index = (self.position + head_bytes as u64) / 8;
        let mut words = rest.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.word(index));
            index += 1;
        }
        let tail = words.into_remainder();
        tail.copy_from_slice(&self.word(index)[..tail.len()]);

        self.position += bytes.len() as u64;
    }

    /// Checks that `bytes` are the next bytes of the stream.
    ///
    /// # Panics
    ///
    /// When they are not; the message says at which position of the stream.
    #[track_caller]
    pub fn check(&mut self, bytes: &[u8]) {
        let start = self.position;
        let mut expected = std::mem::take(&mut self.expected);
        expected.resize(expected.len().max(bytes.len()), 0);
        self.fill(&mut expected[..bytes.len()]);
        if *bytes != expected[..bytes.len()] {
            let wrong = bytes.iter().zip(&expected).take_while(|(is, should)| is == should).count();
            panic!("byte {} of the stream is not the one that was sent", start + wrong as u64);
        }
        self.expected = expected;
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): the
    /// word at any index without those before it.
    fn word(&self, index: u64) -> [u8; 8] {
        let mut z =
            self.seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn pieces_of_any_length_are_the_same_stream() {
        let mut whole = vec![0; 4096];
        Pattern::new(7).fill(&mut whole);
        for piece in [1, 3, 7, 8, 9, 64, 1000] {
            let mut pieces = vec![0; 4096];
            let mut pattern = Pattern::new(7);
            pieces.chunks_mut(piece).for_each(|bytes| pattern.fill(bytes));
            assert_eq!(whole, pieces, "in pieces of {piece}");
            let mut checked = Pattern::new(7);
            whole.chunks(piece).for_each(|bytes| checked.check(bytes));
            Pattern::at(7, piece as u64).check(&whole[piece..]);
        }
    }

    #[test]
    #[should_panic(expected = "byte 100 of the stream")]
    fn a_swapped_byte_is_found_at_its_position() {
        let mut bytes = vec![0; 256];
        Pattern::new(7).fill(&mut bytes);
        bytes[100] ^= 1;
        Pattern::new(7).check(&bytes);
    }
}
