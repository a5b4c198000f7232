//! Applications that write anything anywhere into their segment while traffic flows (I8): each is
//! detached with a reason or goes on, and nobody else notices.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::attachment::Attachment;
use super::caller::Caller;
use super::double::{Double, Scene, attachment, echoes, peer};
use super::messages;
use crate::job::Event;
use crate::shm::layout::Slot;
use crate::shm::sync::Ordering;

/// Bytes of a word.
const WORD: usize = 8;

/// Something that is written somewhere, and which doorbell is rung behind it, if any.
type Scribble = (usize, u64, Option<usize>);

/// A word of the segment: of the header, jobs, events and lanes, of the slots, or any.
fn place(liar: &Double) -> impl Strategy<Value = usize> + use<> {
    let geometry = *liar.segment.geometry();
    let slots = geometry.slot_at(0) / WORD;
    let others = slots + geometry.slots as usize * size_of::<Slot>() / WORD;
    prop_oneof![4 => 0..slots, 8 => slots..others, 1 => 0..geometry.segment_bytes() / WORD]
}

/// Anything, a small number, or one that could be a position.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..8u64, 0..8192u64]
}

fn scribbles(liar: &Double) -> impl Strategy<Value = Vec<Scribble>> + use<> {
    let bell = prop_oneof![15 => Just(None), 1 => (1..3usize).prop_map(Some)];
    prop::collection::vec((place(liar), value(), bell), 1..400)
}

/// An application listens, has connections with traffic, and writes.
fn play(scene: &mut Scene, scribbles: &[Scribble]) {
    let mut liar = scene.attach("liar");
    let address = liar.listen(scene);
    let mut clients: Vec<_> = (0..3).map(|_| peer(address)).collect();
    liar.open(scene);
    for (number, &(at, value, bell)) in scribbles.iter().enumerate() {
        if number % 64 == 0 {
            clients.iter_mut().for_each(|client| drop(client.write_all(&[3; 500])));
        }
        liar.segment.word(at).store(value, Ordering::Release);
        if let Some(bell) = bell {
            liar.ring(bell);
        }
    }
    // It has been detached, or it dies now, and the next one takes over what it has left.
    liar.die(scene);
}

#[test]
fn a_segment_written_all_over_while_traffic_flows_harms_nobody_else() {
    let mut scene = Scene::new();
    let mut honest = scene.attach("honest");
    let address = honest.listen(&mut scene);
    let liar = scene.attach("liar");
    let scribbles = scribbles(&liar);
    liar.die(&mut scene);
    // For longer, and never the same: VMSGR_SCRIBBLE_SECONDS=600, under a sanitizer, say.
    let seconds = std::env::var("VMSGR_SCRIBBLE_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let config =
        Config { cases: 200, failure_persistence: None, max_shrink_iters: 30, ..Config::default() };
    let mut runner = match end {
        Some(_) => TestRunner::new(config),
        None => {
            let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, rng)
        }
    };
    let both = RefCell::new((scene, honest));
    loop {
        let outcome = runner.run(&scribbles, |scribbles| {
            let (scene, honest) = &mut *both.borrow_mut();
            play(scene, &scribbles);
            echoes(scene, honest, address);
            Ok(())
        });
        outcome.unwrap();
        if end.is_none_or(|end| Instant::now() >= end) {
            break;
        }
    }
    let (scene, honest) = both.into_inner();
    said_of(&scene, &honest);
    scene.stop();
}

/// Many were found out, each once and with a reason, and nobody who is honest.
fn said_of(scene: &Scene, honest: &Double) {
    let mut detached = HashSet::new();
    for event in &scene.events {
        let Event::Detached { application, reason } = event else { panic!("{event:?}") };
        assert!(!reason.is_empty() && *application != honest.id, "{event:?}");
        assert!(detached.insert(*application), "{event:?}: it is said once");
    }
    assert!(detached.len() > 10, "{}: they are found out", detached.len());
}

/// A sequence of numbers that looks random; the same in each run.
fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state ^ *state >> 29
}

#[test]
fn a_slot_and_rings_of_a_session_written_all_over_while_messages_flow_harm_nobody_else() {
    let mut scene = Scene::new();
    let mut honest = scene.attach("honest");
    let address = messages::listen(&mut scene, &mut honest);
    let mut client = Caller::new(address);
    let honest_slot = client.open(&mut scene, &mut honest);
    let mut seed = 11;
    for round in 0..60 {
        let linger = Duration::ZERO;
        let mut liar =
            scene.attach_as(Attachment { linger, ..attachment(&format!("liar {round}")) });
        let address = messages::listen(&mut scene, &mut liar);
        let mut caller = Caller::new(address);
        let slot = caller.open(&mut scene, &mut liar);
        let generation = liar.status(slot).generation;
        let (entry, mut committed) = (u64::from(generation) << 32 | u64::from(slot), 0);
        (0..4).for_each(|tid| caller.send(tid, &[3; 900]));
        for tid in 0..100 {
            // Something true between the lies.
            if tid % 8 == 0 {
                let bytes = messages::whole(tid, 100);
                liar.segment.send_ring(slot).write(committed, &bytes);
                committed += bytes.len() as u64;
                let shared = &liar.segment.slot(slot).of_application;
                shared.committed.store(committed, Ordering::Release);
            }
            if tid % 32 >= 8 {
                scribble_on_session(&liar, slot, &mut seed, round % 3);
            }
            if liar.segment.slot(slot).flags.down.raise(generation) {
                // Nobody takes it from who is detached.
                let _ = liar.down.push(liar.segment.down(0), [entry]);
            }
            liar.wake();
            // Whatever its peer is told, it is msgr2.
            caller.turn();
        }
        messages::converses(&mut scene, &mut honest, &mut client, honest_slot);
        // It has been detached, or it dies now.
        liar.die(&mut scene);
    }
    said_of(&scene, &honest);
    scene.stop();
}

/// Writes something into the slot of a session or its rings.
fn scribble_on_session(liar: &Double, slot: u32, seed: &mut u64, kind: u32) {
    let mut next = || scramble(seed);
    let value = match kind {
        0 => next(),
        1 => next() % 8,
        _ => next() % 8192,
    };
    let (shared, segment) = (liar.segment.slot(slot), &liar.segment);
    let words = [
        &shared.of_application.consumed,
        &shared.of_application.committed,
        &shared.of_application.send_base,
        &shared.of_application.ending,
        &shared.of_application.intent,
        &shared.of_application.intent_consumed,
        &shared.of_application.intent_committed,
        &shared.of_daemon.status,
        &shared.of_daemon.received,
        &shared.of_daemon.sent,
        &shared.of_daemon.receive_base,
    ];
    // Mostly into the parts: what begins one lies at a multiple of 8.
    match next() % 32 {
        0 => words[(next() % 11) as usize].store(value, Ordering::Release),
        1 => shared.of_application.committed.store(next() % 4096, Ordering::Release),
        at if at % 4 == 2 => segment.receive_ring(slot).write(next() % 4096, &value.to_le_bytes()),
        _ => segment.send_ring(slot).write(next() % 512 * 8, &value.to_le_bytes()),
    }
}
