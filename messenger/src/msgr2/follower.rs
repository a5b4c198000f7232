//! Watching one direction of somebody else's stream in crc mode, without taking part.
//!
//! Data is passed over, neither kept nor looked at; so a follower costs what the heads of the
//! frames cost, whatever they carry.

use super::banner::Banner;
use super::error::{Rule, Violation};
use super::frame::{CRC, body_length};
use super::header::MessageHeader;
use super::limits::Limits;
use super::preamble::{self, Preamble};
use super::segment::gather;
use super::tag::Tag;
use super::wire::Reader;

/// The connection mode in which frames are sealed.
const MODE_SECURE: u32 = 2;

/// Bytes of a control frame's payload that say what the next frames look like: see
/// [`check_agreement`].
const AGREEMENT: usize = 12;

/// Why a follower can go no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotFollow {
    /// The peers encrypt from here on; the other direction cannot be followed either.
    #[error("the peers have agreed on encryption")]
    Secure,
    /// The peers may compress from here on.
    #[error("the peers have agreed on compression")]
    Compressed,
    /// It is not the protocol, or not in crc mode, or we lost our way.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// A frame that passes by. Its end may not have come yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed<'a> {
    /// What it is.
    pub tag: Tag,
    /// A message's header.
    pub header: Option<MessageHeader>,
    /// The beginning of a message's front or of a control frame's payload; all of it, if it is not
    /// longer than the follower keeps. Its crc was not compared.
    pub front: &'a [u8],
    /// Bytes of the front or the payload.
    pub front_length: u32,
    /// Bytes of the middle.
    pub middle_length: u32,
    /// Bytes of the data.
    pub data_length: u32,
    /// Bytes of the whole frame, with preamble and checksums.
    pub frame_bytes: u64,
}

/// What comes next in the stream.
#[derive(Debug, Clone, Copy)]
enum Next {
    Banner,
    Preamble,
    /// A message's header and its crc.
    Header(Preamble),
    /// The front of a message with this header, or the payload of a control frame.
    Front(Preamble, Option<MessageHeader>),
    /// Bytes to pass over before the next preamble.
    Skip(u64),
}

/// Follows the frames of one direction of a stream, from its beginning, given in any pieces.
#[derive(Debug)]
pub struct Follower {
    limits: Limits,
    /// Bytes of a front to keep, at most.
    keep: usize,
    next: Next,
    /// What spans pieces.
    gathered: Vec<u8>,
    /// Set when `gathered` has been shown: it goes before the next bytes come.
    shown: bool,
    failed: Option<CannotFollow>,
}

impl Follower {
    /// At the beginning of the stream. Of fronts that are longer than `keep` bytes only so much is
    /// shown.
    pub fn new(limits: Limits, keep: usize) -> Self {
        let (next, gathered) = (Next::Banner, Vec::new());
        Self { limits, keep, next, gathered, shown: false, failed: None }
    }

