//! What is left of applications that die, leave, and are taken over: all that it should be, and no
//! more.

use std::io::{Read, Write};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::attachment::Attachment;
use super::double::{Double, Scene, attachment, echoes, peer};
use super::registry::APPLICATIONS;
use crate::ids::ApplicationId;
use crate::shm::geometry::{EVENTS, JOBS};
use crate::shm::job::{Asked, Notice, Request, Told};
use crate::shm::status::State;
use crate::shm::sync::Ordering;
use crate::shm::{Allow, Policy, Users};

fn slots_taken(scene: &Scene, id: ApplicationId) -> usize {
    scene.messenger.registry.served[&id].shared.slots.taken()
}

/// Waits for the core to sleep, and keeps it from being rung.
fn asleep(scene: &mut Scene, application: &Double) {
    let sign = &application.segment.lane(0).core.0;
    scene.until("the core sleeps", |_| sign.rouse().then_some(()));
}

#[test]
fn what_an_application_asked_for_is_done_when_it_dies_with_a_full_event_ring() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    // It hears of none of these, so nothing more is taken from it.
    for job in 0..EVENTS as u64 {
        application.ask(100 + job, Asked::Unlisten);
    }
    let taken = |it: &Double| it.segment.control().jobs_taken.0.load(Ordering::Acquire);
    scene.until("the ring is full", |_| (taken(&application) == EVENTS as u64 + 1).then_some(()));
    application.ask(1, Asked::Unlisten);
    let address_of_another = "127.0.0.1:0".parse().unwrap();
    application.ask(2, Asked::Listen { address: address_of_another, backlog: 0 });
    assert!(!scene.messenger.do_jobs(), "there is no room for an answer");
    assert_eq!(taken(&application), EVENTS as u64 + 1);
    application.die(&mut scene);
    let mut again = scene.attach("a");
    let told = scene.until("it is told", |_| again.told());
    let Notice { job: 2, told: Told::Listening { address: other } } = told else {
        panic!("{told:?}");
    };
    assert_ne!(other, address);
    scene.until("nobody listens there any more", |_| {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    echoes(&mut scene, &mut again, other);

    // And one that leaves leaves nothing.
    for job in 0..EVENTS as u64 {
        again.ask(100 + job, Asked::Unlisten);
    }
    scene.until("the ring is full", |_| (taken(&again) == EVENTS as u64).then_some(()));
    again.ask(9, Asked::Leave);
    again.die(&mut scene);
    assert!(!scene.attach("a").grant.resumed);
    scene.stop();
}

#[test]
fn who_pushes_jobs_after_its_death_keeps_nobody_busy() {
    let mut scene = Scene::new();
    // A process of its that lives on, and goes on asking.
    let mut ghost = scene.attach("a");
    let id = ghost.id;
    let shared = Arc::clone(&scene.messenger.registry.served[&id].shared);
    let (stop, stopped) = mpsc::channel::<()>();
    let pushing = std::thread::spawn(move || {
        let request = Request { job: 7, kind: Asked::Unlisten }.to_words();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) && stopped.try_recv().is_err() {
            let _ = ghost.jobs.push(ghost.segment.jobs(), request);
        }
    });
    let control = shared.segment.control();
    let counts =
        || [&control.jobs_pushed, &control.jobs_taken].map(|it| it.0.load(Ordering::Acquire));
    scene.until("both rings are full", |_| {
        let [pushed, taken] = counts();
        (taken == EVENTS as u64 && pushed == taken + JOBS as u64).then_some(())
    });
    scene.messenger.depart(id);
    let [_, taken] = counts();
    stop.send(()).unwrap();
    pushing.join().unwrap();
    assert_eq!(taken, (EVENTS + JOBS) as u64, "what lay there when it died, and no more");
    scene.stop();
}

#[test]
fn a_listener_that_fails_on_a_core_leaves_nothing() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let mut client = peer(address);
    let slot = application.open(&mut scene);
    client.write_all(b"x").unwrap();
    scene.until("it is received", |_| (application.received(slot) == 1).then_some(()));
    // A core that drains, which this byte keeps it from ending with, takes no listener.
    scene.messenger.drain(Duration::from_secs(20));
    application.ask(2, Asked::Listen { address: "127.0.0.1:0".parse().unwrap(), backlog: 0 });
    let told = scene.until("it is told", |_| application.told());
    assert_eq!(told, Notice { job: 2, told: Told::Failed { errno: Errno::EIO as i32 } });
    application.ask(1, Asked::Unlisten);
    scene.until("nothing of them is left", |scene| scene.messenger.ours.is_empty().then_some(()));
    application.segment.slot(slot).of_application.ending.store(3, Ordering::Release);
    application.raise(slot);
    scene.stop();
}

