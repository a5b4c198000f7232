//! The client against a daemon that is played by hand.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::prelude::*;

use super::double::{Daemon, RING, at};
use super::{AttachOptions, ConnectionId, DetachReason, Endpoint, Error, Event, JobId, attach};
use crate::shm::job::{Asked, Told};
use crate::shm::status::{Ending, State};
use crate::shm::sync::Ordering;

/// Nothing here takes as long.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

fn attached(cores: u32, slots: u32) -> (Daemon, Endpoint) {
    let mut daemon = Daemon::new(cores, slots);
    let endpoint = daemon.attach(&AttachOptions::new("test"));
    (daemon, endpoint)
}

/// What has happened, as text.
fn told(endpoint: &mut Endpoint) -> Vec<String> {
    std::iter::from_fn(|| endpoint.next_event()).map(|event| brief(&event)).collect()
}

fn brief(event: &Event) -> String {
    let errno = |error: &io::Error| error.raw_os_error().unwrap_or(-1);
    match event {
        Event::Listening { job, address } => format!("{job} listening {address}"),
        Event::Unlistened { job } => format!("{job} unlistened"),
        Event::Failed { job, error } => format!("{job} failed {}", errno(error)),
        Event::Accepted { connection, job, peer, local } => {
            format!("{connection} accepted {job} {peer} {local}")
        }
        Event::Connected { connection, job, .. } => format!("{connection} connected {job}"),
        Event::Resumed { connection, job, .. } => format!("{connection} resumed {job}"),
        Event::Readable(connection) => format!("{connection} readable"),
        Event::Writable(connection) => format!("{connection} writable"),
        Event::PeerEnded(connection) => format!("{connection} ended"),
        Event::Closed { connection, error } => {
            format!("{connection} closed {}", error.as_ref().map_or(0, errno))
        }
        Event::Detached { .. } => "detached".to_owned(),
    }
}

/// A daemon, an endpoint, and a connection that it has heard of.
fn open() -> (Daemon, Endpoint, ConnectionId) {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let id = daemon.accept(2, 7, 0);
    assert_eq!(told(&mut endpoint), ["2.7 accepted 77 10.0.0.1:999 [::1]:7"]);
    (daemon, endpoint, id)
}

/// Bytes that say where they are from.
fn pattern(from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64).map(|n| (n % 251) as u8).collect()
}

fn received(endpoint: &mut Endpoint, id: ConnectionId) -> Vec<u8> {
    let mut bytes = vec![0; RING as usize];
    let n = endpoint.connection(id).unwrap().recv(&mut bytes);
    bytes.truncate(n);
    bytes
}

#[test]
fn jobs_are_asked_for_and_their_fate_is_told() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let first = endpoint.listen_with(at("127.0.0.1:0"), 9).unwrap();
    let second = endpoint.connect(at("[::1]:80")).unwrap();
    assert!(first != second && first.to_bits() >> 32 == 1);
    let listen = Asked::Listen { address: at("127.0.0.1:0"), backlog: 9 };
    assert_eq!(daemon.job(), Some((first.0, listen)));
    assert_eq!(daemon.job(), Some((second.0, Asked::Connect { address: at("[::1]:80") })));
    daemon.tell(first.0, Told::Listening { address: at("127.0.0.1:5555") });
    daemon.tell(second.0, Told::Failed { errno: 111 });
    let expected = [format!("{first} listening 127.0.0.1:5555"), format!("{second} failed 111")];
    assert_eq!(told(&mut endpoint), expected);
    endpoint.unlisten(first).unwrap();
    assert_eq!(daemon.job(), Some((first.0, Asked::Unlisten)));
    daemon.tell(first.0, Told::Unlistened);
    assert_eq!(told(&mut endpoint), [format!("{first} unlistened")]);
}

