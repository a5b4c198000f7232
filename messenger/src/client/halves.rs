//! What the application's side remembers of a connection's two halves.

/// The receiving half. Positions are bytes since the connection began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Receiving {
    /// Written by us.
    pub(super) consumed: u64,
    /// As of the last look; may be behind what was consumed since.
    pub(super) received: u64,
    /// Consumed from since the core's wish for room was last looked at.
    pub(super) made_room: bool,
}

/// The sending half.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sending {
    /// Written by us.
    pub(super) committed: u64,
    /// The position at the beginning of the ring; written by us.
    pub(super) base: u64,
    /// As of the last look; at most `committed`.
    pub(super) sent: u64,
    /// A send has found no room, and has left a wish for some.
    pub(super) wants_room: bool,
    /// Nothing more can be sent.
    pub(super) ended: bool,
    /// A message was sent in part.
    pub(super) unfinished: bool,
    /// Committed, and the core has not been told yet.
    pub(super) news: bool,
}

impl Sending {
    /// Room in a ring of `size` bytes, as of the last look.
    pub(super) fn room(&self, size: u32) -> u32 {
        let unsent = self.committed.wrapping_sub(self.sent);
        size - unsent.min(u64::from(size)) as u32
    }

    /// How much of what was reserved may be committed. Not more than there was room for then: a
    /// later look may begin the ring anew.
    pub(super) fn committable(&self, size: u32) -> usize {
        if self.ended { 0 } else { self.room(size) as usize }
    }
}
