//! Frames opened: units that come in any pieces, and what they hold once their tags are right.

use bytes::{Buf, Bytes};

use super::super::error::{Rule, Violation};
use super::super::frame::{self, Frame};
use super::super::gcm::TAG;
use super::super::limits::Limits;
use super::super::preamble::{Preamble, SEGMENTS};
use super::super::segment::{Segment, make_room, split};
use super::{Direction, FIRST, INLINE, padded, plain_length, second_unit, third_unit};

/// The unit that comes: opened on its way into a buffer, and not looked at before its tag is.
#[derive(Debug)]
struct Opening {
    direction: Direction,
    /// Bytes of it that are opened; `None` before the first.
    opened: Option<usize>,
    tag: [u8; TAG],
    /// In range `0 .. TAG`.
    tag_length: usize,
}

impl Opening {
    /// Takes what has come of unit `number`, which has `length` bytes; whether it is complete, and
    /// then it is right. It goes behind what is in `plain`, which has `total` bytes in the end.
    fn take(
        &mut self,
        number: u8,
        length: usize,
        input: &mut &[u8],
        plain: &mut Vec<u8>,
        total: usize,
    ) -> Result<bool, Rule> {
        let wrong = |_| Rule::Seal(number);
        if input.is_empty() {
            return Ok(false);
        }
        let opened = match &mut self.opened {
            Some(opened) => opened,
            None => {
                self.direction.key.begin(&self.direction.nonces.take()?).map_err(wrong)?;
                self.opened.insert(0)
            }
        };
        let piece = split(input, length - *opened);
        if !piece.is_empty() {
            make_room(plain, total, piece.len());
            self.direction.key.append(piece, plain).map_err(wrong)?;
            *opened += piece.len();
        }
        if *opened < length {
            return Ok(false);
        }
        let piece = split(input, TAG - self.tag_length);
        self.tag[self.tag_length..][..piece.len()].copy_from_slice(piece);
        self.tag_length += piece.len();
        if self.tag_length < TAG {
            return Ok(false);
        }
        (self.opened, self.tag_length) = (None, 0);
        match self.direction.key.is_right(&self.tag) {
            true => Ok(true),
            false => Err(Rule::Seal(number)),
        }
    }
}

/// Takes frames in secure mode from a stream that comes in any pieces.
#[derive(Debug)]
pub struct SecureFrameDecoder {
    limits: Limits,
    unit: Opening,
    /// The first unit.
    first: Vec<u8>,
    /// What the first unit said.
    preamble: Option<Preamble>,
    /// Segment 0, padded once it is complete, then the third unit.
    pub(super) plain: Vec<u8>,
    second_is_open: bool,
}

impl SecureFrameDecoder {
    pub(super) fn new(direction: Direction, limits: Limits) -> Self {
        let unit = Opening { direction, opened: None, tag: [0; TAG], tag_length: 0 };
        let first = Vec::with_capacity(FIRST);
        Self { limits, unit, first, preamble: None, plain: Vec::new(), second_is_open: false }
    }

    /// For the frames that begin from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether a frame has begun and is not complete.
    pub fn is_within_frame(&self) -> bool {
        self.preamble.is_some() || self.unit.opened.is_some()
    }

    /// The next frame; see [`decode`](crate::msgr2::FrameDecoder::decode). Its segments are
    /// never in place: they had to be decrypted.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, Violation> {
        loop {
            let preamble = match self.preamble {
                Some(preamble) => preamble,
                None => match self.first_unit(input)? {
                    Some(preamble) => *self.preamble.insert(preamble),
                    None => return Ok(None),
                },
            };
            let rule = Violation::of(preamble.tag);
            if !self.second_is_open {
                if !self.second_unit(&preamble, input).map_err(&rule)? {
                    return Ok(None);
                }
                self.second_is_open = true;
            }
            if !self.third_unit(&preamble, input).map_err(&rule)? {
                return Ok(None);
            }
            self.preamble = None;
            self.second_is_open = false;
            let plain = std::mem::take(&mut self.plain);
            if let Some(segments) = take_apart(&preamble, plain).map_err(rule)? {
                return Ok(Some(Frame { tag: preamble.tag, segments, forgotten: 0 }));
            }
        }
    }

    fn first_unit(&mut self, input: &mut &[u8]) -> Result<Option<Preamble>, Violation> {
        if !self.unit.take(1, FIRST, input, &mut self.first, FIRST)? {
            return Ok(None);
        }
        let (head, inline) = self.first.split_first_chunk().expect("it is longer than a preamble");
        let preamble = Preamble::decode(head, &self.limits)?;
        let (first, padding) = inline.split_at(preamble.length(0).min(INLINE));
        check_padding(padding).map_err(Violation::of(preamble.tag))?;
        make_room(&mut self.plain, plain_length(&preamble), first.len());
        self.plain.extend_from_slice(first);
        self.first.clear();
        Ok(Some(preamble))
    }

    fn second_unit(&mut self, preamble: &Preamble, input: &mut &[u8]) -> Result<bool, Rule> {
        let (length, total) = (second_unit(preamble), plain_length(preamble));
        if length > 0 && !self.unit.take(2, length, input, &mut self.plain, total)? {
            return Ok(false);
        }
        check_padding(&self.plain[preamble.length(0)..])?;
        Ok(true)
    }

    fn third_unit(&mut self, preamble: &Preamble, input: &mut &[u8]) -> Result<bool, Rule> {
        let (length, total) = (third_unit(preamble), plain_length(preamble));
        if length == 0 {
            return Ok(true);
        }
        let before = padded(preamble.length(0));
        if self.plain.len() < before {
            make_room(&mut self.plain, total, before - preamble.length(0));
            self.plain.resize(before, 0);
        }
        self.unit.take(3, length, input, &mut self.plain, total)
    }
}

/// The segments of a frame that is opened; `None` if its sender aborted it.
fn take_apart(
    preamble: &Preamble,
    plain: Vec<u8>,
) -> Result<Option<[Segment<'static>; SEGMENTS]>, Rule> {
    let mut ranges = [0..0, 0..0, 0..0, 0..0];
    let mut at = 0;
    for (segment, range) in ranges.iter_mut().enumerate() {
        *range = at..at + preamble.length(segment);
        at += padded(range.len());
        check_padding(plain.get(range.end..at).unwrap_or_default())?;
    }
    if preamble.has_epilogue() {
        let (status, padding) = plain[at..].split_first().ok_or(Rule::Truncated("epilogue"))?;
        check_padding(padding)?;
        if !frame::is_complete(*status)? {
            return Ok(None);
        }
    }
    // An empty one needs no share in the memory, and the last takes over the first share.
    let (mut plain, last) = (Bytes::from(plain), preamble.count as usize - 1);
    let mut segments = [const { Segment::Borrowed(&[]) }; SEGMENTS];
    for (segment, range) in segments.iter_mut().zip(&ranges).take(last) {
        if !range.is_empty() {
            *segment = Segment::Owned(plain.slice(range.clone()));
        }
    }
    plain.truncate(ranges[last].end);
    plain.advance(ranges[last].start);
    segments[last] = Segment::Owned(plain);
    Ok(Some(segments))
}

fn check_padding(padding: &[u8]) -> Result<(), Rule> {
    match padding.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(Rule::Padding),
    }
}
