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
use super::secure::FrameSealer;
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

/// Messages with fewer bytes are copied together with what goes around them: a slice more costs
/// the kernel more than that.
const TOGETHER: usize = 512;

/// One frame, or the banner.
#[derive(Debug)]
enum Piece {
    Whole(Vec<u8>),
    Message(Box<Parts>),
}

/// A message in crc mode and what goes around it.
#[derive(Debug)]
struct Parts {
    /// Preamble, header and its crc.
    head: Vec<u8>,
    front: Bytes,
    middle: Bytes,
    data: Bytes,
    envelope: Envelope,
}

impl Piece {
    fn slices(&self) -> [&[u8]; 5] {
        match self {
            Self::Whole(bytes) => [bytes, &[], &[], &[], &[]],
            Self::Message(parts) => {
                [&parts.head, &parts.front, &parts.middle, &parts.data, parts.envelope.epilogue()]
            }
        }
    }

    fn len(&self) -> usize {
        self.slices().iter().map(|slice| slice.len()).sum()
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
    sealer: Option<FrameSealer>,
}

impl Output {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// From here on frames are sealed.
    pub(super) fn seal_with(&mut self, sealer: FrameSealer) {
        self.sealer = Some(sealer);
    }

    /// Bytes as they are; which they were.
    pub(super) fn raw(&mut self, bytes: Vec<u8>) -> &[u8] {
        self.push(Piece::Whole(bytes));
        match self.pieces.back() {
            Some(Piece::Whole(bytes)) => bytes,
            _ => &[],
        }
    }

    /// A control frame; its bytes.
    pub(super) fn control(&mut self, control: &Control) -> Result<&[u8], Rule> {
        let mut payload = Vec::new();
        control.encode(&mut payload);
        let frame = self.whole(control.tag(), &[&payload, &[], &[], &[]])?;
        Ok(self.raw(frame))
    }

    /// A message with this header.
    pub(super) fn message(&mut self, header: MessageHeader, message: &Message) -> Result<(), Rule> {
        let header = header.encode();
        let segments: [&[u8]; 4] = [&header, &message.front, &message.middle, &message.data];
        if self.sealer.is_some() || message.bytes() <= TOGETHER {
            let frame = self.whole(Tag::Message, &segments)?;
            self.push(Piece::Whole(frame));
            return Ok(());
        }
        let envelope = Envelope::new(Tag::Message, &segments);
        let mut head = Vec::with_capacity(80);
        for part in [envelope.preamble(), &header, envelope.first_crc()] {
            head.extend_from_slice(part);
        }
        let Message { front, middle, data, .. } = message.clone();
        self.push(Piece::Message(Box::new(Parts { head, front, middle, data, envelope })));
        Ok(())
    }

    /// A frame in one piece.
    fn whole(&mut self, tag: Tag, segments: &[&[u8]; 4]) -> Result<Vec<u8>, Rule> {
        let mut frame = Vec::new();
        match &mut self.sealer {
            Some(sealer) => sealer.seal(tag, segments, &mut frame)?,
            None => {
                let envelope = Envelope::new(tag, segments);
                let slices = envelope.slices(segments);
                frame.reserve_exact(slices.iter().map(|slice| slice.len()).sum());
                slices.iter().for_each(|slice| frame.extend_from_slice(slice));
            }
        }
        Ok(frame)
    }

    fn push(&mut self, piece: Piece) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// As much from the front as fits.
    pub(super) fn slices(&self) -> Slices<'_> {
        let mut slices = Slices::none();
        let mut skip = self.written;
        for piece in &self.pieces {
            for slice in piece.slices() {
                let skipped = skip.min(slice.len());
                skip -= skipped;
                if !slices.push(&slice[skipped..]) {
                    return slices;
                }
            }
        }
        slices
    }

    /// So many bytes at the front are written.
    pub(super) fn consume(&mut self, mut count: usize) {
        count = count.min(self.bytes);
        self.bytes -= count;
        self.written += count;
        while let Some(first) = self.pieces.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_in_any_steps_and_data_is_not_copied() {
        let mut output = Output::default();
        let data = Bytes::from(vec![7; 10_000]);
        output.raw(b"banner".to_vec());
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
}
