//! What is held for an application outside its segment: all of it is counted, and none of it once
//! its session is over.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use vmsgr_reactor::{Budget, Doorbell, Loop, SpinPolicy, mesh};

use super::allowance::{Allowance, Portion};
use super::caller::Caller;
use super::double::worker_with;
use super::endpoints::Reserved;
use super::entity_tests::{BODY, RING, entity};
use super::hosting_tests::{PATIENCE, hand_over, identity, turn};
use super::identity::Identity;
use super::lane::{Held, Lane};
use super::messages::{FIRST, LAST, first, more, whole};
use super::pool::SlotPool;
use super::sessions::Sessions;
use super::{Application, ApplicationId};
use crate::census::Census;
use crate::message::{ConnectAs, Message};
use crate::msgr2::{
    AuthNone, Config, Endpoint, EntityAddr, EntityAddrs, EntityType, MessageHeader, Policy,
    Received, Segment, Target,
};
use crate::shm::entity::EntityPolicy;
use crate::shm::geometry::Geometry;
use crate::shm::job::Patience;
use crate::shm::part::Envelope;
use crate::shm::part_writer::PartWriter;
use crate::shm::ring::Pusher;
use crate::shm::segment::Segment as Shared;
use crate::shm::status::Ending;
use crate::shm::sync::Ordering;
use crate::worker::Worker;

/// The number of the job that asks for a session.
const JOB: u64 = 2;

/// A worker, and an application with a session in its first slot.
struct World {
    tested: Loop<Worker>,
    lane: Rc<Lane>,
    down: Pusher,
    committed: u64,
    /// What its sessions go to; it never says anything.
    mute: TcpListener,
}

impl World {
    fn new(ring: u32, held: u64) -> Self {
        let (tested, lane) = worker_with(4, ring, held);
        let mute = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { tested, lane, down: Pusher::default(), committed: 0, mute }
    }

    fn connect(&mut self) {
        let application = Arc::clone(&self.lane.application);
        let slot = application.slots.reserve(0).unwrap();
        assert_eq!(slot, 0);
        let reserved = Reserved { application, slot, job: JOB };
        let entity = entity(EntityPolicy::LosslessClient);
        let identity = Identity { entity, ..identity(&self.lane) };
        let (address, patience) = (self.mute.local_addr().unwrap(), Patience::Usual);
        let (worker, core) = self.tested.handler();
        worker.connect_as(core, ConnectAs { reserved, identity, address, peer: None, patience });
    }

    /// The application raises its slot, and the worker looks at it until there is nothing to do.
    fn raise(&mut self) {
        let Held::Session { generation, .. } = self.lane.held(0) else { panic!("no session") };
        assert!(self.lane.slot(0).flags.down.raise(generation));
        let entry = u64::from(generation) << 32;
        assert_eq!(self.down.push(self.lane.application.segment.down(0), [entry]), Ok(true));
        let (worker, core) = self.tested.handler();
        assert_eq!(worker.take_numbers_of(core, &self.lane, 10), 1);
        while worker.has_more() {
            worker.take_more(core);
        }
    }

    fn committed(&mut self, bytes: u64) {
        self.committed += bytes;
        let shared = &self.lane.slot(0).of_application;
        shared.committed.store(self.committed, Ordering::Release);
        self.raise();
    }

    fn commit(&mut self, bytes: &[u8]) {
        self.lane.application.segment.send_ring(0).write(self.committed, bytes);
        self.committed(bytes.len() as u64);
    }

    fn end(&mut self, ending: Ending) {
        let shared = &self.lane.slot(0).of_application;
        shared.ending.store(ending.to_word(), Ordering::Release);
        self.raise();
    }

    fn held(&self) -> usize {
        self.lane.portion.tally.bytes()
    }
}

#[test]
fn what_is_to_be_sent_counts_from_its_first_part_and_until_its_session_is_over() {
    let ends: [fn(&mut World); 3] = [
        |world| world.end(Ending::Reset),
        |world| {
            let Held::Session { entity, session, .. } = world.lane.held(0) else { panic!() };
            let (worker, core) = world.tested.handler();
            worker.evict_session(core, entity, session);
        },
        |world| {
            let id = world.lane.application.id;
            let (worker, core) = world.tested.handler();
            worker.cancel_connect(core, id, JOB);
        },
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let mut world = World::new(4096, 1 << 20);
        world.connect();
        world.commit(&first(FIRST, 1, [0, 0, 1000], 400));
        assert_eq!(world.held(), 1000, "{n}");
        world.commit(&more(LAST, 600));
        let one = world.held();
        assert!((1000..1500).contains(&one), "{n}: {one}");
        world.commit(&first(FIRST, 2, [0, 0, 700], 400));
        assert_eq!(world.held(), one + 700, "{n}");
        end(&mut world);
        assert_eq!(world.held(), 0, "{n}");
    }
}

#[test]
fn a_message_for_which_the_endpoint_has_no_room_counts_too() {
    let mut world = World::new(RING, 64 << 20);
    world.connect();
    let body = vec![7; BODY];
    for count in 1..100 {
        let ring = world.lane.application.segment.send_ring(0);
        let mut writer = PartWriter::new(Envelope { data: BODY as u32, ..Envelope::default() });
        let put = writer.put(ring, world.committed, RING, &[&body]);
        world.committed(put.into());
        assert!(world.held() >= count * BODY, "{count}: {}", world.held());
        let sent = world.lane.slot(0).of_daemon.sent.load(Ordering::Acquire);
        if sent < world.committed {
            assert!(count > 30, "{count}: it keeps more than so many");
            world.end(Ending::Reset);
            return assert_eq!(world.held(), 0);
        }
    }
    panic!("it keeps any number");
}

