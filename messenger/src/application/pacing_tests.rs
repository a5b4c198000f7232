//! What is held for an application outside its segment, and what a session moves in a turn.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use vmsgr_reactor::{Budget, Doorbell, Loop, SpinPolicy, mesh};

use super::allowance::Allowance;
use super::double::{Double, Scene};
use super::endpoints::Reserved;
use super::entity_tests::{BODY, RING, connect, entity, flood, listen, take, with_rings};
use super::identity::Identity;
use super::pool::SlotPool;
use super::{Application, ApplicationId};
use crate::census::Census;
use crate::message::ConnectAs;
use crate::options::{ApplicationOptions, Options};
use crate::shm::entity::EntityPolicy;
use crate::shm::geometry::Geometry;
use crate::shm::job::{Asked, Patience};
use crate::shm::part::Envelope;
use crate::shm::part_reader::PartReader;
use crate::shm::part_writer::PartWriter;
use crate::shm::ring::Pusher;
use crate::shm::segment::Segment;
use crate::shm::status::State;
use crate::shm::sync::Ordering;
use crate::worker::Worker;

const HELD: u64 = 2 << 20;

fn scene() -> Scene {
    let applications = ApplicationOptions { held_bytes: HELD };
    Scene::with(Options { applications, ..Options::default() })
}

#[test]
fn sessions_share_what_their_application_may_have_held_and_each_has_a_message() {
    let mut scene = scene();
    let mut client = scene.attach_as(with_rings("client", Duration::ZERO));
    // They never say anything.
    let mutes: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    client.ask(1, Asked::Entity(entity(EntityPolicy::LosslessClient)));
    for (mute, job) in mutes.iter().zip(2..) {
        let address = mute.local_addr().unwrap();
        client.ask(
            job,
            Asked::ConnectAs { entity: 1, address, peer: None, patience: Patience::Usual },
        );
    }
    let mut held = Vec::new();
    for slot in 0..4 {
        scene.until("it is being made", |_| (client.status(slot).generation == 1).then_some(()));
        flood(&mut scene, &mut client, slot);
        held.push(client.segment.slot(slot).of_daemon.sent.load(Ordering::Acquire));
    }
    let one = BODY as u64 + 1000;
    assert!(held.iter().sum::<u64>() <= HELD + one + 4 * one, "{held:?}");
    assert!(held.iter().all(|held| *held >= BODY as u64), "{held:?}: each gets on");
    scene.stop();
}

#[test]
fn all_that_waits_for_room_arrives_once_there_is_some() {
    let mut scene = scene();
    let mut client = scene.attach_as(with_rings("client", Duration::ZERO));
    let mut server = scene.attach_as(with_rings("server", Duration::ZERO));
    let address = listen(&mut scene, &mut server, EntityPolicy::StatelessServer);
    connect(&mut client, EntityPolicy::LossyClient, address);
    client.ask(3, Asked::ConnectAs { entity: 1, address, peer: None, patience: Patience::Usual });
    for slot in [0, 1] {
        let open = |it: &Double| it.status(slot).state == State::Open;
        scene.until("both are open", |_| (open(&client) && open(&server)).then_some(()));
    }
    let sent = [0, 1].map(|slot| flood(&mut scene, &mut client, slot));
    let mut readers = [PartReader::new(1 << 20), PartReader::new(1 << 20)];
    let mut taken = 0;
    scene.until("all have arrived", |_| {
        for (slot, reader) in (0..).zip(&mut readers) {
            taken += take(&mut server, reader, slot);
        }
        (taken == sent[0] + sent[1]).then_some(())
    });
    scene.stop();
}

#[test]
fn whoever_holds_nothing_more_goes_on_though_another_holds_all_there_is() {
    let mut scene = scene();
    let mut client = scene.attach_as(with_rings("client", Duration::ZERO));
    let mut server = scene.attach_as(with_rings("server", Duration::ZERO));
    // It never says anything.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    connect(&mut client, EntityPolicy::LosslessClient, mute.local_addr().unwrap());
    scene.until("it is being made", |_| (client.status(0).generation == 1).then_some(()));
    flood(&mut scene, &mut client, 0);
    let address = listen(&mut scene, &mut server, EntityPolicy::StatefulServer);
    client.ask(3, Asked::ConnectAs { entity: 1, address, peer: None, patience: Patience::Usual });
    let open = |it: &Double, slot| it.status(slot).state == State::Open;
    scene.until("it is open", |_| (open(&client, 1) && open(&server, 0)).then_some(()));
    let sent = flood(&mut scene, &mut client, 1);
    let (mut reader, mut taken) = (PartReader::new(1 << 20), 0);
    scene.until("all have arrived", |_| {
        taken += take(&mut server, &mut reader, 0);
        (taken == sent).then_some(())
    });
    scene.stop();
}

#[test]
fn a_session_moves_no_more_in_a_turn_than_it_may_and_goes_on_in_the_next() {
    let geometry = Geometry::new(1, 4, RING, RING).unwrap();
    let application = Arc::new(Application {
        id: ApplicationId(1),
        segment: Segment::create(geometry).unwrap().0,
        slots: SlotPool::new(4, 1),
        allowance: Allowance::new(64 << 20, 1),
        doorbell: Doorbell::new().unwrap(),
    });
    let options =
        Options { budget: Budget { bytes: 1, ..Budget::default() }, ..Options::default() };
    let worker = Worker::new(0, 1, Arc::new(options), Arc::new(Census::new(1, None)));
    let port = mesh(2).unwrap().remove(0);
    let mut tested = Loop::new(worker, port, SpinPolicy::Auto, Budget::default()).unwrap();
    let (worker, core) = tested.handler();
    worker.attach(core, Arc::clone(&application), Doorbell::new().unwrap());
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let entity = entity(EntityPolicy::LosslessClient);
    let identity = Identity { application: application.id, number: 1, entity, core: 0 };
    let slot = application.slots.reserve(0).unwrap();
    let reserved = Reserved { application: Arc::clone(&application), slot, job: 2 };
    let address = mute.local_addr().unwrap();
    worker.connect_as(
        core,
        ConnectAs { reserved, identity, address, peer: None, patience: Patience::Usual },
    );

    // A message in three parts, and another.
    let shared = application.segment.slot(slot);
    let (ring, mut committed) = (application.segment.send_ring(slot), 0);
    for data in [RING / 2, 100] {
        let body = vec![7; data as usize];
        let mut writer = PartWriter::new(Envelope { data, ..Envelope::default() });
        committed += u64::from(writer.put(ring, committed, RING, &[&body]));
        shared.of_application.committed.store(committed, Ordering::Release);
    }
    assert!(shared.flags.down.raise(1));
    let mut pusher = Pusher::default();
    assert_eq!(pusher.push(application.segment.down(0), [1 << 32 | u64::from(slot)]), Ok(true));
    let lane = worker.lane_of(application.id).unwrap();
    let mut sent = vec![0];
    let mut moved = || sent.push(shared.of_daemon.sent.load(Ordering::Acquire));
    assert_eq!(worker.take_more(core), 0);
    assert_eq!(worker.take_numbers_of(core, &Rc::clone(&lane), 10), 1);
    moved();
    while worker.has_more() {
        assert_eq!(worker.take_more(core), 1);
        moved();
    }
    assert!(sent.is_sorted_by(|a, b| a < b), "{sent:?}: a part in each turn");
    assert_eq!((sent.len(), sent.last()), (5, Some(&committed)), "{sent:?}");
}
