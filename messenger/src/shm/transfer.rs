//! Between a socket and a ring: the kernel copies, nobody else.
#![allow(unsafe_code)] // System calls on memory that is no Rust slice.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

use super::byte_ring::Piece;

fn iovecs(pieces: [Piece<'_>; 2]) -> [libc::iovec; 2] {
    pieces.map(|piece| libc::iovec { iov_base: piece.as_ptr().cast(), iov_len: piece.len() })
}

fn checked(count: isize) -> io::Result<usize> {
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Reads from a socket into the pieces, once.
pub(crate) fn receive(socket: &impl AsFd, pieces: [Piece<'_>; 2]) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    let [front, back] = pieces;
    let count = match back.len() {
        // SAFETY: `front` is mapped and writable for as long as it is borrowed.
        0 => unsafe { libc::recv(fd, front.as_ptr().cast(), front.len(), 0) },
        _ => {
            let iovecs = iovecs(pieces);
            // SAFETY: both are mapped and writable for as long as they are borrowed.
            unsafe { libc::readv(fd, iovecs.as_ptr(), 2) }
        }
    };
    checked(count)
}

/// Writes the pieces to a socket, once.
pub(crate) fn send(socket: &impl AsFd, pieces: [Piece<'_>; 2]) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    let [front, back] = pieces;
    let count = match back.len() {
        // SAFETY: `front` is mapped for as long as it is borrowed.
        0 => unsafe { libc::send(fd, front.as_ptr().cast(), front.len(), libc::MSG_NOSIGNAL) },
        _ => {
            let mut iovecs = iovecs(pieces);
            // SAFETY: all zeros is a message without name, control data and flags.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_iov = iovecs.as_mut_ptr();
            message.msg_iovlen = 2;
            // SAFETY: the message and the pieces that it names live until the call returns.
            unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) }
        }
    };
    checked(count)
}
