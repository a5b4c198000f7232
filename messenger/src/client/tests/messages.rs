//! Connections of messages: what is received, sent and answered, and what is left behind.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::double::{Daemon, RING};
use super::super::{
    AttachOptions, Connection, ConnectionId, DetachReason, Endpoint, Event, Incoming, Message,
    Messages, Notice, Pieces, Progress, SendError,
};
use super::{attached, open, pattern, told};
use crate::msgr2::MessageHeader;
use crate::shm::part::{Envelope, LARGEST_MESSAGE, PartRule};
use crate::shm::part_writer::PartWriter;
use crate::shm::sync::Ordering;

/// Front, middle and data that take half of the ring with their headers, and no byte more.
const IN_PLACE: usize = RING as usize / 2 - 64;

fn session() -> (Daemon, Endpoint, ConnectionId) {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let id = daemon.accept_session(2, 7, LARGEST_MESSAGE.into());
    assert_eq!(told(&mut endpoint).len(), 1);
    (daemon, endpoint, id)
}

fn with<T>(
    endpoint: &mut Endpoint,
    id: ConnectionId,
    act: impl FnOnce(&mut Messages<'_>) -> T,
) -> T {
    act(&mut endpoint.connection(id).unwrap().messages().unwrap())
}

fn header(tid: u64) -> MessageHeader {
    MessageHeader { tid, kind: 42, priority: 127, version: 8, ..MessageHeader::default() }
}

/// A writer for a message from the peer, of which everything is in the data.
fn from_peer(tid: u64, bytes: usize) -> PartWriter {
    PartWriter::new(Envelope { seq: tid, ..Envelope::new(&header(tid), 0, 0, bytes as u32) })
}

/// A message from the peer comes, which there is room for.
fn come(daemon: &mut Daemon, tid: u64, bytes: usize) {
    assert!(daemon.deliver(2, &mut from_peer(tid, bytes), &[&pattern(tid, bytes)]));
}

/// A message comes whose parts are taken as they come, which brings nothing before all of it is
/// there.
fn come_in_parts(
    daemon: &mut Daemon,
    endpoint: &mut Endpoint,
    id: ConnectionId,
    writer: &mut PartWriter,
    body: &[u8],
) {
    loop {
        let left = writer.all_parts(RING);
        if daemon.deliver(2, writer, &[body]) {
            return;
        }
        assert!(writer.all_parts(RING) < left, "no part was taken");
        assert_eq!(next(endpoint, id), None, "not all of it is there");
    }
}

/// What comes next, as text, and is consumed.
fn next(endpoint: &mut Endpoint, id: ConnectionId) -> Option<String> {
    with(endpoint, id, |messages| {
        let text = match messages.peek()? {
            Incoming::Notice(notice) => format!("{notice:?}"),
            Incoming::Message(message) => {
                let tid = message.header.tid;
                assert_eq!(*message.data.contiguous(), pattern(tid, message.data.len()));
                format!("{tid}: {}", message.len())
            }
        };
        assert!(messages.consume());
        Some(text)
    })
}

#[test]
fn a_message_is_looked_at_where_it_lies() {
    let (mut daemon, mut endpoint, id) = session();
    let sent = MessageHeader {
        seq: 3,
        tid: 4,
        kind: 5,
        priority: 6,
        version: 7,
        compat_version: 8,
        data_offset: 9,
        flags: 10,
        ..MessageHeader::default()
    };
    let mut writer = PartWriter::new(Envelope::new(&sent, 5, 6, 4));
    assert!(daemon.deliver(2, &mut writer, &[b"front", b"middle", b"data"]));
    assert_eq!(told(&mut endpoint), ["2.7 readable"]);
    for _ in 0..2 {
        with(&mut endpoint, id, |messages| {
            let Some(Incoming::Message(message)) = messages.peek() else { panic!("no message") };
            assert_eq!(message.header, sent);
            assert_eq!(message.front.slices(), [&b"front"[..], b""]);
            assert_eq!(*message.middle.contiguous(), *b"middle");
            assert_eq!(*message.data.contiguous(), *b"data");
        });
    }
    let consumed = |daemon: &Daemon| daemon.slot(2).of_application.consumed.load(Ordering::Relaxed);
    assert_eq!(consumed(&daemon), 0, "it was only looked at");
    with(&mut endpoint, id, |messages| {
        assert!(messages.consume() && messages.peek().is_none() && !messages.consume());
    });
    assert_eq!(consumed(&daemon), 80);
}

#[test]
fn a_message_that_goes_round_the_corner_is_two_slices() {
    let (mut daemon, mut endpoint, id) = session();
    come(&mut daemon, 1, IN_PLACE);
    come(&mut daemon, 2, 500);
    assert_eq!(next(&mut endpoint, id).as_deref(), Some("1: 1984"));
    come(&mut daemon, 3, IN_PLACE);
    assert_eq!(next(&mut endpoint, id).as_deref(), Some("2: 500"));
    with(&mut endpoint, id, |messages| {
        let Some(Incoming::Message(message)) = messages.peek() else { panic!("no message") };
        let slices = message.data.slices();
        assert_eq!(slices.map(<[u8]>::len), [1416, 568]);
        assert_eq!(slices.concat(), pattern(3, IN_PLACE));
    });
}

#[test]
fn a_core_that_waits_for_room_gets_it_when_a_message_is_consumed() {
    let (mut daemon, mut endpoint, id) = session();
    come(&mut daemon, 1, IN_PLACE);
    come(&mut daemon, 2, IN_PLACE);
    daemon.want_room(2, 2048);
    assert!(with(&mut endpoint, id, |messages| messages.peek().is_some()));
    assert_eq!(daemon.take(0), None, "it lies there still");
    assert!(next(&mut endpoint, id).is_some());
    assert_eq!(daemon.take(0), Some(id));
}

#[test]
fn a_large_message_is_put_together() {
    for bytes in [IN_PLACE + 1, RING as usize, 100_000, LARGEST_MESSAGE as usize] {
        let (mut daemon, mut endpoint, id) = session();
        let (mut writer, body) = (from_peer(9, bytes), pattern(9, bytes));
        come_in_parts(&mut daemon, &mut endpoint, id, &mut writer, &body);
        assert!(with(&mut endpoint, id, |messages| messages.peek().is_some()));
        come(&mut daemon, 10, 100);
        assert_eq!(next(&mut endpoint, id), Some(format!("9: {bytes}")));
        assert_eq!(next(&mut endpoint, id).as_deref(), Some("10: 100"));
    }
}

#[test]
fn notices_come_in_their_place() {
    let (mut daemon, mut endpoint, id) = session();
    come(&mut daemon, 1, 10);
    daemon.receive(2, &Notice::StreamLost.encode());
    daemon.receive(2, &Notice::StreamBack.encode());
    daemon.receive(2, &Notice::Forgotten { lost: 3 }.encode());
    come(&mut daemon, 2, 10);
    let all: Vec<_> = std::iter::from_fn(|| next(&mut endpoint, id)).collect();
    assert_eq!(all, ["1: 10", "StreamLost", "StreamBack", "Forgotten { lost: 3 }", "2: 10"]);
    daemon.receive(2, &Notice::StreamLost.encode());
    with(&mut endpoint, id, |messages| {
        let error = messages.reply(&Message::new(header(1), b"what?")).unwrap_err();
        assert_eq!(error, SendError::NoRequest, "a notice wants no answer");
    });
}

#[test]
fn parts_that_break_a_rule_detach() {
    let (mut daemon, mut endpoint, id) = session();
    come(&mut daemon, 1, 10);
    daemon.receive(2, &[9; 32]);
    assert_eq!(next(&mut endpoint, id).as_deref(), Some("1: 10"));
    assert_eq!(next(&mut endpoint, id), None);
    let event = std::iter::from_fn(|| endpoint.next_event()).last();
    let Some(Event::Detached { reason: DetachReason::Contradiction(what) }) = event else {
        panic!("{event:?}");
    };
    assert_eq!(what, PartRule::Kind.text());
}

#[test]
fn a_message_is_sent_whole_or_not_at_all() {
    let (mut daemon, mut endpoint, id) = session();
    let (front, data) = (pattern(1, 1000), pattern(2, 700));
    let message = Message {
        middle: Pieces::new(b"mid", b"dle"),
        data: data[..].into(),
        ..Message::new(MessageHeader { seq: 99, ..header(5) }, &front)
    };
    let sends = |endpoint: &mut Endpoint| with(endpoint, id, |it| it.send(&message));
    assert_eq!(sends(&mut endpoint), Ok(true));
    assert_eq!(sends(&mut endpoint), Ok(true));
    assert_eq!(sends(&mut endpoint), Ok(false), "there is no room for all of it");
    assert_eq!(daemon.pending(2), 2 * 1776);
    let body = [&front[..], b"middle", &data].concat();
    let envelope = Envelope::new(&header(5), 1000, 6, 700);
    let sent = daemon.sent_messages(2);
    assert!(sent == [(envelope, body.clone()), (envelope, body)], "{sent:?}");
    assert_eq!(told(&mut endpoint), ["2.7 writable"]);
    assert_eq!(sends(&mut endpoint), Ok(true));
    assert_eq!(daemon.sent_messages(2).len(), 1);
}

#[test]
fn writable_is_told_when_there_is_room_for_the_whole_message() {
    let (mut daemon, mut endpoint, id) = session();
    let data = pattern(0, 1440);
    let message = Message { data: data[..].into(), ..Message::default() };
    for sent in [true, true, false] {
        assert_eq!(with(&mut endpoint, id, |it| it.send(&message)), Ok(sent));
    }
    daemon.send(2, 408);
    assert_eq!(told(&mut endpoint), [""; 0], "that is not enough");
    daemon.send(2, 8);
    assert_eq!(told(&mut endpoint), ["2.7 writable"]);
    assert_eq!(with(&mut endpoint, id, |it| it.send(&message)), Ok(true));
}

#[test]
fn a_large_message_is_sent_in_steps() {
    for bytes in [0, 100, 5000, 1_000_000] {
        let (mut daemon, mut endpoint, id) = session();
        let data = pattern(0, bytes);
        let message = Message { data: data[..].into(), ..Message::new(header(1), b"front") };
        let (mut progress, mut sent, mut steps) = (Progress::default(), Vec::new(), 0);
        while !with(&mut endpoint, id, |it| it.send_some(&message, &mut progress)).unwrap() {
            steps += 1;
            sent.extend(daemon.sent_messages(2));
            assert_eq!(told(&mut endpoint), ["2.7 writable"]);
        }
        sent.extend(daemon.sent_messages(2));
        let [(envelope, body)] = &sent[..] else { panic!("{} messages", sent.len()) };
        assert_eq!((envelope.tid, envelope.front), (1, 5));
        assert!(*body == [b"front", &data[..]].concat());
        assert_eq!(steps > 0, bytes > 4096);
        let again = with(&mut endpoint, id, |it| it.send_some(&message, &mut progress));
        assert_eq!(again, Err(SendError::Another), "it is sent");
    }
}

#[test]
fn a_message_that_was_sent_in_part_is_finished_or_abandoned() {
    let (mut daemon, mut endpoint, id) = session();
    let other = daemon.accept_session(1, 1, 0);
    told(&mut endpoint);
    let data = pattern(0, 10_000);
    let large = Message { data: data[..].into(), ..Message::new(header(1), b"") };
    let small = Message::new(header(2), b"small");
    let mut progress = Progress::default();
    come(&mut daemon, 5, 10);
    with(&mut endpoint, id, |it| {
        assert_eq!(it.send_some(&large, &mut progress), Ok(false));
        assert_eq!(it.send(&small), Err(SendError::Unfinished));
        assert_eq!(it.reply(&small), Err(SendError::Unfinished));
        let begin = it.send_some(&small, &mut Progress::default());
        assert_eq!(begin, Err(SendError::Unfinished));
        assert_eq!(it.send_some(&small, &mut progress), Err(SendError::Another));
    });
    let elsewhere = with(&mut endpoint, other, |it| it.send_some(&large, &mut progress));
    assert_eq!(elsewhere, Err(SendError::Another));
    assert!(daemon.sent_messages(2).is_empty());
    with(&mut endpoint, id, |it| {
        it.abandon();
        assert_eq!(it.send_some(&large, &mut progress), Err(SendError::Another));
        assert_eq!(it.send(&small), Ok(true));
    });
    let sent = daemon.sent_messages(2);
    assert!(matches!(&sent[..], [(envelope, _)] if envelope.tid == 2), "{}", sent.len());
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let id = daemon.accept_session(2, 7, 5000);
    told(&mut endpoint);
    let bytes = pattern(0, 5001);
    with(&mut endpoint, id, |it| {
        assert_eq!(it.largest(), 5000);
        let too_large = Err(SendError::TooLarge { bytes: 5001, largest: 5000 });
        assert_eq!(it.send(&Message::new(header(1), &bytes)), too_large);
        let some = it.send_some(&Message::new(header(1), &bytes), &mut Progress::default());
        assert_eq!(some, too_large);
        let larger = Err(SendError::LargerThanRing { bytes: 5000, ring: RING });
        assert_eq!(it.send(&Message::new(header(1), &bytes[..5000])), larger);
        assert_eq!(it.reply(&Message::new(header(1), b"")), Err(SendError::NoRequest));
    });
    endpoint.connection(id).unwrap().shutdown();
    with(&mut endpoint, id, |it| {
        assert_eq!(it.send(&Message::new(header(1), b"x")), Err(SendError::Ended));
    });
}

#[test]
fn a_message_is_answered_in_one_step() {
    let (mut daemon, mut endpoint, id) = session();
    come(&mut daemon, 1, 100);
    come(&mut daemon, 2, 100);
    with(&mut endpoint, id, |it| {
        assert_eq!(it.reply(&Message::new(header(1), b"one")), Ok(true));
    });
    let of_application = &daemon.slot(2).of_application;
    assert_eq!(of_application.intent.load(Ordering::Relaxed), 0);
    assert_eq!(of_application.intent_consumed.load(Ordering::Relaxed), 168);
    assert_eq!(of_application.intent_committed.load(Ordering::Relaxed), 72);
    assert_eq!(daemon.sent_messages(2).len(), 1);
    assert_eq!(next(&mut endpoint, id).as_deref(), Some("2: 100"));

    // Without room nothing happens.
    let full = pattern(0, 3950);
    assert_eq!(with(&mut endpoint, id, |it| it.send(&Message::new(header(9), &full))), Ok(true));
    come(&mut daemon, 3, 100);
    let answer = Message::new(header(3), b"three");
    assert_eq!(with(&mut endpoint, id, |it| it.reply(&answer)), Ok(false));
    assert_eq!(daemon.sent_messages(2).len(), 1);
    assert_eq!(told(&mut endpoint), ["2.7 writable", "2.7 readable"]);
    assert_eq!(with(&mut endpoint, id, |it| it.reply(&answer)), Ok(true));
    assert_eq!(daemon.sent_messages(2).len(), 1);
    assert_eq!(next(&mut endpoint, id), None);
}

#[test]
fn whoever_takes_over_answers_what_was_not_answered() {
    let (mut daemon, mut endpoint, id) = session();
    (1..=3).for_each(|tid| come(&mut daemon, tid, 100));
    with(&mut endpoint, id, |it| it.reply(&Message::new(header(1), b"")).unwrap());
    // Killed in the middle of the second answer: the intent is there, and one position.
    with(&mut endpoint, id, |it| it.reply(&Message::new(header(2), b"")).unwrap());
    let of_application = &daemon.slot(2).of_application;
    of_application.intent.store(1, Ordering::Relaxed);
    of_application.consumed.store(168, Ordering::Relaxed);
    endpoint.detach();
    let mut endpoint = daemon.attach(&AttachOptions::new("test"));
    assert_eq!(told(&mut endpoint), ["2.7 resumed 77", "2.7 readable"]);
    assert_eq!(next(&mut endpoint, id).as_deref(), Some("3: 100"));
    let tids: Vec<_> = daemon.sent_messages(2).iter().map(|(envelope, _)| envelope.tid).collect();
    assert_eq!(tids, [1, 2]);
}

#[test]
fn the_rest_of_a_large_message_is_skipped_by_who_takes_over() {
    let (mut daemon, mut endpoint, id) = session();
    let (mut writer, body) = (from_peer(1, 20_000), pattern(1, 20_000));
    assert!(!daemon.deliver(2, &mut writer, &[&body]));
    assert_eq!(next(&mut endpoint, id), None);
    // One of ours is on its way as well.
    let large = pattern(0, 10_000);
    let large = Message::new(header(7), &large);
    let sent = with(&mut endpoint, id, |it| it.send_some(&large, &mut Progress::default()));
    assert_eq!(sent, Ok(false));
    assert!(daemon.sent_messages(2).is_empty());
    endpoint.detach();

    let mut endpoint = daemon.attach(&AttachOptions::new("test"));
    told(&mut endpoint);
    come_in_parts(&mut daemon, &mut endpoint, id, &mut writer, &body);
    assert_eq!(next(&mut endpoint, id), None);
    come(&mut daemon, 2, 100);
    assert_eq!(next(&mut endpoint, id).as_deref(), Some("2: 100"));
    let answer = Message::new(header(8), b"whole");
    assert_eq!(with(&mut endpoint, id, |it| it.send(&answer)), Ok(true));
    let sent = daemon.sent_messages(2);
    assert!(matches!(&sent[..], [(envelope, _)] if envelope.tid == 8), "{}", sent.len());
}

#[test]
fn a_message_that_was_put_together_and_not_consumed_is_gone_with_who_had_it() {
    let (mut daemon, mut endpoint, id) = session();
    let (mut writer, body) = (from_peer(1, 5000), pattern(1, 5000));
    come_in_parts(&mut daemon, &mut endpoint, id, &mut writer, &body);
    assert!(with(&mut endpoint, id, |it| it.peek().is_some()));
    endpoint.detach();
    come(&mut daemon, 2, 10);
    let mut endpoint = daemon.attach(&AttachOptions::new("test"));
    told(&mut endpoint);
    assert_eq!(next(&mut endpoint, id).as_deref(), Some("2: 10"));
}

#[test]
fn a_connection_of_messages_has_no_bytes_and_one_of_bytes_no_messages() {
    let (_daemon, mut endpoint, id) = open();
    let mut connection = endpoint.connection(id).unwrap();
    assert!(connection.messages().is_none() && !connection.has_messages());
    drop(connection);

    let (mut daemon, mut endpoint, id) = session();
    come(&mut daemon, 1, 10);
    let mut connection = endpoint.connection(id).unwrap();
    assert!(connection.has_messages());
    let error = connection.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert_eq!(connection.write(b"x").unwrap_err().kind(), io::ErrorKind::Unsupported);
    let refused = catch_unwind(AssertUnwindSafe(|| connection.consume(1))).unwrap_err();
    let text = refused.downcast_ref::<String>().unwrap();
    assert_eq!(text, "connection 2.7 is one of messages, not of bytes");
    let calls: [fn(&mut Connection<'_>) -> usize; 11] = [
        |it| it.recv(&mut [0; 8]),
        |it| it.send(b"x"),
        |it| it.peek().0.len(),
        |it| it.reserve(1).0.len(),
        |it| (it.commit(0), 0).1,
        |it| (it.reply(0, 0), 0).1,
        |it| it.forward(1),
        |it| it.split().0.unread(),
        |it| it.unread(),
        |it| it.room(),
        |it| it.reserved(),
    ];
    for (which, call) in calls.iter().enumerate() {
        let refused = catch_unwind(AssertUnwindSafe(|| call(&mut connection)));
        assert!(refused.is_err(), "{which}");
    }
    drop(connection);
    assert_eq!(next(&mut endpoint, id).as_deref(), Some("1: 10"));
}
