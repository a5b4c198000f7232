//! What the messenger keeps for a connection.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use vmsgr_reactor::{TimerId, Token};

use crate::application::Conduit;
use crate::entity::{Dial, Wire};
use crate::ids::{ConnectionId, JobId};
use crate::tap::TappedConnection;

/// What happens with the bytes of a connection.
#[derive(Debug)]
pub(crate) enum Role {
    Echo,
    Discard,
    /// The client's side of a relay; `None` while no upstream is being tried.
    Client {
        upstream: Option<Token>,
    },
    /// The upstream's side.
    Upstream {
        client: Token,
    },
    /// Its bytes are an application's.
    Application(Box<Conduit>),
    /// It is to become a stream of an entity, once it is made.
    Dial(Dial),
    /// Its bytes are the frames of an entity.
    Stream(Box<Wire>),
}

impl Role {
    /// The other side of a relay; it may be gone already.
    pub(crate) fn other(&self) -> Option<Token> {
        match self {
            Self::Echo | Self::Discard | Self::Application(_) | Self::Dial(_) | Self::Stream(_) => {
                None
            }
            Self::Client { upstream } => *upstream,
            Self::Upstream { client } => Some(*client),
        }
    }
}

/// A connection, as a loop keeps it beside the socket and its pending data.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Both sides of a relay have the same.
    pub(crate) id: ConnectionId,
    pub(crate) peer: SocketAddr,
    pub(crate) role: Role,
    /// While it is being made.
    pub(crate) attempt: Option<Box<Attempt>>,
    /// The idle time-out; both sides of a relay have the same.
    pub(crate) idle: Option<TimerId>,
    /// Bytes that the peers had got, together, when the idle time-out was last looked at.
    pub(crate) delivered: u64,
    /// Draining: its last bytes are on their way, and what comes is forgotten.
    pub(crate) lingering: bool,
    /// The job that asked for it, to be told about its end.
    pub(crate) job: Option<JobId>,
    /// What looks at its bytes; both sides of a relay have the same.
    pub(crate) tap: Option<SharedTap>,
}

/// The tap of both sides of a relay; it ends with the second one.
pub(crate) type SharedTap = Rc<RefCell<TappedConnection>>;

impl Connection {
    /// One that is there.
    pub(crate) fn accepted(id: ConnectionId, peer: SocketAddr, role: Role) -> Self {
        Self {
            id,
            peer,
            role,
            attempt: None,
            idle: None,
            delivered: 0,
            lingering: false,
            job: None,
            tap: None,
        }
    }
}

/// A connection being made.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) targets: Targets,
    /// Bounds the wait for an answer.
    pub(crate) time_out: Option<TimerId>,
}

/// The addresses that a connection may be made to, in the order in which they are tried.
#[derive(Debug)]
pub(crate) struct Targets {
    pub(crate) all: Arc<[SocketAddr]>,
    /// The one to be tried next.
    pub(crate) next: usize,
}

impl Iterator for Targets {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        let target = self.all.get(self.next).copied();
        self.next += 1;
        target
    }
}
