//! Bytes in the rings, both ways.

use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::super::AttachOptions;
use super::super::double::{Daemon, RING};
use super::{open, pattern, received, told};
use crate::shm::status::{Ending, State};
use crate::shm::sync::Ordering;

#[test]
fn reading_ends_where_the_peer_has_ended() {
    let (mut daemon, mut endpoint, id) = open();
    let mut buffer = [0; 3];
    let mut connection = endpoint.connection(id).unwrap();
    let error = connection.read(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(connection);
    daemon.receive(2, b"last");
    daemon.change(2, |status| status.peer_ended = true);
    let mut connection = endpoint.connection(id).unwrap();
    assert_eq!((connection.read(&mut buffer).unwrap(), &buffer[..]), (3, &b"las"[..]));
    assert_eq!(connection.read(&mut buffer).unwrap(), 1);
    assert_eq!(connection.read(&mut buffer).unwrap(), 0);
    drop(connection);
    daemon.change(2, |status| (status.state, status.errno) = (State::Closed, 104));
    let error = endpoint.connection(id).unwrap().read(&mut buffer).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(104));
}

#[test]
fn writing_stops_where_there_is_no_room_or_no_direction() {
    let (mut daemon, mut endpoint, id) = open();
    let bytes = pattern(0, RING as usize + 1);
    let mut connection = endpoint.connection(id).unwrap();
    assert_eq!(connection.write(&bytes).unwrap(), RING as usize);
    assert_eq!(connection.write(&bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    connection.shutdown();
    assert_eq!(connection.write(&bytes).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!((connection.room(), connection.reserve(1).0.len()), (0, 0));
    drop(connection);
    assert_eq!(daemon.ending(2), Ending::Shutdown);
    assert_eq!(daemon.take(0), Some(id));
    assert_eq!(daemon.take(0), None, "one number for all of it");
    assert_eq!(daemon.send(2, 1 << 20), &bytes[..RING as usize]);
}

#[test]
fn room_is_told_when_there_is_as_much_as_was_wanted() {
    let (mut daemon, mut endpoint, id) = open();
    let mut connection = endpoint.connection(id).unwrap();
    assert_eq!(connection.send(&pattern(0, 10_000)), RING as usize);
    drop(connection);
    daemon.send(2, 2047);
    assert_eq!(told(&mut endpoint), [""; 0], "half of the ring was wanted");
    daemon.receive(2, b"x");
    assert_eq!(told(&mut endpoint), ["2.7 readable"], "which is no room");
    daemon.send(2, 1);
    assert_eq!(told(&mut endpoint), ["2.7 writable"]);
    daemon.send(2, 1);
    assert_eq!(told(&mut endpoint), [""; 0], "told once");

    // Less than half: as much as is left.
    let mut connection = endpoint.connection(id).unwrap();
    assert_eq!(connection.send(&[0; 2149]), 2049);
    drop(connection);
    daemon.send(2, 99);
    assert_eq!(told(&mut endpoint), [""; 0]);
    daemon.send(2, 1);
    assert_eq!(told(&mut endpoint), ["2.7 writable"]);
    // More than half, but in one piece.
    assert_eq!(endpoint.connection(id).unwrap().reserve(4000).0.len(), 100);
    daemon.send(2, 3000);
    assert_eq!(told(&mut endpoint), [""; 0]);
    daemon.send(2, 900);
    assert_eq!(told(&mut endpoint), ["2.7 writable"]);
    let mut connection = endpoint.connection(id).unwrap();
    let (front, back) = connection.reserve(4000);
    assert_eq!(front.len() + back.len(), 4000);
}

#[test]
fn who_got_room_by_itself_is_not_told_of_it() {
    let (mut daemon, mut endpoint, id) = open();
    assert_eq!(endpoint.connection(id).unwrap().send(&[0; 5000]), RING as usize);
    daemon.slot(2).flags.send_room.clear();
    daemon.send(2, u64::MAX);
    assert_eq!(endpoint.connection(id).unwrap().send(&[0; 904]), 904);
    daemon.send(2, u64::MAX);
    daemon.raise(2);
    assert_eq!(told(&mut endpoint), [""; 0]);
}

#[test]
fn a_core_that_waits_for_room_is_told_when_there_is_as_much_as_it_wants() {
    let (mut daemon, mut endpoint, id) = open();
    daemon.receive(2, &[0; RING as usize]);
    daemon.want_room(2, 2048);
    told(&mut endpoint);
    let mut connection = endpoint.connection(id).unwrap();
    connection.consume(2047);
    drop(connection);
    assert_eq!(daemon.take(0), None);
    let mut connection = endpoint.connection(id).unwrap();
    connection.consume(1);
    assert_eq!(daemon.take(0), Some(id), "at once, while the application goes on reading");
    connection.consume(100);
    drop(connection);
    assert_eq!(daemon.take(0), None);
}

#[test]
fn a_ring_that_is_empty_begins_anew() {
    let (mut daemon, mut endpoint, id) = open();
    let base = |daemon: &Daemon| daemon.slot(2).of_application.send_base.load(Ordering::Relaxed);
    endpoint.connection(id).unwrap().send(&pattern(0, 3000));
    daemon.send(2, 2000);
    endpoint.connection(id).unwrap().send(&pattern(3000, 2000));
    assert_eq!(base(&daemon), 0, "it was not empty");
    assert_eq!(daemon.send(2, 1000), pattern(2000, 1000));
    assert_eq!(daemon.send(2, 3000), pattern(3000, 2000), "round the corner");
    let mut connection = endpoint.connection(id).unwrap();
    let (front, back) = connection.reserve(RING as usize);
    assert_eq!((front.len(), back.len()), (RING as usize, 0));
    front.copy_from_slice(&pattern(5000, RING as usize));
    connection.commit(RING as usize);
    drop(connection);
    assert_eq!(base(&daemon), 5000);
    assert_eq!(daemon.send(2, u64::MAX), pattern(5000, RING as usize));
}

#[test]
fn bytes_are_peeked_at_where_they_lie() {
    let (mut daemon, mut endpoint, id) = open();
    daemon.receive(2, &pattern(0, 4000));
    endpoint.connection(id).unwrap().consume(3000);
    daemon.receive(2, &pattern(4000, 200));
    let mut connection = endpoint.connection(id).unwrap();
    let (front, back) = connection.peek();
    assert_eq!((front.len(), back.len()), (1096, 104));
    assert_eq!([front, back].concat(), pattern(3000, 1200));
    connection.consume(1150);
    assert_eq!(connection.peek().0, pattern(4150, 50));
    assert_eq!(connection.unread(), 50);
}

#[test]
#[should_panic(expected = "6 bytes consumed of 5")]
fn what_has_not_come_cannot_be_consumed() {
    let (mut daemon, mut endpoint, id) = open();
    daemon.receive(2, b"hello");
    endpoint.connection(id).unwrap().consume(6);
}

#[test]
#[should_panic(expected = "2 bytes committed of 1")]
fn what_is_not_reserved_cannot_be_committed() {
    let (_daemon, mut endpoint, id) = open();
    let mut connection = endpoint.connection(id).unwrap();
    connection.send(&[0; RING as usize - 1]);
    connection.reserve(2);
    connection.commit(2);
}

#[test]
fn a_reply_is_one_step() {
    let (mut daemon, mut endpoint, id) = open();
    daemon.receive(2, b"PING PING");
    let mut connection = endpoint.connection(id).unwrap();
    let (front, _) = connection.reserve(4);
    front.copy_from_slice(b"PONG");
    connection.reply(5, 4);
    let positions = connection.positions();
    drop(connection);
    assert_eq!((positions.received, positions.consumed), (9, 5));
    assert_eq!((positions.committed, positions.sent), (4, 0));
    let of_application = &daemon.slot(2).of_application;
    assert_eq!(of_application.intent.load(Ordering::Relaxed), 0);
    assert_eq!(of_application.intent_consumed.load(Ordering::Relaxed), 5);
    assert_eq!(of_application.intent_committed.load(Ordering::Relaxed), 4);
    assert_eq!(daemon.send(2, 100), b"PONG");
    assert_eq!(received(&mut endpoint, id), b"PING");
}

#[test]
fn an_echo_goes_from_ring_to_ring() {
    let (mut daemon, mut endpoint, id) = open();
    let (mut from, mut to) = (0, 0);
    for (come, goes) in [(4000, 3000), (3000, 3096), (1000, 1904), (10, 10)] {
        daemon.receive(2, &pattern(from, come));
        from += come as u64;
        endpoint.connection(id).unwrap().forward(usize::MAX);
        let sent = daemon.send(2, goes);
        assert_eq!(sent, pattern(to, sent.len()));
        to += sent.len() as u64;
    }
    // The send ring is full, and wants half of it.
    let mut connection = endpoint.connection(id).unwrap();
    assert_eq!(connection.forward(usize::MAX), 0);
    assert_eq!(connection.forward(0), 0);
    drop(connection);
    assert_eq!(to, from);
    daemon.receive(2, &pattern(from, 4096));
    assert_eq!(endpoint.connection(id).unwrap().forward(4000), 4000);
    daemon.receive(2, &pattern(from + 4096, 4000));
    assert_eq!(endpoint.connection(id).unwrap().forward(usize::MAX), 96);
    told(&mut endpoint);
    daemon.send(2, 2048);
    assert_eq!(told(&mut endpoint), ["2.7 writable"]);
    assert_eq!(endpoint.connection(id).unwrap().forward(usize::MAX), 2048);
}

#[test]
fn halves_and_pairs_move_bytes_between_connections() {
    let (mut daemon, mut endpoint, one) = open();
    let other = daemon.accept(0, 3, 0);
    told(&mut endpoint);
    daemon.receive(2, &pattern(0, 4000));
    assert!(endpoint.pair(one, one).is_none());
    let (mut from, mut to) = endpoint.pair(one, other).unwrap();
    let (mut receiver, _) = from.split();
    let (_, mut sender) = to.split();
    assert_eq!(receiver.forward(&mut sender, 3000), 3000);
    assert_eq!(receiver.forward(&mut sender, 9000), 1000);
    drop((from, to));
    assert_eq!(daemon.send(0, 9000), pattern(0, 4000));
    let numbers: Vec<_> = std::iter::from_fn(|| daemon.take(0)).collect();
    assert_eq!(numbers, [other]);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Come(usize),
    Recv(usize),
    Consume(usize),
    Send(usize),
    Commit(usize),
    Reply(usize, usize),
    Forward(usize),
    Leave(u64),
    TakeOver,
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop_oneof![0..20usize, 0..5000usize];
    prop_oneof![
        some().prop_map(Step::Come),
        some().prop_map(Step::Recv),
        some().prop_map(Step::Consume),
        some().prop_map(Step::Send),
        some().prop_map(Step::Commit),
        (some(), some()).prop_map(|(consume, commit)| Step::Reply(consume, commit)),
        some().prop_map(Step::Forward),
        some().prop_map(|n| Step::Leave(n as u64)),
        Just(Step::TakeOver),
    ]
}

proptest! {
    /// Whatever is done in whatever order, the bytes of both directions come as they were sent.
    #[test]
    fn bytes_arrive_once_and_in_order(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut daemon, mut endpoint, id) = open();
        let (mut come, mut read) = (0, 0);
        // What is sent is its own pattern, but for what is forwarded.
        let (mut written, mut left) = (Vec::new(), 0);
        for step in steps {
            let mut connection = endpoint.connection(id).unwrap();
            match step {
                Step::Come(n) => {
                    drop(connection);
                    let n = n.min(RING as usize - (come - read) as usize);
                    daemon.receive(2, &pattern(come, n));
                    come += n as u64;
                }
                Step::Recv(n) => {
                    let mut bytes = vec![0; n];
                    let n = connection.recv(&mut bytes);
                    prop_assert_eq!(&bytes[..n], &pattern(read, n)[..]);
                    read += n as u64;
                }
                Step::Consume(n) => {
                    let (front, back) = connection.peek();
                    let bytes = [front, back].concat();
                    prop_assert_eq!(&bytes, &pattern(read, bytes.len()));
                    prop_assert_eq!(bytes.len() as u64, come - read);
                    let n = n.min(bytes.len());
                    connection.consume(n);
                    read += n as u64;
                }
                Step::Send(n) => {
                    let bytes = pattern(written.len() as u64 * 7, n);
                    let n = connection.send(&bytes);
                    written.extend_from_slice(&bytes[..n]);
                }
                Step::Commit(n) | Step::Reply(_, n) => {
                    let bytes = pattern(written.len() as u64 * 7, n);
                    let (front, back) = connection.reserve(n);
                    let room = front.len() + back.len();
                    front.copy_from_slice(&bytes[..front.len()]);
                    back.copy_from_slice(&bytes[front.len()..room]);
                    if let Step::Reply(consume, _) = step {
                        let consume = consume.min((come - read) as usize);
                        connection.reply(consume, room);
                        read += consume as u64;
                    } else {
                        connection.commit(room);
                    }
                    written.extend_from_slice(&bytes[..room]);
                }
                Step::Forward(n) => {
                    let n = connection.forward(n);
                    written.extend(pattern(read, n));
                    read += n as u64;
                }
                Step::Leave(n) => {
                    drop(connection);
                    let bytes = daemon.send(2, n);
                    prop_assert_eq!(&bytes[..], &written[left..left + bytes.len()]);
                    left += bytes.len();
                }
                Step::TakeOver => {
                    drop(connection);
                    endpoint.detach();
                    endpoint = daemon.attach(&AttachOptions::new("test"));
                    let events = told(&mut endpoint);
                    prop_assert_eq!(&events[0], "2.7 resumed 77");
                    prop_assert_eq!(events.len() == 2, come > read);
                }
            }
        }
        let bytes = daemon.send(2, u64::MAX);
        prop_assert_eq!(&bytes[..], &written[left..]);
    }
}
