//! Long segments are read right into their places.

use std::time::Duration;

use bytes::Bytes;
use vmsgr_messenger::msgr2::*;

use crate::keyed::Keyed;
use crate::world::{Dice, Node, World, peer};

/// Ahead of what has come there may be room for so much, or as much again as has come.
const AHEAD: usize = 64 << 10;

fn wire(segments: &[&[u8]; SEGMENTS]) -> Vec<u8> {
    crc_frame(Tag::Message, segments)
}

fn random(count: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..count).map(|_| dice.below(256) as u8).collect()
}

/// A frame's segments.
type Segments = [Vec<u8>; SEGMENTS];

/// Takes frames apart as one does who reads into places; what they were, and the bytes that were placed.
fn read(
    decoder: &mut FrameDecoder,
    mut bytes: &[u8],
    seed: u64,
) -> Result<(Vec<Segments>, usize), Violation> {
    let (mut dice, mut frames, mut placed) = (Dice::new(seed), Vec::new(), 0);
    while !bytes.is_empty() {
        let most = (dice.below(40_000) as usize + 1).min(bytes.len());
        let mut piece = &bytes[..0];
        // Nobody has to use a place.
        match decoder.place().filter(|_| dice.below(10) > 0) {
            Some(place) => {
                let most = most.min(place.most);
                assert!(place.buffer.len() + place.most <= place.buffer.capacity());
                let ahead = place.buffer.capacity() - place.buffer.len();
                assert!(ahead <= 2 * AHEAD + 2 * place.buffer.len(), "{ahead}");
                place.buffer.extend_from_slice(&bytes[..most]);
                bytes = &bytes[most..];
                placed += most;
            }
            None => (piece, bytes) = bytes.split_at(most),
        }
        while let Some(frame) = decoder.decode(&mut piece)? {
            frames.push(frame.segments.map(|segment| segment.to_vec()));
        }
        assert!(piece.is_empty());
    }
    Ok((frames, placed))
}

#[test]
fn they_come_the_same_in_their_places() {
    for seed in 1..40 {
        let [front, data] = [random(200_000, seed), random(500_000, seed + 100)];
        // Those that end where their place ends, and those beside which others are short.
        let frames: [[&[u8]; SEGMENTS]; 5] = [
            [&[1; 41], &front, b"middle", &data],
            [&[2; 41], b"front", b"", &data[..100_000]],
            [&[3; 41], b"", &front[..AHEAD], b""],
            [&[4; 41], b"", b"", &data[..seed as usize]],
            [&[5; 41], &data, &data, &data],
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(wire).collect();
        let mut decoder = FrameDecoder::new(Limits::default());
        let (came, placed) = read(&mut decoder, &bytes, seed).unwrap();
        assert!(came.iter().zip(&frames).all(|(came, sent)| came == sent), "{seed}");
        assert_eq!(came.len(), frames.len());
        assert!(placed > bytes.len() / 2, "{placed} of {}", bytes.len());
        assert!(!decoder.is_within_frame());
    }
}

#[test]
fn a_changed_byte_in_a_place_is_noticed() {
    let data = random(500_000, 1);
    let segments: [&[u8]; SEGMENTS] = [&[1; 41], b"front", b"", &data];
    for seed in 1..20 {
        let mut bytes = wire(&segments);
        let at = 100_000 + Dice::new(seed).below(400_000) as usize;
        bytes[at] ^= 1;
        let error = read(&mut FrameDecoder::new(Limits::default()), &bytes, seed).unwrap_err();
        assert!(matches!(error.rule, Rule::SegmentCrc { segment: 3, .. }), "{error}");
    }
}

#[test]
fn what_is_short_or_not_kept_has_none() {
    let data = random(AHEAD, 1);
    for (length, forget, expected) in
        [(AHEAD, false, true), (AHEAD - 1, false, false), (AHEAD, true, false)]
    {
        let bytes = wire(&[&[1; 41], b"front", b"", &data[..length]]);
        let mut decoder = FrameDecoder::new(Limits::default());
        decoder.forget_data(forget);
        let before = 32 + 41 + 4 + 5;
        for end in [0, 20, 32, 40, 75, before - 1] {
            decoder = FrameDecoder::new(Limits::default());
            decoder.forget_data(forget);
            assert!(decoder.decode(&mut &bytes[..end]).unwrap().is_none());
            assert!(decoder.place().is_none(), "{end}");
        }
        let mut rest = &bytes[before - 1..before];
        assert!(decoder.decode(&mut rest).unwrap().is_none());
        assert_eq!(decoder.place().is_some(), expected, "{length} {forget}");
    }
}

#[test]
#[should_panic(expected = "more was put there than belongs there")]
fn who_puts_too_much_there_is_told() {
    let bytes = wire(&[&[1; 41], b"front", b"", &random(2 * AHEAD, 1)]);
    let mut decoder = FrameDecoder::new(Limits::default());
    assert!(decoder.decode(&mut &bytes[..100]).unwrap().is_none());
    decoder.place().unwrap().buffer.extend_from_slice(&bytes);
    let _ = decoder.decode(&mut &[][..]);
}

fn send_long(world: &mut World, session: SessionId, count: usize) -> Vec<u8> {
    let data = random(count, 7);
    let header = MessageHeader { kind: 1000, ..Default::default() };
    let bytes = Bytes::from(data.clone());
    let message = Message { header, front: Bytes::new(), middle: Bytes::new(), data: bytes };
    world.nodes[0].endpoint.send(session, message, world.now).unwrap();
    data
}

#[test]
fn a_session_has_places_in_crc_mode_and_its_throttle_holds() {
    for (mode, placed) in [(1, true), (2, false)] {
        let keyed = |_: &Config| -> Box<dyn Authenticator> {
            Box::new(Keyed { mode, ..Keyed::new(b"key") })
        };
        let mut configs = vec![peer(1), peer(2)];
        configs[1].throttle.messages = 1;
        let mut world = World::with(configs, 5, keyed);
        world.nodes[1].takes = false;
        let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
        let sent: Vec<_> = (1..=3).map(|n| send_long(&mut world, session, n * 200_000)).collect();
        for taken in 0..3 {
            world.settle();
            let Node { endpoint, received, .. } = &mut world.nodes[1];
            assert!(received.len() == taken + 1 && received[taken].3 == sent[taken]);
            let (session, bytes) = (received[taken].0, sent[taken].len() as u64);
            endpoint.taken(session, 1, bytes, world.now);
        }
        match placed {
            true => assert!(world.placed > 900_000, "{}", world.placed),
            false => assert_eq!(world.placed, 0),
        }
    }
}

#[test]
fn who_sends_into_a_place_is_heard() {
    let mut configs = vec![peer(1), peer(2)];
    let second = Duration::from_secs(1);
    configs[1].keepalive = Some(Keepalive { after: 10 * second, patience: 10 * second });
    let mut world = World::new(configs, 5);
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    world.settle();
    let data = send_long(&mut world, session, 500_000);
    let start = world.now;
    while world.nodes[1].received.is_empty() {
        world.steps(1);
        world.now += second;
        world.nodes[1].endpoint.handle_timeout(world.now);
        assert!(world.now - start < 1000 * second);
    }
    assert!(world.now - start > 50 * second);
    assert_eq!(world.made, 1);
    assert_eq!(world.nodes[1].received[0].3, data);
}
