//! Frames in crc mode: built around segments that stay where they are, and taken from bytes that
//! come in any pieces.
//!
//! ```text
//! preamble 32 | segment 0 | its crc 4 | segments 1-3 | epilogue 13, if there are several segments
//! ```

use std::io::IoSlice;

use super::control::Control;
use super::crc;
use super::error::{Rule, Violation};
use super::limits::Limits;
use super::preamble::{self, Preamble, SEGMENTS};
use super::segment::{self, Place, Segment, gather, split};
use super::tag::Tag;

/// Bytes of a segment's crc.
pub(super) const CRC: usize = 4;

/// The segment of a message's data.
const DATA: usize = 3;

/// Bytes of the epilogue: late status and the crcs of segments 1 to 3.
const EPILOGUE: usize = 1 + 3 * CRC;

/// Late status: the low nibble counts.
const COMPLETE: u8 = 0xe;
const ABORTED: u8 = 0x1;

/// A received frame.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// What it is.
    pub tag: Tag,
    /// Its segments; empty where it has none.
    pub segments: [Segment<'a>; SEGMENTS],
    /// Bytes of data that were compared with their crc and not kept,
    /// [as asked for](FrameDecoder::forget_data).
    pub forgotten: usize,
}

impl<'a> Frame<'a> {
    #[inline]
    fn borrowed(tag: Tag, [first, front, middle, data]: [&'a [u8]; SEGMENTS]) -> Self {
        // One by one: `map` would move them through memory once more.
        let segments = [
            Segment::Borrowed(first),
            Segment::Borrowed(front),
            Segment::Borrowed(middle),
            Segment::Borrowed(data),
        ];
        Self { tag, segments, forgotten: 0 }
    }
}

/// Whether a frame with this late status counts.
pub(crate) fn is_complete(status: u8) -> Result<bool, Rule> {
    match status & 0xf {
        COMPLETE => Ok(true),
        ABORTED => Ok(false),
        _ => Err(Rule::LateStatus(status)),
    }
}

/// The status of a frame that counts.
pub(crate) const STATUS: u8 = COMPLETE;

/// Lengths of segments to send.
pub(crate) fn lengths(segments: &[&[u8]; SEGMENTS]) -> [u32; SEGMENTS] {
    segments.map(|segment| u32::try_from(segment.len()).expect("nobody sends segments of 4 GiB"))
}

/// What goes around the segments of a frame in crc mode.
#[derive(Debug, Clone)]
pub struct Envelope {
    preamble: [u8; preamble::BYTES],
    first_crc: [u8; CRC],
    /// 0 or `CRC`.
    first_crc_length: usize,
    epilogue: [u8; EPILOGUE],
    /// 0 or `EPILOGUE`.
    epilogue_length: usize,
}

impl Envelope {
    /// Slices that a frame has at most.
    pub const SLICES: usize = 3 + SEGMENTS;

    /// Of a frame with these segments. They are looked at for their crcs, and not copied.
    ///
    /// # Panics
    ///
    /// If a segment has 4 GiB or more.
    pub fn new(tag: Tag, segments: &[&[u8]; SEGMENTS]) -> Self {
        // The short crcs first: the processor goes on to the long one while they wait for each
        // other's words.
        let preamble = Preamble::new(tag, lengths(segments));
        let (encoded, first_crc) = (preamble.encode(), crc::segment(segments[0]).to_le_bytes());
        let mut epilogue = [0; EPILOGUE];
        if preamble.has_epilogue() {
            epilogue[0] = STATUS;
            // The crc of nothing for an empty one; those that are not counted have zero.
            let crcs = epilogue[1..].as_chunks_mut().0;
            for (segment, out) in segments[1..preamble.count as usize].iter().zip(crcs) {
                *out = crc::segment(segment).to_le_bytes();
            }
        }
        Self {
            preamble: encoded,
            first_crc,
            first_crc_length: if segments[0].is_empty() { 0 } else { CRC },
            epilogue,
            epilogue_length: if preamble.has_epilogue() { EPILOGUE } else { 0 },
        }
    }

    /// Goes before segment 0.
    pub fn preamble(&self) -> &[u8] {
        &self.preamble
    }