#[test]
fn what_has_come_counts_while_there_is_no_room_for_it() {
    let mut world = World::new(4096, 1 << 20);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut caller = Caller::new(listener.local_addr().unwrap());
    hand_over(&mut world.tested, &world.lane, &listener);
    let end = Instant::now() + PATIENCE;
    let mut two_more = |world: &mut World| {
        (0..2).for_each(|tid| caller.send(tid, &[1; 3000]));
        while world.held() == 0 {
            assert!(Instant::now() < end, "the second never waited");
            caller.turn();
            turn(&mut world.tested);
        }
        assert_eq!(world.held(), 3000);
    };
    two_more(&mut world);
    for _ in 0..2 {
        let slot = world.lane.slot(0);
        let received = slot.of_daemon.received.load(Ordering::Acquire);
        slot.of_application.consumed.store(received, Ordering::Release);
        world.raise();
        assert_eq!(world.held(), 0);
    }
    two_more(&mut world);
    let Held::Session { entity, session, .. } = world.lane.held(0) else { panic!() };
    let (worker, core) = world.tested.handler();
    worker.retire_session(core, entity, session);
    assert_eq!(world.held(), 0, "nobody will take it");
}

#[test]
fn a_message_that_comes_before_its_session_has_a_slot_counts() {
    let (now, (_tested, lane)) = (Instant::now(), worker_with(4, 4096, 1 << 20));
    let auth = Box::new(AuthNone::new(EntityType::CLIENT, "admin", 0));
    let config = Config::new(EntityType::CLIENT, EntityAddrs::default());
    let mut endpoint = Endpoint::new(config, auth, now);
    let address = EntityAddr::msgr2("127.0.0.1:1".parse().unwrap(), 0);
    let policy = Policy::LOSSLESS_CLIENT;
    let target = Target { address, entity: None, policy, reopen: false };
    let session = endpoint.connect(target, now).unwrap();
    let mut sessions = Sessions::new(identity(&lane), Rc::clone(&lane));
    let [front, middle, data] = [&[1; 10][..], &[2; 20], &[3; 30]].map(Segment::Borrowed);
    let header = MessageHeader::default();
    let message = Received { session, header, front, middle, data, forgotten: 0 };
    sessions.received(&mut endpoint, message, now);
    assert_eq!(lane.portion.tally.bytes(), 60);
    assert!(sessions.remove(session).is_none());
    assert_eq!(lane.portion.tally.bytes(), 0);
}

#[test]
fn whoever_has_begun_with_a_message_may_end_it_though_there_is_no_room() {
    let mut world = World::new(4096, 1000);
    world.connect();
    // With this one all is held.
    world.commit(&whole(1, 900));
    world.commit(&first(FIRST, 2, [0, 0, 700], 400));
    let sent = |world: &World| world.lane.slot(0).of_daemon.sent.load(Ordering::Acquire);
    assert!(sent(&world) < world.committed, "it was not begun");
    let mut world = World::new(4096, 2000);
    world.connect();
    world.commit(&whole(1, 900));
    world.commit(&first(FIRST, 2, [0, 0, 1500], 400));
    assert!(!world.lane.has_room());
    world.commit(&more(0, 400));
    world.commit(&more(LAST, 700));
    assert_eq!(sent(&world), world.committed);
    world.commit(&whole(3, 8));
    assert!(sent(&world) < world.committed, "it was not begun");
    // What has been handed on counts once.
    let mut world = World::new(4096, 2000);
    world.connect();
    world.commit(&first(FIRST, 1, [0, 0, 1000], 400));
    world.commit(&[more(LAST, 600), whole(2, 8)].concat());
    assert_eq!(sent(&world), world.committed);
}

#[test]
fn whoever_waits_for_room_goes_on_when_another_has_made_some() {
    let mut world = World::new(4096, 2000);
    world.connect();
    world.commit(&whole(1, 900));
    // As another session does.
    let tally = world.lane.portion.tally.clone();
    tally.add(2000);
    world.commit(&whole(2, 8));
    let sent = |world: &World| world.lane.slot(0).of_daemon.sent.load(Ordering::Acquire);
    assert!(sent(&world) < world.committed, "it was not begun");
    tally.remove(2000);
    let (worker, core) = world.tested.handler();
    assert!(worker.has_more());
    assert_eq!(worker.take_more(core), 1);
    assert_eq!(sent(&world), world.committed);
}

#[test]
fn a_core_that_needs_less_gives_it_back_and_tells_who_waits() {
    let mut ports = mesh(3).unwrap();
    let mut worker = Worker::new(0, 2, Default::default(), Arc::new(Census::new(2, None)));
    let application = Arc::new(Application {
        id: ApplicationId(1),
        segment: Shared::create(Geometry::new(2, 4, 4096, 4096).unwrap()).unwrap().0,
        slots: SlotPool::new(4, 2),
        allowance: Allowance::new(1 << 20, 2),
        doorbell: Doorbell::new().unwrap(),
    });
    let lane = Rc::new(Lane::new(Arc::clone(&application), 0));
    worker.lanes.push(Rc::clone(&lane));
    let port = ports.remove(0);
    let mut tested = Loop::new(worker, port, SpinPolicy::Auto, Budget::default()).unwrap();
    let tally = lane.portion.tally.clone();
    tally.add((1 << 20) - 1);
    assert!(lane.has_room());
    let other = Portion::default();
    assert!(!other.has_room(&application.allowance, 1));
    tally.remove((1 << 20) - 1);
    turn(&mut tested);
    assert!(matches!(ports[0].take(), Some((0, Message::Place))));
    assert!(other.has_room(&application.allowance, 1));
}
