//! What an application finds that its predecessor has left.

use super::super::AttachOptions;
use super::super::double::at;
use super::{PATIENCE, open, pattern, received, told};
use crate::shm::status::State;
use crate::shm::sync::Ordering;

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
