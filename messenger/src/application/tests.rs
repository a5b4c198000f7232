//! Applications against a real messenger: those in their senses, and those that lie (I8).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::double::{Double, Scene, attachment, echoes, peer};
use super::registry::Attachment;
use super::requests::LISTENERS;
use crate::job::Event;
use crate::shm::geometry::EVENTS;
use crate::shm::job::{Asked, Notice, Request, Told};
use crate::shm::status::State;
use crate::shm::sync::{AtomicU64, Ordering};
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
fn who_takes_back_that_it_has_taken_events_is_detached() {
    for (lie, reason) in [(0, "does not take its events"), (1 << 40, "a cursor of a ring")] {
        let mut scene = Scene::new();
        let mut application = scene.attach("a");
        for job in 0..EVENTS as u64 {
            application.ask(100 + job, Asked::Unlisten);
        }
        let mut told = 0;
        scene.until("all is told", |_| {
            told += usize::from(application.told().is_some());
            (told == EVENTS).then_some(())
        });
        let any = "127.0.0.1:0".parse().unwrap();
        application.ask(1, Asked::Listen { address: any, backlog: 0 });
        assert!(scene.messenger.do_jobs());
        // Its answer is under way, and the ring is full again.
        let taken = &application.segment.control().events_taken.0;
        taken.store(0, Ordering::Release);
        application.ask(2, Asked::Unlisten);
        assert!(!scene.messenger.do_jobs());
        application.segment.control().events_taken.0.store(lie, Ordering::Release);
        let told = scene.detached(application.id);
        assert!(told.contains(reason), "{told}");
        scene.stop();
    }
}

#[test]
fn who_rings_the_messenger_for_nothing_is_detached_and_who_asks_for_something_is_not() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let id = application.id;
    for _ in 0..60 {
        (0..200).for_each(|_| scene.messenger.application_rang(id));
        application.ask(7, Asked::Unlisten);
        scene.until("it is told", |_| application.told());
    }
    assert!(scene.events.is_empty(), "{:?}", scene.events);
    (0..10_001).for_each(|_| scene.messenger.application_rang(id));
    let told = scene.detached(id);
    assert!(told.contains("for nothing"), "{told}");
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

