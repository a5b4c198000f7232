//! Applications that are entities, against a real messenger: what is left when they go.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::attachment::Attachment;
use super::double::{Double, Scene, attachment, peer};
use crate::job::Event;
use crate::msgr2::{EntityType, ThrottleLimits};
use crate::shm::PeerEntity;
use crate::shm::entity::{Entity, EntityName, EntityPolicy};
use crate::shm::job::{Asked, Patience, Told};
use crate::shm::keepalive::Keepalives;
use crate::shm::part::Envelope;
use crate::shm::part_reader::{Found, PartReader};
use crate::shm::part_writer::PartWriter;
use crate::shm::status::State;
use crate::shm::sync::Ordering;

pub(super) const RING: u32 = 1 << 20;
/// Two of them, with their headers, fill a ring.
pub(super) const BODY: usize = 500_000;

pub(super) fn entity(policy: EntityPolicy) -> Entity {
    Entity {
        kind: EntityType::OSD,
        id: EntityName::new("0").unwrap(),
        policy,
        throttle: ThrottleLimits { messages: 4, bytes: 4 << 20 },
        largest_message: 1 << 20,
        keepalives: Keepalives::Usual,
    }
}

pub(super) fn with_rings(name: &str, linger: Duration) -> Attachment {
    let (receive_ring_bytes, send_ring_bytes) = (RING, RING);
    Attachment { receive_ring_bytes, send_ring_bytes, linger, ..attachment(name) }
}

pub(super) fn listen(scene: &mut Scene, server: &mut Double, policy: EntityPolicy) -> SocketAddr {
    server.ask(1, Asked::Entity(entity(policy)));
    let address = "127.0.0.1:0".parse().unwrap();
    server.ask(2, Asked::ListenAs { entity: 1, address, backlog: 0 });
    match scene.until("it listens", |_| server.told()).told {
        Told::ListeningAs { address } => address,
        other => panic!("{other:?}"),
    }
}

pub(super) fn connect(client: &mut Double, policy: EntityPolicy, address: SocketAddr) {
    client.ask(1, Asked::Entity(entity(policy)));
    client.ask(2, Asked::ConnectAs { entity: 1, address, peer: None, patience: Patience::Usual });
}

/// Commits messages until neither the ring nor the daemon has room for another; how many.
pub(super) fn flood(scene: &mut Scene, client: &mut Double, slot: u32) -> usize {
    let body = vec![7; BODY];
    let mut count = 0;
    let mut since = std::time::Instant::now();
    scene.until("the daemon has no room", |_| {
        let shared = client.segment.slot(slot);
        let sent = shared.of_daemon.sent.load(Ordering::Acquire);
        let committed = shared.of_application.committed.load(Ordering::Relaxed);
        let envelope = Envelope { data: BODY as u32, ..Default::default() };
        let room = RING - (committed - sent) as u32;
        let ring = client.segment.send_ring(slot);
        let put = PartWriter::new(envelope).put(ring, committed, room, &[&body]);
        if put == 0 {
            return (since.elapsed() > Duration::from_millis(500)).then_some(());
        }
        (count, since) = (count + 1, std::time::Instant::now());
        shared.of_application.committed.store(committed + u64::from(put), Ordering::Release);
        client.raise(slot);
        None
    });
    count
}

/// Takes the messages that are in the receive ring; how many.
pub(super) fn take(server: &mut Double, reader: &mut PartReader, slot: u32) -> usize {
    let shared = server.segment.slot(slot);
    let mut consumed = shared.of_application.consumed.load(Ordering::Relaxed);
    let (mut count, before) = (0, consumed);
    loop {
        let base = shared.of_daemon.receive_base.load(Ordering::Relaxed);
        let unread = server.received(slot) - consumed;
        let ring = server.segment.receive_ring(slot);
        let Some(part) = reader.next(ring, consumed - base, unread as u32).unwrap() else { break };
        count += usize::from(matches!(part.found, Found::InPlace(..) | Found::Whole(..)));
        consumed += u64::from(part.bytes);
    }
    shared.of_application.consumed.store(consumed, Ordering::Release);
    if consumed > before {
        server.raise(slot);
    }
    count
}

