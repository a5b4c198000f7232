//! Applications that lie (I8): each is detached with one reason, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::double::{Double, Scene, echoes, peer};
use crate::shm::geometry::EVENTS;
use crate::shm::job::{Asked, Request};
use crate::shm::sync::Ordering;

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
fn who_asks_without_end_keeps_nobody_waiting_and_nothing_grows() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let cancel = Request { job: 7, kind: Asked::Cancel }.to_words();
    let mut ask = || while application.jobs.push(application.segment.jobs(), cancel) == Ok(true) {};
    ask();
    assert!(scene.messenger.take().is_none());
    assert!(scene.messenger.do_jobs(), "it was taken more than once in a call");
    let mut rounds = 0;
    ask();
    while scene.messenger.do_jobs() {
        ask();
        rounds += 1;
        assert!(rounds < 1000, "cores are told more than they can hear");
    }
    scene.until("the cores have caught up", |scene| {
        ask();
        scene.messenger.do_jobs().then_some(())
    });
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

/// Has the core announce one slot more often than there is room for, by taking the flag back each
/// time.
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
