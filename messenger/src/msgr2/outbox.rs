//! What a session has to send, up to what the peer has acknowledged.

use std::collections::VecDeque;

use super::message::Message;
use super::tally::Tally;

/// A queue of messages: first those that were sent and not acknowledged, then those to send.
#[derive(Debug)]
pub(super) struct Outbox {
    messages: VecDeque<Message>,
    /// How many at the front were sent on this connection. In range `0 ..= messages.len()`.
    sent: usize,
    /// Of all of them.
    bytes: usize,
    limit: usize,
    /// Counts them, and those of others.
    tally: Tally,
    /// `seq` of the last message that was put in.
    last_seq: u64,
    /// Of the last one that was sent, on whichever connection: no later one can be acknowledged.
    sent_seq: u64,
    /// Who was told that it is full may try again once no more bytes than these are left.
    awaited: Option<usize>,
}

/// What a message costs besides its bytes.
const OVERHEAD: usize = size_of::<Message>();

fn cost(message: &Message) -> usize {
    message.bytes() + OVERHEAD
}

impl Outbox {
    /// An empty one that is full with so many bytes.
    pub(super) fn new(limit: usize, tally: Tally) -> Self {
        let messages = VecDeque::new();
        Self { messages, sent: 0, bytes: 0, limit, tally, last_seq: 0, sent_seq: 0, awaited: None }
    }

    fn count(&mut self, message: &Message) {
        self.bytes += cost(message);
        self.tally.add(cost(message));
    }

    fn discount(&mut self, message: &Message) {
        self.bytes -= cost(message);
        self.tally.remove(cost(message));
    }

    /// Puts a message at the end and numbers it; gives it back if the queue is full. An empty one
    /// takes any.
    pub(super) fn push(&mut self, mut message: Message) -> Result<u64, Box<Message>> {
        if !self.messages.is_empty() && self.bytes + cost(&message) > self.limit {
            self.awaited = Some(self.limit / 2);
            return Err(Box::new(message));
        }
        self.last_seq += 1;
        message.header.seq = self.last_seq;
        self.count(&message);
        self.messages.push_back(message);
        Ok(self.last_seq)
    }

    /// The next message to send. It stays until it is acknowledged.
    pub(super) fn next_to_keep(&mut self) -> Option<&Message> {
        let message = self.messages.get(self.sent)?;
        self.sent += 1;
        self.sent_seq = self.sent_seq.max(message.header.seq);
        Some(message)
    }

    /// The next message to send, for good.
    pub(super) fn next_to_forget(&mut self) -> Option<Message> {
        debug_assert_eq!(self.sent, 0, "what is sent is forgotten");
        let message = self.messages.pop_front()?;
        self.discount(&message);
        self.sent_seq = message.header.seq;
        Some(message)
    }

    /// The peer has all messages up to this one. `false` if it cannot have.
    pub(super) fn acknowledge(&mut self, seq: u64) -> bool {
        if seq > self.sent_seq {
            return false;
        }
        while let Some(first) = self.messages.pop_front_if(|first| first.header.seq <= seq) {
            self.discount(&first);
            // On a new connection it may not have been sent again yet.
            self.sent = self.sent.saturating_sub(1);
        }
        true
    }

    /// The peer has said that it has some message.
    pub(super) fn has_acknowledged(&self) -> bool {
        let first = self.messages.front().map_or(self.last_seq + 1, |first| first.header.seq);
        first > 1
    }

    /// On the next connection all that is left is sent again.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Forgets everything and numbers from 1; how many messages were lost.
    pub(super) fn reset(&mut self) -> u64 {
        let lost = self.messages.len() as u64;
        let awaited = self.awaited;
        *self = Self::new(self.limit, self.tally.clone());
        self.awaited = awaited;
        lost
    }

    /// Nothing waits to be sent or acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether there is something to send.
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.messages.len()
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Somebody waits until nothing is left.
    pub(super) fn await_end(&mut self) {
        self.awaited = Some(0);
    }

