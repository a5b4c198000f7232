//! When messages are meant to be sent: at a fixed rate, whatever the server does.

use std::time::{Duration, Instant};

/// The times of an open loop: message `k` is due at `start + k / rate`.
///
/// Latency that counts from these times includes what a message waited because the one before it
/// was slow. Counted from the write it would leave that out, just when it matters: Tene calls that
/// coordinated omission ("How NOT to Measure Latency", 2013).
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    /// Messages a second.
    rate: f64,
    /// Messages that were taken.
    taken: u64,
}

impl Pace {
    /// Begins now with `rate` messages a second, which must be above 0.
    pub fn new(rate: f64, start: Instant) -> Self {
        Self { start, rate, taken: 0 }
    }

    /// The next message that is due at `now`: its number and the time that it was due at.
    pub fn next(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let due = self.start + Duration::from_secs_f64(self.taken as f64 / self.rate);
        if due > now {
            return None;
        }
        let number = self.taken;
        self.taken += 1;
        Some((number, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_due_at_its_own_time() {
        let start = Instant::now();
        let mut pace = Pace::new(1000.0, start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(pace.next(start), Some((0, start)));
        assert_eq!(pace.next(start), None);
        assert_eq!(pace.next(at(3)), Some((1, at(1))));
        assert_eq!(pace.next(at(3)), Some((2, at(2))));
        assert_eq!(pace.next(at(3)), Some((3, at(3))));
        assert_eq!(pace.next(at(3)), None);
    }
}
