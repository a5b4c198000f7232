//! Bytes between a read fiber, a write fiber and the socket.

use std::io;

use vmsgr_reactor::{Pending, Socket};

/// Bytes that one read brings at most, as in [`epoll`](crate::peers::epoll).
const QUEUE_BYTES: usize = 256 << 10;

/// Bytes that are added at the back and taken from the front; what they lie in is kept when they
/// have gone.
#[derive(Debug, Default)]
pub struct Queue {
    /// [`QUEUE_BYTES`], or none before the first use. What waits is `bytes[start..filled]`.
    bytes: Vec<u8>,
    start: usize,
    filled: usize,
}

impl Pending for Queue {
    fn len(&self) -> usize {
        self.filled - self.start
    }

    fn room(&self) -> usize {
        QUEUE_BYTES - self.filled
    }

    fn is_relieved(&self) -> bool {
        self.is_empty()
    }

    fn write_to<S: Socket>(&self, socket: &mut S) -> (usize, io::Result<usize>) {
        let waiting = &self.bytes[self.start..self.filled];
        (waiting.len(), socket.send(waiting))
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start == self.filled {
            (self.start, self.filled) = (0, 0);
        }
    }

    fn spare(&mut self, most: usize) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; QUEUE_BYTES];
        }
        let end = QUEUE_BYTES.min(self.filled.saturating_add(most));
        &mut self.bytes[self.filled..end]
    }

    fn commit(&mut self, count: usize) {
        self.filled += count;
    }
}
