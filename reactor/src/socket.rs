//! What a loop asks of a socket.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsFd;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{RecvFlags, SendFlags};

/// A non-blocking, connected or connecting stream socket.
pub trait Socket: Source + AsFd + fmt::Debug {
    /// Reads once; 0 at the end of the stream.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes once; how many bytes the socket took.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Likewise several slices, one behind the other.
    fn send_slices(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Takes the error that the kernel holds for the socket, if there is one.
    fn take_error(&self) -> io::Result<Option<io::Error>>;

    /// The connection is established: false while that is still under way.
    fn is_connected(&self) -> bool;

    /// Says to the peer that nothing more will come.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Makes closing the socket reset the connection, for sockets that know the difference.
    fn reset_on_close(&self);
}

// Not the calls of libc: those are points of cancellation, which in a process of several threads are
// guarded by two atomic operations each.

fn receive(socket: &impl AsFd, into: &mut [u8]) -> io::Result<usize> {
    let (_, count) = rustix::net::recv(socket, into, RecvFlags::empty())?;
    Ok(count)
}

fn send(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
}

fn send_slices(socket: &impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(rustix::io::writev(socket, slices)?)
}

impl Socket for TcpStream {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        receive(self, into)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send(self, bytes)
    }

    fn send_slices(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        send_slices(self, slices)
    }

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
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        receive(self, into)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send(self, bytes)
    }

    fn send_slices(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        send_slices(self, slices)
    }

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