    /// Goes between segment 0 and the others; may be empty.
    pub fn first_crc(&self) -> &[u8] {
        &self.first_crc[..self.first_crc_length]
    }

    /// Goes behind all segments; may be empty.
    pub fn epilogue(&self) -> &[u8] {
        &self.epilogue[..self.epilogue_length]
    }

    /// The whole frame for `writev`, with the segments that it is of; some slices may be empty.
    pub fn slices<'a>(&'a self, segments: &[&'a [u8]; SEGMENTS]) -> [IoSlice<'a>; Self::SLICES] {
        debug_assert_eq!(
            preamble::lengths(&self.preamble),
            lengths(segments),
            "the envelope is of other segments"
        );
        let [first, others @ ..] = segments;
        let [front, middle, data] = *others;
        [self.preamble(), first, self.first_crc(), front, middle, data, self.epilogue()]
            .map(IoSlice::new)
    }

    /// Appends the whole frame, with the segments that it is of, to `out`.
    pub fn append(&self, segments: &[&[u8]; SEGMENTS], out: &mut Vec<u8>) {
        let slices = self.slices(segments);
        out.reserve(total(&slices));
        slices.iter().for_each(|slice| out.extend_from_slice(slice));
    }
}

/// Bytes of all of them.
fn total(slices: &[IoSlice<'_>]) -> usize {
    slices.iter().map(|slice| slice.len()).sum()
}

/// A whole frame in crc mode, in memory that is just as long.
///
/// # Panics
///
/// If a segment has 4 GiB or more.
pub fn crc_frame(tag: Tag, segments: &[&[u8]; SEGMENTS]) -> Vec<u8> {
    let envelope = Envelope::new(tag, segments);
    let slices = envelope.slices(segments);
    let mut frame = Vec::with_capacity(total(&slices));
    slices.iter().for_each(|slice| frame.extend_from_slice(slice));
    frame
}

/// A whole control frame in crc mode.
pub fn control_frame(control: &Control) -> Vec<u8> {
    let mut payload = Vec::new();
    control.encode(&mut payload);
    crc_frame(control.tag(), &[&payload, &[], &[], &[]])
}

/// Takes frames in crc mode from a stream that comes in any pieces.
///
/// A frame whose body lies wholly in one piece is looked at where it lies; only what spans pieces
/// is gathered, each segment in a buffer of its own, into which the rest of a long one can be
/// [read at once](Self::place); or, if that is asked for, of data only its crc.
#[derive(Debug)]
pub struct FrameDecoder {
    limits: Limits,
    /// A preamble that spans pieces.
    head: [u8; preamble::BYTES],
    /// In range `0 .. preamble::BYTES`.
    head_length: usize,
    gathering: Option<Box<Gathering>>,
    forgetting: bool,
}

/// A frame of which a part has come.
#[derive(Debug)]
struct Gathering {
    preamble: Preamble,
    segments: [Vec<u8>; SEGMENTS],
    crcs: [u32; SEGMENTS],
    /// The segment that bytes are for; `SEGMENTS` when they are for the epilogue.
    segment: usize,
    /// Bytes of that one that have come and are in its crc.
    come: usize,
    /// Data is not kept.
    forgetting: bool,
    /// A crc or the epilogue.
    trailer: Vec<u8>,
}

impl FrameDecoder {
    /// At the beginning of a frame.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            head: [0; preamble::BYTES],
            head_length: 0,
            gathering: None,
            forgetting: false,
        }
    }

    /// For the frames that begin from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Data that comes in several pieces is compared with its crc and not kept, from the next frame
    /// on: for those who would only throw it away.
    pub fn forget_data(&mut self, forgetting: bool) {
        self.forgetting = forgetting;
    }

    /// Whether a frame has begun and is not complete.
    pub fn is_within_frame(&self) -> bool {
        self.head_length > 0 || self.gathering.is_some()
    }

