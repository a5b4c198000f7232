//! Peers that begin sessions under any number of names, and leave.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;

use super::attachment::Attachment;
use super::caller::Caller;
use super::double::{Double, Scene, attachment};
use super::entity_tests::{entity, listen};
use crate::msgr2::Policy;
use crate::shm::entity::{Entity, EntityName, EntityPolicy};
use crate::shm::job::{Asked, Told};
use crate::shm::status::State;
use crate::shm::sync::Ordering;

fn call(address: SocketAddr, name: u32) -> Caller {
    Caller::with(address, Policy::LOSSLESS_CLIENT, name)
}

/// Waits until a caller has a session; its slot. Those before it are known.
fn open(
    scene: &mut Scene,
    server: &mut Double,
    caller: &mut Caller,
    known: &mut HashSet<(u32, u32)>,
) -> u32 {
    scene.until("its session is open", |_| {
        caller.turn();
        server.numbers();
        (0..server.segment.geometry().slots).find(|slot| {
            let status = server.status(*slot);
            status.state == State::Open && known.insert((*slot, status.generation))
        })
    })
}

/// Waits for a slot to be in this state.
fn becomes(scene: &mut Scene, server: &Double, slot: u32, state: State) {
    scene.until(&format!("slot {slot} is {state:?}"), |_| {
        (server.status(slot).state == state).then_some(())
    });
}

/// As an application does that is told of an end.
fn close(server: &mut Double, slot: u32) {
    assert_eq!(server.status(slot).errno, Errno::EMFILE as u16);
    server.segment.slot(slot).of_application.ending.store(2, Ordering::Release);
    server.raise(slot);
}

#[test]
fn who_left_without_a_word_goes_first_when_slots_run_short() {
    let mut scene = Scene::new();
    let attachment = Attachment { slots: 4, linger: Duration::ZERO, ..attachment("server") };
    let mut server = scene.attach_as(attachment);
    let address = listen(&mut scene, &mut server, EntityPolicy::StatefulServer);
    let mut seen = HashSet::new();
    let mut connected = call(address, 1);
    assert_eq!(open(&mut scene, &mut server, &mut connected, &mut seen), 0);
    let mut known = call(address, 2);
    assert_eq!(open(&mut scene, &mut server, &mut known, &mut seen), 1);
    known.send(1, b"who I am");
    scene.until("it is received", |_| {
        known.turn();
        (server.received(1) > 0).then_some(())
    });
    drop(known);

    let mut invented = call(address, 3);
    assert_eq!(open(&mut scene, &mut server, &mut invented, &mut seen), 2);
    drop(invented);
    for name in 4..20 {
        // With it all slots are taken, until the one before it is gone.
        let mut invented = call(address, name);
        let slot = open(&mut scene, &mut server, &mut invented, &mut seen);
        let before = if slot == 2 { 3 } else { 2 };
        becomes(&mut scene, &server, before, State::Closed);
        close(&mut server, before);
        becomes(&mut scene, &server, before, State::Free);
    }
    connected.turn();
    assert_eq!(connected.end, None);
    assert!([0, 1].iter().all(|slot| server.status(*slot).state == State::Open));
    scene.stop();
}

#[test]
fn of_one_address_few_are_kept() {
    let mut scene = Scene::new();
    let mut server = scene.attach_as(Attachment { slots: 256, ..attachment("server") });
    let address = listen(&mut scene, &mut server, EntityPolicy::StatefulServer);
    let mut seen = HashSet::new();
    for name in 1..=20 {
        open(&mut scene, &mut server, &mut call(address, name), &mut seen);
    }
    for slot in 0..4 {
        becomes(&mut scene, &server, slot, State::Closed);
        close(&mut server, slot);
    }
    for slot in 4..20 {
        assert_eq!(server.status(slot).state, State::Open, "{slot}");
    }
    scene.stop();
}

/// Waits until a caller that has gone is missed.
fn missed(scene: &mut Scene, server: &Double, slot: u32) {
    scene.until("its stream is lost", |_| (server.received(slot) > 0).then_some(()));
}