#[test]
fn too_many_jobs_are_refused_until_some_are_taken() {
    let (mut daemon, mut endpoint) = attached(1, 1);
    let mut asked = 0;
    let error = loop {
        match endpoint.connect(at("127.0.0.1:1")) {
            Ok(_) => asked += 1,
            Err(error) => break error,
        }
        assert!(asked <= 256);
    };
    assert_eq!((asked, error), (256, Error::JobsFull));
    let (last, _) = std::iter::from_fn(|| daemon.job()).last().unwrap();
    assert_eq!(endpoint.connect(at("127.0.0.1:1")).unwrap(), JobId(last + 1));
}

#[test]
fn who_takes_events_while_jobs_wait_rings_for_the_room_that_he_makes() {
    let (mut daemon, mut endpoint) = attached(1, 1);
    let first = endpoint.connect(at("127.0.0.1:1")).unwrap();
    endpoint.connect(at("127.0.0.1:2")).unwrap();
    endpoint.flush();
    daemon.job();
    daemon.tell(first.0, Told::Failed { errno: 13 });
    // As if there were no room for the answer to the second job.
    daemon.main_sleeps();
    assert_eq!(daemon.main_rings(), 0);
    assert_eq!(told(&mut endpoint), [format!("{first} failed 13")]);
    assert_eq!(daemon.main_rings(), 1, "there is room now");
    let (second, _) = daemon.job().unwrap();
    daemon.tell(second, Told::Failed { errno: 13 });
    daemon.main_sleeps();
    assert_eq!(told(&mut endpoint).len(), 1);
    assert_eq!(daemon.main_rings(), 0, "no job waits");
}

#[test]
fn a_connection_is_told_from_its_beginning_to_its_end() {
    let (mut daemon, mut endpoint, id) = open();
    daemon.receive(2, b"hello");
    assert_eq!(told(&mut endpoint), ["2.7 readable"]);
    daemon.receive(2, b" world");
    assert_eq!(told(&mut endpoint), ["2.7 readable"], "some was unread, and more came");
    daemon.raise(2);
    assert_eq!(told(&mut endpoint), [""; 0], "nothing came");
    assert_eq!(received(&mut endpoint, id), b"hello world");
    daemon.change(2, |status| status.peer_ended = true);
    assert_eq!(told(&mut endpoint), ["2.7 ended"]);
    daemon.change(2, |status| (status.state, status.errno) = (State::Closed, 104));
    assert_eq!(told(&mut endpoint), ["2.7 closed 104"]);
    assert_eq!(endpoint.connections().collect::<Vec<_>>(), [id]);
    endpoint.connection(id).unwrap().close();
    assert_eq!(daemon.ending(2), Ending::Close);
    assert!(endpoint.connection(id).is_none() && endpoint.connections().next().is_none());
    assert_eq!(std::iter::from_fn(|| daemon.take(0)).collect::<Vec<_>>(), [id]);
}

#[test]
fn all_that_happened_meanwhile_is_told_in_order_and_once() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    daemon.accept(0, 1, 0);
    daemon.receive(0, b"x");
    daemon.change(0, |status| (status.peer_ended, status.state) = (true, State::Closed));
    let accepted = "0.1 accepted 77 10.0.0.1:999 [::1]:7";
    assert_eq!(told(&mut endpoint), [accepted, "0.1 readable", "0.1 ended", "0.1 closed 0"]);
    daemon.raise(0);
    assert_eq!(told(&mut endpoint), [""; 0]);
}

#[test]
fn who_closes_a_connection_hears_no_more_of_it() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let id = daemon.accept(0, 1, 0);
    daemon.receive(0, b"x");
    daemon.change(0, |status| status.peer_ended = true);
    assert!(matches!(endpoint.next_event(), Some(Event::Accepted { .. })));
    endpoint.connection(id).unwrap().reset();
    assert_eq!(daemon.ending(0), Ending::Reset);
    assert_eq!(told(&mut endpoint), [""; 0]);
    // Raised before it has seen that it is closed.
    daemon.receive(0, b"more");
    assert_eq!(told(&mut endpoint), [""; 0]);
    assert!(endpoint.connection(id).is_none());
}

