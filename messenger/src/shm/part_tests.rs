//! Messages through a ring, from a writer to a reader.

use std::collections::VecDeque;
use std::num::Wrapping;

use proptest::prelude::*;

use super::byte_ring::{ByteRing, Piece};
use super::geometry::Geometry;
use super::part::{Envelope, LARGEST_MESSAGE, Notice, PartHeader, PartKind, PartRule};
use super::part_reader::{Found, PartReader};
use super::part_writer::PartWriter;
use super::segment::Segment;

const RING: u32 = 4096;

/// A ring with its two positions.
struct Pipe {
    segment: Segment,
    put: Wrapping<u64>,
    taken: Wrapping<u64>,
}

impl Pipe {
    /// Whose positions begin at `from`.
    fn new(from: u64) -> Self {
        let geometry = Geometry::new(1, 1, RING, RING).unwrap();
        let (segment, _) = Segment::create(geometry).unwrap();
        Self { segment, put: Wrapping(from), taken: Wrapping(from) }
    }

    fn ring(&self) -> ByteRing<'_> {
        self.segment.send_ring(0)
    }

    fn room(&self) -> u32 {
        RING - (self.put - self.taken).0 as u32
    }

    fn write(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room() as usize);
        self.ring().write(self.put.0, bytes);
        self.put += bytes.len() as u64;
    }

    fn send(&mut self, writer: &mut PartWriter, body: &[&[u8]]) -> u32 {
        let put = writer.put(self.ring(), self.put.0, self.room(), body);
        self.put += u64::from(put);
        put
    }

    /// All parts that are there.
    fn take(&mut self, reader: &mut PartReader) -> Result<Vec<Taken>, PartRule> {
        let mut all = Vec::new();
        loop {
            let unread = (self.put - self.taken).0 as u32;
            let Some(part) = reader.next(self.ring(), self.taken.0, unread)? else {
                return Ok(all);
            };
            assert_eq!(part.bytes % 8, 0);
            match part.found {
                Found::InPlace(envelope, body) => {
                    let pieces = [body.front, body.middle, body.data];
                    all.push(Taken::InPlace(envelope, pieces.map(copied).concat()));
                }
                Found::Whole(envelope, body) => all.push(Taken::Whole(envelope, body)),
                Found::Notice(notice) => all.push(Taken::Notice(notice)),
                Found::Some => {}
            }
            self.taken += u64::from(part.bytes);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Taken {
    InPlace(Envelope, Vec<u8>),
    Whole(Envelope, Vec<u8>),
    Notice(Notice),
}

fn copied(pieces: [Piece<'_>; 2]) -> Vec<u8> {
    let mut bytes = Vec::new();
    pieces.iter().for_each(|piece| piece.append_to(&mut bytes));
    bytes
}

fn envelope(tid: u64, [front, middle, data]: [u32; 3]) -> Envelope {
    Envelope { tid, front, middle, data, ..Envelope::default() }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

/// A part as somebody may write it who keeps to no rule.
fn part(first: bool, last: bool, body: &[u8]) -> Vec<u8> {
    let header = PartHeader { kind: PartKind::Message, first, last, len: body.len() as u32 };
    let mut bytes = [&header.encode(), body].concat();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn first(body: u32, last: bool, bytes: usize) -> Vec<u8> {
    let envelope = envelope(1, [body, 0, 0]).encode();
    part(true, last, &[&envelope[..], &vec![7; bytes]].concat())
}

#[test]
fn what_fits_into_half_of_the_ring_is_one_part_and_lies_there() {
    for (body, parts) in [(0, 1), (1984, 1), (1985, 3)] {
        let mut pipe = Pipe::new(8 * 500);
        let bytes = pattern(body);
        let mut writer = PartWriter::new(envelope(5, [1, 0, body as u32]));
        assert!(writer.all_parts(RING) <= RING.into());
        let bytes = [&b"f"[..], b"", &bytes];
        let (body, bytes) = if body == 1984 {
            writer = PartWriter::new(envelope(5, [0, 0, 1984]));
            (1984, [&b""[..], b"", bytes[2]])
        } else {
            (body + 1, bytes)
        };
        let all = writer.all_parts(RING);
        assert_eq!(u64::from(pipe.send(&mut writer, &bytes)), all);
        assert!(writer.is_done() && writer.next_part(RING) == 0 && writer.all_parts(RING) == 0);
        let taken = pipe.take(&mut PartReader::new(LARGEST_MESSAGE)).unwrap();
        match &taken[..] {
            [Taken::InPlace(envelope, bytes)] => {
                assert_eq!((parts, envelope.tid, bytes.len()), (1, 5, body));
            }
            [Taken::Whole(_, whole)] => {
                assert_eq!(parts, 3);
                assert_eq!(whole, &bytes.concat());
            }
            taken => panic!("{taken:?}"),
        }
    }
}

#[test]
fn a_part_is_not_put_where_there_is_no_room_for_all_of_it() {
    let mut pipe = Pipe::new(0);
    let mut writer = PartWriter::new(envelope(1, [9000, 0, 0]));
    let body = pattern(9000);
    let slices = [&body[..100], &body[100..8000], &body[8000..]];
    let all = writer.all_parts(RING);
    let mut reader = PartReader::new(9000);
    let (mut put, mut taken) = (0, Vec::new());
    assert_eq!(writer.put(pipe.ring(), 0, 1023, &slices), 0);
    assert!(!writer.has_begun());
    while !writer.is_done() {
        assert_eq!(writer.next_part(RING), 1024.min(all - put) as u32);
        assert_eq!(writer.all_parts(RING), all - put);
        put += u64::from(pipe.send(&mut writer, &slices));
        taken.extend(pipe.take(&mut reader).unwrap());
    }
    assert_eq!(put, all);
    assert_eq!(taken, [Taken::Whole(envelope(1, [9000, 0, 0]), body.clone())]);
}

#[test]
fn a_message_that_is_not_finished_gives_way_to_the_next() {
    let mut pipe = Pipe::new(0);
    let mut reader = PartReader::new(LARGEST_MESSAGE);
    pipe.send(&mut PartWriter::new(envelope(1, [9000, 0, 0])), &[&pattern(9000)]);
    assert_eq!(pipe.take(&mut reader), Ok(vec![]));
    pipe.write(&Notice::StreamLost.encode());
    pipe.write(&first(3, true, 3));
    let expected =
        [Taken::Notice(Notice::StreamLost), Taken::InPlace(envelope(1, [3, 0, 0]), vec![7; 3])];
    assert_eq!(pipe.take(&mut reader), Ok(expected.to_vec()));
    pipe.write(&part(false, true, b"rest"));
    assert_eq!(pipe.take(&mut reader), Err(PartRule::Unbegun));
}

#[test]
fn who_comes_later_skips_the_rest_of_a_message() {
    let mut pipe = Pipe::new(0);
    pipe.write(&part(false, false, b"middle"));
    pipe.write(&part(false, true, b"end"));
    pipe.write(&first(3, true, 3));
    pipe.write(&part(false, false, b"of nothing"));
    let mut reader = PartReader::resume(LARGEST_MESSAGE);
    assert_eq!(pipe.take(&mut reader), Err(PartRule::Unbegun), "only once");
    assert_eq!(pipe.put - pipe.taken, Wrapping(32));
}

#[test]
fn what_breaks_a_rule_is_named() {
    let long = [part(true, true, &[0; 2048]), part(false, false, &[0; 1009])];
    let mut zeros = first(0, true, 0);
    zeros[16 + 27] = 1;
    let kind = PartKind::Notice;
    let notice = |first, last, len: u32| {
        let header = PartHeader { kind, first, last, len };
        [&header.encode()[..], &[0; 24]].concat()
    };
    for (bytes, rule) in [
        (vec![1; 8], PartRule::Cut),
        (first(8, true, 8)[..64].to_vec(), PartRule::Cut),
        (vec![0; 16], PartRule::Kind),
        (long[0].clone(), PartRule::TooLong),
        (long[1].clone(), PartRule::TooLong),
        (part(true, true, &[0; 47]), PartRule::NoEnvelope),
        (zeros, PartRule::Reserved),
        (first(5001, false, 100), PartRule::TooLarge),
        (part(false, true, b"x"), PartRule::Unbegun),
        (first(3, true, 4), PartRule::More),
        (first(3, false, 3), PartRule::More),
        (first(4, true, 3), PartRule::Fewer),
        ([first(9, false, 8), part(false, true, b"")].concat(), PartRule::Empty),
        ([first(9, false, 7), part(false, true, b"x")].concat(), PartRule::Fewer),
        ([first(9, false, 8), part(false, false, b"x")].concat(), PartRule::More),
        ([first(9, false, 8), part(false, true, b"xy")].concat(), PartRule::More),
        (notice(true, false, 16), PartRule::Notice),
        (notice(true, true, 15), PartRule::Notice),
        (notice(true, true, 16), PartRule::Notice),
    ] {
        let mut pipe = Pipe::new(0);
        pipe.write(&bytes);
        assert_eq!(pipe.take(&mut PartReader::new(5000)), Err(rule), "{rule}");
        assert!(!rule.to_string().is_empty());
    }
}

proptest! {
    /// Whatever is sent, through whatever room there is, arrives as it was, and in order.
    #[test]
    fn messages_arrive_as_they_were_sent(
        from in any::<u32>().prop_map(|words| u64::from(words).wrapping_mul(8)),
        messages in proptest::collection::vec([0u32..3000, 0u32..40, 0u32..9000], 1..12),
        eager: bool,
    ) {
        let mut pipe = Pipe::new(from.wrapping_sub(1 << 14));
        let mut reader = PartReader::new(LARGEST_MESSAGE);
        let (mut sent, mut came) = (VecDeque::new(), Vec::new());
        for (tid, lens) in messages.iter().enumerate() {
            let envelope = envelope(tid as u64, *lens);
            let bodies = lens.map(|len| pattern(len as usize));
            let slices = [&bodies[0][..], &bodies[1], &bodies[2]];
            let mut writer = PartWriter::new(envelope);
            while !writer.is_done() {
                if pipe.send(&mut writer, &slices) == 0 || eager {
                    came.extend(pipe.take(&mut reader).unwrap());
                }
            }
            sent.push_back((envelope, bodies.concat()));
        }
        came.extend(pipe.take(&mut reader).unwrap());
        prop_assert_eq!(came.len(), sent.len());
        for (came, (envelope, body)) in came.into_iter().zip(sent) {
            let one_part = (16 + 48 + body.len()).next_multiple_of(8) <= RING as usize / 2;
            let expected = match one_part {
                true => Taken::InPlace(envelope, body),
                false => Taken::Whole(envelope, body),
            };
            prop_assert!(came == expected, "{:?}", came);
        }
    }

    /// Whatever lies in the ring is refused, or is within the bounds.
    #[test]
    fn garbage_is_refused_or_bounded(
        parts in proptest::collection::vec(
            (0u8..4, 0u8..5, 0u32..1200, any::<bool>(), 0u32..1200, any::<bool>()),
            1..40,
        ),
        bytes: u8,
    ) {
        let mut pipe = Pipe::new(8);
        let mut reader = PartReader::new(2000);
        for (kind, flags, len, sane, body, short) in parts {
            let mut part = [&[kind, flags, 0, 0][..], &len.to_le_bytes(), &[0; 8]].concat();
            if sane {
                part.extend(envelope(0, [body, 0, 0]).encode());
            }
            part.resize((16 + len as usize).next_multiple_of(8), bytes);
            if short {
                part.truncate(part.len() - part.len().min(8));
            }
            pipe.write(&part);
            match pipe.take(&mut reader) {
                Ok(taken) => for taken in taken {
                    if let Taken::InPlace(envelope, body) | Taken::Whole(envelope, body) = taken {
                        prop_assert_eq!(envelope.body_bytes(), body.len() as u64);
                        prop_assert!(body.len() <= 2000);
                    }
                },
                Err(_) => (pipe, reader) = (Pipe::new(8), PartReader::resume(2000)),
            }
        }
    }
}
