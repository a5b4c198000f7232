//! Applications in their senses against a real messenger.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use nix::errno::Errno;

use super::attachment::Attachment;
use super::double::{Double, Scene, attachment, echoes, peer};
use super::requests::LISTENERS;
use crate::shm::job::{Asked, Notice, Told};
use crate::shm::status::State;
use crate::shm::sync::Ordering;
use crate::shm::{Allow, Policy, Users};

#[test]
fn bytes_go_both_ways_and_the_slot_is_used_again() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    for _ in 0..3 {
        echoes(&mut scene, &mut application, address);
    }
    assert_eq!(application.status(0).generation, 3);
    scene.stop();
}

#[test]
fn a_sleeping_application_is_rung_once_and_one_that_is_awake_never() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let mut client = peer(address);
    let slot = application.open(&mut scene);
    client.write_all(b"x").unwrap();
    scene.until("it is received", |_| (application.received(slot) == 1).then_some(()));
    assert!(!application.is_rung());
    application.numbers();
    application.segment.control().application.0.declare();
    client.write_all(b"x").unwrap();
    scene.until("it is rung", |_| application.is_rung().then_some(()));
    client.write_all(b"x").unwrap();
    scene.until("it is received", |_| (application.received(slot) == 3).then_some(()));
    assert!(!application.is_rung());
    scene.stop();
}

#[test]
fn a_full_receive_ring_stops_the_socket_and_room_goes_on() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let mut client = peer(address);
    let slot = application.open(&mut scene);
    client.write_all(&[7; 10_000]).unwrap();
    scene.until("the ring is full", |_| (application.received(slot) == 4096).then_some(()));
    let shared = application.segment.slot(slot);
    scene.until("the core waits for room", |_| {
        (shared.flags.receive_room.made(2048, 4096)).then_some(())
    });
    shared.of_application.consumed.store(4096, Ordering::Release);
    application.raise(slot);
    scene.until("it goes on", |_| (application.received(slot) == 8192).then_some(()));
    scene.stop();
}

#[test]
fn room_in_the_send_ring_is_told_when_it_is_waited_for() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let mut client = peer(address);
    let slot = application.open(&mut scene);
    application.commit(slot, &[1; 4096]);
    application.segment.slot(slot).flags.send_room.want(4096);
    application.numbers();
    application.raise(slot);
    let mut all = [0; 4096];
    client.read_exact(&mut all).unwrap();
    scene.until("it is told of the room", |_| {
        application.numbers().iter().any(|it| it.0 == slot).then_some(())
    });
    scene.stop();
}

#[test]
fn what_is_committed_behind_a_shutdown_is_not_sent_and_the_peer_goes_on() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let mut client = peer(address);
    let slot = application.open(&mut scene);
    application.commit(slot, b"all");
    application.segment.slot(slot).of_application.ending.store(1, Ordering::Release);
    application.raise(slot);
    let mut sent = Vec::new();
    client.read_to_end(&mut sent).unwrap();
    assert_eq!(sent, b"all");
    application.commit(slot, b"more");
    application.raise(slot);
    let taken = |it: &Double| it.segment.lane(0).down_taken.0.load(Ordering::Acquire);
    scene.until("it was looked at", |_| (taken(&application) == 2).then_some(()));
    client.write_all(b"on").unwrap();
    scene.until("it is received", |_| (application.received(slot) == 2).then_some(()));
    assert_eq!(application.status(slot).state, State::Open);
    scene.stop();
}

#[test]
fn connections_that_are_made_open_or_close_with_an_errno() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    application.ask(5, Asked::Connect { address });
    let slot = application.open(&mut scene);
    assert_eq!(application.segment.slot(slot).of_daemon.job.load(Ordering::Relaxed), 5);
    assert!(!application.status(slot).accepted);
    drop(upstream);
    application.ask(6, Asked::Connect { address });
    let failed = scene.until("the other is closed", |_| {
        let slots = application.numbers();
        slots
            .iter()
            .map(|it| application.status(it.0))
            .find(|it| it.state == State::Closed && it.errno == Errno::ECONNREFUSED as u16)
    });
    assert_eq!(failed.errno, Errno::ECONNREFUSED as u16);
    scene.stop();
}

#[test]
fn what_the_policy_forbids_is_answered_with_eacces() {
    let mut scene = Scene::new();
    let allow = Allow {
        users: Users::Any,
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        connect: vec!["127.0.0.2:1".parse().unwrap()],
    };
    let permissions = Policy::new(vec![allow]).attach(0).unwrap();
    let mut application = scene.attach_as(Attachment { permissions, ..attachment("a") });
    let address = "127.0.0.1:1".parse().unwrap();
    application.ask(1, Asked::Listen { address, backlog: 0 });
    application.ask(2, Asked::Connect { address });
    for job in [1, 2] {
        let told = scene.until("it is told", |_| application.told());
        assert_eq!(told, Notice { job, told: Told::Failed { errno: Errno::EACCES as i32 } });
    }
    application.listen(&mut scene);
    scene.stop();
}