#[test]
fn a_slot_that_is_used_again_is_another_connection() {
    let (mut daemon, mut endpoint, old) = open();
    endpoint.connection(old).unwrap().close();
    daemon.free(2);
    let new = daemon.accept(2, 8, 0);
    assert_eq!(told(&mut endpoint), ["2.8 accepted 77 10.0.0.1:999 [::1]:7"]);
    assert!(endpoint.connection(old).is_none());
    assert_eq!(endpoint.connection(new).unwrap().send(b"to the new one"), 14);
    assert_eq!(daemon.send(2, 100), b"to the new one");
    // A number of the old one that was late.
    daemon.push_up(0, 2, 7);
    assert_eq!(told(&mut endpoint), [""; 0]);
    assert!(endpoint.connection(new).is_some());
}

#[test]
fn numbers_that_are_late_or_early_are_ignored() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    daemon.push_up(0, 3, 1);
    daemon.put(1, 5, 0, false, State::Connecting);
    daemon.raise(1);
    assert_eq!(told(&mut endpoint), [""; 0]);
    assert!(endpoint.connections().next().is_none());
    daemon.change(1, |status| status.state = State::Open);
    assert_eq!(told(&mut endpoint), ["1.5 connected 77"]);
}

#[test]
fn a_connection_that_could_not_be_made_is_a_job_that_failed() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    daemon.put(1, 5, 0, false, State::Connecting);
    daemon.change(1, |status| (status.state, status.errno) = (State::Closed, 111));
    assert_eq!(told(&mut endpoint), ["77 failed 111"]);
    assert_eq!(daemon.ending(1), Ending::Close, "nobody else can free the slot");
    assert_eq!(daemon.take(0).map(ConnectionId::slot), Some(1));
}

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
fn an_intent_that_was_left_behind_is_completed() {
    let (mut daemon, mut endpoint, id) = open();
    daemon.receive(2, b"PING PING");
    endpoint.connection(id).unwrap().reserve(4).0.copy_from_slice(b"PONG");
    // Killed in the middle of `reply`.
    let of_application = &daemon.slot(2).of_application;
    of_application.intent_consumed.store(5, Ordering::Relaxed);
    of_application.intent_committed.store(4, Ordering::Relaxed);
    of_application.intent.store(1, Ordering::Relaxed);
    of_application.committed.store(4, Ordering::Relaxed);
    endpoint.detach();
    let mut endpoint = daemon.attach(&AttachOptions::new("test"));
    assert_eq!(told(&mut endpoint), ["2.7 resumed 77", "2.7 readable"]);
    assert_eq!(received(&mut endpoint, id), b"PING");
    assert_eq!(daemon.send(2, 100), b"PONG");
    assert_eq!(daemon.slot(2).of_application.intent.load(Ordering::Relaxed), 0);
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

#[test]
fn addresses_name_and_cookie_are_those_of_the_slot() {
    let (_daemon, mut endpoint, id) = open();
    let mut connection = endpoint.connection(id).unwrap();
    assert_eq!((connection.peer(), connection.local()), (at("10.0.0.1:999"), at("[::1]:7")));
    assert_eq!((connection.name().to_string(), connection.id()), ("0.5".to_owned(), id));
    assert!(connection.is_accepted() && !connection.is_closed());
    assert_eq!(connection.cookie(), 0);
    connection.set_cookie(99);
    drop(connection);
    assert_eq!(endpoint.connection(id).unwrap().cookie(), 99);
    assert_eq!(ConnectionId::from_bits(id.to_bits()), id);
}

#[test]
fn lanes_have_turns() {
    let (mut daemon, mut endpoint) = attached(2, 256);
    for slot in 0..200 {
        daemon.accept(slot, 1, 0);
    }
    daemon.accept(200, 1, 1);
    daemon.tell(5, Told::Unlistened);
    let events = told(&mut endpoint);
    let position = |text: &str| events.iter().position(|event| event.starts_with(text)).unwrap();
    assert!(position("200.1 ") <= 64, "the other core waits for {}", position("200.1 "));
    assert!(position("5 unlistened") <= 65);
    assert_eq!(events.len(), 202);
}

#[test]
fn a_sleeper_is_rung_once_and_nobody_else() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    daemon.accept(0, 1, 0);
    daemon.rouse();
    assert_eq!(daemon.rings, 0, "it does not sleep");
    assert!(!endpoint.fall_asleep(), "there is something");
    assert!(endpoint.wait(PATIENCE).unwrap());
    assert!(!daemon.application_sleeps());
    told(&mut endpoint);
    thread::scope(|scope| {
        let daemon = &mut daemon;
        scope.spawn(move || {
            while !daemon.application_sleeps() {
                thread::yield_now();
            }
            daemon.receive(0, b"x");
            daemon.rouse();
            daemon.rouse();
            assert_eq!(daemon.rings, 1);
        });
        while !matches!(endpoint.next_event(), Some(Event::Readable(_))) {
            assert!(endpoint.wait(PATIENCE).unwrap());
        }
    });
    assert!(!daemon.application_sleeps());
    assert!(!endpoint.wait(Some(Duration::from_millis(1))).unwrap(), "rung in vain");
    assert!(!daemon.application_sleeps());
}

