//! Back-off: how long to wait before the next attempt to connect.

use std::time::Duration;

/// Bounds of the waiting time, which doubles with every failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffLimits {
    /// After the first attempt that failed.
    pub first: Duration,
    /// However many have failed. A stream that stood for so long counts as one that worked.
    pub most: Duration,
}

impl Default for BackoffLimits {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), most: Duration::from_secs(15) }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    limits: BackoffLimits,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(limits: BackoffLimits) -> Self {
        Self { limits, next: Duration::ZERO }
    }

    /// The time to wait. A connection that had worked is made again at once.
    pub(super) fn take(&mut self) -> Duration {
        let wait = self.next;
        let doubled = wait.saturating_mul(2).max(self.limits.first);
        self.next = doubled.min(self.limits.most);
        wait
    }

    /// An attempt has failed: no more at once.
    pub(super) fn failed(&mut self) {
        self.next = self.next.max(self.limits.first);
    }

    /// The connection works.
    pub(super) fn reset(&mut self) {
        self.next = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_bound() {
        let mut backoff = Backoff::new(BackoffLimits::default());
        let mut waits = || backoff.take().as_millis();
        assert_eq!([0; 5].map(|_| waits()), [0, 200, 400, 800, 1600]);
        assert_eq!([0; 5].map(|_| waits()), [3200, 6400, 12_800, 15_000, 15_000]);
        backoff.reset();
        backoff.failed();
        assert_eq!(backoff.take().as_millis(), 200);
    }
}
