//! Rings of entries with one producer and one consumer, in memory that the other side may spoil.
//!
//! Each side keeps its own cursor to itself and only publishes it: what the other writes over it
//! does no harm. The other's cursor is read once, and checked.

use super::sync::{AtomicU64, Ordering};

/// The cursor of the other side is where it cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor of a ring is out of its range")]
pub(crate) struct CursorLies;

/// A ring as it lies in the segment; each entry has `N` words. Cursors run freely.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ring<'a, const N: usize> {
    /// Entries that were pushed. Written by the producer (Release), read by the consumer (Acquire).
    pub(crate) pushed: &'a AtomicU64,
    /// Entries that were taken. Written by the consumer (Release), read by the producer (Acquire).
    pub(crate) taken: &'a AtomicU64,
    /// A power of two of them.
    pub(crate) entries: &'a [[AtomicU64; N]],
}

impl<const N: usize> Ring<'_, N> {
    fn entry(&self, cursor: u64) -> &[AtomicU64; N] {
        &self.entries[cursor as usize & (self.entries.len() - 1)]
    }
}

/// The producer's side.
#[derive(Debug, Default)]
pub(crate) struct Pusher {
    pushed: u64,
    /// The consumer's cursor when it was last looked at.
    taken: u64,
}

impl Pusher {
    /// Entries that there is room for.
    pub(crate) fn room<const N: usize>(&mut self, ring: Ring<'_, N>) -> Result<usize, CursorLies> {
        self.taken = ring.taken.load(Ordering::Acquire);
        let held = self.pushed.wrapping_sub(self.taken);
        let size = ring.entries.len() as u64;
        if held > size { Err(CursorLies) } else { Ok((size - held) as usize) }
    }

    /// Pushes an entry; false if the ring is full.
    pub(crate) fn push<const N: usize>(
        &mut self,
        ring: Ring<'_, N>,
        entry: [u64; N],
    ) -> Result<bool, CursorLies> {
        let held = self.pushed.wrapping_sub(self.taken);
        if held >= ring.entries.len() as u64 && self.room(ring)? == 0 {
            return Ok(false);
        }
        for (word, value) in ring.entry(self.pushed).iter().zip(entry) {
            word.store(value, Ordering::Relaxed);
        }
        self.pushed = self.pushed.wrapping_add(1);
        ring.pushed.store(self.pushed, Ordering::Release);
        Ok(true)
    }
}

/// The consumer's side.
#[derive(Debug, Default)]
pub(crate) struct Taker {
    taken: u64,
    /// The producer's cursor when it was last looked at.
    pushed: u64,
}

impl Taker {
    /// Takes one entry, if there is one.
    pub(crate) fn take<const N: usize>(
        &mut self,
        ring: Ring<'_, N>,
    ) -> Result<Option<[u64; N]>, CursorLies> {
        if self.taken == self.pushed {
            self.pushed = ring.pushed.load(Ordering::Acquire);
            let held = self.pushed.wrapping_sub(self.taken);
            if held > ring.entries.len() as u64 {
                self.pushed = self.taken;
                return Err(CursorLies);
            }
            if held == 0 {
                return Ok(None);
            }
        }
        let entry = ring.entry(self.taken);
        let copy = std::array::from_fn(|word| entry[word].load(Ordering::Relaxed));
        self.taken = self.taken.wrapping_add(1);
        ring.taken.store(self.taken, Ordering::Release);
        Ok(Some(copy))
    }

    /// There is something to take, or the other side's cursor lies, which taking will find.
    pub(crate) fn has_some<const N: usize>(&self, ring: Ring<'_, N>) -> bool {
        self.taken != self.pushed || ring.pushed.load(Ordering::Acquire) != self.taken
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    struct Memory {
        pushed: AtomicU64,
        taken: AtomicU64,
        entries: Vec<[AtomicU64; 2]>,
    }

    impl Memory {
        fn new(entries: usize) -> Self {
            let entries = (0..entries).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect();
            Self { pushed: AtomicU64::new(0), taken: AtomicU64::new(0), entries }
        }

        fn ring(&self) -> Ring<'_, 2> {
            Ring { pushed: &self.pushed, taken: &self.taken, entries: &self.entries }
        }
    }

    #[test]
    fn a_full_ring_refuses_and_goes_on_when_one_was_taken() {
        let memory = Memory::new(4);
        let (mut pusher, mut taker) = (Pusher::default(), Taker::default());
        for n in 0..4 {
            assert_eq!(pusher.push(memory.ring(), [n, 0]), Ok(true));
        }
        assert_eq!(pusher.push(memory.ring(), [4, 0]), Ok(false));
        assert_eq!(taker.take(memory.ring()), Ok(Some([0, 0])));
        assert_eq!(pusher.room(memory.ring()), Ok(1));
        assert_eq!(pusher.push(memory.ring(), [4, 0]), Ok(true));
    }

    #[test]
    fn cursors_that_lie_are_found() {
        let memory = Memory::new(4);
        let mut taker = Taker::default();
        for lie in [5, u64::MAX, 1 << 63] {
            memory.pushed.store(lie, Ordering::Relaxed);
            assert!(taker.has_some(memory.ring()));
            assert_eq!(taker.take(memory.ring()), Err(CursorLies), "{lie}");
        }
        let mut pusher = Pusher::default();
        assert_eq!(pusher.push(memory.ring(), [1, 1]), Ok(true));
        for lie in [2, u64::MAX - 3, 1 << 40] {
            memory.taken.store(lie, Ordering::Relaxed);
            assert_eq!(pusher.room(memory.ring()), Err(CursorLies), "{lie}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_queue(steps in proptest::collection::vec(any::<bool>(), 1..200)) {
            let memory = Memory::new(8);
            let (mut pusher, mut taker) = (Pusher::default(), Taker::default());
            let (mut model, mut next) = (VecDeque::new(), 0);
            for push in steps {
                if push {
                    let taken = pusher.push(memory.ring(), [next, !next]).unwrap();
                    prop_assert_eq!(taken, model.len() < 8);
                    if taken { model.push_back(next); }
                    next += 1;
                } else {
                    let expected = model.pop_front().map(|n: u64| [n, !n]);
                    prop_assert_eq!(taker.take(memory.ring()).unwrap(), expected);
                }
                prop_assert_eq!(taker.has_some(memory.ring()), !model.is_empty());
            }
        }
    }
}