#[test]
fn cores_are_woken_once_for_all_that_was_sent() {
    let (mut daemon, mut endpoint) = attached(3, 8);
    let ids: Vec<_> = (0..6).map(|slot| daemon.accept(slot, 1, slot as usize % 2)).collect();
    told(&mut endpoint);
    daemon.core_sleeps(0);
    daemon.core_sleeps(2);
    for &id in &ids {
        endpoint.connection(id).unwrap().send(b"x");
    }
    assert_eq!(daemon.core_rings(0), 0, "before it is flushed");
    endpoint.flush();
    endpoint.flush();
    assert_eq!([0, 1, 2].map(|core| daemon.core_rings(core)), [1, 0, 0]);
    let counters = endpoint.counters();
    assert_eq!((counters.doorbells_rung, counters.doorbells_saved), (1, 1));
    let mut numbers = Vec::new();
    for core in 0..3 {
        numbers.extend(std::iter::from_fn(|| daemon.take(core)));
    }
    numbers.sort();
    assert_eq!(numbers, ids);
}

#[test]
fn nothing_is_held_back_by_who_finds_nothing_to_do_or_sleeps() {
    let (mut daemon, mut endpoint, id) = open();
    daemon.core_sleeps(0);
    endpoint.connection(id).unwrap().send(b"x");
    assert_eq!(told(&mut endpoint), [""; 0]);
    assert_eq!(daemon.core_rings(0), 1);
    daemon.core_sleeps(0);
    daemon.take(0);
    endpoint.connection(id).unwrap().send(b"x");
    assert!(endpoint.fall_asleep());
    assert_eq!(daemon.core_rings(0), 1);
    endpoint.woke_up().unwrap();
    daemon.main_sleeps();
    endpoint.listen(at("127.0.0.1:0")).unwrap();
    endpoint.wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(daemon.main_rings(), 1);
}

