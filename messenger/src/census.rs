//! How many connections each core has: what placement and the limit go by.
//!
//! Shared between the cores, and touched when a connection comes or goes, never for its bytes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// One core's numbers, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct PerCore {
    /// Connections that the core has, or that are on their way to it. Changed and read by any core.
    connections: AtomicUsize,
    /// Listeners of the core wait for the total to fall below the limit. Set by the core, cleared
    /// by whoever tells it.
    waiting: AtomicBool,
}

/// The connections of all cores.
#[derive(Debug)]
pub(crate) struct Census {
    cores: Box<[PerCore]>,
    /// Connections, and those about to be accepted, in `0..=limit`.
    total: AtomicUsize,
    limit: usize,
}

impl Census {
    pub(crate) fn new(cores: usize, limit: Option<usize>) -> Self {
        let cores = (0..cores).map(|_| PerCore::default()).collect();
        Self { cores, total: AtomicUsize::new(0), limit: limit.unwrap_or(usize::MAX) }
    }

    /// Reserves a place for one more connection; if there is none, `core` is to be told by the one
    /// who [leaves](Self::leave) next.
    pub(crate) fn reserve(&self, core: usize) -> bool {
        self.try_reserve() || self.wait_and_look_again(core)
    }

    /// Says that `core` waits, and looks again: whoever left in between may not have seen it. The
    /// flag stays, whatever comes of that: another listener of the core may wait on it.
    fn wait_and_look_again(&self, core: usize) -> bool {
        self.cores[core].waiting.store(true, Ordering::SeqCst);
        self.try_reserve()
    }

    fn try_reserve(&self) -> bool {
        let more = |total| (total < self.limit).then(|| total + 1);
        self.total.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// Gives a reserved place back; the cores that have to be told.
    pub(crate) fn unreserve(&self) -> Vec<usize> {
        if self.total.fetch_sub(1, Ordering::SeqCst) < self.limit {
            return Vec::new();
        }
        let waits = |core: &usize| self.cores[*core].waiting.swap(false, Ordering::SeqCst);
        (0..self.cores.len()).filter(waits).collect()
    }

    /// A connection for which a place was reserved goes to `core`.
    pub(crate) fn enter(&self, core: usize) {
        self.cores[core].connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that nobody asked the limit for goes to `core`.
    pub(crate) fn enter_anyway(&self, core: usize) {
        self.total.fetch_add(1, Ordering::SeqCst);
        self.enter(core);
    }

    /// A connection that was to go to `from` goes to `to`.
    pub(crate) fn moved(&self, from: usize, to: usize) {
        self.cores[from].connections.fetch_sub(1, Ordering::Relaxed);
        self.enter(to);
    }

    /// A connection of `core` has ended; the cores that have to be told that there is a place.
    pub(crate) fn leave(&self, core: usize) -> Vec<usize> {
        self.cores[core].connections.fetch_sub(1, Ordering::Relaxed);
        self.unreserve()
    }

    /// Connections of `core`.
    pub(crate) fn of(&self, core: usize) -> usize {
        self.cores[core].connections.load(Ordering::Relaxed)
    }

    /// The core that has the fewest, and how many those are.
    pub(crate) fn least(&self) -> (usize, usize) {
        let numbers = (0..self.cores.len()).map(|core| (core, self.of(core)));
        numbers.min_by_key(|&(_, connections)| connections).expect("there is at least one core")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_who_waited_is_told_once() {
        let census = Census::new(2, Some(2));
        assert!(census.reserve(0) && census.reserve(1));
        census.enter(0);
        census.enter(1);
        assert!(!census.reserve(0));
        assert_eq!(census.leave(1), [0]);
        assert!(census.reserve(1));
        assert!(census.unreserve().is_empty(), "nobody waits any more");
    }

    #[test]
    fn a_listener_that_waits_is_not_forgotten_when_its_sibling_gets_the_place() {
        let census = Census::new(2, Some(1));
        assert!(census.reserve(1));
        census.enter(1);
        assert!(!census.reserve(0), "one listener of core 0 waits");
        // The sibling's first look fails; then a place is left, between the two steps of `leave`.
        assert!(!census.try_reserve());
        census.total.fetch_sub(1, Ordering::SeqCst);
        assert!(census.wait_and_look_again(0));
        assert!(census.cores[0].waiting.load(Ordering::SeqCst), "and is still to be told");
    }

    #[test]
    fn without_a_limit_nobody_ever_waits() {
        let census = Census::new(1, None);
        assert!((0..1000).all(|_| census.reserve(0)));
        census.enter(0);
        assert_eq!((census.of(0), census.least()), (1, (0, 1)));
        assert!(census.leave(0).is_empty());
    }

    #[test]
    fn many_cores_never_exceed_the_limit_and_all_get_in_at_last() {
        let census = std::sync::Arc::new(Census::new(4, Some(3)));
        let threads: Vec<_> = (0..4)
            .map(|core| {
                let census = std::sync::Arc::clone(&census);
                std::thread::spawn(move || {
                    for _ in 0..20_000 {
                        while !census.reserve(core) {
                            std::thread::yield_now();
                        }
                        assert!(census.total.load(Ordering::SeqCst) <= 3);
                        census.enter(core);
                        census.leave(core);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(census.total.load(Ordering::SeqCst), 0);
    }
}