#[test]
fn they_go_once_less_than_an_eighth_of_the_slots_is_free() {
    let mut scene = Scene::new();
    let mut server = scene.attach_as(Attachment { slots: 16, ..attachment("server") });
    let address = listen(&mut scene, &mut server, EntityPolicy::StatefulServer);
    let mut seen = HashSet::new();
    let mut open = |scene: &mut Scene, server: &mut Double, name| {
        let mut caller = call(address, name);
        let slot = open(scene, server, &mut caller, &mut seen);
        (slot, caller)
    };
    let mut callers: Vec<_> = (1..=13).map(|name| open(&mut scene, &mut server, name)).collect();
    let (first, _) = callers.remove(0);
    missed(&mut scene, &server, first);
    let (slot, mut caller) = open(&mut scene, &mut server, 14);
    caller.send(1, b"hello");
    scene.until("it is received", |_| {
        caller.turn();
        (server.received(slot) > 0).then_some(())
    });
    assert_eq!(server.status(first).state, State::Open, "two of sixteen are free");
    callers.push(open(&mut scene, &mut server, 15));
    becomes(&mut scene, &server, first, State::Closed);
    close(&mut server, first);
    becomes(&mut scene, &server, first, State::Free);
    // Nor does anybody stay who leaves when it is so already.
    callers.push(open(&mut scene, &mut server, 16));
    assert!(callers.iter().all(|(slot, _)| server.status(*slot).state == State::Open));
    let (last, _) = callers.remove(0);
    becomes(&mut scene, &server, last, State::Closed);
    scene.stop();
}

#[test]
fn of_several_entities_the_one_that_has_been_gone_longest_goes_first() {
    let mut scene = Scene::new();
    let mut server = scene.attach_as(Attachment { slots: 4, ..attachment("server") });
    let address = listen(&mut scene, &mut server, EntityPolicy::StatefulServer);
    let other =
        Entity { id: EntityName::new("1").unwrap(), ..entity(EntityPolicy::StatefulServer) };
    server.ask(3, Asked::Entity(other));
    let any = "127.0.0.1:0".parse().unwrap();
    server.ask(4, Asked::ListenAs { entity: 3, address: any, backlog: 0 });
    let other = match scene.until("it listens", |_| server.told()).told {
        Told::ListeningAs { address } => address,
        told => panic!("{told:?}"),
    };
    let mut seen = HashSet::new();
    let mut gone = |scene: &mut Scene, server: &mut Double, address, name| {
        let slot = open(scene, server, &mut call(address, name), &mut seen);
        missed(scene, server, slot);
        slot
    };
    let first = gone(&mut scene, &mut server, other, 1);
    let second = gone(&mut scene, &mut server, address, 2);
    let mut callers = [3, 4].map(|name| call(address, name));
    for caller in &mut callers {
        open(&mut scene, &mut server, caller, &mut seen);
    }
    becomes(&mut scene, &server, first, State::Closed);
    assert_eq!(server.status(second).state, State::Open);
    scene.stop();
}

#[test]
fn whoever_has_come_back_is_no_stranger() {
    let mut scene = Scene::new();
    let mut server = scene.attach_as(Attachment { slots: 4, ..attachment("server") });
    let address = listen(&mut scene, &mut server, EntityPolicy::StatefulServer);
    let mut seen = HashSet::new();
    let mut again = call(address, 1);
    let first = open(&mut scene, &mut server, &mut again, &mut seen);
    scene.until("it knows, too", |_| {
        again.turn();
        again.opened.then_some(())
    });
    again.send(1, b"who I am");
    again.comes_back();
    scene.until("its stream is lost and back, and its message is there", |_| {
        again.turn();
        (server.received(first) > 2 * 32).then_some(())
    });
    let mut callers = [2, 3, 4].map(|name| call(address, name));
    let slots: Vec<_> =
        callers.iter_mut().map(|caller| open(&mut scene, &mut server, caller, &mut seen)).collect();
    callers[2].send(1, b"hello");
    scene.until("it is received", |_| {
        callers[2].turn();
        (server.received(slots[2]) > 0).then_some(())
    });
    assert_eq!(server.status(first).state, State::Open);
    scene.stop();
}