#[test]
fn the_doorbell_lives_in_other_polls() {
    let (mut daemon, mut endpoint, _) = open();
    let ready = |endpoint: &Endpoint| {
        let mut fds = [PollFd::new(endpoint.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    };
    assert!(endpoint.fall_asleep());
    assert!(!ready(&endpoint));
    daemon.receive(2, b"x");
    daemon.rouse();
    assert!(ready(&endpoint));
    endpoint.woke_up().unwrap();
    assert!(!ready(&endpoint), "the ring was not taken back");
    assert_eq!(told(&mut endpoint), ["2.7 readable"]);
    assert!(daemon.application_bell().as_fd().try_clone_to_owned().is_ok());
}

#[test]
fn a_takeover_finds_everything_as_it_was() {
    let (mut daemon, mut endpoint, id) = open();
    let closed = daemon.accept(3, 1, 0);
    daemon.receive(2, &pattern(0, 4000));
    told(&mut endpoint);
    let mut connection = endpoint.connection(id).unwrap();
    connection.consume(3000);
    connection.send(&pattern(0, 5000));
    connection.set_cookie(1234);
    connection.shutdown();
    drop(connection);
    endpoint.connection(closed).unwrap().close();
    let asked = endpoint.connect(at("127.0.0.1:1")).unwrap();
    endpoint.detach();
    daemon.application_died();
    daemon.send(2, 100);
    daemon.receive(2, &pattern(4000, 500));

    let mut endpoint = daemon.attach(&AttachOptions::new("test"));
    assert!(endpoint.has_taken_over());
    assert!(!endpoint.fall_asleep(), "slots have not been looked at");
    assert!(endpoint.wait(PATIENCE).unwrap());
    assert_eq!(told(&mut endpoint), ["2.7 resumed 77", "2.7 readable"]);
    assert_eq!(endpoint.connections().collect::<Vec<_>>(), [id]);
    let mut connection = endpoint.connection(id).unwrap();
    assert_eq!(connection.cookie(), 1234);
    assert_eq!(connection.send(b"more"), 0, "its direction had ended");
    let positions = connection.positions();
    assert_eq!((positions.received, positions.consumed), (4500, 3000));
    assert_eq!((positions.committed, positions.sent), (4096, 100));
    drop(connection);
    assert_eq!(received(&mut endpoint, id), pattern(3000, 1500));
    assert_eq!(daemon.send(2, 5000), pattern(100, 3996));
    assert!(endpoint.connect(at("127.0.0.1:1")).unwrap() > asked);
}

#[test]
fn listeners_that_were_taken_over_need_not_be_asked_for() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let job = endpoint.listen(at("127.0.0.1:7000")).unwrap();
    endpoint.detach();
    assert!(daemon.job().is_some());
    let attachment = daemon.welcome();
    daemon.tell(job.0, Told::Listening { address: at("127.0.0.1:7000") });
    let (welcome, lanes) = attach::connect(attachment, Path::new("double")).unwrap();
    let mut endpoint = Endpoint::begin(AttachOptions::new("test"), welcome, lanes);
    assert_eq!(endpoint.listen(at("127.0.0.1:7000")), Ok(job));
    let other = endpoint.listen(at("127.0.0.1:7001")).unwrap();
    assert_eq!(daemon.job().map(|(job, _)| job), Some(other.0));
    assert_eq!(daemon.job(), None);
    assert!(!endpoint.fall_asleep());
    assert_eq!(told(&mut endpoint), [format!("{job} listening 127.0.0.1:7000")]);
}

#[test]
fn a_connection_that_ended_while_nobody_was_there_is_told_to_its_end() {
    let (mut daemon, endpoint, _) = open();
    endpoint.detach();
    daemon.change(2, |status| (status.state, status.errno) = (State::Closed, 104));
    daemon.put(0, 1, 0, false, State::Connecting);
    let mut endpoint = daemon.attach(&AttachOptions::new("test"));
    assert_eq!(told(&mut endpoint), ["2.7 resumed 77", "2.7 closed 104"]);
    daemon.change(0, |status| status.state = State::Open);
    assert_eq!(told(&mut endpoint), ["0.1 resumed 77"]);
}

#[test]
fn a_daemon_that_is_gone_is_told_once_and_refuses_everything() {
    let (mut daemon, mut endpoint, id) = open();
    daemon.receive(2, b"last words");
    daemon.hang_up();
    assert!(endpoint.wait(PATIENCE).unwrap());
    assert_eq!(told(&mut endpoint), ["2.7 readable"], "what lay there comes first");
    assert_eq!(received(&mut endpoint, id), b"last words");
    assert!(endpoint.wait(PATIENCE).unwrap());
    assert_eq!(told(&mut endpoint), ["detached"]);
    assert_eq!(told(&mut endpoint), [""; 0]);
    assert!(endpoint.connection(id).is_none() && endpoint.connections().next().is_none());
    let gone = DetachReason::HungUp;
    assert_eq!(endpoint.detached(), Some(gone));
    assert_eq!(endpoint.listen(at("127.0.0.1:0")), Err(Error::Detached(gone)));
    let error = endpoint.wait(PATIENCE).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    assert!(error.to_string().contains("vmsgrd has gone"), "{error}");
}

#[test]
fn a_daemon_that_goes_wakes_who_sleeps() {
    let (mut daemon, mut endpoint, _) = open();
    thread::scope(|scope| {
        let daemon = &mut daemon;
        scope.spawn(move || {
            while !daemon.application_sleeps() {
                thread::yield_now();
            }
            daemon.hang_up();
        });
        assert!(endpoint.wait(PATIENCE).unwrap());
    });
    assert_eq!(told(&mut endpoint), ["detached"]);
}

#[test]
fn memory_that_contradicts_itself_detaches() {
    let (daemon, mut endpoint, _) = open();
    daemon.lie();
    assert!(!endpoint.fall_asleep());
    let event = endpoint.next_event();
    let Some(Event::Detached { reason: DetachReason::Contradiction(what) }) = event else {
        panic!("{event:?}");
    };
    assert!(what.contains("cursor"), "{what}");
    let (mut daemon, mut endpoint, _) = open();
    daemon.push_up(0, 4, 1);
    assert_eq!(told(&mut endpoint), ["detached"]);
}

#[test]
fn another_daemon_is_asked_for_the_same_listeners() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let first = endpoint.listen(at("127.0.0.1:0")).unwrap();
    let second = endpoint.listen_with(at("127.0.0.1:2"), 3).unwrap();
    let third = endpoint.listen(at("127.0.0.1:3")).unwrap();
    let fourth = endpoint.listen(at("127.0.0.1:4")).unwrap();
    daemon.tell(first.0, Told::Listening { address: at("127.0.0.1:1111") });
    daemon.tell(third.0, Told::Failed { errno: 98 });
    told(&mut endpoint);
    endpoint.unlisten(fourth).unwrap();
    assert!(endpoint.reattach().is_ok(), "there is nothing to do");
    daemon.hang_up();
    endpoint.wait(PATIENCE).unwrap();
    assert_eq!(told(&mut endpoint), ["detached"]);

    let mut daemon = Daemon::new(2, 8);
    let (welcome, lanes) = attach::connect(daemon.welcome(), Path::new("double")).unwrap();
    daemon.main_sleeps();
    endpoint.renew(welcome, lanes);
    assert_eq!(daemon.main_rings(), 1);
    let listen = |text: &str, backlog| Asked::Listen { address: at(text), backlog };
    assert_eq!(daemon.job(), Some((first.0, listen("127.0.0.1:1111", 0))));
    assert_eq!(daemon.job(), Some((second.0, listen("127.0.0.1:2", 3))));
    assert_eq!(daemon.job(), None);
    assert!(endpoint.connect(at("127.0.0.1:5")).unwrap() > fourth);
    daemon.accept(7, 1, 1);
    assert_eq!(told(&mut endpoint), ["7.1 accepted 77 10.0.0.1:999 [::1]:7"]);
}

#[test]
fn who_goes_says_goodbye() {
    let (mut daemon, endpoint, _) = open();
    daemon.main_sleeps();
    drop(endpoint);
    assert!(matches!(daemon.job(), Some((_, Asked::Leave))));
    assert_eq!(daemon.main_rings(), 1);
    daemon.application_died();
    // And who detaches does not.
    let endpoint = daemon.attach(&AttachOptions::new("test"));
    endpoint.detach();
    daemon.application_died();
    assert_eq!(daemon.job(), None);
}

#[test]
fn nobody_answers_where_there_is_no_daemon() {
    let options = AttachOptions::new("test").socket("/nowhere/at/all.sock");
    let error = Endpoint::attach(&options).unwrap_err().to_string();
    assert!(error.contains("start one with `vmsgrd --socket /nowhere/at/all.sock`"), "{error}");
    let error = Endpoint::attach(&options.slots(0)).unwrap_err().to_string();
    assert!(error.contains("0 slots are not allowed") || error.contains("no vmsgrd"), "{error}");
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
