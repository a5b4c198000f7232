//! What an application asks for when it attaches, and what it gets.

use std::os::fd::OwnedFd;
use std::time::Duration;

use vmsgr_reactor::Doorbell;

use crate::shm::Permissions;

/// What an application asks for when it attaches, and what it may.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Its name; of one user's applications with the same name only one is attached at a time. An
    /// application without a name is closed when it dies.
    pub name: String,
    /// The user that it runs as.
    pub uid: u32,
    /// Its process, for the log.
    pub pid: i32,
    /// Connections that it may have at a time.
    pub slots: u32,
    /// Bytes of each connection's receive ring.
    pub receive_ring_bytes: u32,
    /// Bytes of each connection's send ring.
    pub send_ring_bytes: u32,
    /// How long its connections are kept when it dies.
    pub linger: Duration,
    /// Where it may listen and connect to.
    pub permissions: Permissions,
}

/// What an application that is attached gets.
#[derive(Debug)]
pub struct Grant {
    /// How often somebody has attached to its segment.
    pub epoch: u64,
    /// It has taken over what an earlier one of its name has left.
    pub resumed: bool,
    /// Loops that serve it.
    pub cores: u16,
    /// The size of its segment.
    pub segment_bytes: u64,
    /// For the application: the segment, its doorbell, the messenger's, and one of each core.
    pub descriptors: Vec<OwnedFd>,
    /// What the application rings for the messenger's thread: to be registered with its poll, and
    /// told of with [`Messenger::application_rang`](crate::Messenger::application_rang).
    pub doorbell: Doorbell,
}
