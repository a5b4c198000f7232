//! Messages, to send and as received.

use bytes::Bytes;

use super::header::MessageHeader;
use super::ids::SessionId;
use super::segment::Segment;

/// A message to send. Its parts are kept by reference until the peer has them, never copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// `seq` and `ack_seq` are the session's to fill in.
    pub header: MessageHeader,
    /// What the message says.
    pub front: Bytes,
    /// More of it, rarely used.
    pub middle: Bytes,
    /// What it carries.
    pub data: Bytes,
}

impl Message {
    /// Bytes of its parts.
    pub fn bytes(&self) -> usize {
        self.front.len() + self.middle.len() + self.data.len()
    }
}

/// A message that has come. Its parts lie where they were received, unless they came in several
/// pieces or encrypted.
#[derive(Debug, Clone)]
pub struct Received<'a> {
    /// In which session.
    pub session: SessionId,
    /// Its header.
    pub header: MessageHeader,
    /// What it says.
    pub front: Segment<'a>,
    /// More of it.
    pub middle: Segment<'a>,
    /// What it carries.
    pub data: Segment<'a>,
    /// Bytes of data that were checked and not kept, if that was
    /// [asked for](super::Config::forget_data); `data` is empty then.
    pub forgotten: usize,
}

impl Received<'_> {
    /// Bytes of its parts: what the throttle counts.
    pub fn bytes(&self) -> usize {
        self.front.len() + self.middle.len() + self.data.len() + self.forgotten
    }
}
