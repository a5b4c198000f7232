//! What waits to be written to a connection, as slices where it lies.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Deref;

use bytes::Bytes;

use super::control::Control;
use super::error::Rule;
use super::frame::Envelope;
use super::header::MessageHeader;
use super::message::Message;
use super::secure::{AROUND, FrameSealer};
use super::tag::Tag;

/// Slices that are given at once.
const MOST_SLICES: usize = 64;

/// Slices to write with one `writev`.
#[derive(Debug)]
pub struct Slices<'a> {
    slices: [IoSlice<'a>; MOST_SLICES],
    count: usize,
}

impl<'a> Slices<'a> {
    /// So many at most; more are there after these are consumed.
    pub const MOST: usize = MOST_SLICES;

    /// None at all.
    pub(super) fn none() -> Self {
        Self { slices: std::array::from_fn(|_| IoSlice::new(&[])), count: 0 }
    }

    /// Adds one, unless it is empty; whether there was room.
    fn push(&mut self, slice: &'a [u8]) -> bool {
        if slice.is_empty() {
            return true;
        }
        match self.slices.get_mut(self.count) {
            Some(place) => {
                *place = IoSlice::new(slice);
                self.count += 1;
                true
            }
            None => false,
        }
    }
}

impl<'a> Deref for Slices<'a> {
    type Target = [IoSlice<'a>];

    fn deref(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.count]
    }
}

/// Parts of a message with fewer bytes are copied next to what goes around them: a slice more costs
/// the kernel more than that.
const TOGETHER: usize = 512;

/// Bytes of copied frames that lie together at most, unless one frame alone has more: a slow reader
/// sets memory free piece by piece.
const CHUNK: usize = 32 << 10;

/// Bytes of the first allocation of a piece.
const FIRST: usize = 512;

#[derive(Debug)]
enum Piece {
    /// What was written here, of any number of frames.
    Copied(Vec<u8>),
    /// What somebody else has too, from where it lies: a part of a message, say.
    Kept(Bytes),
}

/// Bytes of a piece's place in the queue.
pub(super) const PIECE: usize = size_of::<Piece>();

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Kept(bytes) => bytes,
        }
    }
}

/// The queue, and the seal of what enters it.
#[derive(Debug, Default)]
pub(super) struct Output {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are written.
    written: usize,
    /// That wait.
    bytes: usize,
    /// That were written, in all.
    gone: u64,
    sealer: Option<FrameSealer>,
}

impl Output {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Bytes that were written since the stream began.
    pub(super) fn gone(&self) -> u64 {
        self.gone
    }

    /// From here on frames are sealed.
    pub(super) fn seal_with(&mut self, sealer: FrameSealer) {
        self.sealer = Some(sealer);
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        room(&mut self.pieces, bytes.len()).extend_from_slice(bytes);
    }

    /// Bytes as they are, from where they lie.
    pub(super) fn kept(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.pieces.push_back(Piece::Kept(bytes));
    }

    /// A control frame.
    pub(super) fn control(&mut self, control: &Control) -> Result<(), Rule> {
        let mut payload = Vec::new();
        control.encode(&mut payload);
        self.whole(control.tag(), &[&payload, &[], &[], &[]])
    }

    /// A message with this header.
    pub(super) fn message(&mut self, header: MessageHeader, message: &Message) -> Result<(), Rule> {
        let header = header.encode();
        let segments: [&[u8]; 4] = [&header, &message.front, &message.middle, &message.data];
        if self.sealer.is_some() || message.bytes() <= TOGETHER {
            return self.whole(Tag::Message, &segments);
        }
        let envelope = Envelope::new(Tag::Message, &segments);
        for part in [envelope.preamble(), &header, envelope.first_crc()] {
            self.raw(part);
        }
        for part in [&message.front, &message.middle, &message.data] {
            match part.len() {
                0 => {}
                1..=TOGETHER => self.raw(part),
                _ => self.kept(part.clone()),
            }
        }
        self.raw(envelope.epilogue());
        Ok(())
    }

