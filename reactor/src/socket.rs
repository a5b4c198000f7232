//! What a loop asks of a socket.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use nix::sys::socket::{setsockopt, sockopt};

/// A non-blocking, connected or connecting stream socket.
pub trait Socket: Source + Read + Write + AsFd + fmt::Debug {
    /// Takes the error that the kernel holds for the socket, if there is one.
    fn take_error(&self) -> io::Result<Option<io::Error>>;

    /// The connection is established: false while that is still under way.
    fn is_connected(&self) -> bool;

    /// Says to the peer that nothing more will come.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Makes closing the socket reset the connection, for sockets that know the difference.
    fn reset_on_close(&self);
}

impl Socket for TcpStream {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Self::take_error(self)
    }

    fn is_connected(&self) -> bool {
        self.peer_addr().is_ok()
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset_on_close(&self) {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        // A socket that the peer has reset already refuses; it needs no reset of ours then.
        let _ = setsockopt(&self.as_fd(), sockopt::Linger, &linger);
    }
}

impl Socket for UnixStream {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Self::take_error(self)
    }

    fn is_connected(&self) -> bool {
        self.peer_addr().is_ok()
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset_on_close(&self) {}
}
