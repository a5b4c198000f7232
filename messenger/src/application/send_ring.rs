//! The send ring of a connection as a home of pending data: bytes that an application has committed
//! wait there for the socket, and go to it from where they lie.

use std::io;
use std::rc::Rc;

use vmsgr_reactor::Socket;

use super::fault::Fault;
use super::lane::Lane;
use crate::shm::sync::{Ordering, full_fence};
use crate::shm::transfer;

/// Pending data of a connection of an application. Its producer is another process, which is told
/// of room by the connection's slot, not stopped by the loop.
#[derive(Debug)]
pub(crate) struct SendRing {
    lane: Rc<Lane>,
    slot: u32,
    generation: u32,
    /// Positions: what the socket has taken, and what is known to be committed.
    sent: u64,
    committed: u64,
    /// The position at the beginning of the ring.
    base: u64,
}

impl SendRing {
    /// Of a connection that begins.
    pub(crate) fn new(lane: Rc<Lane>, slot: u32, generation: u32) -> Self {
        Self { lane, slot, generation, sent: 0, committed: 0, base: 0 }
    }

    /// Takes in what the application has committed since.
    pub(crate) fn refresh(&mut self) -> Result<(), Fault> {
        let shared = &self.lane.slot(self.slot).of_application;
        let committed = shared.committed.load(Ordering::Acquire);
        self.accept(committed, shared.send_base.load(Ordering::Relaxed))
    }

    /// `committed` is what the application says: checked, then used.
    pub(crate) fn accept(&mut self, committed: u64, base: u64) -> Result<(), Fault> {
        let (slot, least, most) = (self.slot, self.committed, self.sent + u64::from(self.size()));
        if committed < least || committed > most {
            return Err(Fault::Position { slot, what: "committed", said: committed, least, most });
        }
        self.committed = committed;
        // Whatever it is, it is taken modulo the size of the ring.
        self.base = base;
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        (self.committed - self.sent) as usize
    }

    /// As [`len`](Self::len): never more than the ring is large.
    pub(crate) fn len_bytes(&self) -> u32 {
        (self.committed - self.sent) as u32
    }

    /// Where in the ring the next byte lies.
    pub(crate) fn offset(&self) -> u64 {
        self.sent.wrapping_sub(self.base)
    }

    pub(crate) fn write_to<S: Socket>(&self, socket: &mut S) -> (usize, io::Result<usize>) {
        let ring = self.lane.application.segment.send_ring(self.slot);
        let len = self.len_bytes();
        let pieces = ring.pieces(self.offset(), len);
        (len as usize, transfer::send(socket, pieces))
    }

    pub(crate) fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "consumed {count} of {} pending bytes", self.len());
        if count == 0 {
            return;
        }
        self.sent += count as u64;
        let slot = self.lane.slot(self.slot);
        slot.of_daemon.sent.store(self.sent, Ordering::Release);
        full_fence();
        let room = self.size() - self.len() as u32;
        if slot.flags.send_room.made(room, self.size()) {
            self.lane.announce(self.slot, self.generation);
        }
    }

    fn size(&self) -> u32 {
        self.lane.application.segment.geometry().send_ring_bytes
    }
}
