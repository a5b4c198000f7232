//! How an application wants to be attached.

use std::path::PathBuf;
use std::time::Duration;

use crate::shm::Hello;

/// What an application asks for when it attaches.
///
/// ```
/// use std::time::Duration;
/// use vmsgr_messenger::client::AttachOptions;
///
/// let options = AttachOptions::new("kv").slots(4096).linger(Duration::from_secs(5));
/// ```
#[derive(Debug, Clone)]
pub struct AttachOptions {
    pub(super) hello: Hello,
    /// `None`: where a daemon puts its socket by default.
    pub(super) socket: Option<PathBuf>,
    pub(super) patience: Duration,
    pub(super) spin: Duration,
}

impl AttachOptions {
    /// Under a name of at most 64 characters of `A-Z a-z 0-9 . _ / -`, by which an application that
    /// was restarted finds the connections of the one before. No two endpoints have the same name
    /// at a time; an empty one is nobody's, and nothing of it can be taken over.
    ///
    /// 1,024 connections, 64 KiB for each direction of each, and 30 s to come back after a crash.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            hello: Hello { name: name.into(), ..Hello::default() },
            socket: None,
            patience: Duration::from_secs(5),
            spin: Duration::ZERO,
        }
    }

    /// The daemon's Unix socket; if it is not said, `$XDG_RUNTIME_DIR/vmsgr/vmsgrd.sock`, then
    /// `/run/vmsgr/vmsgrd.sock`.
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// Connections at the same time, 1 to 65,536. Memory is touched only for those that there are.
    pub fn slots(mut self, slots: u32) -> Self {
        self.hello.slots = slots;
        self
    }

    /// Bytes of each connection's receive ring: a power of two from 4 KiB to 16 MiB.
    pub fn receive_ring(mut self, bytes: u32) -> Self {
        self.hello.receive_ring_bytes = bytes;
        self
    }

    /// Bytes of each connection's send ring: a power of two from 4 KiB to 16 MiB.
    pub fn send_ring(mut self, bytes: u32) -> Self {
        self.hello.send_ring_bytes = bytes;
        self
    }

    /// How long the daemon keeps the connections of an application that has died, at most an hour;
    /// zero: they are closed at once.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.hello.linger = linger;
        self
    }

    /// How long attaching may wait for the daemon's answer; 5 s if it is not said.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience.max(Duration::from_millis(1));
        self
    }

    /// For how long, at most, [`wait`](super::Endpoint::wait) looks again before it sleeps; zero,
    /// which it is if nothing is said, is not at all. The time adapts itself: it grows while sleeps
    /// turn out to have been shorter than this, and vanishes while they do not. Good for latency
    /// where the application has its core for itself; bad where it shares it with the daemon.
    pub fn spin(mut self, most: Duration) -> Self {
        self.spin = most;
        self
    }
}
