//! The OSD that stores nothing, beside what a real one answered to the same operations.

use std::collections::HashMap;

use vmsgr_messenger::msgr2::*;

use crate::vectors::pairs;

/// Header, front and data of the messages of a stream.
fn messages(mut bytes: &[u8]) -> Vec<(MessageHeader, Vec<u8>, Vec<u8>)> {
    bytes = &bytes[Banner::BYTES..];
    let mut decoder = FrameDecoder::new(Limits::default());
    let mut messages = Vec::new();
    while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
        if frame.tag == Tag::Message {
            let [header, front, _, data] = frame.segments;
            let header = MessageHeader::decode(&header).unwrap();
            messages.push((header, front.to_vec(), data.to_vec()));
        }
    }
    messages
}

/// Bytes of a step in a reply; its code is the first two.
const STEP: usize = 38;

/// Blanks in a reply of one step what depends on the store: result, versions, how much was read.
fn blank(front: &[u8]) -> Vec<u8> {
    let mut front = front.to_vec();
    let object = 4 + u32::from_le_bytes(*front.first_chunk().unwrap()) as usize;
    let flags = object + 17;
    // An operation that fails is not acknowledged.
    front[flags] &= !1;
    let result = flags + 8;
    front[result..result + 16].fill(0);
    let step = result + 16 + 8;
    let code = u16::from_le_bytes([front[step], front[step + 1]]);
    if code == 0x1201 {
        front[step + 14..step + 22].fill(0);
    }
    if code == 0x1301 {
        // How long the attribute is.
        front[step + 10..step + 14].fill(0);
    }
    front[step + STEP - 4..step + STEP].fill(0);
    let versions = step + STEP + 8;
    front[versions..versions + 20].fill(0);
    front
}

#[test]
fn replies_are_those_of_a_real_osd_but_for_what_it_stores() {
    let mut compared = 0;
    for run in ["none-crc", "cephx-crc"] {
        for (client, server) in pairs(run) {
            if !client.connection.contains("osd") {
                continue;
            }
            let replies: HashMap<u64, _> =
                messages(&server.bytes).into_iter().map(|reply| (reply.0.tid, reply)).collect();
            let mut osd = OsdNull::new(0);
            for (header, front, _) in messages(&client.bytes) {
                let (their_header, their_front, _) = &replies[&header.tid];
                let ours = osd.answer(&header, &front).unwrap().expect("an answer");
                let session = MessageHeader {
                    seq: their_header.seq,
                    ack_seq: their_header.ack_seq,
                    ..ours.header
                };
                assert_eq!(session, *their_header, "{}", client.connection);
                assert_eq!(ours.front.len(), their_front.len());
                assert_eq!(
                    blank(&ours.front),
                    blank(their_front),
                    "{} {header:?}",
                    client.connection
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 40);
}

/// Of the captured script: its operation with this tid.
fn operation(tid: u64) -> (MessageHeader, Vec<u8>) {
    let (client, _) = pairs("none-crc").pop().unwrap();
    let found = messages(&client.bytes).into_iter().find(|message| message.0.tid == tid);
    found.map(|(header, front, _)| (header, front)).unwrap()
}

#[test]
fn what_is_read_is_zeros_as_far_as_the_object_seems_to_reach() {
    // A read of 8,192 bytes from the beginning, one of 100 from 4,990 on, and stat.
    let read = |tid: u64, object_bytes: u64| {
        let (header, front) = operation(tid);
        OsdNull::new(object_bytes).answer(&header, &front).unwrap().unwrap().data
    };
    assert_eq!(read(2, 0).len(), 0);
    assert_eq!(read(2, 5000), vec![0; 5000]);
    assert_eq!(read(2, 1 << 40), vec![0; 8192]);
    assert_eq!(read(6, 5000), vec![0; 10]);
    let mut stat = 5000_u64.to_le_bytes().to_vec();
    stat.extend([0; 8]);
    assert_eq!(read(4, 5000), stat);
}

#[test]
fn writes_count_up_and_a_cut_operation_is_refused() {
    let (header, front) = operation(1);
    let mut osd = OsdNull::new(0);
    let version = |message: Message| {
        let end = message.front.len() - 25;
        u64::from_le_bytes(message.front[end - 8..end].try_into().unwrap())
    };
    for wanted in 1..4 {
        assert_eq!(version(osd.answer(&header, &front).unwrap().unwrap()), wanted);
    }
    // The last eight bytes are features, which a reply does not need.
    for length in 0..front.len() - 8 {
        let error = osd.answer(&header, &front[..length]).unwrap_err();
        assert!(matches!(error.rule, Rule::Truncated(_)), "{length}: {error}");
    }
}

#[test]
fn an_operation_of_another_version_is_refused_and_not_passed_over_in_silence() {
    let (header, front) = operation(1);
    for version in [0, 7, 9, u16::MAX] {
        let other = MessageHeader { version, ..header };
        let error = OsdNull::new(0).answer(&other, &front).unwrap_err();
        assert_eq!(error.rule, Rule::OperationVersion(version));
        let wanted = format!("an operation has version 8 (Ceph since Luminous), not {version}");
        assert!(error.to_string().ends_with(&wanted), "{error}");
    }
}

#[test]
fn pings_are_answered_and_what_is_not_known_is_not() {
    let mut osd = OsdNull::default();
    let ping = MessageHeader { kind: 2, tid: 7, ..Default::default() };
    let answer = osd.answer(&ping, &[]).unwrap().unwrap();
    assert_eq!((answer.header.kind, answer.header.tid), (2, 7));
    let other = MessageHeader { kind: 4000, ..Default::default() };
    assert_eq!(osd.answer(&other, b"anything"), Ok(None));
}

#[test]
fn a_request_is_that_of_cephs_client() {
    let object = |name: &str, group, hash, seconds, nanoseconds| {
        let time = Timestamp { seconds, nanoseconds };
        OsdRequest { pool: 1, hash, group, epoch: 7, object: name.into(), time }
    };
    let time_of = |front: &[u8], at: usize| u32::from_le_bytes(*front[at..].first_chunk().unwrap());
    // The captured script reads 100 bytes at 4,990, and writes 60 at 1,000; the time is the client's.
    let (header, front) = operation(6);
    let read = object("vec-full", 0, 0x8be7_6370, 0, 0).read(6, 4990, 100);
    assert_eq!(read.front, front);
    let (write_header, front) = operation(3);
    let (seconds, nanoseconds) = (time_of(&front, 91), time_of(&front, 95));
    let write = object("vec-part", 1, 0x0295_64b9, seconds, nanoseconds);
    let write = write.write(3, 1000, vec![0; 60].into());
    assert_eq!(write.front, front);
    for (theirs, ours) in [(header, read.header), (write_header, write.header)] {
        assert_eq!(MessageHeader { seq: theirs.seq, ack_seq: theirs.ack_seq, ..ours }, theirs);
    }
}
