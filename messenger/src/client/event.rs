//! What an application is told, and the names by which it is told of it.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::DetachReason;

/// Names one connection of an endpoint, for as long as the daemon runs: the same before and after a
/// takeover, and never that of another connection.
///
/// Shown as `SLOT.GENERATION`; what the daemon's log calls it is
/// [`Connection::name`](super::Connection::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl ConnectionId {
    /// Where the connection lies: below the number of slots, and no other connection's while it
    /// lasts. For an application that keeps what it knows of its connections in a table.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// Which connection of this slot it is; never 0.
    pub fn generation(self) -> u32 {
        self.generation
    }

    /// It as a number, which is never 0.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// What [`to_bits`](Self::to_bits) has made a number.
    pub fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// Names something that an endpoint has asked of its daemon. No job of the same endpoint, before or
/// after a takeover, has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub(super) u64);

impl JobId {
    /// It as a number, which is never 0.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// What [`to_bits`](Self::to_bits) has made a number.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something that has happened.
///
/// Of one connection: `Accepted`, `Connected` or `Resumed` is the first, `Closed` the last; nothing
/// is told of a connection that the application has closed itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Connections are accepted.
    Listening {
        /// The job that asked for it.
        job: JobId,
        /// Where, with the port that was really bound.
        address: SocketAddr,
    },
    /// A listener has ended, as asked. Its connections go on.
    Unlistened {
        /// The job that began it.
        job: JobId,
    },
    /// A job could not be done.
    Failed {
        /// Which.
        job: JobId,
        /// Why.
        error: io::Error,
    },
    /// Somebody has connected.
    Accepted {
        /// The connection.
        connection: ConnectionId,
        /// The listen job.
        job: JobId,
        /// Who has connected.
        peer: SocketAddr,
        /// To where.
        local: SocketAddr,
    },
    /// A connection was made.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// The connect job.
        job: JobId,
        /// To where.
        peer: SocketAddr,
        /// From where.
        local: SocketAddr,
    },
    /// After a takeover: a connection that an earlier application of this name has left behind, or
    /// that came while there was none. What lies unread, what is unsent and the cookie are as they
    /// were.
    Resumed {
        /// The connection.
        connection: ConnectionId,
        /// The job that it comes from.
        job: JobId,
        /// Who is at the other end.
        peer: SocketAddr,
        /// Our end.
        local: SocketAddr,
    },
    /// There are bytes, or parts of messages, to read, some of which came since this was told last.
    /// It is told once for them, whether they are read or not.
    Readable(ConnectionId),
    /// A send has found no room; now there is some.
    Writable(ConnectionId),
    /// The peer will send nothing more; what it has sent may still lie unread.
    PeerEnded(ConnectionId),
    /// The connection is over. What lies unread can still be read; then it wants a
    /// [`close`](super::Connection::close), which makes its place free for another.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// `None`: both directions came to their end. Else bytes may have been lost.
        error: Option<io::Error>,
    },
    /// The daemon has gone, and all connections with it; told once. See
    /// [`Endpoint::reattach`](super::Endpoint::reattach).
    Detached {
        /// What happened.
        reason: DetachReason,
    },
}
