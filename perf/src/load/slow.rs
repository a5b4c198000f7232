//! Connections that send and never read: bad company for those that are measured.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::connect;
use super::pattern::Pattern;

/// Longest single write in bytes.
const LONGEST_WRITE: usize = 64 * 1024;

/// A peer with no manners. It fills every buffer on the way to the server and back, and then stays
/// blocked for as long as the server does not throw away what it may not throw away.
#[derive(Debug)]
pub struct Slow {
    stream: TcpStream,
    index: usize,
    sent: u64,
}

impl Slow {
    /// Opens connection `index` and registers it under `key`, level-triggered: one write whenever
    /// there is room, so that it does not hold up the others.
    ///
    /// # Errors
    /// When the connection cannot be made or registered.
    pub fn connect(
        address: std::net::SocketAddr,
        index: usize,
        key: u64,
        epoll: &Epoll,
    ) -> Result<Self> {
        let stream = connect(address, index)?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLOUT, key))?;
        Ok(Self { stream, index, sent: 0 })
    }

    /// One write.
    ///
    /// # Errors
    /// When the server has closed the connection.
    pub fn send(&mut self, pattern: &Pattern) -> Result<()> {
        let length = LONGEST_WRITE.min(pattern.longest());
        match self.stream.write(pattern.slice(self.index, self.sent, length)) {
            Ok(written) => self.sent += written as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("the connection that does not read"),
        }
        Ok(())
    }
}
