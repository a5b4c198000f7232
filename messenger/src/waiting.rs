//! Where the bytes of a connection wait for its socket.

use std::io;

use vmsgr_reactor::{ByteQueue, Pending, Socket};

use crate::application::SendRing;
use crate::entity::Outgoing;

/// Pending data: on the heap of the daemon, in the segment of an application, or the frames of an
/// entity.
#[derive(Debug)]
pub(crate) enum Waiting {
    Queue(ByteQueue),
    Ring(SendRing),
    Messages(Outgoing),
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
            Self::Messages(outgoing) => outgoing.len(),
        }
    }

    fn room(&self) -> usize {
        match self {
            Self::Queue(queue) => queue.room(),
            // Only its application, or its entity, adds to it.
            Self::Ring(_) | Self::Messages(_) => 0,
        }
    }

    fn is_relieved(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.is_relieved(),
            // Nobody of ours was stopped for it.
            Self::Ring(_) | Self::Messages(_) => true,
        }
    }

    fn write_to<S: Socket>(&self, socket: &mut S) -> (usize, io::Result<usize>) {
        match self {
            Self::Queue(queue) => queue.write_to(socket),
            Self::Ring(ring) => ring.write_to(socket),
            Self::Messages(outgoing) => outgoing.write_to(socket),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Self::Queue(queue) => queue.consume(count),
            Self::Ring(ring) => ring.consume(count),
            Self::Messages(outgoing) => outgoing.consume(count),
        }
    }

    fn spare(&mut self, most: usize) -> &mut [u8] {
        match self {
            Self::Queue(queue) => queue.spare(most),
            Self::Ring(_) | Self::Messages(_) => &mut [],
        }
    }

    fn commit(&mut self, count: usize) {
        match self {
            Self::Queue(queue) => queue.commit(count),
            Self::Ring(_) | Self::Messages(_) => assert_eq!(count, 0, "there was no space"),
        }
    }
}
