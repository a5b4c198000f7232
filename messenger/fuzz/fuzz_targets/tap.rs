//! Streams of others that a tap follows, both directions of a connection. The fuzzer changes
//! captured ones; crcs are made right, so that what lies behind them is reached.
//!
//! Whole and in pieces the same is seen, every frame where the one before it ended; and whatever
//! the decoder of frames makes of the stream, which gathers all that the follower passes over, the
//! follower has seen it too.
#![no_main]

use std::time::Duration;

use crc_fast::{CrcAlgorithm, Digest};
use libfuzzer_sys::fuzz_target;
use vmsgr_messenger::msgr2::*;
use vmsgr_messenger::tap::{Sums, Tap};

const PREAMBLE: usize = 32;
const CRC: usize = 4;

/// Without what Ceph leaves out, the last inversion.
fn crc32c(start: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(start));
    digest.update(bytes);
    !(digest.finalize() as u32)
}

/// Bytes of the banner with which the stream begins; 0 if it has none.
fn banner_length(stream: &[u8]) -> usize {
    Banner::decode(stream).ok().flatten().map_or(0, |(_, length)| length)
}

/// Makes the crcs right of all frames that are there whole, as long as they can be found.
fn mend(stream: &mut [u8]) {
    let mut at = banner_length(stream);
    while let Some(frame) = stream.get_mut(at..).filter(|rest| rest.len() >= PREAMBLE) {
        let crc = crc32c(0, &frame[..PREAMBLE - CRC]);
        frame[PREAMBLE - CRC..PREAMBLE].copy_from_slice(&crc.to_le_bytes());
        let lengths = [2, 8, 14, 20]
            .map(|at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().unwrap()) as usize);
        let mut end = PREAMBLE;
        let mut crcs = [0; SEGMENTS];
        for (segment, length) in lengths.into_iter().enumerate() {
            let Some(bytes) = frame.get(end..end.saturating_add(length)) else { return };
            crcs[segment] = crc32c(u32::MAX, bytes);
            end += length;
            if segment == 0 && length > 0 {
                let Some(place) = frame.get_mut(end..end + CRC) else { return };
                place.copy_from_slice(&crcs[0].to_le_bytes());
                end += CRC;
            }
        }
        if frame[1] > 1 {
            let Some(epilogue) = frame.get_mut(end..end + 1 + 3 * CRC) else { return };
            for (place, crc) in epilogue[1..].chunks_mut(CRC).zip(&crcs[1..]) {
                place.copy_from_slice(&crc.to_le_bytes());
            }
            end += epilogue.len();
        }
        at += end;
    }
}

/// A frame as it was seen.
#[derive(Debug, PartialEq)]
struct Seen {
    tag: Tag,
    header: Option<MessageHeader>,
    front: Vec<u8>,
    lengths: [u32; 3],
    bytes: u64,
}

impl Seen {
    /// Whether the decoder's frame is this one, of whose front so much was kept.
    fn is(&self, frame: &Frame<'_>, keep: usize) -> bool {
        let [first, front, middle, data] = &frame.segments;
        let front = if self.header.is_some() { front } else { first };
        self.tag == frame.tag
            && self.header.is_none_or(|header| header.encode() == first[..])
            && self.front == front[..front.len().min(keep)]
            && self.lengths == [front.len(), middle.len(), data.len()].map(|bytes| bytes as u32)
    }
}

fn follow(stream: &[u8], step: usize, keep: usize) -> (Vec<Seen>, Option<CannotFollow>) {
    let mut follower = Follower::new(Limits::default(), keep);
    let mut all = Vec::new();
    for mut piece in stream.chunks(step) {
        loop {
            match follower.follow(&mut piece) {
                Ok(None) => break,
                Ok(Some(frame)) => all.push(Seen {
                    tag: frame.tag,
                    header: frame.header,
                    front: frame.front.to_vec(),
                    lengths: [frame.front_length, frame.middle_length, frame.data_length],
                    bytes: frame.frame_bytes,
                }),
                Err(reason) => {
                    // It says so again, and takes nothing.
                    assert_eq!(follower.follow(&mut &b"more"[..]), Err(reason));
                    return (all, Some(reason));
                }
            }
        }
        assert!(piece.is_empty());
    }
    (all, None)
}

