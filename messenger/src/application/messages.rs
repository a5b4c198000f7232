//! Applications that are entities, against a real messenger: those that lie in their parts (I8),
//! and those that go while they have sessions.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::attachment::Attachment;
use super::caller::Caller;
use super::double::{Double, Scene, attachment};
use crate::job::Event;
use crate::msgr2::{EntityType, MessageHeader, ThrottleLimits};
use crate::shm::entity::{Entity, EntityName, EntityPolicy};
use crate::shm::job::{Asked, Told};
use crate::shm::keepalive::Keepalives;
use crate::shm::part::{ENVELOPE_BYTES, Envelope, Notice};
use crate::shm::sync::Ordering;

pub(super) const FIRST: u8 = 1;
pub(super) const LAST: u8 = 2;
const BOTH: u8 = FIRST | LAST;
const MESSAGE: u8 = 1;

/// The most bytes that messages of the entity here have.
const LARGEST: u32 = 10_000;

/// The application is an OSD, and listens.
pub(super) fn listen(scene: &mut Scene, application: &mut Double) -> SocketAddr {
    let entity = Entity {
        kind: EntityType::OSD,
        id: EntityName::new("0").unwrap(),
        policy: EntityPolicy::StatelessServer,
        throttle: ThrottleLimits { messages: 10, bytes: 1 << 20 },
        largest_message: LARGEST,
        keepalives: Keepalives::Usual,
    };
    application.ask(50, Asked::Entity(entity));
    let address = "127.0.0.1:0".parse().unwrap();
    application.ask(51, Asked::ListenAs { entity: 50, address, backlog: 0 });
    scene.until("it listens", |_| match application.told()?.told {
        Told::ListeningAs { address } => Some(address),
        other => panic!("{other:?}"),
    })
}

/// A part with this header, whatever that means.
fn part(kind: u8, flags: u8, len: u32, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, flags, 0, 0];
    bytes.extend(len.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(rest);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn envelope(tid: u64, lengths: [u32; 3]) -> Vec<u8> {
    let header = MessageHeader { kind: 1000, tid, ..MessageHeader::default() };
    let [front, middle, data] = lengths;
    Envelope::new(&header, front, middle, data).encode().to_vec()
}

/// The first part of a message that says these lengths, with so many bytes of it.
pub(super) fn first(flags: u8, tid: u64, lengths: [u32; 3], here: u32) -> Vec<u8> {
    let rest = [envelope(tid, lengths), vec![7; here as usize]].concat();
    part(MESSAGE, flags, ENVELOPE_BYTES + here, &rest)
}

pub(super) fn more(flags: u8, here: u32) -> Vec<u8> {
    part(MESSAGE, flags, here, &vec![7; here as usize])
}

/// A message with so much data, as one part.
pub(super) fn whole(tid: u64, data: u32) -> Vec<u8> {
    first(BOTH, tid, [0, 0, data], data)
}

fn with(mut bytes: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    bytes[at] = byte;
    bytes
}

/// What is committed that is a lie, and what the reason says.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let begun = || first(FIRST, 1, [100, 100, 100], 100);
    vec![
        ("neither of a message nor a notice", with(whole(1, 8), 0, 0)),
        ("neither of a message nor a notice", with(whole(1, 8), 0, 3)),
        // Nobody tells the daemon what has happened to a session.
        ("neither of a message nor a notice", Notice::StreamLost.encode().to_vec()),
        ("neither of a message nor a notice", Notice::Forgotten { lost: 1 }.encode().to_vec()),
        ("a notice means nothing", with(Notice::StreamLost.encode().to_vec(), 16, 9)),
        ("flags that are not defined", with(whole(1, 8), 1, BOTH | 4)),
        ("other than zeros", with(whole(1, 8), 2, 1)),
        ("other than zeros", with(whole(1, 8), 15, 1)),
        ("other than zeros", with(whole(1, 8), 16 + 27, 1)),
        ("other than zeros", with(whole(1, 8), 16 + 47, 1)),
        // Half of a ring of 4096 bytes, and a quarter.
        ("too long for its ring", whole(1, 2048 - 64 + 8)),
        ("too long for its ring", first(FIRST, 1, [9000, 0, 0], 1024 - 64 + 8)),
        ("too long for its ring", part(MESSAGE, BOTH, u32::MAX, &envelope(1, [0; 3]))),
        ("not wholly there", part(MESSAGE, BOTH, 64, &envelope(1, [16, 0, 0]))),
        ("not wholly there", vec![MESSAGE, BOTH, 0, 0, 48, 0, 0, 0]),
        ("too short for its envelope", part(MESSAGE, BOTH, 47, &envelope(1, [0; 3]))),
        ("larger than is allowed", first(FIRST, 1, [LARGEST, 0, 1], 100)),
        ("larger than is allowed", first(FIRST, 1, [u32::MAX, u32::MAX, 2], 100)),
        ("more of a message than its envelope says", first(BOTH, 1, [0, 0, 10], 16)),
        // All of it, and more to come.
        ("more of a message than its envelope says", first(FIRST, 1, [5, 5, 6], 16)),
        ("more of a message than its envelope says", [begun(), more(0, 200)].concat()),
        ("more of a message than its envelope says", [begun(), more(LAST, 208)].concat()),
        ("before all of it has", first(BOTH, 1, [10, 10, 10], 16)),
        ("before all of it has", [begun(), more(LAST, 100)].concat()),
        ("has not begun", more(0, 16)),
        ("has not begun", more(LAST, 16)),
        ("has not begun", [whole(9, 8), more(LAST, 16)].concat()),
        ("has nothing of its message", [begun(), more(0, 0)].concat()),
    ]
}

