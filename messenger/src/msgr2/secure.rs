//! Frames in secure mode: sealed with AES-128-GCM in up to three units.
//!
//! ```text
//! unit 1: preamble 32, first 48 bytes of segment 0         always, padded
//! unit 2: the rest of segment 0                            if there is one
//! unit 3: segments 1-3, each padded, and an epilogue 16    if there are several segments
//! ```
//!
//! Padding is zeros, to blocks of 16; a tag of 16 bytes follows each unit.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;

use super::error::{Rule, Violation};
use super::frame::{self, Frame};
use super::limits::Limits;
use super::preamble::{self, Preamble, SEGMENTS};
use super::segment::{Segment, gather};
use super::tag::Tag;

/// Bytes of an authentication tag.
const SEAL: usize = 16;
/// Segments are padded to this.
const BLOCK: usize = 16;
/// Bytes of segment 0 that travel in the first unit.
const INLINE: usize = 48;
/// Bytes of the first unit with its tag.
const FIRST: usize = preamble::BYTES + INLINE + SEAL;
/// Bytes of the epilogue.
const EPILOGUE: usize = 16;

/// Bytes of a connection secret that are used.
const SECRET: usize = KEY + 2 * NONCE;
const KEY: usize = 16;
const NONCE: usize = 12;

const fn padded(length: usize) -> usize {
    length.next_multiple_of(BLOCK)
}

/// The nonces of one direction: a fixed part and a counter that goes up with every unit.
struct Nonces {
    fixed: [u8; 4],
    first: u64,
    next: Option<u64>,
}

impl Nonces {
    fn new(bytes: &[u8; NONCE]) -> Self {
        let (fixed, counter) = bytes.split_first_chunk().expect("12 is more than 4");
        let first = u64::from_le_bytes(counter.try_into().expect("12 less 4 is 8"));
        Self { fixed: *fixed, first, next: Some(first) }
    }

    fn take(&mut self) -> Result<Nonce, Rule> {
        let counter = self.next.ok_or(Rule::NoncesUsedUp)?;
        // The start is anywhere in the ring of 64 bits; only a full turn would use one twice.
        let next = counter.wrapping_add(1);
        self.next = (next != self.first).then_some(next);
        let mut nonce = [0; NONCE];
        nonce[..4].copy_from_slice(&self.fixed);
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

/// Key and nonces of one direction.
struct Direction {
    key: LessSafeKey,
    nonces: Nonces,
}

impl std::fmt::Debug for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        f.debug_struct("Direction").field("next", &self.nonces.next).finish_non_exhaustive()
    }
}

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// We connected.
    Initiator,
    /// The peer did.
    Acceptor,
}

/// Both directions' secrets from the connection secret that authentication agreed on; `None` if it
/// is too short.
pub fn from_connection_secret(
    secret: &[u8],
    side: Side,
    limits: Limits,
) -> Option<(FrameSealer, SecureFrameDecoder)> {
    let (used, _) = secret.split_first_chunk::<SECRET>()?;
    let (key, nonces) = used.split_at(KEY);
    let (to_initiator, to_acceptor) = nonces.split_at(NONCE);
    let direction = |nonce: &[u8]| {
        Some(Direction {
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).ok()?),
            nonces: Nonces::new(nonce.try_into().ok()?),
        })
    };
    let (send, receive) = match side {
        Side::Initiator => (to_acceptor, to_initiator),
        Side::Acceptor => (to_initiator, to_acceptor),
    };
    let sealer = FrameSealer { direction: direction(send)? };
    Some((sealer, SecureFrameDecoder::new(direction(receive)?, limits)))
}

/// Builds frames in secure mode.
#[derive(Debug)]
pub struct FrameSealer {
    direction: Direction,
}

