//! Pending data: bytes that wait for a socket.
//!
//! [`Pending`] is what the flush path knows of them. It has several homes: [`ByteQueue`] on the
//! heap is one, a ring in shared memory another. None of them is copied on the way to the socket.

use std::fmt;
use std::io::{self, IoSlice};

use crate::socket::Socket;

/// Bytes that wait for a socket, and the room for more.
///
/// Bytes enter at the back, through [`spare`](Self::spare) and [`commit`](Self::commit), and leave
/// from the front, through [`write_to`](Self::write_to) and [`consume`](Self::consume). When the queue
/// is [full](Self::room) whoever produces the bytes stops being read, until it is
/// [relieved](Self::is_relieved) again.
pub trait Pending: fmt::Debug + Default {
    /// Bytes that wait.
    fn len(&self) -> usize;

    /// Nothing waits.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that may still be added before the high-water mark is reached.
    fn room(&self) -> usize;

    /// At or below the low-water mark: a producer that was stopped may go on.
    fn is_relieved(&self) -> bool;

    /// Offers what waits to `socket` in one system call, from where it lies: how many bytes were
    /// offered, and what the socket said.
    fn write_to<S: Socket>(&self, socket: &mut S) -> (usize, io::Result<usize>);

    /// Forgets the first `count` bytes; the socket has them.
    fn consume(&mut self, count: usize);

    /// Contiguous space at the back for at most `most` bytes and at most [`room`](Self::room);
    /// empty only if `most` or the room is.
    fn spare(&mut self, most: usize) -> &mut [u8];

    /// The first `count` bytes of the last [`spare`](Self::spare) now wait.
    fn commit(&mut self, count: usize);

    /// Copies as much of `bytes` to the back as there is room for; how many were taken.
    fn append(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let spare = self.spare(bytes.len() - taken);
            if spare.is_empty() {
                break;
            }
            let count = spare.len();
            spare.copy_from_slice(&bytes[taken..taken + count]);
            self.commit(count);
            taken += count;
        }
        taken
    }
}

/// Where a queue is full and where it is relieved, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    low: u32,
    high: u32,
}

impl Marks {
    /// Marks with `low < high`, `high` at most 1 GiB; `None` otherwise.
    pub const fn new(low: usize, high: usize) -> Option<Self> {
        if low < high && high <= 1 << 30 {
            Some(Self { low: low as u32, high: high as u32 })
        } else {
            None
        }
    }

    /// At this many bytes the producer is stopped.
    pub fn high(self) -> usize {
        self.high as usize
    }

    /// At this many bytes or fewer it goes on.
    pub fn low(self) -> usize {
        self.low as usize
    }
}

impl Default for Marks {
    /// 64 KiB and 256 KiB.
    fn default() -> Self {
        Self { low: 64 << 10, high: 256 << 10 }
    }
}

/// Pending data on the heap: a byte ring that owns no memory while it is empty.
#[derive(Default)]
pub struct ByteQueue {
    /// Empty, or a power of two in size; grows by doubling, is let go when the last byte leaves.
    ring: Box<[u8]>,
    /// Where the first waiting byte lies, in `0..ring.len()` (0 while `ring` is empty).
    head: usize,
    /// Bytes that wait, in `0..=marks.high`.
    len: usize,
    marks: Marks,
}

/// The first ring that a queue allocates, in bytes.
const FIRST_RING: usize = 4 << 10;

impl ByteQueue {
    /// An empty queue with these marks.
    pub fn new(marks: Marks) -> Self {
        Self { marks, ..Self::default() }
    }

    /// Makes the ring hold at least `size` bytes.
    fn grow(&mut self, size: usize) {
        let mut ring = vec![0; size.next_power_of_two().max(FIRST_RING)].into_boxed_slice();
        let (front, back) = self.parts();
        ring[..front.len()].copy_from_slice(front);
        ring[front.len()..self.len].copy_from_slice(back);
        self.ring = ring;
        self.head = 0;
    }

