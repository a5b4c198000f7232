//! Connections, from their first event to their last.

use std::io;

use super::super::double::at;
use super::super::{ConnectionId, DetachReason, Error, Event};
use super::{PATIENCE, attached, open, received, told};
use crate::shm::status::{Ending, State};

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