#[test]
fn who_takes_over_asks_for_the_sizes_that_there_are() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let client = peer(address);
    let slot = application.open(&mut scene);
    let larger = Attachment { slots: 16, send_ring_bytes: 8192, ..attachment("a") };
    application.die(&mut scene);
    // Before the cores have confirmed that it has gone, and after.
    for confirmed in [false, true] {
        if confirmed {
            scene.until("its end is confirmed", |it| it.messenger.is_departed("a").then_some(()));
        }
        let (errno, reason) = scene.messenger.attach(larger.clone()).unwrap_err();
        assert_eq!(errno, Errno::EINVAL);
        assert_eq!(
            reason,
            "'a' was left with 8 slots with rings of 4096 and 4096 bytes, not 16 slots with rings \
             of 4096 and 8192 bytes: ask for the same, or take another name"
        );
    }
    let mut again = scene.attach("a");
    assert!(again.grant.resumed);
    assert_eq!(again.open(&mut scene), slot);
    again.told();
    // With nothing left there is nothing to be kept from it.
    again.ask(1, Asked::Unlisten);
    again.segment.slot(slot).of_application.ending.store(2, Ordering::Release);
    again.raise(slot);
    drop(client);
    scene.until("nothing is left", |it| it.messenger.has_left_nothing("a").then_some(()));
    again.die(&mut scene);
    for confirmed in [false, true] {
        if confirmed {
            scene.until("its end is confirmed", |it| it.messenger.is_departed("a").then_some(()));
        }
        let slots = 16 + u32::from(confirmed);
        let mut other = scene.attach_as(Attachment { slots, ..larger.clone() });
        assert!(!other.grant.resumed);
        assert_eq!(other.segment.geometry().slots, slots);
        let address = other.listen(&mut scene);
        echoes(&mut scene, &mut other, address);
        other.ask(1, Asked::Unlisten);
        scene.until("nothing is left", |it| it.messenger.has_left_nothing("a").then_some(()));
        other.die(&mut scene);
    }
    scene.stop();
}

#[test]
fn a_listener_that_is_being_made_has_a_place_for_its_answer() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    for job in 0..EVENTS as u64 - 1 {
        application.ask(100 + job, Asked::Unlisten);
    }
    let pushed = |it: &Double| it.segment.control().events_pushed.0.load(Ordering::Acquire);
    scene.until("one place is left", |_| (pushed(&application) == EVENTS as u64 - 1).then_some(()));
    application.ask(1, Asked::Listen { address: "127.0.0.1:0".parse().unwrap(), backlog: 0 });
    application.ask(2, Asked::Unlisten);
    scene.until("the last place is taken", |_| {
        (pushed(&application) == EVENTS as u64).then_some(())
    });
    let mut told = Vec::new();
    scene.until("all is told", |_| {
        told.extend(application.told());
        (told.len() == EVENTS + 1).then_some(())
    });
    assert!(matches!(told[EVENTS - 1], Notice { job: 1, told: Told::Listening { .. } }));
    assert!(matches!(told[EVENTS], Notice { job: 2, told: Told::Failed { .. } }));
    scene.stop();
}

#[test]
fn what_it_had_done_wrong_shows_when_it_dies() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    asleep(&mut scene, &application);
    application.push(8, 1);
    let id = application.id;
    application.die(&mut scene);
    let reason = scene.detached(id);
    assert!(reason.contains("slot 8 is out of"), "{reason}");
    scene.stop();
}

#[test]
fn the_slot_of_a_connection_that_is_over_is_free_when_its_application_is_done_with_it() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let (id, address) = (application.id, application.listen(&mut scene));
    // It says so; it says what means nothing; it says so and dies before it has raised the slot.
    for (ending, raises) in [(2, true), (77, true), (2, false)] {
        drop(peer(address));
        let slot = application.open(&mut scene);
        application.segment.slot(slot).of_application.ending.store(1, Ordering::Release);
        application.raise(slot);
        scene.until("it is over", |_| {
            (application.status(slot).state == State::Closed).then_some(())
        });
        assert_eq!(slots_taken(&scene, id), 1, "it is the application's still");
        // A number of another connection that was in the slot is none of this one's.
        application.push(slot, 99);
        application.wake();
        asleep(&mut scene, &application);
        application.segment.slot(slot).of_application.ending.store(ending, Ordering::Release);
        if raises {
            application.raise(slot);
            application.ring(2);
        } else {
            scene.messenger.depart(id);
        }
        scene.until("it is free", |scene| (slots_taken(scene, id) == 0).then_some(()));
    }
    scene.stop();
}

#[test]
fn nothing_is_kept_of_one_that_is_detached() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let _client = peer(address);
    application.open(&mut scene);
    let kept = Arc::downgrade(&scene.messenger.registry.served[&application.id].shared);
    application.push(8, 1);
    application.wake();
    scene.detached(application.id);
    scene.until("it is gone", |_| kept.upgrade().is_none().then_some(()));
    scene.stop();
}

/// How long some have to come back; the others' time is not over in a test.
const LINGER: Duration = Duration::from_millis(500);

/// Waits until those are gone who had this time to come back and have died before.
fn wait_out(scene: &mut Scene) {
    let later = scene.attach_as(Attachment { linger: LINGER, ..attachment("later") });
    let id = later.id;
    later.die(scene);
    scene.until("its time is over", |scene| {
        (!scene.messenger.registry.served.contains_key(&id)).then_some(())
    });
}

