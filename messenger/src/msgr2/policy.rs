//! Policies: what a fault of the connection means for the session.

/// What two entities expect of each other. Both sides have one; the constants are those of Ceph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// With a fault of the connection the session ends, and its messages are lost.
    pub lossy: bool,
    /// Never connects: it waits for the peer to come back.
    pub server: bool,
    /// Connects again only when there is something to send.
    pub standby: bool,
    /// A peer whose session is gone is to forget what it would have sent again.
    pub reset_check: bool,
}

impl Policy {
    /// A client that asks again by itself if an answer does not come: of monitors and OSDs.
    pub const LOSSY_CLIENT: Self =
        Self { lossy: true, server: false, standby: false, reset_check: false };
    /// A client whose messages each arrive once: of metadata servers.
    pub const LOSSLESS_CLIENT: Self =
        Self { lossy: false, server: false, standby: false, reset_check: true };
    /// The other side of lossy clients.
    pub const STATELESS_SERVER: Self =
        Self { lossy: true, server: true, standby: false, reset_check: false };
    /// The other side of lossless clients.
    pub const STATEFUL_SERVER: Self =
        Self { lossy: false, server: true, standby: true, reset_check: true };
    /// Daemons of a kind among themselves; either may connect.
    pub const LOSSLESS_PEER: Self =
        Self { lossy: false, server: false, standby: true, reset_check: false };
}
