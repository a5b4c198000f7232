//! What can be wrong with received bytes.

use thiserror::Error;

use super::tag::Tag;

/// A rule of the protocol that a peer has broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rule {
    /// The first bytes are not the banner's.
    #[error("a stream begins with the banner \"ceph v2\\n\"")]
    Banner,
    /// What follows the banner's first bytes is too short or too long.
    #[error("a banner carries 16 to {most} bytes, not {length}")]
    BannerLength {
        /// As received.
        length: u16,
        /// The most that is taken.
        most: u16,
    },
    /// The peer needs features of the protocol that we lack.
    #[error("the peer requires protocol features {0:#x}, which are not known here")]
    RequiredFeatures(u64),
    /// The peer does not speak revision 1.
    #[error("the peer speaks only revision 0 of the protocol (Ceph before 15.2.5 and 14.2.11)")]
    Revision,
    /// There is no such tag.
    #[error("there is no frame with tag {0}")]
    UnknownTag(u8),
    /// The preamble's crc is wrong.
    #[error("the preamble's crc is {carried:#010x}, its bytes give {computed:#010x}")]
    PreambleCrc {
        /// Of the bytes that came.
        computed: u32,
        /// As received.
        carried: u32,
    },
    /// The number of segments is not 1 to 4.
    #[error("a frame has 1 to 4 segments, not {0}")]
    SegmentCount(u8),
    /// Trailing segments that are empty are not counted.
    #[error("the last of several segments is not empty")]
    EmptyLastSegment,
    /// Beyond the counted segments there is none.
    #[error("segment {0} is not counted and has a length")]
    UncountedSegment(u8),
    /// A control frame has one segment.
    #[error("a control frame has one segment, not {0}")]
    ControlSegments(u8),
    /// A segment is longer than we allow.
    #[error("segment {segment} has {length} bytes, at most {limit} are allowed")]
    SegmentLength {
        /// 0 to 3.
        segment: u8,
        /// As announced.
        length: u32,
        /// See [`Limits`](super::Limits).
        limit: u32,
    },
    /// A message is longer than we allow, though no segment of it is.
    #[error("a message has {length} bytes, at most {limit} are allowed")]
    MessageLength {
        /// Of front, middle and data together, as announced.
        length: u64,
        /// See [`Limits`](super::Limits).
        limit: u32,
    },
    /// The first segment of a message is its header.
    #[error("a message's header has 41 bytes, not {0}")]
    HeaderLength(u32),
    /// The frame is compressed, which was not agreed on, or has flags that are not known.
    #[error("a frame has flags {0:#04x}, and none were agreed on")]
    Flags(u8),
    /// A segment's crc is wrong.
    #[error("the crc of segment {segment} is {carried:#010x}, its bytes give {computed:#010x}")]
    SegmentCrc {
        /// 0 to 3.
        segment: u8,
        /// Of the bytes that came.
        computed: u32,
        /// As received.
        carried: u32,
    },
    /// The late status is neither complete nor aborted.
    #[error("a frame ends as complete or aborted, not with status {0:#04x}")]
    LateStatus(u8),
    /// A sealed unit does not verify.
    #[error("sealed unit {0} of the frame does not verify")]
    Seal(u8),
    /// Padding in a sealed unit carries something.
    #[error("padding is zeros")]
    Padding,
    /// Every nonce has been used.
    #[error("no nonce is used twice, and there are no more")]
    NoncesUsedUp,
    /// A message was taken for a control frame.
    #[error("a message is not a control frame")]
    NotControl,
    /// A field lies beyond the end of what contains it.
    #[error("field '{0}' ends within its frame")]
    Truncated(&'static str),
    /// An operation is put down in another way than those whose peers have our features.
    #[error("an operation has version 8 (Ceph since Luminous), not {0}")]
    OperationVersion(u16),
    /// A list has more entries than anybody needs.
    #[error("field '{field}' has {count} entries, at most {most} are allowed")]
    TooMany {
        /// Which.
        field: &'static str,
        /// As announced.
        count: u32,
        /// The most that is taken.
        most: u32,
    },
    /// An address is not marked as one.
    #[error("an address or a list of them begins with a known marker, not {0}")]
    AddressMarker(u8),
    /// An address needs a newer decoder.
    #[error("an address says that it needs a decoder of version {0}")]
    AddressCompat(u8),
    /// A socket address is of another length than its family's.
    #[error("a socket address of family {family} has not {length} bytes")]
    AddressLength {
        /// AF_*.
        family: u16,
        /// As announced.
        length: u32,
    },
    /// Neither IPv4 nor IPv6.
    #[error("there is no address family {0}")]
    AddressFamily(u16),
    /// The frame does not belong here.
    #[error("this frame has no place in this state")]
    Unexpected,
    /// A peer that has not proved who it is sends, or has us keep, too much.
    #[error("before authentication at most {0} bytes are held")]
    UnauthenticatedBytes(u32),
    /// What was said before was changed on the way, or the peer has another key.
    #[error("the signature does not fit what was said")]
    Signature,
    /// A mode that was not asked for, or without the secret that it needs.
    #[error("connection mode {0} cannot be used")]
    Mode(u32),
    /// The handshake goes round in circles.
    #[error("the handshake does not come to an end")]
    TooManySteps,
    /// More was acknowledged than was sent.
    #[error("message {0} is acknowledged and was not sent")]
    AckBeyond(u64),
    /// A message is missing.
    #[error("message {expected} is missing, message {got} came")]
    Skipped {
        /// The next one.
        expected: u64,
        /// As received.
        got: u64,
    },
}

/// A broken rule, and the frame that broke it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// The frame's tag, if it got so far.
    pub tag: Option<Tag>,
    /// What is wrong.
    pub rule: Rule,
}

impl Violation {
    pub(crate) fn of(tag: Tag) -> impl Fn(Rule) -> Self {
        move |rule| Self { tag: Some(tag), rule }
    }
}

impl From<Rule> for Violation {
    fn from(rule: Rule) -> Self {
        Self { tag: None, rule }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(tag) = self.tag {
            write!(f, "{tag}: ")?;
        }
        self.rule.fmt(f)
    }
}

impl std::error::Error for Violation {}
