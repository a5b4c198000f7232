//! What the daemon may hold for one application outside its segment: messages that wait to be sent,
//! acknowledged or put into a ring.
//!
//! All cores share it, so each takes a piece at a time, and touches what is shared once for many
//! messages (I7). It bounds what is *begun*: a session may begin with a message that its
//! application has committed while there is some left, and otherwise only if it holds none. So
//! every session gets on, however much the others hold, and what is held is at most
//!
//! - the allowance, and beyond it for each core the message that was begun with the last of it,
//! - for each session one message that is to be sent, with 256 KiB of frames for its stream,
//! - for each session one message that has come, or is coming.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::msgr2::Tally;

/// A piece of an allowance is at most so large.
const LARGEST: u64 = 1 << 20;

/// The allowance of an application, as all cores know it.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// What no core has taken.
    left: AtomicU64,
    /// What a core takes at once.
    piece: u64,
    /// Cores that have found nothing left. Set by the core, cleared by whoever tells it.
    waiting: Box<[AtomicBool]>,
}

impl Allowance {
    pub(crate) fn new(bytes: u64, cores: usize) -> Self {
        let waiting: Box<[_]> = (0..cores).map(|_| AtomicBool::new(false)).collect();
        // What cores have taken ahead is at most half of it.
        let piece = (bytes / (4 * cores as u64)).clamp(1, LARGEST);
        Self { left: AtomicU64::new(bytes), piece, waiting }
    }

    /// Takes a piece. If there is none, `core` is to be told by the one who [gives](Self::give)
    /// some back next.
    fn take(&self, core: usize) -> Option<u64> {
        self.try_take().or_else(|| {
            // Who gave some back in between may not have seen it.
            self.waiting[core].store(true, Ordering::SeqCst);
            self.try_take()
        })
    }

    fn try_take(&self) -> Option<u64> {
        let take = |left: u64| (left > 0).then(|| left - left.min(self.piece));
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).ok()?;
        Some(before.min(self.piece))
    }

    /// Gives back what was taken; the cores that have to be told.
    fn give(&self, bytes: u64) -> Vec<usize> {
        self.left.fetch_add(bytes, Ordering::SeqCst);
        let waits = |core: &usize| self.waiting[*core].swap(false, Ordering::SeqCst);
        (0..self.waiting.len()).filter(waits).collect()
    }
}

/// What a core has of it.
#[derive(Debug, Default)]
pub(crate) struct Portion {
    /// What is held here.
    pub(crate) tally: Tally,
    taken: Cell<u64>,
}

impl Portion {
    /// Whether more may be held; takes what that needs.
    pub(crate) fn has_room(&self, of: &Allowance, core: usize) -> bool {
        while self.tally.bytes() as u64 >= self.taken.get() {
            let Some(piece) = of.take(core) else { return false };
            self.taken.set(self.taken.get() + piece);
        }
        true
    }

    /// Gives back what it does not need, but for one piece, once that is two; the cores that have
    /// to be told.
    pub(crate) fn settle(&self, of: &Allowance) -> Vec<usize> {
        let unused = self.taken.get().saturating_sub(self.tally.bytes() as u64);
        if unused < 2 * of.piece {
            return Vec::new();
        }
        let back = unused - of.piece;
        self.taken.set(self.taken.get() - back);
        of.give(back)
    }

    /// Gives back everything, when nothing will be held here any more; the cores that have to be
    /// told.
    pub(crate) fn end(&self, of: &Allowance) -> Vec<usize> {
        match self.taken.take() {
            0 => Vec::new(),
            taken => of.give(taken),
        }
    }
}

/// What one session holds, as far as its endpoint does not count it.
#[derive(Debug)]
pub(crate) struct Share {
    tally: Tally,
    bytes: usize,
}

impl Share {
    pub(crate) fn new(tally: Tally) -> Self {
        Self { tally, bytes: 0 }
    }

    /// It holds so many bytes now.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.tally.add(bytes);
        self.tally.remove(std::mem::replace(&mut self.bytes, bytes));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_take_all_of_it_in_pieces_and_those_that_found_none_are_told_of_more() {
        let allowance = Allowance::new(16 << 20, 2);
        let [one, other] = [Portion::default(), Portion::default()];
        let mut held = 0;
        while one.has_room(&allowance, 0) {
            one.tally.add(300_000);
            held += 300_000;
        }
        assert!((16 << 20..(16 << 20) + 300_000).contains(&held), "{held}");
        assert!(!other.has_room(&allowance, 1));
        one.tally.remove(1 << 20);
        assert_eq!(one.settle(&allowance), [0; 0], "a piece stays with who had it");
        one.tally.remove(1 << 19);
        assert_eq!(one.settle(&allowance), [0; 0], "nor is anybody told for half a piece");
        one.tally.remove(3 << 19);
        assert_eq!(one.settle(&allowance), [0, 1]);
        assert!(other.has_room(&allowance, 1));
        assert_eq!(other.settle(&allowance), [0; 0]);
        // With what it needs, and a piece.
        assert_eq!(one.taken.get(), one.tally.bytes() as u64 + allowance.piece);
        one.tally.remove(2 << 20);
        assert_eq!(one.settle(&allowance), [0; 0], "they have been told");
    }

    #[test]
    fn none_of_it_is_lost() {
        for (bytes, cores) in [(1, 1), (4095, 3), (1 << 20, 64), (1 << 30, 2)] {
            let allowance = Allowance::new(bytes, cores);
            let portion = Portion::default();
            for _ in 0..3 {
                let mut share = Share::new(portion.tally.clone());
                share.set(bytes as usize);
                assert!(!portion.has_room(&allowance, 0), "{bytes}");
                assert_eq!(portion.taken.get(), bytes);
                drop(share);
                portion.settle(&allowance);
                assert!(portion.taken.get() <= bytes / 2 || bytes == 1, "{bytes}");
            }
        }
    }

    #[test]
    fn a_core_that_ends_gives_all_of_it_back() {
        let allowance = Allowance::new(1 << 20, 2);
        let (one, other) = (Portion::default(), Portion::default());
        while one.has_room(&allowance, 0) {
            one.tally.add(1 << 10);
        }
        assert!(!other.has_room(&allowance, 1));
        assert_eq!(one.end(&allowance), [0, 1]);
        assert!(other.has_room(&allowance, 1));
        assert_eq!(one.end(&allowance), [0; 0]);
    }
}
