//! Who finds a ring full says so; who takes from it then tells the one who waits.

use crate::sleep::SleepFlag;
use crate::sync::{AtomicBool, Ordering, full_fence};

/// A sender's declaration, one per ring, that it holds messages for which the ring had no room.
///
/// The sender: [`want`](Self::want), and before it sleeps (which has a full fence in
/// [`SleepFlag::declare`]) look whether there is room now. The receiver, after taking from the
/// ring: [`made`](Self::made), and ring the sender's doorbell if it says so.
#[derive(Debug)]
pub struct RoomFlag {
    /// Written by the sender alone (relaxed; ordered by the fence in `SleepFlag::declare`), read
    /// by the receiver after a full fence.
    wanted: AtomicBool,
}

impl RoomFlag {
    pub(crate) fn new() -> Self {
        Self { wanted: AtomicBool::new(false) }
    }

    /// The sender has messages left over, or no longer.
    pub(crate) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// The receiver has made room; true if the sender waits for it, sleeps, and must be rung.
    pub(crate) fn made(&self, sender: &SleepFlag) -> bool {
        full_fence();
        self.wanted.load(Ordering::Relaxed) && sender.rouse()
    }
}