    /// Where the next bytes of the stream belong, if those are many and of one segment. What is put
    /// there is looked at by the next [`decode`](Self::decode), which needs no other input.
    pub fn place(&mut self) -> Option<Place<'_>> {
        self.gathering.as_mut()?.place()
    }

    /// Whether there is something in a [place](Self::place) that was not looked at.
    pub(super) fn is_placed(&self) -> bool {
        self.gathering.as_ref().is_some_and(|gathering| gathering.is_placed())
    }

    /// The next frame; takes from `input` what belongs to it. `None` when all of `input` is taken
    /// and more is needed. Frames that their sender aborted are skipped. After an error the stream
    /// is of no more use.
    #[inline]
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, Violation> {
        // Mostly all of it is here. What is left is for what does not find its frame in one piece.
        while self.gathering.is_none()
            && self.head_length == 0
            && let Some((head, behind)) = input.split_first_chunk()
        {
            let preamble = Preamble::decode(head, &self.limits)?;
            let Some((body, rest)) = behind.split_at_checked(body_length(&preamble)) else { break };
            *input = rest;
            if let Some(segments) = in_place(&preamble, body)? {
                return Ok(Some(Frame::borrowed(preamble.tag, segments)));
            }
        }
        self.decode_in_pieces(input)
    }

    fn decode_in_pieces<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Frame<'a>>, Violation> {
        loop {
            if let Some(gathering) = &mut self.gathering {
                if !gathering.feed(input)? {
                    return Ok(None);
                }
                let frame = self.gathering.take().map(|gathering| gathering.finish());
                match frame.transpose()?.flatten() {
                    Some(frame) => return Ok(Some(frame)),
                    None => continue,
                }
            }
            let Some(preamble) = self.preamble(input)? else { return Ok(None) };
            let length = body_length(&preamble);
            match input.split_at_checked(length) {
                Some((body, rest)) => {
                    *input = rest;
                    if let Some(segments) = in_place(&preamble, body)? {
                        return Ok(Some(Frame::borrowed(preamble.tag, segments)));
                    }
                }
                None => {
                    self.gathering = Some(Box::new(Gathering::new(preamble, self.forgetting)));
                }
            }
        }
    }

    #[inline]
    fn preamble(&mut self, input: &mut &[u8]) -> Result<Option<Preamble>, Violation> {
        if self.head_length == 0
            && let Some((head, rest)) = input.split_first_chunk()
        {
            *input = rest;
            return Preamble::decode(head, &self.limits).map(Some);
        }
        let count = input.len().min(preamble::BYTES - self.head_length);
        let (piece, rest) = input.split_at(count);
        self.head[self.head_length..][..count].copy_from_slice(piece);
        self.head_length += count;
        *input = rest;
        if self.head_length < preamble::BYTES {
            return Ok(None);
        }
        self.head_length = 0;
        Preamble::decode(&self.head, &self.limits).map(Some)
    }
}

/// Bytes behind the preamble, in crc mode. No overflow: each length was checked, but the limits may
/// be anything.
#[inline]
pub(super) fn body_length(preamble: &Preamble) -> usize {
    let segments: u64 = preamble.lengths.iter().map(|length| u64::from(*length)).sum();
    let crc = if preamble.length(0) > 0 { CRC } else { 0 };
    let epilogue = if preamble.has_epilogue() { EPILOGUE } else { 0 };
    segments as usize + crc + epilogue
}

/// The segments of a frame whose [body](body_length) is here, no less and no more; `None` if its
/// sender aborted it.
#[inline]
pub(super) fn in_place<'a>(
    preamble: &Preamble,
    body: &'a [u8],
) -> Result<Option<[&'a [u8]; SEGMENTS]>, Violation> {
    debug_assert_eq!(body.len(), body_length(preamble), "the whole body, and no more");
    let rule = Violation::of(preamble.tag);
    let (first, mut rest) = body.split_at(preamble.length(0));
    if let (false, Some((carried, behind))) = (first.is_empty(), rest.split_first_chunk()) {
        check(0, crc::segment(first), *carried).map_err(&rule)?;
        rest = behind;
    }
    // Those that are not counted have no length.
    let (front, behind) = rest.split_at(preamble.length(1));
    let (middle, behind) = behind.split_at(preamble.length(2));
    let (data, epilogue) = behind.split_at(preamble.length(3));
    if preamble.has_epilogue() {
        // Segment 0 has been compared already.
        let crcs = [0, crc::segment(front), crc::segment(middle), crc::segment(data)];
        if !check_epilogue(preamble, &crcs, epilogue).map_err(rule)? {
            return Ok(None);
        }
    }
    Ok(Some([first, front, middle, data]))
}

