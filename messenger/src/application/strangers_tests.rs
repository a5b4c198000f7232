//! Peers that begin sessions under any number of names, and leave.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;

use super::caller::Caller;
use super::double::{Double, Scene, attachment};
use super::entity_tests::listen;
use super::registry::Attachment;
use crate::msgr2::Policy;
use crate::shm::entity::EntityPolicy;
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