#[test]
fn listeners_of_one_application_are_told_apart_and_bounded() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let any = "127.0.0.1:0".parse().unwrap();
    let mut ask = |job, address| {
        application.ask(job, Asked::Listen { address, backlog: 0 });
        scene.until("it is told", |_| application.told()).told
    };
    assert_eq!(ask(1, any), Told::Failed { errno: Errno::EEXIST as i32 });
    assert_eq!(ask(2, address), Told::Failed { errno: Errno::EADDRINUSE as i32 });
    for job in 2..=LISTENERS as u64 {
        assert!(matches!(ask(job, any), Told::Listening { .. }));
    }
    assert_eq!(ask(1000, any), Told::Failed { errno: Errno::EMFILE as i32 });
    application.ask(1001, Asked::Unlisten);
    let told = scene.until("it is told", |_| application.told()).told;
    assert_eq!(told, Told::Failed { errno: Errno::ENOENT as i32 });
    scene.stop();
}

#[test]
fn nobody_is_accepted_and_dropped_when_all_slots_are_taken() {
    let mut scene = Scene::new();
    let mut application = scene.attach_as(Attachment { slots: 2, ..attachment("a") });
    let address = application.listen(&mut scene);
    let mut clients: Vec<_> = (0..3).map(|_| peer(address)).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"x").unwrap());
    let mut seen = Vec::new();
    scene.until("two are open", |_| {
        seen.extend(application.numbers());
        let open = |slot: u32| application.status(slot).state == State::Open;
        (open(0) && open(1)).then_some(())
    });
    application.segment.slot(1).of_application.ending.store(2, Ordering::Release);
    application.raise(1);
    scene.until("the third has come, and its byte", |_| {
        (application.status(1).generation == 2 && application.received(1) == 1).then_some(())
    });
    scene.stop();
}

#[test]
fn endpoints_of_one_user_share_an_address_evenly_and_others_may_not() {
    let mut scene = Scene::new();
    let (mut a, mut b) = (scene.attach("a"), scene.attach("b"));
    let address = a.listen(&mut scene);
    b.ask(1, Asked::Listen { address, backlog: 0 });
    assert!(matches!(
        scene.until("it is told", |_| b.told()).told,
        Told::Listening { address: same } if same == address
    ));
    let mut other = scene.attach_as(Attachment { uid: 7, ..attachment("a") });
    other.ask(1, Asked::Listen { address, backlog: 0 });
    let told = scene.until("it is told", |_| other.told()).told;
    assert_eq!(told, Told::Failed { errno: Errno::EADDRINUSE as i32 });
    let clients: Vec<_> = (0..8).map(|_| peer(address)).collect();
    let open = |it: &Double| (0..8).filter(|&slot| it.status(slot).state == State::Open).count();
    scene.until("all are open", |_| (open(&a) + open(&b) == 8).then_some(()));
    assert_eq!((open(&a), open(&b)), (4, 4));
    drop(clients);
    scene.stop();
}

#[test]
fn who_dies_loses_nothing_and_is_taken_over() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let mut client = peer(address);
    let slot = application.open(&mut scene);
    client.write_all(b"request").unwrap();
    scene.until("it is received", |_| (application.received(slot) == 7).then_some(()));
    // It has committed, and dies before it has raised the slot; and another reply is half done.
    application.commit(slot, b"one");
    let shared = &application.segment.slot(slot).of_application;
    let pieces = application.segment.send_ring(slot).pieces(3, 3);
    pieces[0].copy_from(b"two");
    shared.intent_consumed.store(5, Ordering::Relaxed);
    shared.intent_committed.store(6, Ordering::Relaxed);
    shared.intent.store(1, Ordering::Release);
    assert!(matches!(
        scene.messenger.attach(attachment("a")),
        Err((Errno::EBUSY, reason)) if reason.contains("'a'")
    ));
    application.die(&mut scene);
    // It comes again before the cores are done with it.
    let mut again = scene.attach("a");
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"onetwo");
    assert!(again.grant.resumed);
    assert_eq!(again.grant.epoch, 2);
    assert_eq!(again.open(&mut scene), slot);
    let shared = &again.segment.slot(slot).of_application;
    assert_eq!(shared.consumed.load(Ordering::Acquire), 5);
    assert_eq!(shared.intent.load(Ordering::Acquire), 0);
    assert_eq!(again.received(slot), 7);
    assert!(matches!(
        scene.until("it is told", |_| again.told()).told,
        Told::Listening { address: same } if same == address
    ));
    again.commit(slot, b"three");
    again.raise(slot);
    client.read_exact(&mut answer[..5]).unwrap();
    assert_eq!(&answer[..5], b"three");
    echoes(&mut scene, &mut again, address);
    scene.stop();
}

#[test]
fn who_leaves_has_what_it_committed_sent() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let mut client = peer(address);
    let slot = application.open(&mut scene);
    application.commit(slot, b"farewell");
    application.ask(9, Asked::Leave);
    application.die(&mut scene);
    let mut all = Vec::new();
    scene.until("the client has all", |_| {
        client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        match client.read_to_end(&mut all) {
            Ok(_) => Some(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    });
    assert_eq!(all, b"farewell");
    // Its name is free, and nothing is left behind.
    let again = scene.attach("a");
    assert!(!again.grant.resumed);
    scene.stop();
}

#[test]
fn who_does_not_come_back_in_time_is_closed() {
    let mut scene = Scene::new();
    let linger = Duration::from_millis(50);
    let mut application = scene.attach_as(Attachment { linger, ..attachment("a") });
    let address = application.listen(&mut scene);
    let mut client = peer(address);
    application.open(&mut scene);
    application.die(&mut scene);
    scene.until("the client is closed", |_| {
        client.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        matches!(client.read(&mut [0]), Ok(0)).then_some(())
    });
    assert!(!scene.attach("a").grant.resumed);
    scene.stop();
}
