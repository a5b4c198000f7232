//! The slots of one application: which are taken, and who waits for one.
//!
//! Shared between the cores, and touched when a connection comes or goes, never for its bytes. The
//! lowest free slot is taken first, so that few pages of the segment are ever used.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

#[derive(Debug)]
pub(crate) struct SlotPool {
    /// A bit for each slot; set: taken. Changed by any core.
    taken: Box<[AtomicU64]>,
    /// Slots that are taken. Changed with the bits; read to choose the emptiest.
    count: AtomicUsize,
    /// The generation of the last connection in each slot. Changed by who has taken it.
    generations: Box<[AtomicU32]>,
    /// Listeners of a core wait for a slot. Set by the core, cleared by whoever tells it.
    waiting: Box<[AtomicBool]>,
}

impl SlotPool {
    pub(crate) fn new(slots: u32, cores: usize) -> Self {
        let words = (slots as usize).div_ceil(64);
        let taken: Box<[AtomicU64]> = (0..words).map(|_| AtomicU64::new(0)).collect();
        // Slots that do not exist are taken for ever.
        let beyond = words * 64 - slots as usize;
        if beyond > 0 {
            taken[words - 1].store(!0 << (64 - beyond), Ordering::Relaxed);
        }
        Self {
            taken,
            count: AtomicUsize::new(0),
            generations: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            waiting: (0..cores).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Takes a slot. If there is none, `core` is to be told by the one who
    /// [releases](Self::release) one next.
    pub(crate) fn reserve(&self, core: usize) -> Option<u32> {
        self.try_reserve().or_else(|| {
            // Who released one in between may not have seen it.
            self.waiting[core].store(true, Ordering::SeqCst);
            self.try_reserve()
        })
    }

    fn try_reserve(&self) -> Option<u32> {
        for (index, word) in self.taken.iter().enumerate() {
            let mut seen = word.load(Ordering::SeqCst);
            while seen != !0 {
                let bit = seen.trailing_ones();
                let with = seen | 1 << bit;
                match word.compare_exchange(seen, with, Ordering::SeqCst, Ordering::SeqCst) {
                    Ok(_) => {
                        self.count.fetch_add(1, Ordering::Relaxed);
                        return Some(index as u32 * 64 + bit);
                    }
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    /// Gives a slot back; the cores that have to be told.
    pub(crate) fn release(&self, slot: u32) -> Vec<usize> {
        let before =
            self.taken[slot as usize / 64].fetch_and(!(1 << (slot % 64)), Ordering::SeqCst);
        debug_assert_ne!(before & 1 << (slot % 64), 0, "released twice");
        self.count.fetch_sub(1, Ordering::Relaxed);
        let waits = |core: &usize| self.waiting[*core].swap(false, Ordering::SeqCst);
        (0..self.waiting.len()).filter(waits).collect()
    }

    /// The generation of a new connection in a slot that the caller has taken; never 0.
    pub(crate) fn next_generation(&self, slot: u32) -> u32 {
        let generation = &self.generations[slot as usize];
        let next = generation.load(Ordering::Relaxed).wrapping_add(1).max(1);
        generation.store(next, Ordering::Relaxed);
        next
    }

    /// Slots that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_taken_once_the_lowest_first() {
        for slots in [1, 63, 64, 65, 100] {
            let pool = SlotPool::new(slots, 1);
            let taken: Vec<_> = std::iter::from_fn(|| pool.reserve(0)).collect();
            assert_eq!(taken, (0..slots).collect::<Vec<_>>());
            assert_eq!(pool.release(slots / 2), [0], "who found none is told");
            assert_eq!(pool.reserve(0), Some(slots / 2));
        }
    }

    #[test]
    fn who_waited_is_told_once() {
        let pool = SlotPool::new(2, 2);
        assert!(pool.reserve(0).is_some() && pool.reserve(1).is_some());
        assert_eq!(pool.reserve(1), None);
        assert_eq!(pool.release(0), [1]);
        assert!(pool.release(1).is_empty());
    }

    #[test]
    fn generations_begin_at_1_and_skip_0() {
        let pool = SlotPool::new(1, 1);
        assert_eq!(pool.next_generation(0), 1);
        assert_eq!(pool.next_generation(0), 2);
        pool.generations[0].store(u32::MAX, Ordering::Relaxed);
        assert_eq!(pool.next_generation(0), 1);
    }

    #[test]
    fn many_cores_never_take_the_same_slot() {
        let pool = std::sync::Arc::new(SlotPool::new(70, 4));
        let owners: std::sync::Arc<Vec<AtomicBool>> =
            std::sync::Arc::new((0..70).map(|_| AtomicBool::new(false)).collect());
        let threads: Vec<_> = (0..4)
            .map(|core| {
                let (pool, owners) = (pool.clone(), owners.clone());
                std::thread::spawn(move || {
                    for _ in 0..20_000 {
                        let Some(slot) = pool.reserve(core) else { continue };
                        assert!(!owners[slot as usize].swap(true, Ordering::SeqCst));
                        owners[slot as usize].store(false, Ordering::SeqCst);
                        pool.release(slot);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(pool.taken(), 0);
    }
}