    /// The next frame whose head is complete; takes what belongs to it from `input`. `None` when
    /// all of `input` is taken. Once it fails it always does.
    pub fn follow<'f, 'i: 'f>(
        &'f mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Followed<'f>>, CannotFollow> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        if std::mem::take(&mut self.shown) {
            self.gathered.clear();
        }
        match self.advance(input) {
            Ok(None) => Ok(None),
            Ok(Some((preamble, header, in_place))) => {
                let front = in_place.unwrap_or(&self.gathered);
                let front = &front[..front.len().min(self.keep)];
                let front_length = preamble.lengths[usize::from(header.is_some())];
                let [_, _, middle_length, data_length] = preamble.lengths;
                let tag = preamble.tag;
                Ok(Some(Followed {
                    tag,
                    header,
                    front,
                    front_length,
                    middle_length,
                    data_length,
                    frame_bytes: (preamble::BYTES + body_length(&preamble)) as u64,
                }))
            }
            Err(error) => {
                self.failed = Some(error);
                self.gathered = Vec::new();
                Err(error)
            }
        }
    }

    /// Goes on until a head is complete. Its front is given if it is in place, and lies in
    /// `gathered` if not.
    #[expect(clippy::type_complexity, reason = "it is matched at once")]
    fn advance<'i>(
        &mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<(Preamble, Option<MessageHeader>, Option<&'i [u8]>)>, CannotFollow> {
        loop {
            match self.next {
                Next::Banner => {
                    // It is short: gathered whole or in part.
                    let Some(length) = self.banner(input).map_err(Violation::from)? else {
                        return Ok(None);
                    };
                    self.gathered.drain(..length);
                    debug_assert!(self.gathered.is_empty(), "bytes beyond the banner were taken");
                    self.next = Next::Preamble;
                }
                Next::Preamble => {
                    let limits = self.limits;
                    let Some(head) = self.take(preamble::BYTES, input) else { return Ok(None) };
                    let head = head.first_chunk().expect("so many were taken");
                    let preamble = Preamble::decode(head, &limits)?;
                    self.gathered.clear();
                    self.next = match preamble.tag {
                        Tag::Message => Next::Header(preamble),
                        _ => Next::Front(preamble, None),
                    };
                }
                Next::Header(preamble) => {
                    let total = MessageHeader::BYTES + CRC;
                    let Some(bytes) = self.take(total, input) else { return Ok(None) };
                    let header = MessageHeader::decode(&bytes[..MessageHeader::BYTES])
                        .map_err(Violation::of(preamble.tag))?;
                    self.gathered.clear();
                    self.next = Next::Front(preamble, Some(header));
                }
                Next::Front(preamble, header) => {
                    let length = preamble.length(usize::from(header.is_some()));
                    let kept = length.min(match preamble.tag {
                        Tag::AuthDone | Tag::CompressionDone => self.keep.max(AGREEMENT),
                        _ => self.keep,
                    });
                    let begun = !self.gathered.is_empty();
                    let in_place = match input.split_at_checked(kept) {
                        Some((front, rest)) if !begun => {
                            *input = rest;
                            Some(front)
                        }
                        _ => {
                            gather(&mut self.gathered, kept, input);
                            if self.gathered.len() < kept {
                                return Ok(None);
                            }
                            self.shown = true;
                            None
                        }
                    };
                    let before = header.map_or(0, |_| MessageHeader::BYTES + CRC);
                    let skip = body_length(&preamble) - before - kept;
                    self.next = Next::Skip(skip as u64);
                    check_agreement(preamble.tag, in_place.unwrap_or(&self.gathered))?;
                    return Ok(Some((preamble, header, in_place)));
                }
                Next::Skip(left) => {
                    let count = left.min(input.len() as u64);
                    *input = &input[count as usize..];
                    if count < left {
                        self.next = Next::Skip(left - count);
                        return Ok(None);
                    }
                    self.next = Next::Preamble;
                }
            }
        }
    }

    /// Gathers the banner byte for byte, since only its bytes say how long it is.
    fn banner(&mut self, input: &mut &[u8]) -> Result<Option<usize>, Rule> {
        while let Some((byte, rest)) = input.split_first() {
            self.gathered.push(*byte);
            *input = rest;
            if let Some((banner, length)) = Banner::decode(&self.gathered)? {
                if banner.supported & Banner::REVISION_1 == 0 {
                    return Err(Rule::Revision);
                }
                return Ok(Some(length));
            }
        }
        Ok(None)
    }

    /// The next `count` bytes if they have come.
    fn take<'s, 'i: 's>(&'s mut self, count: usize, input: &mut &'i [u8]) -> Option<&'s [u8]> {
        if self.gathered.is_empty()
            && let Some((bytes, rest)) = input.split_at_checked(count)
        {
            *input = rest;
            return Some(bytes);
        }
        gather(&mut self.gathered, count, input);
        (self.gathered.len() == count).then_some(&self.gathered)
    }
}

/// Whether this frame changes what the following ones look like. Of its payload at least the first
/// [`AGREEMENT`] bytes are here, and no more is looked at.
fn check_agreement(tag: Tag, payload: &[u8]) -> Result<(), CannotFollow> {
    let rule = Violation::of(tag);
    let mut reader = Reader::new(payload);
    match tag {
        Tag::AuthDone => {
            reader.u64("global id").map_err(&rule)?;
            match reader.u32("mode").map_err(rule)? {
                MODE_SECURE => Err(CannotFollow::Secure),
                _ => Ok(()),
            }
        }
        Tag::CompressionDone => match reader.u8("is_compress").map_err(rule)? {
            0 => Ok(()),
            _ => Err(CannotFollow::Compressed),
        },
        _ => Ok(()),
    }
}
