//! What real daemons said is understood, and said again with the same bytes.

use vmsgr_messenger::msgr2::*;

use crate::vectors::{Stream, cuts, pairs, secrets, streams};

/// A frame's tag and its segments.
type Owned = (Tag, [Vec<u8>; SEGMENTS]);

fn own(frame: Frame<'_>) -> Owned {
    (frame.tag, frame.segments.map(|segment| segment.to_vec()))
}

/// A frame in crc mode as bytes.
fn encode((tag, segments): &Owned) -> Vec<u8> {
    let segments = segments.each_ref().map(Vec::as_slice);
    crc_frame(*tag, &segments)
}

/// What a frame carries, read and written again.
fn encode_payload((tag, segments): &Owned) -> Vec<u8> {
    if *tag == Tag::Message {
        return MessageHeader::decode(&segments[0]).unwrap().encode().to_vec();
    }
    let mut payload = Vec::new();
    Control::decode(*tag, &segments[0]).unwrap().encode(&mut payload);
    payload
}

/// The banner, and what follows it.
fn split_banner(stream: &Stream) -> (Banner, &[u8]) {
    let (banner, length) = Banner::decode(&stream.bytes).unwrap().unwrap();
    (banner, &stream.bytes[length..])
}

fn decode(pieces: &[&[u8]]) -> Vec<Owned> {
    let mut decoder = FrameDecoder::new(Limits::default());
    let mut frames = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            frames.push(own(frame));
        }
        assert!(input.is_empty());
    }
    assert!(!decoder.is_within_frame());
    frames
}

fn check_crc_run(run: &str) {
    let mut frames_seen = 0;
    for stream in streams(run) {
        let (banner, bytes) = split_banner(&stream);
        assert_eq!(banner.encode(), stream.bytes[..Banner::BYTES]);
        let whole = decode(&[bytes]);
        let again: Vec<u8> = whole.iter().flat_map(encode).collect();
        assert!(again == bytes, "{} differs", stream.connection);
        for frame in &whole {
            assert_eq!(encode_payload(frame), frame.1[0], "{}: {}", stream.connection, frame.0);
        }
        for pieces in cuts(bytes) {
            assert!(decode(&pieces) == whole, "{} in pieces", stream.connection);
        }
        frames_seen += whole.len();
    }
    // So many were counted with another program when they were captured.
    assert_eq!(frames_seen, if run == "none-crc" { 180 } else { 202 });
}

#[test]
fn sessions_without_authentication_come_back_as_they_were() {
    check_crc_run("none-crc");
}

#[test]
fn sessions_with_cephx_come_back_as_they_were() {
    check_crc_run("cephx-crc");
}

#[test]
fn a_frame_that_lies_in_one_piece_is_not_copied() {
    let stream = &streams("none-crc")[0];
    let (_, mut bytes) = split_banner(stream);
    let range = bytes.as_ptr_range();
    let mut decoder = FrameDecoder::new(Limits::default());
    while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
        for segment in frame.segments.iter().filter(|segment| !segment.is_empty()) {
            assert!(segment.is_borrowed() && range.contains(&segment.as_ptr()));
        }
    }
}

/// Frames of one direction of a secure connection, and its bytes as we would have sent them.
fn decrypt(stream: &Stream, pieces: &dyn Fn(&[u8]) -> Vec<Vec<u8>>) -> (Vec<Owned>, Vec<u8>) {
    let secret = secrets(&stream.connection).connection_secret;
    // Who reads what the client sent is the acceptor.
    let (reader, writer) = match stream.from_client {
        true => (Side::Acceptor, Side::Initiator),
        false => (Side::Initiator, Side::Acceptor),
    };
    let limits = Limits::default();
    let (_, mut secure) = from_connection_secret(&secret, reader, limits).unwrap();
    let (mut sealer, _) = from_connection_secret(&secret, writer, limits).unwrap();
    let mut plain = FrameDecoder::new(limits);
    let (banner, mut bytes) = split_banner(stream);
    let (mut frames, mut again) = (Vec::new(), banner.encode().to_vec());
    // Up to the signature all is in the clear.
    let last = if stream.from_client { Tag::AuthRequestMore } else { Tag::AuthDone };
    while frames.last().is_none_or(|(tag, _)| *tag != last) {
        let frame = own(plain.decode(&mut bytes).unwrap().unwrap());
        again.extend(encode(&frame));
        frames.push(frame);
    }
    for piece in pieces(bytes) {
        let mut input = &piece[..];
        while let Some(frame) = secure.decode(&mut input).unwrap() {
            let frame = own(frame);
            let segments = frame.1.each_ref().map(Vec::as_slice);
            sealer.seal(frame.0, &segments, &mut again).unwrap();
            frames.push(frame);
        }
        assert!(input.is_empty());
    }
    assert!(!secure.is_within_frame());
    (frames, again)
}

#[test]
fn sealed_sessions_open_and_seal_to_the_same_bytes() {
    let mut frames_seen = 0;
    for stream in streams("cephx-secure") {
        let (whole, again) = decrypt(&stream, &|bytes| vec![bytes.to_vec()]);
        assert!(again == stream.bytes, "{} differs", stream.connection);
        for frame in &whole {
            assert_eq!(encode_payload(frame), frame.1[0], "{}: {}", stream.connection, frame.0);
        }
        for cut in 0..7 {
            let owned =
                |bytes: &[u8]| cuts(bytes)[cut].iter().map(|piece| piece.to_vec()).collect();
            assert!(decrypt(&stream, &owned).0 == whole, "{} in pieces", stream.connection);
        }
        frames_seen += whole.len();
    }
    assert_eq!(frames_seen, 202);
}

#[test]
fn the_directions_of_a_connection_do_not_open_each_other() {
    let (client, _) = &pairs("cephx-secure")[0];
    let secret = secrets(&client.connection).connection_secret;
    let (mut sealer, mut decoder) =
        from_connection_secret(&secret, Side::Initiator, Limits::default()).unwrap();
    let mut bytes = Vec::new();
    sealer.seal(Tag::Wait, &[&[]; SEGMENTS], &mut bytes).unwrap();
    assert_eq!(decoder.decode(&mut &bytes[..]).unwrap_err().rule, Rule::Seal(1));
}
