//! What an application can do wrong (I8).

use crate::shm::ring::CursorLies;

/// Why an application is detached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A cursor of a ring is beyond the ring.
    #[error("a cursor of a ring is out of its range")]
    Cursor,
    /// A position runs backwards, or is beyond its ring.
    #[error("slot {slot}: {what} says {said}, which is not in {least}..={most}")]
    Position {
        /// The slot.
        slot: u32,
        /// Which position.
        what: &'static str,
        /// What it said.
        said: u64,
        /// The least that it may be.
        least: u64,
        /// The most that it may be.
        most: u64,
    },
    /// There is no such slot.
    #[error("slot {slot} is out of the range 0..{slots}")]
    Slot {
        /// The number.
        slot: u32,
        /// How many there are.
        slots: u32,
    },
    /// A number was pushed while it was in the ring.
    #[error("slot {0} was pushed twice")]
    PushedTwice(u32),
    /// How a connection is to end makes no sense.
    #[error("slot {slot}: an ending of {said} after {before}")]
    Ending {
        /// The slot.
        slot: u32,
        /// What it said.
        said: u64,
        /// What it had said.
        before: u64,
    },
    /// A ring of messages breaks the rules for parts.
    #[error("slot {slot}: {what}")]
    Part {
        /// The slot.
        slot: u32,
        /// The rule.
        what: &'static str,
    },
    /// A job that means nothing.
    #[error("a job that means nothing: kind {0}")]
    Job(u64),
    /// It does not take what it is told.
    #[error("it does not take its events, or changes what it has taken")]
    RingFull,
    /// Its doorbells ring, and there is nothing.
    #[error("its doorbells rang {0} times for nothing")]
    Vain(u32),
}

impl From<CursorLies> for Fault {
    fn from(_: CursorLies) -> Self {
        Self::Cursor
    }
}
