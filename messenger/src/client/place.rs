//! Where a connection lies, and how its core is told of it.

use super::lanes::Lanes;
use crate::shm::byte_ring::{ByteRing, Piece};
use crate::shm::layout::Slot;
use crate::shm::sync::Ordering;

/// A slot, while it holds one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) lanes: &'a Lanes,
    pub(super) slot: &'a Slot,
    pub(super) number: u32,
    pub(super) generation: u32,
    pub(super) core: u16,
}

impl<'a> Place<'a> {
    pub(super) fn receive_ring(&self) -> ByteRing<'a> {
        self.lanes.segment().receive_ring(self.number)
    }

    /// What lies unread now behind what was consumed.
    pub(super) fn unread(&self, consumed: u64) -> [Piece<'a>; 2] {
        let (offset, unread) = self.unread_at(consumed);
        self.receive_ring().pieces(offset, unread)
    }

    /// Where in the receive ring that begins, and how many bytes it has.
    pub(super) fn unread_at(&self, consumed: u64) -> (u64, u32) {
        let received = self.slot.of_daemon.received.load(Ordering::Acquire);
        // Published by the position; and it stays until all of this is consumed.
        let base = self.slot.of_daemon.receive_base.load(Ordering::Relaxed);
        let size = u64::from(self.receive_ring().size());
        let unread = received.wrapping_sub(consumed).min(size);
        (consumed.wrapping_sub(base), unread as u32)
    }

    pub(super) fn send_ring(&self) -> ByteRing<'a> {
        self.lanes.segment().send_ring(self.number)
    }

    /// The core has something to look at.
    pub(super) fn raise(&self) {
        self.lanes.raise(self.number, self.generation, self.core);
    }
}