/// One way to lie, after a connection was opened in the slot; the word that the reason has.
type Lie = (&'static str, fn(&mut Double, u32));

const LIES: [Lie; 19] = [
    ("committed", |it, slot| {
        it.segment.slot(slot).of_application.committed.store(4097, Ordering::Release);
        it.raise(slot);
    }),
    ("committed", |it, slot| {
        it.commit(slot, b"12345");
        it.raise(slot);
        // Backwards, once the first is known.
        while it.segment.slot(slot).of_daemon.sent.load(Ordering::Acquire) < 5 {
            std::thread::yield_now();
        }
        it.segment.slot(slot).of_application.committed.store(2, Ordering::Release);
        it.raise(slot);
    }),
    ("committed", |it, slot| {
        it.segment.slot(slot).of_application.committed.store(u64::MAX, Ordering::Release);
        it.raise(slot);
    }),
    ("slot 8 is out of", |it, _| {
        it.push(8, 1);
        it.wake();
    }),
    ("slot 4294967295", |it, _| {
        it.push(u32::MAX, u32::MAX);
        it.wake();
    }),
    ("pushed twice", |it, slot| {
        it.push(slot, 1);
        it.push(slot, 1);
        it.wake();
    }),
    ("ending of 4", |it, slot| {
        it.segment.slot(slot).of_application.ending.store(4, Ordering::Release);
        it.raise(slot);
    }),
    ("ending of 0 after 1", |it, slot| {
        // Once this is sent the ending is known.
        it.commit(slot, b"x");
        it.segment.slot(slot).of_application.ending.store(1, Ordering::Release);
        it.raise(slot);
        while it.segment.slot(slot).of_daemon.sent.load(Ordering::Acquire) < 1 {
            std::thread::yield_now();
        }
        it.segment.slot(slot).of_application.ending.store(0, Ordering::Release);
        it.raise(slot);
    }),
    ("means nothing: kind 1", |it, _| {
        let address = "127.0.0.1:0".parse().unwrap();
        let mut words = Request { job: 1, kind: Asked::Listen { address, backlog: 0 } }.to_words();
        // A backlog that is none.
        words[5] = 1 << 32;
        assert_eq!(it.jobs.push(it.segment.jobs(), words), Ok(true));
        it.ring(1);
    }),
    ("a cursor of a ring", |it, _| {
        it.segment.lane(0).down_pushed.0.store(1 << 40, Ordering::Release);
        it.wake();
    }),
    ("a cursor of a ring", |it, _| {
        it.segment.lane(0).down_pushed.0.store(u64::MAX, Ordering::Release);
        it.wake();
    }),
    ("a cursor of a ring", |it, _| {
        it.segment.control().jobs_pushed.0.store(1 << 40, Ordering::Release);
        it.ring(1);
    }),
    ("a cursor of a ring", |it, _| {
        // With this one nothing it asks for could be answered.
        it.segment.control().events_taken.0.store(1 << 40, Ordering::Release);
        it.ask(5, Asked::Unlisten);
        it.ring(1);
    }),
    ("a cursor of a ring", |it, slot| {
        it.segment.lane(0).up_taken.0.store(1 << 40, Ordering::Release);
        announce_again_and_again(it, slot);
    }),
    ("does not take its events", announce_again_and_again),
    ("means nothing: kind 77", |it, _| {
        assert_eq!(it.jobs.push(it.segment.jobs(), [77; 8]), Ok(true));
        it.ring(1);
    }),
    ("means nothing: kind 1", |it, _| {
        // An address that is none.
        assert_eq!(it.jobs.push(it.segment.jobs(), [1, 1, 5, 0, 0, 0, 0, 0]), Ok(true));
        it.ring(1);
    }),
    ("for nothing", |it, _| {
        for _ in 0..3_000_000 {
            it.ring(2);
            if !it.segment.lane(0).core.0.rouse() {
                std::thread::yield_now();
            }
        }
    }),
    ("for nothing", |it, slot| {
        // Numbers of connections that never were.
        let generation = it.status(slot).generation;
        let mut n = 0;
        let mut taken = Instant::now();
        // When it is too much nobody takes them any more.
        while n < 10_000 && taken.elapsed() < Duration::from_secs(1) {
            let ring = it.segment.down(0);
            let entry = u64::from(generation + 1 + n) << 32 | u64::from(slot);
            match it.down.push(ring, [entry]) {
                Ok(true) => (n, taken) = (n + 1, Instant::now()),
                _ => std::thread::yield_now(),
            }
            it.wake();
        }
    }),
];

/// Has the core announce one slot more often than there is room for, by taking the flag back each time.
fn announce_again_and_again(it: &mut Double, slot: u32) {
    for n in 1..=17 {
        it.segment.slot(slot).flags.up.reset();
        it.segment.slot(slot).flags.send_room.want(1);
        it.commit(slot, b"x");
        it.raise(slot);
        let deadline = Instant::now() + Duration::from_secs(20);
        // With the last one it is found out.
        while n < 17 && it.segment.slot(slot).of_daemon.sent.load(Ordering::Acquire) < n {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }
}

#[test]
fn who_lies_is_detached_with_the_reason_and_nobody_else_notices() {
    let mut scene = Scene::new();
    let mut honest = scene.attach("honest");
    let honest_address = honest.listen(&mut scene);
    for (n, (reason, lie)) in LIES.into_iter().enumerate() {
        let mut liar = scene.attach("liar");
        let address = liar.listen(&mut scene);
        let mut client = peer(address);
        let slot = liar.open(&mut scene);
        lie(&mut liar, slot);
        let told = scene.detached(liar.id);
        assert!(told.contains(reason), "lie {n}: {told}");
        scene.events.clear();
        let end = client.read_to_end(&mut Vec::new());
        let cut = end.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
        let shut_down = reason.starts_with("ending of 0");
        assert!(cut || shut_down, "lie {n}: {end:?}");
        echoes(&mut scene, &mut honest, honest_address);
        assert!(std::net::TcpStream::connect(address).is_err(), "lie {n}: nobody listens there");
    }
    scene.stop();
}

#[test]
fn who_lies_about_what_it_has_consumed_is_detached() {
    for (lie, said) in [(2, "consumed says 2, which is not in 5..=10"), (11, "not in 5..=10")] {
        let mut scene = Scene::new();
        let mut application = scene.attach("a");
        let address = application.listen(&mut scene);
        let mut client = peer(address);
        let slot = application.open(&mut scene);
        let consumed = &application.segment.slot(slot).of_application.consumed;
        let mut send = |received| {
            client.write_all(b"bytes").unwrap();
            let came = || application.received(slot) == received;
            scene.until("they are received", |_| came().then_some(()));
        };
        send(5);
        consumed.store(5, Ordering::Release);
        // It is looked at when more comes.
        send(10);
        consumed.store(lie, Ordering::Release);
        client.write_all(b"bytes").unwrap();
        let told = scene.detached(application.id);
        assert!(told.contains(said), "{told}");
        scene.stop();
    }
}

/// A sequence of numbers that looks random; the same in each run.
fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state ^ *state >> 29
}

#[test]
fn a_segment_written_all_over_while_traffic_flows_harms_nobody_else() {
    let mut scene = Scene::new();
    let mut honest = scene.attach("honest");
    let honest_address = honest.listen(&mut scene);
    // For longer, and never the same: VMSGR_SCRIBBLE_SECONDS=600, under a sanitizer, say.
    let seconds = std::env::var("VMSGR_SCRIBBLE_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seed = end.map_or(7, |_| u64::from(std::process::id()));
    let mut round = 0;
    while end.map_or(round < 60, |end| Instant::now() < end) {
        round += 1;
        let mut liar = scene.attach("liar");
        let address = liar.listen(&mut scene);
        let mut clients: Vec<_> = (0..3).map(|_| peer(address)).collect();
        let slot = liar.open(&mut scene);
        for client in &mut clients {
            let _ = client.write_all(&[3; 2000]);
        }
        for _ in 0..400 {
            scribble(&liar, &mut seed, round % 3);
            if scramble(&mut seed).is_multiple_of(16) {
                liar.ring(1 + (scramble(&mut seed) % 2) as usize);
            }
        }
        let _ = slot;
        echoes(&mut scene, &mut honest, honest_address);
        // It has been detached, or it dies now.
        liar.die(&mut scene);
        drop(clients);
    }
    let granted = |event: &Event| matches!(event, Event::Exited { .. });
    assert!(!scene.events.iter().any(granted), "{:?}", scene.events);
    scene.stop();
}

/// Writes something somewhere: anything, small numbers, or what is nearly right.
fn scribble(liar: &Double, seed: &mut u64, kind: u32) {
    let value = match kind {
        0 => scramble(seed),
        1 => scramble(seed) % 8,
        _ => scramble(seed) % 8192,
    };
    let slot = liar.segment.slot((scramble(seed) % 8) as u32);
    let of_application = &slot.of_application;
    let (control, lane) = (liar.segment.control(), liar.segment.lane(0));
    let jobs = liar.segment.jobs().entries;
    let down = liar.segment.down(0).entries;
    let words: [&AtomicU64; 20] = [
        &of_application.consumed,
        &of_application.committed,
        &of_application.send_base,
        &of_application.ending,
        &of_application.intent,
        &of_application.intent_consumed,
        &of_application.intent_committed,
        &slot.of_daemon.status,
        &slot.of_daemon.received,
        &slot.of_daemon.sent,
        &slot.of_daemon.receive_base,
        &control.jobs_pushed.0,
        &control.jobs_taken.0,
        &control.events_pushed.0,
        &control.events_taken.0,
        &lane.up_pushed.0,
        &lane.up_taken.0,
        &lane.down_pushed.0,
        &jobs[(scramble(seed) % 4) as usize][(scramble(seed) % 8) as usize],
        &down[(scramble(seed) % 4) as usize][0],
    ];
    words[(scramble(seed) % 20) as usize].store(value, Ordering::Release);
    if kind == 2 && scramble(seed).is_multiple_of(4) {
        slot.flags.down.reset();
        slot.flags.up.reset();
        slot.flags.receive_room.clear();
    }
}
