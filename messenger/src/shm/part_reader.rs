//! Taking messages out of a ring: where they lie, or put together from several parts.

use super::byte_ring::{ByteRing, Piece};
use super::part::{
    ENVELOPE_BYTES, Envelope, NOTICE_BYTES, Notice, PART_BYTES, PartHeader, PartKind, PartRule,
};

/// Memory for a message that comes in parts grows with what has come; so much is taken at once.
const AHEAD: u64 = 256 << 10;

/// Reads one ring, and has of a message in parts what has come. What it finds it reads once and
/// checks; the other side may have written anything.
#[derive(Debug)]
pub(crate) struct PartReader {
    /// Bytes that front, middle and data may have together.
    largest: u32,
    unfinished: Option<Unfinished>,
    /// Somebody else has read from the ring, perhaps half a message, whose rest is nothing to us.
    skips: bool,
}

/// A message of which parts are missing.
#[derive(Debug)]
struct Unfinished {
    envelope: Envelope,
    body: Vec<u8>,
}

/// One part.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// Bytes that it takes in the ring.
    pub(crate) bytes: u32,
    pub(crate) found: Found<'a>,
}

/// What a part has brought.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A message, all of it: it lies there as long as its part is not consumed.
    InPlace(Envelope, Body<'a>),
    /// The last part of a message: front, middle and data, without gaps.
    Whole(Envelope, Vec<u8>),
    /// Some of a message, which was copied, or is of none that could be had.
    Some,
    Notice(Notice),
}

/// Where front, middle and data of a message lie: each in two pieces if it goes round the end of
/// the ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body<'a> {
    pub(crate) front: [Piece<'a>; 2],
    pub(crate) middle: [Piece<'a>; 2],
    pub(crate) data: [Piece<'a>; 2],
}

impl<'a> Body<'a> {
    /// Of a message that is one part at `offset` of the ring, which was checked.
    pub(crate) fn at(ring: ByteRing<'a>, offset: u64, envelope: &Envelope) -> Self {
        let front = offset.wrapping_add((PART_BYTES + ENVELOPE_BYTES).into());
        let middle = front.wrapping_add(envelope.front.into());
        let data = middle.wrapping_add(envelope.middle.into());
        Self {
            front: ring.pieces(front, envelope.front),
            middle: ring.pieces(middle, envelope.middle),
            data: ring.pieces(data, envelope.data),
        }
    }
}

impl PartReader {
    /// For messages of at most `largest` bytes.
    pub(crate) fn new(largest: u32) -> Self {
        Self { largest, unfinished: None, skips: false }
    }

    /// As [`new`](Self::new), where somebody else has read before: what begins in the middle of a
    /// message is skipped.
    pub(crate) fn resume(largest: u32) -> Self {
        Self { skips: true, ..Self::new(largest) }
    }

    /// Bytes of the message of which some parts have come and others have not; 0 if there is none.
    pub(crate) fn holds(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |it| it.envelope.body_bytes() as usize)
    }

    /// The part at `offset` of the ring, where `unread` bytes lie. When it has been used, its bytes
    /// are to be consumed, and the next one lies behind it. `None`: there is none yet.
    ///
    /// # Errors
    /// What lies there breaks a rule; then nothing behind it means anything.
    pub(crate) fn next<'a>(
        &mut self,
        ring: ByteRing<'a>,
        offset: u64,
        unread: u32,
    ) -> Result<Option<Part<'a>>, PartRule> {
        if unread == 0 {
            return Ok(None);
        }
        if unread < PART_BYTES {
            return Err(PartRule::Cut);
        }
        let header = PartHeader::decode(ring.read(offset))?;
        let most = if header.first && header.last { ring.size() / 2 } else { ring.size() / 4 };
        let bytes = header.ring_bytes();
        if bytes > u64::from(most) {
            return Err(PartRule::TooLong);
        }
        if bytes > u64::from(unread) {
            return Err(PartRule::Cut);
        }
        let found = match header.kind {
            PartKind::Message if header.first => self.begin(ring, offset, header)?,
            PartKind::Message => self.go_on(ring, offset, header)?,
            PartKind::Notice => notice(ring, offset, header)?,
        };
        Ok(Some(Part { bytes: bytes as u32, found }))
    }

    /// A first part. Whatever came before and was not finished has lost its sender.
    fn begin<'a>(
        &mut self,
        ring: ByteRing<'a>,
        offset: u64,
        header: PartHeader,
    ) -> Result<Found<'a>, PartRule> {
        self.unfinished = None;
        self.skips = false;
        let here = header.len.checked_sub(ENVELOPE_BYTES).ok_or(PartRule::NoEnvelope)?;
        let at = offset.wrapping_add(PART_BYTES.into());
        let envelope = Envelope::decode(&ring.read(at))?;
        let all = envelope.body_bytes();
        if all > self.largest.into() {
            return Err(PartRule::TooLarge);
        }
        check_length(here.into(), all, header.last)?;
        if header.last {
            return Ok(Found::InPlace(envelope, Body::at(ring, offset, &envelope)));
        }
        let body = Vec::with_capacity(all.min(AHEAD) as usize);
        let unfinished = self.unfinished.insert(Unfinished { envelope, body });
        append(ring, at.wrapping_add(ENVELOPE_BYTES.into()), here, &mut unfinished.body);
        Ok(Found::Some)
    }

    fn go_on<'a>(
        &mut self,
        ring: ByteRing<'a>,
        offset: u64,
        header: PartHeader,
    ) -> Result<Found<'a>, PartRule> {
        let Some(mut unfinished) = self.unfinished.take() else {
            return if self.skips { Ok(Found::Some) } else { Err(PartRule::Unbegun) };
        };
        if header.len == 0 {
            return Err(PartRule::Empty);
        }
        let left = unfinished.envelope.body_bytes() - unfinished.body.len() as u64;
        check_length(header.len.into(), left, header.last)?;
        append(ring, offset.wrapping_add(PART_BYTES.into()), header.len, &mut unfinished.body);
        if header.last {
            return Ok(Found::Whole(unfinished.envelope, unfinished.body));
        }
        self.unfinished = Some(unfinished);
        Ok(Found::Some)
    }
}

/// A part with `here` bytes of the `left` that are missing.
fn check_length(here: u64, left: u64, last: bool) -> Result<(), PartRule> {
    if here > left || here == left && !last {
        return Err(PartRule::More);
    }
    if here < left && last { Err(PartRule::Fewer) } else { Ok(()) }
}

fn append(ring: ByteRing<'_>, offset: u64, len: u32, body: &mut Vec<u8>) {
    for piece in ring.pieces(offset, len) {
        piece.append_to(body);
    }
}

fn notice<'a>(ring: ByteRing<'a>, offset: u64, header: PartHeader) -> Result<Found<'a>, PartRule> {
    if !header.first || !header.last || header.len != NOTICE_BYTES {
        return Err(PartRule::Notice);
    }
    Notice::decode(&ring.read(offset.wrapping_add(PART_BYTES.into()))).map(Found::Notice)
}
