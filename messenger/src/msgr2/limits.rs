//! How much a peer may announce.

use super::header::MessageHeader;
use super::tag::Tag;

/// Bounds of what a frame may announce. A length is compared with them before anything is
/// allocated, and memory then grows with the bytes that really come. Only a frame that comes before
/// the peer is authenticated gets all of its memory at once, since to grow takes old and new memory
/// together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The payload of a control frame, in bytes.
    pub control_bytes: u32,
    /// A message's front.
    pub front_bytes: u32,
    /// A message's middle.
    pub middle_bytes: u32,
    /// A message's data.
    pub data_bytes: u32,
    /// Front, middle and data of a message together.
    pub message_bytes: u32,
    /// Memory for the frames and banners that come, and are said, before the peer is authenticated,
    /// and for what lies around them. They are signed in the end, so that they are kept until then.
    /// Not counted are the two signatures themselves, a frame of ours while it is put together, and
    /// what the memory of the peer's banner has to spare: less than 2 KiB together, unless the
    /// [`Authenticator`](super::Authenticator) says long things, and as much again for what seals
    /// and opens in secure mode.
    pub unauthenticated_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            control_bytes: 1 << 20,
            front_bytes: 16 << 20,
            middle_bytes: 16 << 20,
            data_bytes: 256 << 20,
            message_bytes: (16 + 16 + 256) << 20,
            unauthenticated_bytes: 64 << 10,
        }
    }
}

impl Limits {
    /// The most bytes that a segment of such a frame may have.
    pub(crate) const fn segment(&self, tag: Tag, segment: usize) -> u32 {
        match (tag, segment) {
            (Tag::Message, 0) => MessageHeader::BYTES as u32,
            (Tag::Message, 1) => self.front_bytes,
            (Tag::Message, 2) => self.middle_bytes,
            (Tag::Message, 3) => self.data_bytes,
            (_, 0) => self.control_bytes,
            _ => 0,
        }
    }
}