impl FrameSealer {
    /// Appends the frame with these segments to `out`; fails when no nonces are left.
    ///
    /// # Panics
    ///
    /// If a segment has 4 GiB or more.
    pub fn seal(
        &mut self,
        tag: Tag,
        segments: &[&[u8]; SEGMENTS],
        out: &mut Vec<u8>,
    ) -> Result<(), Rule> {
        let preamble = Preamble::new(tag, frame::lengths(segments));
        out.reserve(frame_length(&preamble));
        let [first, others @ ..] = segments;
        let (inline, rest) = first.split_at(first.len().min(INLINE));
        let start = out.len();
        out.extend_from_slice(&preamble.encode());
        out.extend_from_slice(inline);
        out.resize(start + preamble::BYTES + INLINE, 0);
        self.direction.seal(start, out)?;
        if !rest.is_empty() {
            let start = out.len();
            out.extend_from_slice(rest);
            out.resize(start + padded(rest.len()), 0);
            self.direction.seal(start, out)?;
        }
        if preamble.has_epilogue() {
            let start = out.len();
            for segment in others {
                let end = out.len() + padded(segment.len());
                out.extend_from_slice(segment);
                out.resize(end, 0);
            }
            let end = out.len() + EPILOGUE;
            out.push(frame::STATUS);
            out.resize(end, 0);
            self.direction.seal(start, out)?;
        }
        Ok(())
    }
}

impl Direction {
    /// Seals what lies from `start` on.
    fn seal(&mut self, start: usize, out: &mut Vec<u8>) -> Result<(), Rule> {
        let nonce = self.nonces.take()?;
        let unit = &mut out[start..];
        // It fails only for units beyond 64 GiB.
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), unit);
        out.extend_from_slice(tag.map_err(|_| Rule::Seal(0))?.as_ref());
        Ok(())
    }

    /// Opens a unit in place; the bytes of it without the tag.
    fn open<'a>(&mut self, number: u8, unit: &'a mut [u8]) -> Result<&'a mut [u8], Rule> {
        let nonce = self.nonces.take()?;
        self.key.open_in_place(nonce, Aad::empty(), unit).map_err(|_| Rule::Seal(number))
    }
}

/// Bytes of the second unit with its tag; 0 if there is none.
fn second_unit(preamble: &Preamble) -> usize {
    match preamble.length(0).saturating_sub(INLINE) {
        0 => 0,
        rest => padded(rest) + SEAL,
    }
}

/// Bytes of the third unit with its tag; 0 if there is none.
fn third_unit(preamble: &Preamble) -> usize {
    if !preamble.has_epilogue() {
        return 0;
    }
    let segments = (1..SEGMENTS).map(|segment| padded(preamble.length(segment)));
    segments.sum::<usize>() + EPILOGUE + SEAL
}

fn frame_length(preamble: &Preamble) -> usize {
    FIRST + second_unit(preamble) + third_unit(preamble)
}

/// Takes frames in secure mode from a stream that comes in any pieces.
#[derive(Debug)]
pub struct SecureFrameDecoder {
    direction: Direction,
    limits: Limits,
    /// The unit that comes, as it is gathered.
    unit: Vec<u8>,
    /// What the first unit said.
    preamble: Option<Preamble>,
    /// Segment 0, as far as it is opened.
    first: Vec<u8>,
    second_is_open: bool,
}

impl SecureFrameDecoder {
    fn new(direction: Direction, limits: Limits) -> Self {
        let (unit, first) = (Vec::new(), Vec::new());
        Self { direction, limits, unit, preamble: None, first, second_is_open: false }
    }

    /// For the frames that begin from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether a frame has begun and is not complete.
    pub fn is_within_frame(&self) -> bool {
        self.preamble.is_some() || !self.unit.is_empty()
    }

