//! What a socket reads put where a buffer has room that was never written.
#![allow(unsafe_code)] // A vector is told that its room was written.

use std::io;
use std::os::fd::AsFd;

use rustix::net::{RecvFlags, recv};

/// Reads once, at most `most` bytes, behind what `buffer` holds; how many came.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    let ((came, _), _) =
        recv(socket, &mut buffer.spare_capacity_mut()[..most], RecvFlags::empty())?;
    let count = came.len();
    // SAFETY: so many bytes lie written behind those that it had, within its capacity.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}
