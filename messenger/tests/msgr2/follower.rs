//! A follower sees what a decoder sees, without keeping the data.

use vmsgr_messenger::msgr2::*;

use crate::vectors::{cuts, streams};

type Seen = (Tag, Option<MessageHeader>, Vec<u8>, [u32; 3]);

fn follow(pieces: &[&[u8]], keep: usize) -> Result<Vec<Seen>, CannotFollow> {
    let mut follower = Follower::new(Limits::default(), keep);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(frame) = follower.follow(&mut input)? {
            let lengths = [frame.front_length, frame.middle_length, frame.data_length];
            seen.push((frame.tag, frame.header, frame.front.to_vec(), lengths));
        }
        assert!(input.is_empty());
    }
    Ok(seen)
}

fn decode(mut bytes: &[u8], keep: usize) -> Vec<Seen> {
    bytes = &bytes[Banner::BYTES..];
    let mut decoder = FrameDecoder::new(Limits::default());
    let mut seen = Vec::new();
    while let Some(Frame { tag, segments, .. }) = decoder.decode(&mut bytes).unwrap() {
        let message = tag == Tag::Message;
        let header = message.then(|| MessageHeader::decode(&segments[0]).unwrap());
        let front = &segments[usize::from(message)];
        let lengths = [front.len(), segments[2].len(), segments[3].len()].map(|len| len as u32);
        seen.push((tag, header, front[..front.len().min(keep)].to_vec(), lengths));
    }
    seen
}

#[test]
fn every_frame_of_a_session_in_crc_mode_is_seen() {
    for run in ["none-crc", "cephx-crc"] {
        for stream in streams(run) {
            for keep in [0, 100, 65536] {
                let wanted = decode(&stream.bytes, keep);
                for pieces in cuts(&stream.bytes) {
                    let seen = follow(&pieces, keep).unwrap();
                    assert!(seen == wanted, "{}, {keep} kept", stream.connection);
                }
            }
        }
    }
}

#[test]
fn it_gives_up_where_encryption_begins() {
    for stream in streams("cephx-secure") {
        for pieces in cuts(&stream.bytes) {
            let error = follow(&pieces, 65536).unwrap_err();
            match stream.from_client {
                false => assert_eq!(error, CannotFollow::Secure),
                // Only the server says so; the other direction turns to noise.
                true => assert!(matches!(error, CannotFollow::Violation(_)), "{error}"),
            }
        }
    }
}

#[test]
fn what_failed_stays_failed() {
    let mut follower = Follower::new(Limits::default(), 100);
    let error = follower.follow(&mut &b"HTTP/1.1"[..]).unwrap_err();
    assert_eq!(error, CannotFollow::Violation(Rule::Banner.into()));
    assert_eq!(follower.follow(&mut &Banner::OURS.encode()[..]).unwrap_err(), error);
}

#[test]
fn it_does_not_follow_a_revision_that_it_does_not_know() {
    for supported in [0, Banner::COMPRESSION, !Banner::REVISION_1] {
        let banner = Banner { supported, required: 0 }.encode();
        for pieces in cuts(&banner) {
            assert_eq!(follow(&pieces, 100), Err(CannotFollow::Violation(Rule::Revision.into())));
        }
    }
    let banner = Banner { supported: !0, required: 0 }.encode();
    assert_eq!(follow(&[&banner], 100), Ok(vec![]), "more than is known does not matter");
}

#[test]
fn it_gives_up_where_compression_begins_and_not_where_it_was_only_talked_about() {
    for on in [false, true] {
        let done = control_frame(&Control::CompressionDone { on, method: 1 });
        let bytes = [&Banner::OURS.encode()[..], &done].concat();
        for pieces in cuts(&bytes) {
            let seen = follow(&pieces, 100).map(|seen| seen.len());
            assert_eq!(seen, if on { Err(CannotFollow::Compressed) } else { Ok(1) });
        }
    }
}