    /// The next frame; see [`FrameDecoder::decode`](super::FrameDecoder::decode). Its segments are
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
            let Some(others) = self.third_unit(&preamble, input).map_err(rule)? else {
                return Ok(None);
            };
            self.preamble = None;
            self.second_is_open = false;
            let first = std::mem::take(&mut self.first);
            if let Some([front, middle, data]) = others {
                let segments = [first.into(), front, middle, data].map(Segment::Owned);
                return Ok(Some(Frame { tag: preamble.tag, segments, forgotten: 0 }));
            }
        }
    }

    /// Gathers a unit; whether it is complete.
    fn gather(&mut self, total: usize, input: &mut &[u8]) -> bool {
        gather(&mut self.unit, total, input);
        self.unit.len() == total
    }

    fn first_unit(&mut self, input: &mut &[u8]) -> Result<Option<Preamble>, Violation> {
        if !self.gather(FIRST, input) {
            return Ok(None);
        }
        let opened = self.direction.open(1, &mut self.unit)?;
        let (head, inline) = opened.split_first_chunk().expect("it is longer than a preamble");
        let preamble = Preamble::decode(head, &self.limits)?;
        let (first, padding) = inline.split_at(preamble.length(0).min(INLINE));
        check_padding(padding).map_err(Violation::of(preamble.tag))?;
        self.first.extend_from_slice(first);
        self.unit.clear();
        Ok(Some(preamble))
    }

    fn second_unit(&mut self, preamble: &Preamble, input: &mut &[u8]) -> Result<bool, Rule> {
        let total = second_unit(preamble);
        if total == 0 {
            return Ok(true);
        }
        if !self.gather(total, input) {
            return Ok(false);
        }
        let opened = self.direction.open(2, &mut self.unit)?;
        let (rest, padding) = opened.split_at(preamble.length(0) - INLINE);
        check_padding(padding)?;
        self.first.extend_from_slice(rest);
        self.unit.clear();
        Ok(true)
    }

    /// Segments 1 to 3 once they are complete; `Some(None)` if the sender aborted the frame.
    fn third_unit(
        &mut self,
        preamble: &Preamble,
        input: &mut &[u8],
    ) -> Result<Option<Option<[Bytes; 3]>>, Rule> {
        let total = third_unit(preamble);
        if total == 0 {
            return Ok(Some(Some(Default::default())));
        }
        if !self.gather(total, input) {
            return Ok(None);
        }
        let mut unit = std::mem::take(&mut self.unit);
        let opened = self.direction.open(3, &mut unit)?.len();
        unit.truncate(opened);
        let mut unit = Bytes::from(unit);
        let mut segments = [const { Bytes::new() }; 3];
        for (i, segment) in segments.iter_mut().enumerate() {
            let length = preamble.length(i + 1);
            *segment = unit.split_to(length);
            check_padding(&unit.split_to(padded(length) - length))?;
        }
        let (status, padding) = unit.split_first().ok_or(Rule::Truncated("epilogue"))?;
        check_padding(padding)?;
        Ok(Some(frame::is_complete(*status)?.then_some(segments)))
    }
}

fn check_padding(padding: &[u8]) -> Result<(), Rule> {
    match padding.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(Rule::Padding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_pass_the_end_of_the_counter_and_never_come_twice() {
        let mut bytes = [0; NONCE];
        bytes[..4].copy_from_slice(&[1, 2, 3, 4]);
        bytes[4..].copy_from_slice(&u64::MAX.to_le_bytes());
        let mut nonces = Nonces::new(&bytes);
        assert_eq!(*nonces.take().unwrap().as_ref(), bytes);
        bytes[4..].fill(0);
        assert_eq!(*nonces.take().unwrap().as_ref(), bytes);
        nonces.next = Some(nonces.first.wrapping_sub(1));
        assert!(nonces.take().is_ok());
        assert_eq!(nonces.take().err(), Some(Rule::NoncesUsedUp));
        assert_eq!(nonces.take().err(), Some(Rule::NoncesUsedUp));
    }

    fn pair() -> (FrameSealer, SecureFrameDecoder) {
        let secret = [9; 64];
        let limits = Limits::default();
        let (sealer, _) = from_connection_secret(&secret, Side::Initiator, limits).unwrap();
        let (_, decoder) = from_connection_secret(&secret, Side::Acceptor, limits).unwrap();
        (sealer, decoder)
    }

    #[test]
    fn a_changed_byte_anywhere_shows() {
        let header = [3; 41];
        let mut bytes = Vec::new();
        pair().0.seal(Tag::Message, &[&header, &[1; 20], &[], &[2; 50]], &mut bytes).unwrap();
        for at in 0..bytes.len() {
            let (_, mut decoder) = pair();
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let error = decoder.decode(&mut &bytes[..]).unwrap_err();
            assert!(matches!(error.rule, Rule::Seal(_)), "{at}: {error}");
        }
    }

    #[test]
    fn padding_that_carries_something_is_refused() {
        let (mut sealer, mut decoder) = pair();
        let mut bytes = Preamble::new(Tag::Ack, [8, 0, 0, 0]).encode().to_vec();
        bytes.resize(preamble::BYTES + INLINE, 0);
        bytes[preamble::BYTES + 8] = 1;
        sealer.direction.seal(0, &mut bytes).unwrap();
        let error = decoder.decode(&mut &bytes[..]).unwrap_err();
        assert_eq!(error, Violation { tag: Some(Tag::Ack), rule: Rule::Padding });
    }
}