    /// A frame in one piece.
    fn whole(&mut self, tag: Tag, segments: &[&[u8]; 4]) -> Result<(), Rule> {
        let parts: usize = segments.iter().map(|segment| segment.len()).sum();
        // More than in crc mode.
        let room = room(&mut self.pieces, parts + AROUND);
        let start = room.len();
        match &mut self.sealer {
            Some(sealer) => {
                if let Err(rule) = sealer.seal(tag, segments, room) {
                    room.truncate(start);
                    return Err(rule);
                }
            }
            None => Envelope::new(tag, segments).append(segments, room),
        }
        self.bytes += room.len() - start;
        Ok(())
    }

    /// As much from the front as fits.
    pub(super) fn slices(&self) -> Slices<'_> {
        let mut slices = Slices::none();
        let mut skip = self.written;
        for piece in &self.pieces {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            if !slices.push(&piece[skipped..]) {
                break;
            }
        }
        slices
    }

    /// So many bytes at the front are written.
    pub(super) fn consume(&mut self, mut count: usize) {
        count = count.min(self.bytes);
        self.bytes -= count;
        self.gone += count as u64;
        self.written += count;
        while let Some(first) = self.pieces.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.pieces.pop_front();
        }
    }
}

/// Where to copy `more` bytes to: behind what was copied last, if nothing was kept since.
fn room(pieces: &mut VecDeque<Piece>, more: usize) -> &mut Vec<u8> {
    let fits = match pieces.back() {
        Some(Piece::Copied(last)) => last.len() + more <= CHUNK,
        _ => false,
    };
    if !fits {
        pieces.push_back(Piece::Copied(Vec::with_capacity(more.max(FIRST))));
    }
    match pieces.back_mut() {
        Some(Piece::Copied(last)) => last,
        _ => unreachable!("it was looked at, or put there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_in_any_steps_and_data_is_not_copied() {
        let mut output = Output::default();
        let data = Bytes::from(vec![7; 10_000]);
        output.raw(b"banner");
        for seq in 0..40 {
            let front = Bytes::from(vec![seq as u8; 100 * seq]);
            let message = Message { front, data: data.clone(), ..Default::default() };
            output.message(MessageHeader::default(), &message).unwrap();
            output.control(&Control::Ack(seq as u64)).unwrap();
        }
        let mut whole = Vec::new();
        let mut copied = true;
        for step in [1, 70, 3, 9999, 20_000, 123_456].into_iter().cycle() {
            if output.len() == 0 {
                break;
            }
            let slices = output.slices();
            copied &= !slices.iter().any(|slice| slice.as_ptr() == data.as_ptr());
            let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            bytes.truncate(step);
            output.consume(bytes.len());
            whole.extend(bytes);
        }
        assert!(!copied);
        assert!(output.pieces.is_empty());
        let mut decoder = super::super::FrameDecoder::new(Default::default());
        let mut input = &whole[6..];
        let mut frames = 0;
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            frames += usize::from(frame.tag == Tag::Message && *frame.segments[3] == *data);
        }
        assert_eq!(frames, 40);
    }

    #[test]
    fn small_frames_are_one_slice_and_what_is_around_data_is_one_between() {
        let mut output = Output::default();
        let small = Message { front: vec![1; 200].into(), ..Default::default() };
        for seq in 0..100 {
            output.message(MessageHeader { seq, ..Default::default() }, &small).unwrap();
            output.control(&Control::Ack(seq)).unwrap();
        }
        let slices: Vec<usize> = output.slices().iter().map(|slice| slice.len()).collect();
        assert_eq!(slices.iter().sum::<usize>(), output.len());
        assert!(slices.len() <= output.len() / CHUNK + 2, "{slices:?}");
        let data = Bytes::from(vec![2; 4096]);
        let mut output = Output::default();
        for _ in 0..10 {
            let message = Message { data: data.clone(), ..small.clone() };
            output.message(MessageHeader::default(), &message).unwrap();
        }
        let slices = output.slices();
        assert_eq!(slices.len(), 21);
        assert!(slices.iter().skip(1).step_by(2).all(|slice| slice.as_ptr() == data.as_ptr()));
    }
}