/// One message to an application, and one back.
pub(super) fn converses(
    scene: &mut Scene,
    application: &mut Double,
    caller: &mut Caller,
    slot: u32,
) {
    let (before, tid) = (application.received(slot), caller.received.len() as u64);
    caller.send(tid, b"how are you");
    scene.until("it is received", |_| {
        caller.turn();
        (application.received(slot) > before).then_some(())
    });
    let received = application.received(slot);
    application.segment.slot(slot).of_application.consumed.store(received, Ordering::Release);
    application.commit(slot, &whole(tid, 100));
    application.raise(slot);
    caller.hears(scene, tid);
    assert_eq!(caller.received.last(), Some(&(tid, vec![7; 100])));
}

#[test]
fn who_lies_in_its_parts_is_detached_with_the_reason_and_nobody_else_notices() {
    let mut scene = Scene::new();
    let mut honest = scene.attach("honest");
    let mut client = Caller::new(listen(&mut scene, &mut honest));
    let honest_slot = client.open(&mut scene, &mut honest);
    for (n, (reason, bytes)) in lies().into_iter().enumerate() {
        let mut liar = scene.attach("liar");
        let address = listen(&mut scene, &mut liar);
        let mut caller = Caller::new(address);
        let slot = caller.open(&mut scene, &mut liar);
        // What was true before it is told.
        liar.commit(slot, &whole(9, 8));
        liar.raise(slot);
        caller.hears(&mut scene, 9);
        liar.commit(slot, &bytes);
        liar.raise(slot);
        let told = scene.detached(liar.id);
        assert!(told.contains(reason) && told.contains(&format!("slot {slot}")), "lie {n}: {told}");
        assert_eq!(caller.ends(&mut scene), Err(ErrorKind::ConnectionReset), "lie {n}");
        assert!(caller.received.iter().all(|(tid, _)| *tid == 9), "lie {n}: it has not been sent");
        converses(&mut scene, &mut honest, &mut client, honest_slot);
        assert!(TcpStream::connect(address).is_err(), "lie {n}: nobody listens there");
        let detached = |event: &&Event| matches!(event, Event::Detached { .. });
        assert_eq!(scene.events.iter().filter(detached).count(), 1, "lie {n}: it is said once");
        scene.events.clear();
    }
    scene.stop();
}

#[test]
fn who_leaves_or_does_not_come_back_has_its_whole_messages_sent() {
    for leaves in [true, false] {
        let mut scene = Scene::new();
        let linger = Duration::from_millis(50);
        let mut application = scene.attach_as(Attachment { linger, ..attachment("a") });
        let address = listen(&mut scene, &mut application);
        let mut caller = Caller::new(address);
        let slot = caller.open(&mut scene, &mut application);
        // It has not raised the slot, and is within its third message.
        application.commit(slot, &whole(1, 1000));
        application.commit(slot, &whole(2, 8));
        application.commit(slot, &first(FIRST, 3, [0, 0, 1000], 500));
        if leaves {
            application.ask(9, Asked::Leave);
        }
        application.die(&mut scene);
        assert_eq!(caller.ends(&mut scene), Ok(()), "{leaves}");
        assert_eq!(caller.received, [(1, vec![7; 1000]), (2, vec![7; 8])], "{leaves}");
        assert!(!scene.attach("a").grant.resumed);
        scene.stop();
    }
}

#[test]
fn a_drain_ends_a_session_once_its_messages_are_taken_and_answered() {
    for answers in [true, false] {
        let mut scene = Scene::new();
        let mut application = scene.attach("a");
        let address = listen(&mut scene, &mut application);
        let mut caller = Caller::new(address);
        let slot = caller.open(&mut scene, &mut application);
        caller.send(1, b"a request");
        scene.until("it is received", |_| {
            caller.turn();
            (application.received(slot) > 0).then_some(())
        });
        scene.messenger.drain(Duration::from_secs(60));
        scene.until("nobody listens", |_| TcpStream::connect(address).is_err().then_some(()));
        caller.turn();
        assert_eq!(caller.end, None, "its message is not taken");
        if answers {
            application.commit(slot, &whole(1, 1000));
        }
        let received = application.received(slot);
        application.segment.slot(slot).of_application.consumed.store(received, Ordering::Release);
        application.raise(slot);
        assert_eq!(caller.ends(&mut scene), Ok(()));
        assert_eq!(caller.received.len(), usize::from(answers));
        scene.messenger.join();
    }
}
