//! The descriptors by which an application and its daemon wake each other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd;

/// Marks the Unix socket among what the application's doorbell watches.
const SOCKET: u64 = u64::MAX;

/// What a sleep has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// Time is over, or a signal came.
    Nobody,
    /// Somebody has rung.
    Ring,
    /// The daemon has hung up.
    HangUp,
}

/// All descriptors of an attachment but that of the segment.
#[derive(Debug)]
pub(super) struct Doorbells {
    /// The sign of life of both sides: nothing travels over it.
    socket: OwnedFd,
    /// Watches a bell that only the daemon can ring, and the socket.
    own: Epoll,
    /// That of the daemon's main thread.
    daemon: OwnedFd,
    cores: Vec<OwnedFd>,
}

impl Doorbells {
    /// From what came with the welcome: our own doorbell, that of the daemon's main thread, and
    /// that of each core.
    pub(super) fn new(
        socket: OwnedFd,
        own: OwnedFd,
        daemon: OwnedFd,
        cores: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let own = Epoll(own);
        let hang_up = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        own.add(&socket, EpollEvent::new(hang_up, SOCKET))?;
        Ok(Self { socket, own, daemon, cores })
    }

    pub(super) fn ring_daemon(&self) {
        ring(self.daemon.as_fd());
    }

    pub(super) fn ring_core(&self, core: usize) {
        ring(self.cores[core].as_fd());
    }

    /// Sleeps until somebody rings, which also takes the ring back; `None`: for as long as it
    /// takes.
    pub(super) fn sleep(&self, timeout: Option<Duration>) -> io::Result<Woken> {
        let timeout = match timeout {
            None => EpollTimeout::NONE,
            Some(time) => {
                // A deadline is rounded up, never down.
                let ms = time.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
                EpollTimeout::try_from(ms as i32).unwrap_or(EpollTimeout::NONE)
            }
        };
        let mut events = [EpollEvent::empty(); 4];
        match self.own.wait(&mut events, timeout) {
            Ok(0) | Err(Errno::EINTR) => Ok(Woken::Nobody),
            Ok(n) if events[..n].iter().any(|event| event.data() == SOCKET) => Ok(Woken::HangUp),
            Ok(_) => Ok(Woken::Ring),
            Err(error) => Err(error.into()),
        }
    }

    /// The daemon has hung up: that shall wake us only once.
    pub(super) fn forget_socket(&self) {
        let _ = self.own.delete(&self.socket);
    }
}

impl AsFd for Doorbells {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.0.as_fd()
    }
}

/// An eventfd takes a one as long as it is not full, and a full one wakes as well.
fn ring(bell: BorrowedFd<'_>) {
    let _ = unistd::write(bell, &1u64.to_ne_bytes());
}
