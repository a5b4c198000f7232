//! Messages as an application has them.

use std::borrow::Cow;

use crate::msgr2::{self, MessageHeader};
use crate::shm::part::{Envelope, Notice};

/// Bytes of a message where they lie: in two slices if they go round the end of a ring, else the
/// second is empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pieces<'a> {
    front: &'a [u8],
    back: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// Of two slices, one behind the other.
    pub const fn new(front: &'a [u8], back: &'a [u8]) -> Self {
        Self { front, back }
    }

    /// The slices.
    pub const fn slices(&self) -> [&'a [u8]; 2] {
        [self.front, self.back]
    }

    /// How many bytes there are.
    pub const fn len(&self) -> usize {
        self.front.len() + self.back.len()
    }

    /// There are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As one slice: copied only if they are two.
    pub fn contiguous(&self) -> Cow<'a, [u8]> {
        match self.back {
            [] => Cow::Borrowed(self.front),
            _ => Cow::Owned([self.front, self.back].concat()),
        }
    }
}

impl<'a> From<&'a [u8]> for Pieces<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::new(bytes, &[])
    }
}

/// A message, received or to be sent, whose bytes lie elsewhere.
///
/// ```
/// use vmsgr_messenger::client::Message;
/// use vmsgr_messenger::msgr2::MessageHeader;
///
/// let header = MessageHeader { tid: 7, kind: 42, ..MessageHeader::default() };
/// let message = Message { data: b"much"[..].into(), ..Message::new(header, b"what") };
/// assert_eq!(message.len(), 8);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Message<'a> {
    /// Its header. Received, `data_pre_padding`, `ack_seq` and `reserved` are 0, which mean nothing
    /// above the stream; sent, they and `seq`, which the session gives, are not looked at.
    pub header: MessageHeader,
    /// What it says.
    pub front: Pieces<'a>,
    /// More of it, rarely used.
    pub middle: Pieces<'a>,
    /// What it carries.
    pub data: Pieces<'a>,
}

impl<'a> Message<'a> {
    /// With this front, and nothing else.
    pub fn new(header: MessageHeader, front: &'a [u8]) -> Self {
        Self { header, front: front.into(), ..Self::default() }
    }

    /// Bytes of front, middle and data together.
    pub const fn len(&self) -> usize {
        self.front.len() + self.middle.len() + self.data.len()
    }

    /// It has neither front, middle nor data.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it says of itself; it was found not to be too large.
    pub(super) fn envelope(&self) -> Envelope {
        let len = |pieces: &Pieces<'_>| pieces.len() as u32;
        let header = MessageHeader { seq: 0, ..self.header };
        Envelope::new(&header, len(&self.front), len(&self.middle), len(&self.data))
    }

    pub(super) fn slices(&self) -> [&'a [u8]; 6] {
        let [a, b] = self.front.slices();
        let [c, d] = self.middle.slices();
        let [e, f] = self.data.slices();
        [a, b, c, d, e, f]
    }
}

impl<'a> From<&'a msgr2::Message> for Message<'a> {
    fn from(message: &'a msgr2::Message) -> Self {
        Self {
            header: message.header,
            front: message.front[..].into(),
            middle: message.middle[..].into(),
            data: message.data[..].into(),
        }
    }
}

/// What has come in a session.
#[derive(Debug, Clone, Copy)]
pub enum Incoming<'a> {
    /// A message, whole and checked.
    Message(Message<'a>),
    /// Something has happened to the session, behind the messages before and before those behind.
    Notice(Notice),
}

/// Why a message is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The direction has ended, or the session is over.
    #[error("nothing more can be sent: the direction has ended")]
    Ended,
    /// It is larger than the entity's messages may be.
    #[error("a message of {bytes} bytes: this entity's have at most {largest}")]
    TooLarge {
        /// Its front, middle and data.
        bytes: usize,
        /// What they may have.
        largest: u32,
    },
    /// It is larger than the ring, so it can only be sent in several steps.
    #[error("a message of {bytes} bytes goes through the ring of {ring} only in several steps")]
    LargerThanRing {
        /// Its front, middle and data.
        bytes: usize,
        /// The send ring.
        ring: u32,
    },
    /// Another message is being sent in several steps, and has not come to its end.
    #[error("another message has been sent in part; finish or abandon it")]
    Unfinished,
    /// The steps before this one were of another message or connection, or it was abandoned.
    #[error("the steps before were of another message")]
    Another,
    /// There is no message to be answered.
    #[error("there is no message to be answered")]
    NoRequest,
}

impl From<SendError> for std::io::Error {
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::Ended => std::io::ErrorKind::BrokenPipe,
            _ => std::io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
