//! One direction of a captured connection, put together from its segments.

use std::collections::BTreeMap;

/// Bytes that may wait for one that is missing; more than any receive window is rarely missing.
const MOST_WAITING: usize = 8 << 20;
/// And in how many pieces.
const MOST_PIECES: usize = 16_384;

/// What segments have brought, and what they have not.
#[derive(Debug)]
pub struct Direction {
    /// The number of the next byte in order; `None` until the first one is known.
    next: Option<u32>,
    /// Pieces that came too early, by how far they are behind what was missing first.
    waiting: BTreeMap<u64, Vec<u8>>,
    waiting_bytes: usize,
    /// Bytes in order so far.
    position: u64,
}

/// Bytes are missing that will not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap;

impl Direction {
    /// Of which nothing is known.
    pub fn new() -> Self {
        Self { next: None, waiting: BTreeMap::new(), waiting_bytes: 0, position: 0 }
    }

    /// Its first byte is the one after this number.
    pub fn begin(&mut self, sequence: u32) {
        self.next.get_or_insert(sequence.wrapping_add(1));
    }

    /// Pieces wait for one that is missing.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a segment's payload, of which `length` bytes were sent, and shows what is in order
    /// now.
    pub fn take(
        &mut self,
        sequence: u32,
        payload: &[u8],
        length: usize,
        mut show: impl FnMut(&[u8]),
    ) -> Result<(), Gap> {
        if length == 0 {
            return Ok(());
        }
        let next = self.next.ok_or(Gap)?;
        // Numbers go round; what is less than half way ahead is ahead.
        let ahead = i64::from(sequence.wrapping_sub(next).cast_signed());
        let Ok(early) = u64::try_from(ahead) else {
            // At least its beginning was here already.
            let known = ahead.unsigned_abs() as usize;
            if known < length {
                // Newer bytes behind the known ones.
                let new = payload.get(known..).unwrap_or_default();
                self.advance(new, length - known, &mut show)?;
            }
            return self.go_on(&mut show);
        };
        if early == 0 {
            self.advance(payload, length, &mut show)?;
            return self.go_on(&mut show);
        }
        if payload.len() < length {
            return Err(Gap);
        }
        self.keep(self.position + early, payload)
    }

    fn keep(&mut self, at: u64, payload: &[u8]) -> Result<(), Gap> {
        let longer = self.waiting.get(&at).is_none_or(|kept| kept.len() < payload.len());
        if longer {
            let before = self.waiting.insert(at, payload.to_vec());
            self.waiting_bytes -= before.map_or(0, |before| before.len());
            self.waiting_bytes += payload.len();
        }
        match self.waiting_bytes > MOST_WAITING || self.waiting.len() > MOST_PIECES {
            true => Err(Gap),
            false => Ok(()),
        }
    }

    /// Shows bytes that are in order; not all of them may have been captured.
    fn advance(
        &mut self,
        captured: &[u8],
        length: usize,
        show: &mut impl FnMut(&[u8]),
    ) -> Result<(), Gap> {
        show(captured);
        self.position += length as u64;
        self.next = self.next.map(|next| next.wrapping_add(length as u32));
        if captured.len() < length { Err(Gap) } else { Ok(()) }
    }

    /// What was too early may be in order now.
    fn go_on(&mut self, show: &mut impl FnMut(&[u8])) -> Result<(), Gap> {
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > self.position {
                break;
            }
            let (at, piece) = entry.remove_entry();
            self.waiting_bytes -= piece.len();
            let known = (self.position - at) as usize;
            if let Some(new) = piece.get(known..).filter(|new| !new.is_empty()) {
                self.advance(new, new.len(), show)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of segments of `text`, given as places and lengths, when the numbers begin at
    /// `first`.
    fn together(first: u32, text: &[u8], segments: &[(usize, usize)]) -> (Vec<u8>, bool) {
        let mut direction = Direction::new();
        direction.begin(first.wrapping_sub(1));
        let mut shown = Vec::new();
        for &(at, length) in segments {
            let payload = &text[at..at + length];
            let sequence = first.wrapping_add(at as u32);
            direction
                .take(sequence, payload, length, |bytes| shown.extend_from_slice(bytes))
                .unwrap();
        }
        (shown, direction.is_waiting())
    }

    #[test]
    fn segments_repeated_overlapping_and_out_of_order_are_put_together() {
        let text: Vec<u8> = (0..100).collect();
        for first in [0, 77, u32::MAX - 30] {
            for segments in [
                &[(0, 50), (50, 50)][..],
                &[(50, 50), (0, 50)],
                &[(0, 50), (0, 50), (50, 50), (50, 50)],
                &[(0, 60), (40, 60)],
                &[(60, 40), (30, 50), (70, 10), (0, 40)],
                &[(90, 10), (10, 10), (10, 80), (0, 10)],
                &[(20, 10), (20, 80), (20, 5), (0, 20)],
                &[(0, 100), (10, 10)],
            ] {
                assert_eq!(together(first, &text, segments), (text.clone(), false), "{segments:?}");
            }
        }
        assert_eq!(together(5, &text, &[(0, 10), (20, 10)]), (text[..10].to_vec(), true));
    }

    #[test]
    fn what_is_missing_for_too_long_or_was_not_captured_is_a_gap() {
        let mut direction = Direction::new();
        assert_eq!(direction.take(1, b"x", 1, |_| ()), Err(Gap));
        direction.begin(0);
        let mut shown = 0;
        assert_eq!(direction.take(1, b"abc", 9, |bytes| shown += bytes.len()), Err(Gap));
        assert_eq!(shown, 3);
        let mut direction = Direction::new();
        direction.begin(0);
        let piece = vec![0; 1 << 20];
        let outcomes: Vec<_> =
            (0..9).map(|n| direction.take(2 + (n << 20), &piece, 1 << 20, |_| ())).collect();
        assert!(outcomes[..8].iter().all(Result::is_ok) && outcomes[8].is_err());
        // Of one that came early it is known at once that some was not captured.
        let mut direction = Direction::new();
        direction.begin(0);
        assert_eq!(direction.take(5, b"abc", 9, |_| ()), Err(Gap));
    }

    #[test]
    fn only_so_many_pieces_wait_at_a_time_and_those_that_waited_count_no_more() {
        let mut direction = Direction::new();
        direction.begin(0);
        let mut take = |at: usize| direction.take(1 + at as u32, b"x", 1, |_| ());
        assert!((1..=MOST_PIECES).all(|n| take(2 * n).is_ok()));
        assert_eq!(take(2 * MOST_PIECES + 2), Err(Gap));

        let mut direction = Direction::new();
        direction.begin(0);
        let piece = vec![0; MOST_WAITING / 2];
        for n in 0..6 {
            // Each two in the other order.
            let at = (n ^ 1) * piece.len();
            assert_eq!(direction.take(1 + at as u32, &piece, piece.len(), |_| ()), Ok(()), "{n}");
        }
        assert!(!direction.is_waiting());
    }
}
