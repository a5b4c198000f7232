//! Why a connection ended.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::auth::AuthError;
use super::control::AuthBadMethod;
use super::error::{Rule, Violation};
use super::state::State;
use super::tag::Tag;

/// Why a connection ended, and how far it had come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionError {
    /// Where it was.
    pub state: State,
    /// What happened.
    pub reason: Reason,
}

impl ConnectionError {
    pub(super) fn rule(state: State, tag: Option<Tag>, rule: Rule) -> Self {
        Self { state, reason: Reason::Violation(Violation { tag, rule }) }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.state, self.reason)
    }
}

impl std::error::Error for ConnectionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// What ends a connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Reason {
    /// The peer broke a rule.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The stream ended.
    #[error("the stream ended")]
    Closed,
    /// It could not be made; the errno says why.
    #[error("the connection could not be made: {}", std::io::Error::from_raw_os_error(*.0))]
    Unreachable(i32),
    /// The session was not there in time.
    #[error("no session within {0:?}")]
    HandshakeTime(Duration),
    /// Nothing came after a keepalive.
    #[error("nothing was heard within {0:?} of a keepalive")]
    KeepaliveTime(Duration),
    /// The server takes none of the methods that we have.
    #[error(
        "the server does not take authentication method {} ({}); it allows \
         methods {:?} in modes {:?}",
        .0.method, .0.result, .0.methods, .0.modes
    )]
    BadMethod(AuthBadMethod),
    /// Authentication failed.
    #[error(transparent)]
    Authentication(#[from] AuthError),
    /// One side lacks features that the other needs.
    #[error("features {0:#x} are missing")]
    MissingFeatures(u64),
    /// Somebody else answers there.
    #[error("the peer has nonce {found}, not {wanted}: it is another process")]
    WrongPeer {
        /// As the address says.
        wanted: u32,
        /// As the peer says.
        found: u32,
    },
    /// The client is looking for another.
    #[error("the client is looking for another process")]
    NotUs,
    /// A later connection of the same peer goes on with the session.
    #[error("a later connection of the same peer took its place")]
    Replaced,
    /// It is older than the one that the session has.
    #[error("the peer has made a later connection already")]
    Stale,
    /// The peer's own connection has won the race.
    #[error("the peer's own connection goes on")]
    Race,
    /// There are too many sessions.
    #[error("there are as many sessions as there may be")]
    TooManySessions,
    /// The session had no connection for so long.
    #[error("the peer did not come back within {0:?}")]
    Lingered(Duration),
    /// It was to end by then.
    #[error("its time is over")]
    TimeOver,
    /// Nobody waits for it any more.
    #[error("it was given up before it was open")]
    Cancelled,
    /// We ended it.
    #[error("it was ended here")]
    Local,
}
