//! The preamble: the first 32 bytes of a frame, which say what follows.

use super::crc;
use super::error::{Rule, Violation};
use super::header::MessageHeader;
use super::limits::Limits;
use super::tag::Tag;

/// Bytes of a preamble.
pub(crate) const BYTES: usize = 32;

/// Bytes that its crc covers.
const COVERED: usize = 28;

/// The most segments that a frame has.
pub const SEGMENTS: usize = 4;

/// The lengths that an encoded one has; nothing in it is checked.
#[inline]
pub(super) fn lengths(bytes: &[u8; BYTES]) -> [u32; SEGMENTS] {
    [2, 8, 14, 20].map(|at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    })
}

/// What a frame says of itself, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Preamble {
    pub(crate) tag: Tag,
    /// In range `1 ..= SEGMENTS`; the last is not empty unless it is the only one.
    pub(crate) count: u8,
    /// Zero beyond `count`; each at most what the limits allow.
    pub(crate) lengths: [u32; SEGMENTS],
}

impl Preamble {
    /// Of a frame with these segments, trailing empty ones left out.
    pub(crate) fn new(tag: Tag, lengths: [u32; SEGMENTS]) -> Self {
        let last = lengths.iter().rposition(|length| *length > 0).unwrap_or(0);
        Self { tag, count: last as u8 + 1, lengths }
    }