fn check(segment: usize, computed: u32, carried: [u8; CRC]) -> Result<(), Rule> {
    let carried = u32::from_le_bytes(carried);
    match computed == carried {
        true => Ok(()),
        false => Err(Rule::SegmentCrc { segment: segment as u8, computed, carried }),
    }
}

/// Whether the frame counts.
fn check_epilogue(
    preamble: &Preamble,
    crcs: &[u32; SEGMENTS],
    epilogue: &[u8],
) -> Result<bool, Rule> {
    let (status, carried) = epilogue.split_first().ok_or(Rule::Truncated("epilogue"))?;
    if !is_complete(*status)? {
        return Ok(false);
    }
    for (i, carried) in carried.as_chunks::<CRC>().0.iter().enumerate() {
        let segment = i + 1;
        // An empty segment may carry the crc of nothing or, like those that are not counted, zero.
        let empty = preamble.length(segment) == 0;
        if !(empty && *carried == [0; CRC]) {
            check(segment, crcs[segment], *carried)?;
        }
    }
    Ok(true)
}

impl Gathering {
    fn new(preamble: Preamble, forgetting: bool) -> Self {
        Self {
            preamble,
            segments: Default::default(),
            crcs: [crc::SEED; SEGMENTS],
            segment: 0,
            come: 0,
            forgetting,
            trailer: Vec::new(),
        }
    }

    /// The segment that bytes are for, if they are kept.
    fn kept(&self) -> Option<&Vec<u8>> {
        let segment = self.segments.get(self.segment)?;
        (!self.forgetting || self.segment != DATA).then_some(segment)
    }

