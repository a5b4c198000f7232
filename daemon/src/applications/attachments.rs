//! Who makes the segments: what an application asks for, and what it is given.

use std::fmt;
use std::os::fd::OwnedFd;
use vmsgr_messenger::shm::{Hello, Permissions, Refusal};

/// An application's connection to the socket; none has the number of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub(super) usize);

/// An application that may attach, and what it asks for.
#[derive(Debug)]
pub struct AttachRequest {
    /// What it has said, the linger cut to what the settings allow.
    pub hello: Hello,
    /// Its user, from the kernel.
    pub uid: u32,
    /// Its process when it connected, from the kernel; 0 if that is not to be seen from here.
    pub pid: i32,
    /// What it may do.
    pub permissions: Permissions,
}

/// What an application is given.
#[derive(Debug)]
pub struct Granted {
    /// Which attachment of the segment this is.
    pub epoch: u64,
    /// Whether the segment is an earlier one, taken over.
    pub resumed: bool,
    /// The number of loops, in `1..=MAX_CORES`.
    pub cores: u16,
    /// The length of the segment, at least 1.
    pub segment_bytes: u64,
    /// The segment, the application's doorbell, the control thread's doorbell, and one doorbell for
    /// each core: `3 + cores` in all. They are closed here once they are passed on.
    pub descriptors: Vec<OwnedFd>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    /// This.
    Now(Result<Granted, Refusal>),
    /// What [`Applications::welcome`](super::Applications::welcome) will be told.
    Later,
}

/// Makes the segments.
pub trait Attachments {
    /// An application asks. If it is granted something, now or later, or hangs up before it is
    /// answered, exactly one [`departed`](Self::departed) follows, unless it is
    /// [detached](super::Applications::detach).
    fn attach(&mut self, request: AttachRequest, peer: PeerId) -> Verdict;

    /// The application has hung up, has died, or has said something after its hello, which nobody
    /// asked for.
    fn departed(&mut self, peer: PeerId);
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