    /// As bytes, with its crc.
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let entry = |segment: usize| {
            // Data may be written to pages as it is; the rest is read by a processor.
            let alignment: u64 = if segment == 3 { 4096 } else { 8 };
            let counted = segment < self.count as usize;
            u64::from(self.lengths[segment]) | if counted { alignment << 32 } else { 0 }
        };
        // Word by word, since that is how the crc takes them: see `MessageHeader::encode`.
        let words = [
            self.tag as u64 | u64::from(self.count) << 8 | entry(0) << 16,
            entry(1) | entry(2) << 48,
            entry(2) >> 16 | entry(3) << 32,
        ];
        let mut bytes = [0; BYTES];
        for (chunk, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *chunk = word.to_le_bytes();
        }
        bytes[24..28].copy_from_slice(&((entry(3) >> 32) as u32).to_le_bytes());
        let (covered, crc) = bytes.split_first_chunk_mut::<COVERED>().expect("28 is less than 32");
        crc.copy_from_slice(&crc::from_zero(covered).to_le_bytes());
        bytes
    }

    /// Looks at a received one. Nothing in it counts before its crc does.
    #[inline]
    pub(crate) fn decode(bytes: &[u8; BYTES], limits: &Limits) -> Result<Self, Violation> {
        let (covered, _) = bytes.split_first_chunk::<COVERED>().expect("28 is less than 32");
        let (_, carried) = bytes.split_last_chunk().expect("4 is less than 32");
        let (computed, carried) = (crc::from_zero(covered), u32::from_le_bytes(*carried));
        if computed != carried {
            return Err(Rule::PreambleCrc { computed, carried }.into());
        }
        let tag = Tag::try_from(bytes[0]).map_err(Rule::UnknownTag)?;
        let count = bytes[1];
        let preamble = Self { tag, count, lengths: lengths(bytes) };
        preamble.check(bytes[26], limits).map_err(Violation::of(tag))?;
        Ok(preamble)
    }

    fn check(&self, flags: u8, limits: &Limits) -> Result<(), Rule> {
        if flags != 0 {
            return Err(Rule::Flags(flags));
        }
        if !(1..=SEGMENTS as u8).contains(&self.count) {
            return Err(Rule::SegmentCount(self.count));
        }
        let message = self.tag == Tag::Message;
        if self.count > 1 && !message {
            return Err(Rule::ControlSegments(self.count));
        }
        let (counted, beyond) = self.lengths.split_at(self.count as usize);
        if self.count > 1 && counted.last() == Some(&0) {
            return Err(Rule::EmptyLastSegment);
        }
        if let Some(segment) = beyond.iter().position(|length| *length > 0) {
            return Err(Rule::UncountedSegment(self.count + segment as u8));
        }
        if message && counted[0] as usize != MessageHeader::BYTES {
            return Err(Rule::HeaderLength(counted[0]));
        }
        for (segment, length) in counted.iter().enumerate() {
            let limit = limits.segment(self.tag, segment);
            if *length > limit {
                return Err(Rule::SegmentLength { segment: segment as u8, length: *length, limit });
            }
        }
        let (length, limit) =
            (counted[1..].iter().map(|it| u64::from(*it)).sum(), limits.message_bytes);
        if length > u64::from(limit) {
            return Err(Rule::MessageLength { length, limit });
        }
        Ok(())
    }

    pub(crate) fn length(&self, segment: usize) -> usize {
        self.lengths[segment] as usize
    }

    /// More than one segment: there is an epilogue.
    pub(crate) fn has_epilogue(&self) -> bool {
        self.count > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_crc(mut bytes: [u8; BYTES]) -> [u8; BYTES] {
        let crc = crc::append(0, &bytes[..COVERED]);
        bytes[COVERED..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn broken(preamble: Preamble, change: impl Fn(&mut [u8; BYTES])) -> Violation {
        let mut bytes = preamble.encode();
        change(&mut bytes);
        Preamble::decode(&with_crc(bytes), &Limits::default()).unwrap_err()
    }

    #[test]
    fn every_rule_is_kept() {
        let message = Preamble::new(Tag::Message, [41, 1, 0, 2]);
        let decoded = Preamble::decode(&message.encode(), &Limits::default());
        assert_eq!(decoded, Ok(message));
        let of = |tag| move |rule| Violation { tag: Some(tag), rule };
        let message_rule = of(Tag::Message);
        assert_eq!(broken(message, |bytes| bytes[0] = 0), Rule::UnknownTag(0).into());
        assert_eq!(broken(message, |bytes| bytes[1] = 0), message_rule(Rule::SegmentCount(0)));
        assert_eq!(broken(message, |bytes| bytes[1] = 5), message_rule(Rule::SegmentCount(5)));
        assert_eq!(broken(message, |bytes| bytes[1] = 3), message_rule(Rule::EmptyLastSegment));
        assert_eq!(broken(message, |bytes| bytes[1] = 2), message_rule(Rule::UncountedSegment(3)));
        assert_eq!(broken(message, |bytes| bytes[2] = 42), message_rule(Rule::HeaderLength(42)));
        assert_eq!(broken(message, |bytes| bytes[26] = 1), message_rule(Rule::Flags(1)));
        let control = Preamble::new(Tag::Ack, [8, 1, 0, 0]);
        assert_eq!(broken(control, |_| ()), of(Tag::Ack)(Rule::ControlSegments(2)));
        for (segment, limit) in [(1, 16 << 20), (2, 16 << 20), (3, 256 << 20)] {
            let mut lengths = [41, 1, 1, 1];
            lengths[segment] = limit + 1;
            let rule = Rule::SegmentLength { segment: segment as u8, length: limit + 1, limit };
            let long = Preamble::new(Tag::Message, lengths);
            assert_eq!(broken(long, |_| ()), message_rule(rule));
        }
        let limits = Limits { message_bytes: 10, ..Limits::default() };
        let decode = |data| {
            let message = Preamble::new(Tag::Message, [41, 4, 3, data]);
            Preamble::decode(&message.encode(), &limits).map(|_| ())
        };
        assert_eq!(decode(3), Ok(()));
        let rule = Rule::MessageLength { length: 11, limit: 10 };
        assert_eq!(decode(4), Err(message_rule(rule)));
        let long = Preamble::new(Tag::Hello, [1 << 21, 0, 0, 0]);
        let rule = Rule::SegmentLength { segment: 0, length: 1 << 21, limit: 1 << 20 };
        assert_eq!(broken(long, |_| ()), of(Tag::Hello)(rule));
    }

    #[test]
    fn any_wrong_bit_shows() {
        let bytes = Preamble::new(Tag::Message, [41, 100, 0, 4096]).encode();
        for bit in 0..BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Preamble::decode(&bytes, &Limits::default()).unwrap_err();
            assert!(matches!(error.rule, Rule::PreambleCrc { .. }), "{bit}: {error}");
        }
    }
}
