//! What an endpoint tells its owner.

use std::net::SocketAddr;
use std::time::Duration;

use super::address::EntityAddrs;
use super::connection::Peer;
use super::failure::ConnectionError;
use super::ids::{SessionId, StreamId};

/// What an endpoint tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A stream to this address is wanted. Answer with [`connected`](super::Endpoint::connected) or
    /// [`connect_failed`](super::Endpoint::connect_failed).
    Connect {
        /// For which session.
        session: SessionId,
        /// Where to.
        to: SocketAddr,
    },
    /// Bytes wait: call [`poll_send`](super::Endpoint::poll_send) until nothing does, or
    /// [`fill`](super::Endpoint::fill) once.
    Transmit(StreamId),
    /// The session of this stream takes messages again: go on giving it its bytes.
    Resume(StreamId),
    /// The stream is of no more use: close it.
    Close {
        /// Which.
        stream: StreamId,
        /// Why; what was to be written on it is gone.
        error: ConnectionError,
    },
    /// Messages pass.
    Opened {
        /// In which session.
        session: SessionId,
        /// On which stream.
        stream: StreamId,
        /// Who is there.
        peer: Peer,
        /// At which addresses.
        addresses: EntityAddrs,
        /// The session goes on where it was; otherwise it is new.
        resumed: bool,
    },
    /// The peer has forgotten the session, which begins again. Not told of a session that it may
    /// never have heard of, unless messages are lost.
    Reset {
        /// Which.
        session: SessionId,
        /// Messages that were not acknowledged and are lost.
        lost: u64,
    },
    /// The session has no stream, and will have one again.
    Lost {
        /// Which.
        session: SessionId,
        /// Why.
        error: ConnectionError,
        /// Messages that are lost: those of a lossy session.
        lost: u64,
    },
    /// The session is over.
    Ended {
        /// Which.
        session: SessionId,
        /// Why.
        error: ConnectionError,
    },
    /// Messages that were refused by [`send`](super::Endpoint::send) would be taken now.
    Room(SessionId),
    /// The peer answered a keepalive.
    Alive {
        /// In which session.
        session: SessionId,
        /// After so long.
        after: Duration,
    },
}
