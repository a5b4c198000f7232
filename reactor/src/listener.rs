//! A listening socket as the loop sees it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use nix::errno::Errno;

use crate::token::Token;

/// What an attempt to accept came to.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection(TcpStream, SocketAddr),
    /// This one is gone already; there may be others.
    Aborted,
    /// Nobody waits.
    Nobody,
    /// Descriptors or memory ran out, or the kernel refuses for a reason of its own. Whoever waits
    /// stays in the backlog; no edge will tell when it can be accepted.
    Exhausted(io::Error),
}

#[derive(Debug)]
pub(crate) struct Listener<L> {
    socket: TcpListener,
    pub(crate) state: L,
    pub(crate) generation: u32,
    /// Somebody may wait.
    pub(crate) readable: bool,
    /// Registered, and to be accepted from.
    pub(crate) accepting: bool,
    /// In the loop's ready list.
    pub(crate) queued: bool,
}

impl<L> Listener<L> {
    pub(crate) fn new(socket: TcpListener, state: L, generation: u32) -> Self {
        Self { socket, state, generation, readable: false, accepting: false, queued: false }
    }

    pub(crate) fn socket(&self) -> &TcpListener {
        &self.socket
    }

    /// Begins or goes on to accept. If somebody waits already, the poll says so.
    pub(crate) fn resume(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if !self.accepting {
            registry.register(&mut self.socket, token.into(), Interest::READABLE)?;
            self.accepting = true;
        }
        Ok(())
    }

    /// Stops accepting. Not even a wakeup comes from who connects meanwhile.
    pub(crate) fn pause(&mut self, registry: &Registry) -> io::Result<()> {
        if self.accepting {
            registry.deregister(&mut self.socket)?;
            self.accepting = false;
            self.readable = false;
        }
        Ok(())
    }

    pub(crate) fn accept(&mut self) -> Accepted {
        match self.socket.accept() {
            Ok((socket, peer)) => Accepted::Connection(socket, peer),
            Err(error) => refusal(error),
        }
    }
}

/// Sorts the errors of accept(2).
fn refusal(error: io::Error) -> Accepted {
    if error.kind() == ErrorKind::WouldBlock {
        return Accepted::Nobody;
    }
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        // Linux passes errors of the new socket on as errors of accept; accept(2) says to treat
        // them as a retry.
        Errno::EINTR
        | Errno::ECONNABORTED
        | Errno::EPROTO
        | Errno::EPERM
        | Errno::ENETDOWN
        | Errno::ENOPROTOOPT
        | Errno::EHOSTDOWN
        | Errno::ENONET
        | Errno::EHOSTUNREACH
        | Errno::EOPNOTSUPP
        | Errno::ENETUNREACH => Accepted::Aborted,
        _ => Accepted::Exhausted(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_accept_are_sorted_by_what_can_be_done() {
        let sorted = |errno: Errno| refusal(io::Error::from_raw_os_error(errno as i32));
        assert!(matches!(sorted(Errno::EAGAIN), Accepted::Nobody));
        for errno in [Errno::ECONNABORTED, Errno::EINTR, Errno::EPROTO, Errno::ENETUNREACH] {
            assert!(matches!(sorted(errno), Accepted::Aborted), "{errno}");
        }
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::EINVAL] {
            assert!(matches!(sorted(errno), Accepted::Exhausted(_)), "{errno}");
        }
    }
}
