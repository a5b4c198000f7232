//! Ready rings, sleep, and who is woken.

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::double::at;
use super::super::{Endpoint, Event};
use super::{PATIENCE, attached, open, told};
use crate::shm::job::Told;

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
fn a_sleeper_says_where() {
    let (daemon, mut endpoint) = attached(1, 4);
    assert_eq!(daemon.application_sleeps_on(4096), None);
    assert!(endpoint.fall_asleep());
    assert!(daemon.application_sleeps_on(4096).is_some());
    endpoint.woke_up().unwrap();
    assert_eq!(daemon.application_sleeps_on(4096), None);
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