    /// Whether who was refused may try again, which is once half of it is free, or who waits until
    /// nothing is left need wait no longer.
    pub(super) fn take_relief(&mut self) -> bool {
        self.awaited.take_if(|most| self.bytes <= *most).is_some()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.tally.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Message {
        Message { front: vec![0; bytes].into(), ..Default::default() }
    }

    fn unsent(outbox: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next_to_keep().map(|message| message.header.seq)).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again() {
        let mut outbox = Outbox::new(1 << 20, Tally::default());
        for _ in 0..5 {
            outbox.push(message(10)).unwrap();
        }
        assert_eq!(outbox.next_to_keep().unwrap().header.seq, 1);
        assert_eq!(outbox.next_to_keep().unwrap().header.seq, 2);
        assert!(!outbox.acknowledge(3), "it was not sent");
        assert!(outbox.acknowledge(1));
        assert_eq!(unsent(&mut outbox), [3, 4, 5]);
        outbox.rewind();
        assert!(outbox.acknowledge(4), "it was sent on the connection before");
        assert_eq!(unsent(&mut outbox), [5]);
        assert!(outbox.acknowledge(5));
        assert_eq!((outbox.bytes(), outbox.is_empty()), (0, true));
    }

    #[test]
    fn it_is_bounded_and_says_when_there_is_room_again() {
        let mut outbox = Outbox::new(1000, Tally::default());
        outbox.push(message(5000)).unwrap();
        assert!(outbox.push(message(1)).is_err());
        assert!(!outbox.take_relief());
        outbox.next_to_forget().unwrap();
        assert!(outbox.take_relief());
        assert!(!outbox.take_relief());
        assert_eq!(outbox.push(message(1)), Ok(2));
    }

    #[test]
    fn all_of_it_is_counted_and_discounted_whatever_becomes_of_it() {
        let tally = Tally::default();
        let mut outbox = Outbox::new(1 << 20, tally.clone());
        let mut other = Outbox::new(1 << 20, tally.clone());
        for _ in 0..3 {
            outbox.push(message(10)).unwrap();
            other.push(message(10)).unwrap();
        }
        assert_eq!(tally.bytes(), 6 * (10 + OVERHEAD));
        outbox.next_to_keep().unwrap();
        assert!(outbox.acknowledge(1));
        other.next_to_forget().unwrap();
        assert_eq!(tally.bytes(), 4 * (10 + OVERHEAD));
        other.await_end();
        assert_eq!(outbox.reset(), 2);
        assert_eq!((tally.bytes(), other.bytes()), (2 * (10 + OVERHEAD), tally.bytes()));
        // What comes after a reset counts, too.
        outbox.push(message(10)).unwrap();
        assert_eq!(tally.bytes(), 3 * (10 + OVERHEAD));
        drop(outbox);
        other.next_to_forget().unwrap();
        assert!(!other.take_relief());
        drop(other);
        assert_eq!(tally.bytes(), 0);
    }

    #[test]
    fn who_waits_for_its_end_is_told_of_nothing_earlier() {
        let mut outbox = Outbox::new(100, Tally::default());
        outbox.push(message(10)).unwrap();
        assert!(outbox.push(message(100)).is_err());
        outbox.await_end();
        assert!(!outbox.take_relief());
        outbox.next_to_forget().unwrap();
        assert!(outbox.take_relief());
        assert!(!outbox.take_relief());
    }

    #[test]
    fn it_is_full_with_its_limit_and_who_was_told_so_is_told_of_a_reset() {
        let mut outbox = Outbox::new(2 * (10 + OVERHEAD), Tally::default());
        outbox.push(message(10)).unwrap();
        outbox.push(message(10)).unwrap();
        assert!(outbox.push(message(0)).is_err());
        assert_eq!(outbox.reset(), 2);
        assert!(outbox.take_relief());
    }
}
