//! Parts: how messages lie in the rings of a connection of messages. docs/SHM.md has a picture.
//!
//! A ring of messages has nothing but whole parts. Each begins at a position that is a multiple of
//! eight, so positions never are anything else. `part_writer.rs` makes parts, `part_reader.rs`
//! takes them.

use std::fmt;

use super::bytes::{field, put};
use crate::msgr2::MessageHeader;

/// Bytes of a part's header.
pub(crate) const PART_BYTES: u32 = 16;

/// Bytes of an envelope.
pub(crate) const ENVELOPE_BYTES: u32 = 48;

/// Bytes of a notice behind its part's header.
pub(crate) const NOTICE_BYTES: u32 = 16;

/// The most bytes of front, middle and data together.
pub(crate) const LARGEST_MESSAGE: u32 = 128 << 20;

/// What is wrong with what lies in a ring of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartRule {
    /// The position of the other side is within a part.
    Cut,
    Kind,
    Flags,
    Reserved,
    TooLong,
    NoEnvelope,
    TooLarge,
    Unbegun,
    Empty,
    More,
    Fewer,
    Notice,
}

impl PartRule {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Cut => "a part of a message is not wholly there",
            Self::Kind => "a part is neither of a message nor a notice",
            Self::Flags => "a part has flags that are not defined",
            Self::Reserved => "a part has other than zeros where zeros are to be",
            Self::TooLong => "a part is too long for its ring",
            Self::NoEnvelope => "a message's first part is too short for its envelope",
            Self::TooLarge => "a message is larger than is allowed",
            Self::Unbegun => "a part goes on with a message that has not begun",
            Self::Empty => "a part has nothing of its message",
            Self::More => "parts have more of a message than its envelope says",
            Self::Fewer => "a message's last part comes before all of it has",
            Self::Notice => "a notice means nothing",
        }
    }
}

impl fmt::Display for PartRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for PartRule {}

/// What a part is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartKind {
    Message,
    Notice,
}

const MESSAGE: u8 = 1;
const NOTICE: u8 = 2;

const FIRST: u8 = 1;
const LAST: u8 = 2;

/// The beginning of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartHeader {
    pub(crate) kind: PartKind,
    pub(crate) first: bool,
    pub(crate) last: bool,
    /// Bytes that follow, without padding.
    pub(crate) len: u32,
}

impl PartHeader {
    pub(crate) fn encode(self) -> [u8; PART_BYTES as usize] {
        let mut bytes = [0; PART_BYTES as usize];
        bytes[0] = match self.kind {
            PartKind::Message => MESSAGE,
            PartKind::Notice => NOTICE,
        };
        bytes[1] = if self.first { FIRST } else { 0 } | if self.last { LAST } else { 0 };
        put(&mut bytes, 4, self.len.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: [u8; PART_BYTES as usize]) -> Result<Self, PartRule> {
        let kind = match bytes[0] {
            MESSAGE => PartKind::Message,
            NOTICE => PartKind::Notice,
            _ => return Err(PartRule::Kind),
        };
        if bytes[1] & !(FIRST | LAST) != 0 {
            return Err(PartRule::Flags);
        }
        if bytes[2..4] != [0; 2] || bytes[8..] != [0; 8] {
            return Err(PartRule::Reserved);
        }
        let len = u32::from_le_bytes(field(&bytes, 4));
        Ok(Self { kind, first: bytes[1] & FIRST != 0, last: bytes[1] & LAST != 0, len })
    }

    /// Bytes that the part takes in its ring.
    pub(crate) fn ring_bytes(&self) -> u64 {
        ring_bytes(self.len.into())
    }
}

/// Bytes that a part of so many takes in its ring.
pub(crate) const fn ring_bytes(len: u64) -> u64 {
    (PART_BYTES as u64 + len).next_multiple_of(8)
}

/// What a message says of itself, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Envelope {
    pub(crate) seq: u64,
    pub(crate) tid: u64,
    pub(crate) kind: u16,
    pub(crate) priority: u16,
    pub(crate) version: u16,
    pub(crate) compat_version: u16,
    pub(crate) data_offset: u16,
    pub(crate) flags: u8,
    pub(crate) front: u32,
    pub(crate) middle: u32,
    pub(crate) data: u32,
}

impl Envelope {
    /// For a message with this header and of these lengths.
    pub(crate) fn new(header: &MessageHeader, front: u32, middle: u32, data: u32) -> Self {
        let &MessageHeader { seq, tid, kind, priority, version, data_offset, flags, .. } = header;
        let compat_version = header.compat_version;
        Self {
            seq,
            tid,
            kind,
            priority,
            version,
            compat_version,
            data_offset,
            flags,
            front,
            middle,
            data,
        }
    }

