//! Where the bytes of a connection wait for its socket.

use std::io;

use vmsgr_reactor::{ByteQueue, Pending, Socket};

use crate::application::SendRing;

/// Pending data: on the heap of the daemon, or in the segment of an application.
#[derive(Debug)]
pub(crate) enum Waiting {
    Queue(ByteQueue),
    Ring(SendRing),
}

impl Default for Waiting {
    fn default() -> Self {
        Self::Queue(ByteQueue::default())
    }
}

impl Pending for Waiting {
    fn len(&self) -> usize {
        match self {
            Self::Queue(queue) => queue.len(),
            Self::Ring(ring) => ring.len(),
        }
    }

    fn room(&self) -> usize {
        match self {
            Self::Queue(queue) => queue.room(),
            // Only its application adds to it.
            Self::Ring(_) => 0,
        }
    }

    fn is_relieved(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.is_relieved(),
            // Nobody of ours was stopped for it.
            Self::Ring(_) => true,
        }
    }

    fn write_to<S: Socket>(&self, socket: &mut S) -> (usize, io::Result<usize>) {
        match self {
            Self::Queue(queue) => queue.write_to(socket),
            Self::Ring(ring) => ring.write_to(socket),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Self::Queue(queue) => queue.consume(count),
            Self::Ring(ring) => ring.consume(count),
        }
    }

    fn spare(&mut self, most: usize) -> &mut [u8] {
        match self {
            Self::Queue(queue) => queue.spare(most),
            Self::Ring(_) => &mut [],
        }
    }

    fn commit(&mut self, count: usize) {
        match self {
            Self::Queue(queue) => queue.commit(count),
            Self::Ring(_) => assert_eq!(count, 0, "there was no space"),
        }
    }
}
