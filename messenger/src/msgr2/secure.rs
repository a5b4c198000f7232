//! Frames in secure mode: sealed with AES-128-GCM in up to three units.
//!
//! ```text
//! unit 1: preamble 32, first 48 bytes of segment 0         always, padded
//! unit 2: the rest of segment 0                            if there is one
//! unit 3: segments 1-3, each padded, and an epilogue 16    if there are several segments
//! ```
//!
//! Padding is zeros, to blocks of 16; a tag of 16 bytes follows each unit.

use bytes::{Buf, Bytes};

use super::error::{Rule, Violation};
use super::frame::{self, Frame};
use super::gcm::{Gcm, KEY, NONCE, Purpose, Refused, TAG};
use super::limits::Limits;
use super::preamble::{self, Preamble, SEGMENTS};
use super::segment::{Segment, make_room, split};
use super::tag::Tag;

/// Segments are padded to this.
const BLOCK: usize = 16;
/// Bytes of segment 0 that travel in the first unit.
const INLINE: usize = 48;
/// Bytes of the first unit.
const FIRST: usize = preamble::BYTES + INLINE;
/// Bytes of the epilogue.
const EPILOGUE: usize = 16;

/// What goes around the segments of a frame, at most.
pub(super) const AROUND: usize = FIRST + TAG + (BLOCK + TAG) + 3 * BLOCK + EPILOGUE + TAG;

/// Shorter segments are put next to what goes around them and sealed with that: a step costs as much as
/// to copy so many.
const TOGETHER: usize = 512;

/// Bytes of a connection secret that are used.
const SECRET: usize = KEY + 2 * NONCE;

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

    fn take(&mut self) -> Result<[u8; NONCE], Rule> {
        let counter = self.next.ok_or(Rule::NoncesUsedUp)?;
        // The start is anywhere in the ring of 64 bits; only a full turn would use one twice.
        let next = counter.wrapping_add(1);
        self.next = (next != self.first).then_some(next);
        let mut nonce = [0; NONCE];
        nonce[..4].copy_from_slice(&self.fixed);
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        Ok(nonce)
    }
}

/// Key and nonces of one direction.
struct Direction {
    key: Gcm,
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
    let (key, nonces) = used.split_first_chunk()?;
    let (to_initiator, to_acceptor) = nonces.split_at(NONCE);
    let (send, receive) = match side {
        Side::Initiator => (to_acceptor, to_initiator),
        Side::Acceptor => (to_initiator, to_acceptor),
    };
    let direction = |nonce: &[u8], purpose| {
        let nonces = Nonces::new(nonce.try_into().ok()?);
        Some(Direction { key: Gcm::new(key, purpose)?, nonces })
    };
    let sealer = FrameSealer { direction: direction(send, Purpose::Seal)? };
    Some((sealer, SecureFrameDecoder::new(direction(receive, Purpose::Open)?, limits)))
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
        out.reserve(segments.iter().map(|segment| segment.len()).sum::<usize>() + AROUND);
        let [first, others @ ..] = segments;
        let (inline, rest) = first.split_at(first.len().min(INLINE));
        let mut unit = self.direction.seal(out)?;
        unit.put(&preamble.encode())?;
        unit.put(inline)?;
        unit.pad_to(FIRST);
        unit.end()?;
        if !rest.is_empty() {
            let mut unit = self.direction.seal(out)?;
            unit.put_padded(rest)?;
            unit.end()?;
        }
        if preamble.has_epilogue() {
            let mut unit = self.direction.seal(out)?;
            others.iter().try_for_each(|segment| unit.put_padded(segment))?;
            unit.put_epilogue()?;
            unit.end()?;
        }
        Ok(())
    }
}

/// Of a frame that counts.
const fn epilogue() -> [u8; EPILOGUE] {
    let mut epilogue = [0; EPILOGUE];
    epilogue[0] = frame::STATUS;
    epilogue
}

impl Direction {
    /// Begins a unit behind what is in `out`.
    fn seal<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Result<Unit<'a>, Rule> {
        self.key.begin(&self.nonces.take()?).map_err(cannot_seal)?;
        let start = out.len();
        Ok(Unit { key: &mut self.key, start, sealed: start, out })
    }
}

/// It happens only to units beyond 64 GiB.
fn cannot_seal(_: Refused) -> Rule {
    Rule::Seal(0)
}

/// A unit that is being built.
struct Unit<'a> {
    key: &'a mut Gcm,
    out: &'a mut Vec<u8>,
    /// Where it begins in `out`.
    start: usize,
    /// How far `out` is sealed; what lies behind is to be. A multiple of [`BLOCK`] from `start`.
    sealed: usize,
}