    /// What it says, as a header; what it does not say is 0.
    pub(crate) fn header(&self) -> MessageHeader {
        MessageHeader {
            seq: self.seq,
            tid: self.tid,
            kind: self.kind,
            priority: self.priority,
            version: self.version,
            compat_version: self.compat_version,
            data_offset: self.data_offset,
            flags: self.flags,
            ..MessageHeader::default()
        }
    }

    /// Bytes of front, middle and data together.
    pub(crate) fn body_bytes(&self) -> u64 {
        u64::from(self.front) + u64::from(self.middle) + u64::from(self.data)
    }

    pub(crate) fn encode(&self) -> [u8; ENVELOPE_BYTES as usize] {
        let mut bytes = [0; ENVELOPE_BYTES as usize];
        put(&mut bytes, 0, self.seq.to_le_bytes());
        put(&mut bytes, 8, self.tid.to_le_bytes());
        put(&mut bytes, 16, self.kind.to_le_bytes());
        put(&mut bytes, 18, self.priority.to_le_bytes());
        put(&mut bytes, 20, self.version.to_le_bytes());
        put(&mut bytes, 22, self.compat_version.to_le_bytes());
        put(&mut bytes, 24, self.data_offset.to_le_bytes());
        bytes[26] = self.flags;
        put(&mut bytes, 28, self.front.to_le_bytes());
        put(&mut bytes, 32, self.middle.to_le_bytes());
        put(&mut bytes, 36, self.data.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; ENVELOPE_BYTES as usize]) -> Result<Self, PartRule> {
        if bytes[27] != 0 || bytes[40..] != [0; 8] {
            return Err(PartRule::Reserved);
        }
        Ok(Self {
            seq: u64::from_le_bytes(field(bytes, 0)),
            tid: u64::from_le_bytes(field(bytes, 8)),
            kind: u16::from_le_bytes(field(bytes, 16)),
            priority: u16::from_le_bytes(field(bytes, 18)),
            version: u16::from_le_bytes(field(bytes, 20)),
            compat_version: u16::from_le_bytes(field(bytes, 22)),
            data_offset: u16::from_le_bytes(field(bytes, 24)),
            flags: bytes[26],
            front: u32::from_le_bytes(field(bytes, 28)),
            middle: u32::from_le_bytes(field(bytes, 32)),
            data: u32::from_le_bytes(field(bytes, 36)),
        })
    }
}

/// What has happened to a session of messages, told among its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The peer has forgotten the session, which begins anew. Not told of one that it may never have
    /// heard of, unless messages are lost.
    Forgotten {
        /// Messages of ours that the peer has not got, and will not get.
        lost: u64,
    },
    /// The stream is lost, and will be made again. What was sent waits until then.
    StreamLost,
    /// There is a stream again.
    StreamBack,
}

const FORGOTTEN: u32 = 1;
const STREAM_LOST: u32 = 2;
const STREAM_BACK: u32 = 3;

impl Notice {
    /// With its part's header: a part of its own.
    pub(crate) fn encode(self) -> [u8; (PART_BYTES + NOTICE_BYTES) as usize] {
        let (what, count) = match self {
            Self::Forgotten { lost } => (FORGOTTEN, lost),
            Self::StreamLost => (STREAM_LOST, 0),
            Self::StreamBack => (STREAM_BACK, 0),
        };
        let kind = PartKind::Notice;
        let header = PartHeader { kind, first: true, last: true, len: NOTICE_BYTES };
        let mut bytes = [0; (PART_BYTES + NOTICE_BYTES) as usize];
        put(&mut bytes, 0, header.encode());
        put(&mut bytes, 16, what.to_le_bytes());
        put(&mut bytes, 24, count.to_le_bytes());
        bytes
    }