/// Whether the follower was right to go no further than this frame, for that reason.
fn ends_it(frame: &Frame<'_>, reason: CannotFollow) -> bool {
    let payload = &frame.segments[0];
    match (frame.tag, reason) {
        (Tag::AuthDone, CannotFollow::Secure) => payload[8..12] == [2, 0, 0, 0],
        (Tag::AuthDone, CannotFollow::Violation(_)) => payload.len() < 12,
        (Tag::CompressionDone, CannotFollow::Compressed) => payload[0] > 0,
        (Tag::CompressionDone, CannotFollow::Violation(_)) => payload.is_empty(),
        _ => false,
    }
}

/// Compares what was seen with where frames are, and with what the decoder of frames says.
fn check(stream: &[u8], keep: usize, seen: &[Seen], reason: Option<CannotFollow>) {
    let mut at = banner_length(stream);
    for frame in seen {
        assert_eq!(frame.tag as u8, stream[at]);
        at += frame.bytes as usize;
    }
    let Ok(Some((banner, begin))) = Banner::decode(stream) else { return };
    if banner.supported & Banner::REVISION_1 == 0 {
        return assert!(reason.is_some());
    }
    let mut decoder = FrameDecoder::new(Limits::default());
    let mut rest = &stream[begin..];
    let mut candidates = seen.iter();
    while let Ok(Some(frame)) = decoder.decode(&mut rest) {
        // Those between that are not its are such that their sender has taken back.
        if !candidates.any(|seen| seen.is(&frame, keep)) {
            let ended = reason.is_some_and(|reason| ends_it(&frame, reason));
            return assert!(ended, "not seen: {:?}, {reason:?}", frame.tag);
        }
    }
}

/// Has a tap look at both streams in turns; what it says of the operations adds up.
fn tap(client: &[u8], server: &[u8], step: usize) {
    let tap = Tap::default();
    let mut connection = tap.connection(None);
    let mut pieces = [client.chunks(step), server.chunks(step)];
    let mut said = 0;
    for turn in 0_usize.. {
        let side = [Side::Initiator, Side::Acceptor][turn % 2];
        match pieces[turn % 2].next() {
            Some(piece) => {
                let now = Duration::from_micros(turn as u64);
                said += usize::from(connection.pass(side, now, piece).is_some());
            }
            None if pieces.iter().all(|pieces| pieces.len() == 0) => break,
            None => {}
        }
    }
    assert!(said <= 1);
    let Sums { in_flight, most_in_flight, .. } = tap.sums();
    assert!(in_flight <= most_in_flight);
    let could = connection.lose();
    assert_eq!(could, said == 0);
    drop(connection);
    let sums = tap.sums();
    assert_eq!(sums.in_flight, 0);
    assert_eq!(sums.blind.secure + sums.blind.compressed + sums.blind.broken, 1);
    let of = |kind: u16| sums.messages.get(&kind).copied().unwrap_or_default();
    let answered: u64 = sums.kinds.iter().map(|kind| kind.operations).sum();
    assert_eq!(of(OSD_OP_REPLY).from_server.messages, answered + sums.unmatched);
    let asked = answered + sums.abandoned + sums.untracked + sums.repeated;
    assert_eq!(of(OSD_OP).from_client.messages, asked);
}

fuzz_target!(|input: &[u8]| {
    let [step, keep, low, high, streams @ ..] = input else { return };
    let step = usize::from(*step).max(1);
    let keep = usize::from(*keep) * 16;
    let split = usize::from(u16::from_le_bytes([*low, *high])).min(streams.len());
    let (client, server) = streams.split_at(split);
    let streams = [client, server].map(|stream| {
        let mut stream = stream.to_vec();
        mend(&mut stream);
        stream
    });
    for stream in &streams {
        let (seen, reason) = follow(stream, usize::MAX, keep);
        check(stream, keep, &seen, reason);
        let in_pieces = follow(stream, step, keep);
        assert_eq!((seen, reason), in_pieces);
    }
    tap(&streams[0], &streams[1], step);
});