impl Unit<'_> {
    fn length(&self) -> usize {
        self.out.len() - self.start
    }

    /// Zeros up to this length.
    fn pad_to(&mut self, length: usize) {
        self.out.resize(self.start + length, 0);
    }

    fn put_padded(&mut self, segment: &[u8]) -> Result<(), Rule> {
        self.put(segment)?;
        self.pad_to(padded(self.length()));
        Ok(())
    }

    /// Puts bytes behind the others. Many of them must begin a block; they are sealed on their way, not
    /// copied first.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Rule> {
        let mut last = bytes;
        if bytes.len() >= TOGETHER {
            debug_assert_eq!(self.length() % BLOCK, 0, "the step before leaves no part of a block");
            self.seal_so_far()?;
            let blocks;
            (blocks, last) = bytes.split_at(bytes.len() - bytes.len() % BLOCK);
            self.key.append(blocks, self.out).map_err(cannot_seal)?;
            self.sealed = self.out.len();
        }
        self.out.extend_from_slice(last);
        Ok(())
    }

    /// Of a frame that counts.
    fn put_epilogue(&mut self) -> Result<(), Rule> {
        const BYTES: [u8; EPILOGUE] = epilogue();
        if self.sealed < self.out.len() {
            return self.put(&BYTES);
        }
        // With nothing to seal it with it need not be written first: that is slow to read at once.
        self.key.append(&BYTES, self.out).map_err(cannot_seal)?;
        self.sealed = self.out.len();
        Ok(())
    }

    fn seal_so_far(&mut self) -> Result<(), Rule> {
        let sealed = std::mem::replace(&mut self.sealed, self.out.len());
        match &mut self.out[sealed..] {
            [] => Ok(()),
            bytes => self.key.in_place(bytes).map_err(cannot_seal),
        }
    }

    fn end(mut self) -> Result<(), Rule> {
        self.seal_so_far()?;
        // In its place: what is moved in other pieces than it was written in has to wait for the memory.
        self.out.extend_from_slice(&[0; TAG]);
        let tag = self.out.last_chunk_mut().expect("it was put there");
        self.key.tag(tag).map_err(cannot_seal)
    }
}

/// Bytes of the second unit; 0 if there is none.
fn second_unit(preamble: &Preamble) -> usize {
    padded(preamble.length(0).saturating_sub(INLINE))
}

/// Bytes of the third unit; 0 if there is none.
fn third_unit(preamble: &Preamble) -> usize {
    if !preamble.has_epilogue() {
        return 0;
    }
    let segments = (1..SEGMENTS).map(|segment| padded(preamble.length(segment)));
    segments.sum::<usize>() + EPILOGUE
}

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
    /// Takes what has come of unit `number`, which has `length` bytes; whether it is complete, and then it
    /// is right. It goes behind what is in `plain`, which has `total` bytes in the end.
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
    plain: Vec<u8>,
    second_is_open: bool,
}