    /// What lies behind its part's header.
    pub(crate) fn decode(bytes: &[u8; NOTICE_BYTES as usize]) -> Result<Self, PartRule> {
        if bytes[4..8] != [0; 4] {
            return Err(PartRule::Reserved);
        }
        let count = u64::from_le_bytes(field(bytes, 8));
        match (u32::from_le_bytes(field(bytes, 0)), count) {
            (FORGOTTEN, lost) => Ok(Self::Forgotten { lost }),
            (STREAM_LOST, 0) => Ok(Self::StreamLost),
            (STREAM_BACK, 0) => Ok(Self::StreamBack),
            _ => Err(PartRule::Notice),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelope() -> Envelope {
        Envelope {
            seq: 0x0807_0605_0403_0201,
            tid: 0x1817_1615_1413_1211,
            kind: 0x2221,
            priority: 0x2423,
            version: 0x2625,
            compat_version: 0x2827,
            data_offset: 0x3231,
            flags: 0x33,
            front: 0x4443_4241,
            middle: 0x4847_4645,
            data: 0x5453_5251,
        }
    }

    #[test]
    fn a_part_is_laid_out_as_the_document_says() {
        let header = PartHeader { kind: PartKind::Message, first: true, last: false, len: 0x0102 };
        assert_eq!(header.encode(), [1, 1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let last = PartHeader { kind: PartKind::Notice, first: false, last: true, len: 0 };
        assert_eq!(last.encode()[..2], [2, 2]);
        assert_eq!([0, 1, 8, 9].map(ring_bytes), [16, 24, 24, 32]);
        let bytes = envelope().encode();
        let expected = [
            1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22,
            0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x31, 0x32, 0x33, 0, 0x41, 0x42, 0x43, 0x44, 0x45,
            0x46, 0x47, 0x48, 0x51, 0x52, 0x53, 0x54, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes, expected);
        let notice = Notice::Forgotten { lost: 5 }.encode();
        assert_eq!(notice[..8], [2, 3, 0, 0, 16, 0, 0, 0]);
        assert_eq!(notice[16..], [1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn they_say_what_was_put_into_them() {
        for kind in [PartKind::Message, PartKind::Notice] {
            for (first, last) in [(false, false), (false, true), (true, false), (true, true)] {
                let header = PartHeader { kind, first, last, len: u32::MAX };
                assert_eq!(PartHeader::decode(header.encode()), Ok(header));
            }
        }
        assert_eq!(Envelope::decode(&envelope().encode()), Ok(envelope()));
        for notice in [Notice::Forgotten { lost: 7 }, Notice::StreamLost, Notice::StreamBack] {
            let bytes = notice.encode();
            assert_eq!(Notice::decode(&field(&bytes, 16)), Ok(notice));
        }
    }

    #[test]
    fn an_envelope_is_a_header_and_lengths() {
        let envelope = Envelope { front: 1, middle: u32::MAX, data: u32::MAX, ..envelope() };
        assert_eq!(Envelope::new(&envelope.header(), 1, u32::MAX, u32::MAX), envelope);
        assert_eq!(envelope.body_bytes(), 1 + 2 * u64::from(u32::MAX));
    }

    #[test]
    fn what_is_not_defined_is_refused() {
        let header = PartHeader { kind: PartKind::Message, first: true, last: true, len: 48 };
        let spoilt = |at: usize, byte| {
            let mut bytes = header.encode();
            bytes[at] = byte;
            PartHeader::decode(bytes)
        };
        assert_eq!(spoilt(0, 3), Err(PartRule::Kind));
        assert_eq!(spoilt(1, 4), Err(PartRule::Flags));
        for at in [2, 3, 8, 15] {
            assert_eq!(spoilt(at, 1), Err(PartRule::Reserved), "{at}");
        }
        for at in [27, 40, 47] {
            let mut bytes = envelope().encode();
            bytes[at] = 1;
            assert_eq!(Envelope::decode(&bytes), Err(PartRule::Reserved), "{at}");
        }
        let notice = |at: usize, byte| {
            let mut bytes = field(&Notice::StreamLost.encode(), 16);
            bytes[at] = byte;
            Notice::decode(&bytes)
        };
        assert_eq!(notice(0, 4), Err(PartRule::Notice));
        assert_eq!(notice(8, 1), Err(PartRule::Notice), "nothing is counted");
        assert_eq!(notice(4, 1), Err(PartRule::Reserved));
    }

    proptest! {
        #[test]
        fn garbage_is_refused_or_means_what_it_says(
            header: [u8; 16],
            kind in 0u8..4,
            flags in 0u8..5,
            (front, back) in any::<([u8; 24], [u8; 24])>(),
            notice: [u8; 16],
        ) {
            let header = [&[kind, flags, 0, 0], &header[4..8], &[0; 8]].concat();
            if let Ok(part) = PartHeader::decode(field(&header, 0)) {
                prop_assert_eq!(&part.encode()[..], &header[..]);
                prop_assert_eq!(part.ring_bytes() % 8, 0);
            }
            let envelope: [u8; 48] = field(&[front, back].concat(), 0);
            if let Ok(decoded) = Envelope::decode(&envelope) {
                prop_assert_eq!(decoded.encode(), envelope);
            }
            if let Ok(decoded) = Notice::decode(&notice) {
                prop_assert_eq!(&decoded.encode()[16..], &notice[..]);
            }
        }
    }
}