    fn place(&mut self) -> Option<Place<'_>> {
        self.kept()?;
        segment::place(&mut self.segments[self.segment], self.preamble.length(self.segment))
    }

    fn is_placed(&self) -> bool {
        self.kept().is_some_and(|segment| segment.len() > self.come)
    }

    /// Takes bytes; whether the frame has all of its own.
    fn feed(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        while self.segment < SEGMENTS {
            let total = self.preamble.length(self.segment);
            if self.come < total {
                let piece = match self.forgetting && self.segment == DATA {
                    true => split(input, total - self.come),
                    false => {
                        let segment = &mut self.segments[self.segment];
                        assert!(segment.len() <= total, "more was put there than belongs there");
                        gather(segment, total, input);
                        &segment[self.come..]
                    }
                };
                self.come += piece.len();
                // While the piece is in the cache.
                let crc = &mut self.crcs[self.segment];
                *crc = crc::append(*crc, piece);
            }
            if self.come < total {
                return Ok(false);
            }
            if self.segment == 0 && total > 0 {
                gather(&mut self.trailer, CRC, input);
                let Some(carried) = self.trailer.first_chunk() else { return Ok(false) };
                check(0, self.crcs[0], *carried).map_err(Violation::of(self.preamble.tag))?;
                self.trailer.clear();
            }
            (self.segment, self.come) = (self.segment + 1, 0);
        }
        if self.preamble.has_epilogue() {
            gather(&mut self.trailer, EPILOGUE, input);
            return Ok(self.trailer.len() == EPILOGUE);
        }
        Ok(true)
    }

    fn finish(self) -> Result<Option<Frame<'static>>, Violation> {
        let Self { preamble, segments, crcs, trailer, forgetting, .. } = self;
        if preamble.has_epilogue()
            && !check_epilogue(&preamble, &crcs, &trailer).map_err(Violation::of(preamble.tag))?
        {
            return Ok(None);
        }
        let segments = segments.map(|bytes| Segment::Owned(bytes.into()));
        let forgotten = if forgetting { preamble.length(DATA) } else { 0 };
        Ok(Some(Frame { tag: preamble.tag, segments, forgotten }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gathers_a_frame_is_as_small_as_the_bound_of_a_handshake_takes_it_to_be() {
        assert!(size_of::<Gathering>() + EPILOGUE < 256, "{}", size_of::<Gathering>());
    }

    #[test]
    fn a_frame_lies_in_memory_that_is_just_as_long() {
        for lengths in [[0, 0, 0, 0], [1, 0, 0, 0], [1000, 0, 0, 0], [41, 5, 0, 4097]] {
            let segments = lengths.map(|length| vec![7; length]);
            let frame = crc_frame(Tag::Message, &segments.each_ref().map(|segment| &segment[..]));
            assert_eq!(frame.capacity(), frame.len(), "{lengths:?}");
        }
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "the envelope is of other segments")]
    fn an_envelope_goes_around_the_segments_that_it_is_of() {
        let envelope = Envelope::new(Tag::Message, &[&[7; 41], b"front", b"", b"data"]);
        envelope.append(&[&[7; 41], b"front", b"data", b""], &mut Vec::new());
    }

    #[test]
    fn data_that_is_forgotten_is_checked_and_counted() {
        let (header, data) = ([7; 41], vec![5; 100_000]);
        let segments: [&[u8]; SEGMENTS] = [&header, b"front", b"", &data];
        let mut wire = crc_frame(Tag::Message, &segments);
        let decode = |wire: &[u8]| {
            let mut decoder = FrameDecoder::new(Limits::default());
            decoder.forget_data(true);
            let mut frames = Vec::new();
            for mut piece in wire.chunks(30_000) {
                while let Some(Frame { segments, forgotten, .. }) = decoder.decode(&mut piece)? {
                    frames.push((segments.map(|segment| segment.len()), forgotten));
                }
            }
            Ok::<_, Violation>(frames)
        };
        assert_eq!(decode(&wire), Ok(vec![([41, 5, 0, 0], 100_000)]));
        wire[70_000] ^= 1;
        let error = decode(&wire).unwrap_err();
        assert!(matches!(error.rule, Rule::SegmentCrc { segment: 3, .. }), "{error}");
    }

    #[test]
    fn only_an_empty_segment_may_have_no_crc_and_it_may_have_that_of_nothing() {
        let segments: [&[u8]; SEGMENTS] = [&[7; 41], b"front", b"", b"data"];
        let wire = crc_frame(Tag::Message, &segments);
        let decode = |segment: usize, crc: [u8; CRC]| {
            let mut wire = wire.clone();
            let at = wire.len() - EPILOGUE + 1 + (segment - 1) * CRC;
            wire[at..][..CRC].copy_from_slice(&crc);
            let whole = FrameDecoder::new(Limits::default()).decode(&mut &wire[..])?.is_some();
            let mut decoder = FrameDecoder::new(Limits::default());
            let mut pieces = wire.chunks(10).map(|mut piece| decoder.decode(&mut piece));
            Ok::<_, Violation>(whole && pieces.any(|came| came.is_ok_and(|it| it.is_some())))
        };
        let of_nothing = crc::segment(b"").to_le_bytes();
        assert_eq!(decode(2, [0; CRC]), Ok(true));
        assert_eq!(decode(2, of_nothing), Ok(true));
        for (segment, crc) in [(1, [0; CRC]), (3, [0; CRC]), (1, of_nothing), (2, [1; CRC])] {
            assert!(decode(segment, crc).is_err(), "{segment}: {crc:?}");
        }
    }

    #[test]
    fn limits_hold_behind_a_frame_that_was_given_up_in_pieces() {
        let segments: [&[u8]; SEGMENTS] = [&[7; 41], b"front", b"", b"data"];
        let envelope = Envelope::new(Tag::Message, &segments);
        let mut wire: Vec<u8> =
            envelope.slices(&segments).iter().flat_map(|slice| slice.to_vec()).collect();
        let late = wire.len() - EPILOGUE;
        wire[late] = ABORTED;
        let mut decoder = FrameDecoder::new(Limits::default());
        assert!(decoder.decode(&mut &wire[..50]).unwrap().is_none());
        decoder.set_limits(Limits { data_bytes: 3, ..Limits::default() });
        let rest = [&wire[50..], &wire[..]].concat();
        let error = decoder.decode(&mut &rest[..]).unwrap_err();
        assert_eq!(error.rule, Rule::SegmentLength { segment: 3, length: 4, limit: 3 });
    }
}
