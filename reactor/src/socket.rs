//! What a loop asks of a socket.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsFd;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{RecvFlags, SendFlags};

use crate::spare;

/// A non-blocking, connected or connecting stream socket.
pub trait Socket: Source + AsFd + fmt::Debug {
    // Not by the calls of libc: those are points of cancellation, which in a process of several threads
    // are guarded by two atomic operations each.

    /// Reads once; 0 at the end of the stream.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (_, count) = rustix::net::recv(self, into, RecvFlags::empty())?;
        Ok(count)
    }

    /// Reads once, at most `most` bytes, and puts them behind what `buffer` holds.
    ///
    /// # Panics
    ///
    /// If it has no room for so many.
    fn receive_behind(&mut self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        spare::receive(self, buffer, most)
    }

    /// Writes once; how many bytes the socket took.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Writes several slices, one behind the other, once; how many bytes the socket took.
    fn send_slices(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::writev(self, slices)?)
    }

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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn slices_go_at_once_and_in_order_and_a_peer_that_is_gone_is_an_error() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let slices = [&b"one"[..], b"", b"two", b"three"].map(IoSlice::new);
        assert_eq!(near.send_slices(&slices).unwrap(), 11);
        assert_eq!(near.send(b".").unwrap(), 1);
        let mut bytes = [0; 64];
        assert_eq!(far.receive(&mut bytes).unwrap(), 12);
        assert_eq!(&bytes[..12], b"onetwothree.");
        assert_eq!(far.receive(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut behind = Vec::with_capacity(8);
        behind.extend_from_slice(b"<");
        near.send(b"four>").unwrap();
        assert_eq!(far.receive_behind(&mut behind, 4).unwrap(), 4);
        assert_eq!(far.receive_behind(&mut behind, 3).unwrap(), 1);
        assert_eq!(far.receive_behind(&mut behind, 2).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(behind, b"<four>");
        drop(near);
        assert_eq!(far.receive_behind(&mut behind, 2).unwrap(), 0);
        assert_eq!(far.receive(&mut bytes).unwrap(), 0);
        assert_eq!(far.send(b"late").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(far.send_slices(&slices).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