#[test]
fn all_that_was_committed_arrives_though_its_application_is_gone() {
    let mut scene = Scene::new();
    let mut server = scene.attach_as(with_rings("server", Duration::ZERO));
    let mut client = scene.attach_as(with_rings("client", Duration::ZERO));
    let address = listen(&mut scene, &mut server, EntityPolicy::StatelessServer);
    connect(&mut client, EntityPolicy::LossyClient, address);
    let theirs = client.open(&mut scene);
    let ours = server.open(&mut scene);
    let sent = flood(&mut scene, &mut client, theirs);
    assert!(sent > 35, "{sent} messages are no more than the daemon keeps");
    client.die(&mut scene);
    let (mut reader, mut taken) = (PartReader::new(1 << 20), 0);
    scene.until("all have arrived, and the session has ended", |_| {
        taken += take(&mut server, &mut reader, ours);
        (server.status(ours).state == State::Closed).then_some(())
    });
    taken += take(&mut server, &mut reader, ours);
    assert_eq!(taken, sent);
    scene.stop();
}

#[test]
fn a_session_that_is_closed_ends_in_time_though_its_peer_takes_nothing() {
    let mut scene = Scene::new();
    let mut client = scene.attach_as(with_rings("client", Duration::ZERO));
    // It never says anything.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    connect(&mut client, EntityPolicy::LosslessClient, mute.local_addr().unwrap());
    scene.until("it is being made", |_| (client.status(0).generation == 1).then_some(()));
    flood(&mut scene, &mut client, 0);
    assert_eq!(client.status(0).state, State::Connecting);
    client.segment.slot(0).of_application.ending.store(2, Ordering::Release);
    client.raise(0);
    scene.until("its slot is free", |_| (client.status(0).state == State::Free).then_some(()));
    scene.stop();
}

#[test]
fn who_comes_after_an_application_that_left_nothing_is_not_taken_for_it() {
    let mut scene = Scene::new();
    let mut server = scene.attach("server");
    let address = listen(&mut scene, &mut server, EntityPolicy::StatelessServer);
    // A stream that is no session yet keeps the entity.
    let _mute = peer(address);
    let streams = |scene: &mut Scene| {
        scene.messenger.report();
        scene.until("a report", |scene| {
            let report = scene.events.iter().position(|it| matches!(it, Event::Report { .. }))?;
            match scene.events.remove(report) {
                Event::Report { entities, .. } => Some(entities.map_or(0, |it| it.streams)),
                _ => None,
            }
        })
    };
    while streams(&mut scene) == 0 {}
    server.ask(2, Asked::Unlisten);
    scene.until("it is told", |_| server.told());
    server.die(&mut scene);
    scene.until("it is gone", |scene| scene.messenger.is_departed("server").then_some(()));
    // With other sizes, so it gets a segment of its own, and the same name within the messenger.
    let mut server = scene.attach_as(Attachment { slots: 4, ..attachment("server") });
    let address = listen(&mut scene, &mut server, EntityPolicy::StatelessServer);
    let mut client = scene.attach("client");
    connect(&mut client, EntityPolicy::LossyClient, address);
    client.open(&mut scene);
    server.open(&mut scene);
    assert_eq!(streams(&mut scene), 3, "the old one is there still");
    scene.stop();
}

#[test]
fn both_are_told_who_is_at_the_other_end() {
    let mut scene = Scene::new();
    let mut server = scene.attach("server");
    let mut client = scene.attach("client");
    let address = listen(&mut scene, &mut server, EntityPolicy::LosslessPeer);
    let kind = EntityType::MDS;
    let id = EntityName::new("7").unwrap();
    client.ask(1, Asked::Entity(Entity { kind, id, ..entity(EntityPolicy::LosslessPeer) }));
    client.ask(2, Asked::ConnectAs { entity: 1, address, peer: None, patience: Patience::Usual });
    let theirs = client.open(&mut scene);
    let ours = server.open(&mut scene);
    let peer = client.segment.slot(theirs).peer.read().unwrap();
    let (number, nonce) = (0, peer.nonce);
    let expected = PeerEntity { kind: EntityType::OSD, number, address: Some(address), nonce };
    assert_eq!(peer, expected);
    let peer = server.segment.slot(ours).peer.read().unwrap();
    assert_eq!((peer.kind, peer.number), (EntityType::MDS, 7));
    assert_eq!(peer.address, Some("127.0.0.1:0".parse().unwrap()), "it does not listen");
    assert_ne!(peer.nonce, 0);

    // What has the slot next is of bytes.
    for (application, slot) in [(&mut client, theirs), (&mut server, ours)] {
        application.segment.slot(slot).of_application.ending.store(2, Ordering::Release);
        application.raise(slot);
    }
    scene.until("it is free", |_| (client.status(theirs).state == State::Free).then_some(()));
    let bytes = TcpListener::bind("127.0.0.1:0").unwrap();
    client.ask(3, Asked::Connect { address: bytes.local_addr().unwrap() });
    assert_eq!(client.open(&mut scene), theirs);
    assert_eq!(client.segment.slot(theirs).peer.read(), None);
    scene.stop();
}
