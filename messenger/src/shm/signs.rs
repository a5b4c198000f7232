//! Flags by which one process finds out that the other sleeps, or waits for something.
//!
//! The pattern is always the same. Who waits: set the flag, full fence, look once more, and only
//! then rest. Who brings what is waited for: bring it, full fence, look at the flag. Either the one
//! sees what was brought, or the other sees the flag.

use super::sync::{AtomicU32, Ordering, full_fence};

/// A declaration that a side is going to sleep.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct SleepSign {
    /// 0: awake; 1: asleep; larger: asleep on the processor of this number less 2. Set by the
    /// sleeper; cleared by it, or by the one who will ring.
    asleep: AtomicU32,
}

impl SleepSign {
    /// The sleeper declares. A [`full_fence`] and a look at everything have to follow.
    pub(crate) fn declare(&self) {
        self.asleep.store(1, Ordering::Relaxed);
    }

    /// As [`declare`](Self::declare), by one who says where it sleeps, and so will probably wake.
    pub(crate) fn declare_on(&self, processor: u32) {
        self.asleep.store(processor.saturating_add(2), Ordering::Relaxed);
    }

    /// The sleeper has said that it sleeps on this processor.
    pub(crate) fn is_asleep_on(&self, processor: u32) -> bool {
        self.asleep.load(Ordering::Relaxed) == processor.saturating_add(2)
    }

    /// The sleeper is awake.
    pub(crate) fn cancel(&self) {
        // Often it is clear already: the line stays shared then.
        if self.asleep.load(Ordering::Relaxed) != 0 {
            self.asleep.store(0, Ordering::Relaxed);
        }
    }

    /// Work was published, and a [`full_fence`] came after it: true if the caller has to ring.
    pub(crate) fn rouse(&self) -> bool {
        self.asleep.load(Ordering::Relaxed) != 0 && self.asleep.swap(0, Ordering::Relaxed) != 0
    }
}

/// A connection's mark that its number is in a ready ring: at most once, by this flag.
///
/// It holds the generation of the connection, so that a number pushed for a connection that has
/// gone cannot be taken for one of its successor in the same slot.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct QueuedSign {
    /// The generation of the connection whose number is in the ring; 0: none.
    queued: AtomicU32,
}

impl QueuedSign {
    /// The producer has something new for the other side; true if it has to push the number.
    pub(crate) fn raise(&self, generation: u32) -> bool {
        // Release: who lowers the flag sees what is new. A swap even if it is raised, since the
        // one who lowers it must find this one, or this one that it is lowered.
        self.queued.swap(generation, Ordering::AcqRel) != generation
    }

    /// The consumer has popped the number, and will look at the connection now; false if it was
    /// not raised for this generation.
    pub(crate) fn lower(&self, generation: u32) -> bool {
        self.queued.compare_exchange(generation, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Nobody else uses the slot now.
    pub(crate) fn reset(&self) {
        self.queued.store(0, Ordering::Relaxed);
    }
}

/// A wish for room in a ring, in bytes.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct RoomSign {
    /// Bytes of room that are waited for; 0: none. Set by the one who waits, cleared by either.
    wanted: AtomicU32,
}

impl RoomSign {
    /// Waits for `bytes` of room. The caller looks once more after this.
    pub(crate) fn want(&self, bytes: u32) {
        self.wanted.store(bytes, Ordering::Relaxed);
        full_fence();
    }

    /// No longer waits.
    pub(crate) fn clear(&self) {
        if self.wanted.load(Ordering::Relaxed) != 0 {
            self.wanted.store(0, Ordering::Relaxed);
        }
    }

    /// Room was made, and a [`full_fence`] came after it, and now there are `room` of at most
    /// `size` bytes: true if the other side is to be told.
    pub(crate) fn made(&self, room: u32, size: u32) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        wanted != 0 && room >= wanted.min(size) && self.wanted.swap(0, Ordering::Relaxed) != 0
    }

    /// Somebody waits, as far as is known without a fence.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) != 0
    }
}
