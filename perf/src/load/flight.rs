//! The messages of one connection that are on their way: when they were sent, and which of them are
//! back.

use std::collections::VecDeque;
use std::time::Instant;

use crate::latency::Latency;

/// Messages in flight. TCP answers in order, so a queue is enough, and messages that went in one
/// write share an entry.
#[derive(Debug)]
pub struct Flight {
    size: u64,
    /// Bytes of the oldest message that are back, in range `0 .. size`.
    partial: u64,
    batches: VecDeque<Batch>,
}

#[derive(Debug)]
struct Batch {
    sent: Instant,
    /// At least 1.
    messages: u64,
}

/// More came back than was sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Surplus;

impl Flight {
    /// Nothing in flight yet, of messages of `size` bytes, at most `depth` of them at a time.
    pub fn new(size: usize, depth: usize) -> Self {
        Self { size: size as u64, partial: 0, batches: VecDeque::with_capacity(depth) }
    }

    /// Adds `messages` (at least 1) that leave now.
    pub fn send(&mut self, messages: u64, now: Instant) {
        self.batches.push_back(Batch { sent: now, messages });
    }

    /// Takes the newest `messages` back, which did not leave after all; at most as many as there
    /// are.
    pub fn take_back(&mut self, mut messages: u64) {
        while messages > 0
            && let Some(batch) = self.batches.back_mut()
        {
            let taken = messages.min(batch.messages);
            batch.messages -= taken;
            messages -= taken;
            if batch.messages == 0 {
                self.batches.pop_back();
            }
        }
    }

    /// Takes `bytes` that came back, records the latency of each message that this completes, and
    /// returns how many those are.
    ///
    /// # Errors
    /// When there are not as many bytes in flight.
    pub fn receive(
        &mut self,
        bytes: u64,
        now: Instant,
        latency: &mut Latency,
    ) -> Result<u64, Surplus> {
        let total = self.partial + bytes;
        let completed = total / self.size;
        self.partial = total % self.size;
        let mut left = completed;
        while left > 0 {
            let batch = self.batches.front_mut().ok_or(Surplus)?;
            let messages = left.min(batch.messages);
            latency.record(now.duration_since(batch.sent), messages);
            batch.messages -= messages;
            left -= messages;
            if batch.messages == 0 {
                self.batches.pop_front();
            }
        }
        if self.partial > 0 && self.batches.is_empty() {
            return Err(Surplus);
        }
        Ok(completed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn replies_complete_in_order_whatever_their_pieces() {
        let mut flight = Flight::new(64, 4);
        let mut latency = Latency::new();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        flight.send(2, at(0));
        flight.send(1, at(10));
        assert_eq!(flight.receive(63, at(20), &mut latency), Ok(0));
        assert_eq!(flight.receive(66, at(20), &mut latency), Ok(2));
        assert_eq!(flight.receive(63, at(50), &mut latency), Ok(1));
        let figures = latency.percentiles();
        assert!((figures.p50_us / 20_000.0 - 1.0).abs() < 0.01, "{figures:?}");
        assert!((figures.max_us / 40_000.0 - 1.0).abs() < 0.01, "{figures:?}");
    }

    #[test]
    fn the_newest_are_taken_back() {
        let mut flight = Flight::new(64, 4);
        let now = Instant::now();
        flight.send(2, now);
        flight.send(3, now);
        flight.take_back(4);
        assert_eq!(flight.receive(64, now, &mut Latency::new()), Ok(1));
        assert_eq!(flight.receive(1, now, &mut Latency::new()), Err(Surplus));
    }

    #[test]
    fn more_than_was_sent_is_an_error() {
        let now = Instant::now();
        for surplus in [1, 64] {
            let mut flight = Flight::new(64, 1);
            flight.send(1, now);
            assert_eq!(flight.receive(64 + surplus, now, &mut Latency::new()), Err(Surplus));
        }
    }
}