impl SecureFrameDecoder {
    fn new(direction: Direction, limits: Limits) -> Self {
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

/// Bytes of segment 0, padded, and of the third unit.
fn plain_length(preamble: &Preamble) -> usize {
    padded(preamble.length(0)) + third_unit(preamble)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_pass_the_end_of_the_counter_and_never_come_twice() {
        let mut bytes = [0; NONCE];
        bytes[..4].copy_from_slice(&[1, 2, 3, 4]);
        bytes[4..].copy_from_slice(&u64::MAX.to_le_bytes());
        let mut nonces = Nonces::new(&bytes);
        assert_eq!(nonces.take().unwrap(), bytes);
        bytes[4..].fill(0);
        assert_eq!(nonces.take().unwrap(), bytes);
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

    /// The units of a frame or several as they are, sealed.
    fn sealed(units: &[&[u8]]) -> Vec<u8> {
        let (mut sealer, mut bytes) = (pair().0, Vec::new());
        for bytes_of_unit in units {
            let mut unit = sealer.direction.seal(&mut bytes).unwrap();
            unit.put(bytes_of_unit).unwrap();
            unit.end().unwrap();
        }
        bytes
    }

    /// The first unit of a frame with these lengths, with ones in segment 0.
    fn first_unit(tag: Tag, lengths: [u32; SEGMENTS]) -> Vec<u8> {
        let mut unit = Preamble::new(tag, lengths).encode().to_vec();
        unit.resize(preamble::BYTES + INLINE.min(lengths[0] as usize), 1);
        unit.resize(FIRST, 0);
        unit
    }

    /// So many ones, padded.
    fn ones(count: usize) -> Vec<u8> {
        let mut bytes = vec![1; count];
        bytes.resize(padded(count), 0);
        bytes
    }

    /// A frame of a first and a second unit, and one of a first and a third.
    fn frames() -> [Vec<Vec<u8>>; 2] {
        let third = [ones(20), ones(17), epilogue().to_vec()].concat();
        [
            vec![first_unit(Tag::AuthRequest, [50, 0, 0, 0]), ones(2)],
            vec![first_unit(Tag::Message, [41, 20, 0, 17]), third],
        ]
    }

    /// Whether it is a frame.
    fn decode(units: &[Vec<u8>]) -> Result<bool, Rule> {
        let bytes = sealed(&units.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let frame = pair().1.decode(&mut &bytes[..]).map_err(|error| error.rule)?;
        Ok(frame.is_some())
    }

    #[test]
    fn a_changed_byte_anywhere_shows_with_the_tag_of_its_unit_and_not_before() {
        for (units, last) in frames().into_iter().zip([2, 3]) {
            assert_eq!(decode(&units), Ok(true));
            let bytes = sealed(&[&units[0], &units[1]]);
            for at in 0..bytes.len() {
                let (_, mut decoder) = pair();
                let mut bytes = bytes.clone();
                bytes[at] ^= 1;
                let first = FIRST + TAG;
                let (unit, end) = if at < first { (1, first) } else { (last, bytes.len()) };
                for (n, mut byte) in bytes[..end].chunks(1).enumerate() {
                    let came = decoder.decode(&mut byte).map(|frame| frame.is_some());
                    let expected = if n + 1 == end { Err(Rule::Seal(unit)) } else { Ok(false) };
                    assert_eq!(came.map_err(|error| error.rule), expected, "{at}: {n}");
                }
            }
        }
    }

    #[test]
    fn padding_that_carries_something_is_refused() {
        let [control, message] = frames();
        // Of segment 0 in the second unit; of it in the first, of two more, and behind the late status.
        let of_control = [(1, 2), (1, 15)];
        let of_message = [(0, 73), (0, 79), (1, 20), (1, 31), (1, 49), (1, 63), (1, 65), (1, 79)];
        for (units, places) in [(control, &of_control[..]), (message, &of_message[..])] {
            for (unit, at) in places {
                let mut units = units.clone();
                units[*unit][*at] = 1;
                assert_eq!(decode(&units), Err(Rule::Padding), "{unit}: {at}");
            }
        }
    }

    #[test]
    fn a_frame_that_its_sender_gave_up_does_not_count_and_the_next_does() {
        let [_, mut units] = frames();
        let status = units[1].len() - EPILOGUE;
        units[1][status] = 3;
        assert_eq!(decode(&units), Err(Rule::LateStatus(3)));
        units[1][status] = 1;
        assert_eq!(decode(&units), Ok(false));
        units.push(first_unit(Tag::Ack, [8, 0, 0, 0]));
        assert_eq!(decode(&units), Ok(true));
    }

    #[test]
    fn what_is_announced_is_no_memory_before_it_comes() {
        for (tag, lengths) in
            [(Tag::AuthRequest, [1 << 20, 0, 0, 0]), (Tag::Message, [41, 0, 0, 100 << 20])]
        {
            let mut decoder = pair().1;
            let bytes = sealed(&[&first_unit(tag, lengths), &[0; 1000]]);
            for piece in bytes.chunks(100) {
                assert!(decoder.decode(&mut &piece[..]).unwrap().is_none());
                assert!(decoder.plain.capacity() <= 64 << 10, "{}", decoder.plain.capacity());
            }
            assert!(decoder.plain.len() > 1000);
        }
    }

    #[test]
    fn it_is_within_a_frame_from_its_first_byte_to_its_last() {
        for units in frames() {
            let mut decoder = pair().1;
            let bytes = sealed(&[&units[0], &units[1]]);
            assert!(!decoder.is_within_frame());
            for (n, mut byte) in bytes.chunks(1).enumerate() {
                let came = decoder.decode(&mut byte).unwrap().is_some();
                assert_eq!((came, decoder.is_within_frame()), (n + 1 == bytes.len(), !came));
            }
        }
    }

    #[test]
    fn limits_hold_for_the_frames_that_begin_from_now_on() {
        let [_, units] = frames();
        let bytes = sealed(&[&units[0], &units[1], &units[0]]);
        let mut decoder = pair().1;
        let (first, others) = bytes.split_at(FIRST + TAG);
        assert!(decoder.decode(&mut &first[..]).unwrap().is_none());
        decoder.set_limits(Limits { data_bytes: 16, ..Limits::default() });
        let mut others = others;
        assert!(decoder.decode(&mut others).unwrap().is_some());
        let error = decoder.decode(&mut others).unwrap_err();
        assert_eq!(error.rule, Rule::SegmentLength { segment: 3, length: 17, limit: 16 });
    }
}