    /// The waiting bytes: up to the end of the ring, and on from its beginning.
    fn parts(&self) -> (&[u8], &[u8]) {
        let end = self.head + self.len;
        match end.checked_sub(self.ring.len()) {
            Some(wrapped) => (&self.ring[self.head..], &self.ring[..wrapped]),
            None => (&self.ring[self.head..end], &[]),
        }
    }
}

impl Pending for ByteQueue {
    fn len(&self) -> usize {
        self.len
    }

    fn room(&self) -> usize {
        self.marks.high() - self.len
    }

    fn is_relieved(&self) -> bool {
        self.len <= self.marks.low()
    }

    fn write_to<S: Socket>(&self, socket: &mut S) -> (usize, io::Result<usize>) {
        let (front, back) = self.parts();
        let outcome = match back {
            [] => socket.send(front),
            _ => socket.send_slices(&[IoSlice::new(front), IoSlice::new(back)]),
        };
        (self.len, outcome)
    }

    fn consume(&mut self, count: usize) {
        assert!(count <= self.len, "consumed {count} of {} pending bytes", self.len);
        self.len -= count;
        if self.len == 0 {
            // An idle connection owns no buffer.
            self.ring = Box::default();
            self.head = 0;
        } else {
            self.head = (self.head + count) & (self.ring.len() - 1);
        }
    }

    fn spare(&mut self, most: usize) -> &mut [u8] {
        // The ring at most doubles: many queues with a few bytes each stay small.
        let most = most.min(self.room()).min(self.len.max(FIRST_RING));
        if most == 0 {
            return &mut [];
        }
        if self.len + most > self.ring.len() {
            self.grow(self.len + most);
        }
        let start = (self.head + self.len) & (self.ring.len() - 1);
        let end = self.ring.len().min(start + most);
        &mut self.ring[start..end]
    }

    fn commit(&mut self, count: usize) {
        assert!(count <= self.room() && self.len + count <= self.ring.len());
        self.len += count;
    }
}

impl fmt::Debug for ByteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByteQueue({} of {} bytes)", self.len, self.marks.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn contents(queue: &ByteQueue) -> Vec<u8> {
        let (front, back) = queue.parts();
        [front, back].concat()
    }

    #[test]
    fn a_queue_takes_no_more_than_its_high_mark_and_owns_nothing_when_empty() {
        let mut queue = ByteQueue::new(Marks::new(10, 100).unwrap());
        assert_eq!(queue.append(&[7; 150]), 100);
        assert_eq!(queue.room(), 0);
        assert!(queue.spare(1).is_empty());
        queue.consume(89);
        assert!(!queue.is_relieved());
        queue.consume(1);
        assert!(queue.is_relieved());
        queue.consume(10);
        assert!(queue.is_empty() && queue.ring.is_empty());
    }

    #[test]
    fn a_few_bytes_take_little_memory_however_much_is_asked_for() {
        let mut queue = ByteQueue::new(Marks::default());
        queue.append(b"a few");
        assert!(queue.spare(256 << 10).len() >= 1000);
        assert_eq!(queue.ring.len(), 2 * FIRST_RING);
    }

    #[test]
    fn marks_must_be_apart() {
        assert!(Marks::new(5, 5).is_none());
        assert!(Marks::new(0, (1 << 30) + 1).is_none());
        assert!(Marks::new(0, 1).is_some());
    }

    proptest! {
        /// Whatever goes in comes out, in order, as in a plain queue.
        #[test]
        fn it_is_a_queue(steps in proptest::collection::vec((any::<bool>(), 0usize..9000), 1..60)) {
            let mut queue = ByteQueue::new(Marks::new(1000, 20_000).unwrap());
            let mut model = VecDeque::new();
            let mut next = 0u8;
            for (add, count) in steps {
                if add {
                    let bytes: Vec<u8> = (0..count).map(|i| next.wrapping_add(i as u8)).collect();
                    let taken = queue.append(&bytes);
                    prop_assert_eq!(taken, count.min(20_000 - model.len()));
                    next = next.wrapping_add(taken as u8);
                    model.extend(&bytes[..taken]);
                } else {
                    let count = count.min(model.len());
                    queue.consume(count);
                    model.drain(..count);
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(contents(&queue), model.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
