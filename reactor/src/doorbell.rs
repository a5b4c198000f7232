//! Waking a loop that sleeps in the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// An eventfd that a sleeping loop waits on.
///
/// Registered edge-triggered, so that each ring is an event of its own and the counter inside
/// never has to be read back: no system call on the side that wakes.
#[derive(Debug)]
pub struct Doorbell {
    eventfd: EventFd,
}

impl Doorbell {
    /// One that nobody has rung yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self { eventfd: EventFd::from_flags(flags)? })
    }

    /// Wakes the one who waits on it.
    pub fn ring(&self) {
        match self.eventfd.write(1) {
            // Full after 2^64 - 2 rings that nobody read: start over.
            Err(Errno::EAGAIN) => {
                let _ = self.eventfd.read();
                let _ = self.eventfd.write(1);
            }
            // An eventfd that is open takes a write; nothing else can happen to it.
            result => debug_assert!(result.is_ok(), "{result:?}"),
        }
    }

    /// Registers it as `token` with the poll of the thread that is to be woken.
    pub fn register(&self, registry: &Registry, token: mio::Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.eventfd.as_raw_fd()), token, Interest::READABLE)
    }

    /// Takes it out of the poll again, which is needed where others hold descriptors of it too.
    pub fn deregister(&self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.eventfd.as_raw_fd()))
    }

    /// Another descriptor of it, for whoever is to ring it.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.eventfd.as_fd().try_clone_to_owned()
    }
}

#[cfg(test)]
impl Doorbell {
    /// For tests that poll it level-triggered.
    pub(crate) fn eventfd(&self) -> &EventFd {
        &self.eventfd
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
