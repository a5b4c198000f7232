//! What may go wrong between an application and its daemon.

use std::io;
use std::path::PathBuf;

use crate::shm::{EntityError, ExchangeError, HelloError, Refusal};

/// Why an application could not be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Nobody answers where the daemon's socket should be.
    #[error(
        "no vmsgrd answers at {path} ({cause}); start one with `vmsgrd --socket {path}`, or name \
         its socket",
        path = path.display()
    )]
    NoDaemon {
        /// The socket that was tried: of several the last one that is there, or else the first.
        path: PathBuf,
        /// What connecting to it said.
        cause: io::Error,
    },
    /// The daemon does not answer in time.
    #[error("vmsgrd at {} accepts the connection, but does not answer", path.display())]
    NoAnswer {
        /// Its socket.
        path: PathBuf,
    },
    /// What is asked for is out of its range.
    #[error(transparent)]
    Options(#[from] HelloError),
    /// The daemon does not want this application.
    #[error("vmsgrd refuses: {0}")]
    Refused(Refusal),
    /// What answers is not a daemon of this version.
    #[error("what answers at {} is not this version of vmsgrd: {source}", path.display())]
    Handshake {
        /// Its socket.
        path: PathBuf,
        /// What is wrong with the answer.
        source: ExchangeError,
    },
    /// The daemon has answered, but what it sent cannot be used here.
    #[error("the memory shared with vmsgrd cannot be used: {0}")]
    Segment(#[from] io::Error),
}

/// Why an application is not attached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetachReason {
    /// The daemon has ended, or it has thrown this application out; its log says why.
    #[error("vmsgrd has gone, or has detached this application (its log says why)")]
    HungUp,
    /// What lies in the shared memory contradicts itself. That is an error of the daemon or of this
    /// library, or something in this process has written over it.
    #[error("the memory shared with vmsgrd contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// Why something cannot be asked of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no daemon any more: see [`Endpoint::reattach`](super::Endpoint::reattach).
    #[error("not attached: {0}")]
    Detached(#[from] DetachReason),
    /// So many jobs wait for the daemon that there is no room for this one now.
    #[error("too many jobs are waiting for vmsgrd; try again when it has taken some")]
    JobsFull,
    /// The entity cannot be.
    #[error(transparent)]
    Entity(#[from] EntityError),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Detached(_) => io::ErrorKind::NotConnected,
            Error::JobsFull => io::ErrorKind::WouldBlock,
            Error::Entity(_) => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