#[test]
fn the_time_of_one_that_was_taken_over_ends_with_it() {
    let mut scene = Scene::new();
    let before = scene.attach_as(Attachment { linger: LINGER, ..attachment("a") });
    before.die(&mut scene);
    scene.until("its end is confirmed", |it| it.messenger.is_departed("a").then_some(()));
    let again = scene.attach("a");
    assert!(again.grant.resumed);
    again.die(&mut scene);
    scene.until("its end is confirmed", |it| it.messenger.is_departed("a").then_some(()));
    wait_out(&mut scene);
    assert!(scene.attach("a").grant.resumed);
    scene.stop();
}

#[test]
fn the_time_of_one_that_has_left_nothing_ends_with_it() {
    let mut scene = Scene::new();
    let before = scene.attach_as(Attachment { linger: LINGER, ..attachment("a") });
    before.die(&mut scene);
    scene.until("its end is confirmed", |it| it.messenger.is_departed("a").then_some(()));
    // Of other sizes, so all of it is new; but it has its name.
    let mut application = scene.attach_as(Attachment { slots: 9, ..attachment("a") });
    let address = application.listen(&mut scene);
    let _client = peer(address);
    application.open(&mut scene);
    application.die(&mut scene);
    wait_out(&mut scene);
    assert!(scene.attach_as(Attachment { slots: 9, ..attachment("a") }).grant.resumed);
    scene.stop();
}

#[test]
fn who_is_killed_between_a_flag_and_its_number_is_heard_when_it_comes_again() {
    let mut scene = Scene::new();
    let mut application = scene.attach("a");
    let address = application.listen(&mut scene);
    let mut client = peer(address);
    let slot = application.open(&mut scene);
    // One number that was taken, and one that was never pushed.
    application.raise(slot);
    let flags = &application.segment.slot(slot).flags;
    scene.until("it was taken", |_| flags.down.raise(1).then_some(()));
    application.die(&mut scene);
    let mut again = scene.attach("a");
    assert_eq!(again.open(&mut scene), slot);
    again.commit(slot, b"hello");
    again.raise(slot);
    let mut read = [0; 5];
    client.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"hello");
    scene.stop();
}

#[test]
fn who_takes_over_may_what_it_may_itself() {
    let mut scene = Scene::new();
    let application = scene.attach("a");
    application.die(&mut scene);
    let nothing = Allow { users: Users::Any, listen: Vec::new(), connect: Vec::new() };
    let permissions = Policy::new(vec![nothing]).attach(0).unwrap();
    let mut again = scene.attach_as(Attachment { permissions, ..attachment("a") });
    assert!(again.grant.resumed);
    again.ask(1, Asked::Listen { address: "127.0.0.1:0".parse().unwrap(), backlog: 0 });
    let told = scene.until("it is told", |_| again.told()).told;
    assert_eq!(told, Told::Failed { errno: Errno::EACCES as i32 });
    scene.stop();
}

#[test]
fn one_that_dies_while_it_is_attached_is_never_granted_anything() {
    let mut scene = Scene::new();
    let id = scene.messenger.attach(attachment("a")).unwrap();
    scene.messenger.depart(id);
    scene.until("its end is confirmed", |it| it.messenger.is_departed("a").then_some(()));
    assert!(scene.events.is_empty(), "{:?}", scene.events);
    // And if another one waits for that, it is the one.
    let id = scene.messenger.attach(attachment("a")).unwrap();
    scene.messenger.depart(id);
    assert_eq!(scene.attach("a").grant.epoch, 3);
    assert!(scene.events.is_empty(), "{:?}", scene.events);
    scene.stop();
}

#[test]
fn so_many_applications_are_kept_and_no_more() {
    let mut scene = Scene::new();
    let small = |n: usize| Attachment { slots: 1, ..attachment(&format!("{n}")) };
    let mut all: Vec<_> = (0..APPLICATIONS).map(|n| scene.attach_as(small(n))).collect();
    let (errno, reason) = scene.messenger.attach(small(APPLICATIONS)).unwrap_err();
    assert_eq!(errno, Errno::EUSERS, "{reason}");
    let mut one = all.pop().unwrap();
    one.ask(1, Asked::Leave);
    one.die(&mut scene);
    scene.attach_as(small(APPLICATIONS));
    scene.stop();
}

#[test]
fn who_connects_while_one_of_two_is_dead_goes_to_the_other() {
    let mut scene = Scene::new();
    let (mut a, mut b) = (scene.attach("a"), scene.attach("b"));
    let address = a.listen(&mut scene);
    b.ask(1, Asked::Listen { address, backlog: 0 });
    scene.until("it is told", |_| b.told());
    let dead = a.id;
    a.die(&mut scene);
    scene.until("its end is confirmed", |it| it.messenger.is_departed("a").then_some(()));
    let clients: Vec<_> = (0..4).map(|_| peer(address)).collect();
    let open = |it: &Double| (0..8).filter(|&slot| it.status(slot).state == State::Open).count();
    scene.until("all are open", |_| (open(&b) == clients.len()).then_some(()));
    assert_eq!(slots_taken(&scene, dead), 0);
    scene.stop();
}
