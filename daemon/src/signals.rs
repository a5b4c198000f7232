//! Signals as events: a descriptor that becomes readable.
//!
//! SIGPIPE needs nothing: Rust's runtime ignores it before `main`, so that a write to a socket
//! whose peer is gone fails with EPIPE.

use nix::sys::signal::{self, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: to stop.
    Stop,
    /// SIGUSR1: to report the counters.
    Report,
}

/// The signals that the daemon answers, blocked and readable; the descriptor does not block.
///
/// The kernel keeps one of a kind: a second SIGTERM that comes before the first is read is lost in
/// it.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGUSR1.
    ///
    /// Call it before any thread starts: a thread has the mask of the one that started it, and a
    /// signal for the process goes to any thread that does not block it. Call it after all that
    /// may take long, so that a signal can still end the process meanwhile.
    pub fn take_over() -> nix::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(signal::SIGTERM);
        signals.add(signal::SIGINT);
        signals.add(signal::SIGUSR1);
        signals.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        SignalFd::with_flags(&signals, flags).map(Self)
    }

    /// The next signal that has arrived; `None` until the descriptor is readable again.
    pub fn next(&self) -> nix::Result<Option<Signal>> {
        let info = self.0.read_signal()?;
        Ok(info.map(|info| match info.ssi_signo as i32 {
            number if number == signal::SIGUSR1 as i32 => Signal::Report,
            _ => Signal::Stop,
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn is_readable(signals: &Signals) -> bool {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    /// `raise` signals the calling thread alone, so tests do not meet.
    #[test]
    fn signals_become_readable_and_are_read_once() {
        let signals = Signals::take_over().unwrap();
        assert!(!is_readable(&signals));
        for (number, signal) in [
            (signal::SIGTERM, Signal::Stop),
            (signal::SIGINT, Signal::Stop),
            (signal::SIGUSR1, Signal::Report),
        ] {
            signal::raise(number).unwrap();
            assert!(is_readable(&signals));
            assert_eq!(signals.next().unwrap(), Some(signal));
            assert_eq!(signals.next().unwrap(), None);
        }
    }

    #[test]
    fn a_thread_inherits_the_mask() {
        let signals = Signals::take_over().unwrap();
        let thread = std::thread::spawn(|| signal::raise(signal::SIGUSR1).unwrap());
        thread.join().unwrap();
        // It was pending for that thread alone, which blocked it and so survived.
        assert_eq!(signals.next().unwrap(), None);
    }

    #[test]
    fn sigpipe_is_ignored() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        assert_ne!(ignored & 1 << (signal::SIGPIPE as u64 - 1), 0);
    }
}
