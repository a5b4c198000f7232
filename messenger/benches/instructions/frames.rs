//! Frames of msgr2: a message of an OSD operation with 4 KiB of data.

use std::hint::black_box;

use crate::harness::{ROUNDS, WARM_UP, rounds};
use crate::msgr2::{
    Banner, Follower, Frame, FrameDecoder, FrameSealer, Limits, MessageHeader, OSD_OP,
    SecureFrameDecoder, Side, Tag, crc_frame, from_connection_secret,
};

/// Front of a message, as long as that of an operation of an OSD.
const FRONT: [u8; 217] = [1; 217];

const DATA: [u8; 4096] = [2; 4096];

/// What a tap keeps of a front: nearly all of it, of an operation's.
const KEEP: usize = 200;

fn header() -> [u8; MessageHeader::BYTES] {
    MessageHeader { seq: 1, kind: OSD_OP, version: 8, ..Default::default() }.encode()
}

/// The frame in crc mode.
fn in_crc_mode() -> Vec<u8> {
    let header = header();
    crc_frame(Tag::Message, &[&header[..], &FRONT, &[], &DATA])
}

fn check(frame: Option<Frame<'_>>) {
    let frame = black_box(frame.expect("it is complete"));
    assert_eq!(frame.segments[3].len(), DATA.len());
}

/// One that came in one piece: it stays where it lies.
pub(crate) fn crc() {
    let wire = in_crc_mode();
    rounds(
        &mut FrameDecoder::new(Limits::default()),
        |_, _| (),
        |decoder, _| check(decoder.decode(&mut &wire[..]).expect("it is right")),
        |_, _| (),
    );
}

/// One that came in two: it is put together.
pub(crate) fn crc_in_pieces() {
    let wire = in_crc_mode();
    let (first, second) = wire.split_at(wire.len() / 2);
    rounds(
        &mut FrameDecoder::new(Limits::default()),
        |_, _| (),
        |decoder, _| {
            assert!(decoder.decode(&mut { first }).expect("it is right").is_none());
            check(decoder.decode(&mut { second }).expect("it is right"));
        },
        |_, _| (),
    );
}

/// A sealed one, in one piece. None opens twice, so each round has its own.
pub(crate) fn secure() {
    let secrets = |side| from_connection_secret(&[7; 40], side, Limits::default()).unwrap();
    let (mut sealer, _): (FrameSealer, _) = secrets(Side::Initiator);
    let (_, mut decoder): (_, SecureFrameDecoder) = secrets(Side::Acceptor);
    let header = header();
    let wires: Vec<Vec<u8>> = (0..WARM_UP + ROUNDS)
        .map(|_| {
            let mut wire = Vec::new();
            sealer.seal(Tag::Message, &[&header, &FRONT, &[], &DATA], &mut wire).unwrap();
            wire
        })
        .collect();
    rounds(
        &mut decoder,
        |_, _| (),
        |decoder, round| check(decoder.decode(&mut &wires[round][..]).expect("it is right")),
        |_, _| (),
    );
}

/// One that passes by: its preamble and header are read, its data is passed over.
pub(crate) fn tapped() {
    let wire = in_crc_mode();
    let mut follower = Follower::new(Limits::default(), KEEP);
    assert_eq!(follower.follow(&mut &Banner::OURS.encode()[..]), Ok(None));
    rounds(
        &mut follower,
        |_, _| (),
        |follower, _| {
            let mut input = &wire[..];
            let followed = follower.follow(&mut input).expect("it is right");
            let header = black_box(followed).and_then(|frame| frame.header);
            assert_eq!(header.map(|header| header.kind), Some(OSD_OP));
            assert_eq!(follower.follow(&mut input), Ok(None));
        },
        |_, _| (),
    );
}
