use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::net::TcpListener;
use vmsgr_reactor::{Budget, Handler, Loop, SpinPolicy, mesh};

use super::owner::{Kept, Owner};
use super::*;
use crate::census::Census;
use crate::ending::Ending;
use crate::ids::JobId;
use crate::msgr2::{
    AuthNone, Config, EntityAddr, EntityAddrs, EntityType, Message, MessageHeader, Policy,
    SessionId, Target,
};
use crate::name::Service;
use crate::options::Options;
use crate::worker::{Timer, Worker};

const PATIENCE: Duration = Duration::from_secs(20);
const PING: u16 = 2;

/// A worker with a listener of the OSD that stores nothing, and an entity that keeps what it gets.
struct World {
    tested: Loop<Worker>,
    address: std::net::SocketAddr,
    client: EntityId,
}

impl World {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let port = mesh(2).unwrap().remove(0);
        let census = Arc::new(Census::new(1, None));
        let worker = Worker::new(0, 1, Arc::new(options), census);
        let mut tested = Loop::new(worker, port, SpinPolicy::Auto, Budget::default()).unwrap();
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service::OsdNull(OsdNullOptions::default());
        let (worker, core) = tested.handler();
        worker.listen(core, JobId(1), TcpListener::from_std(listener), service);
        let now = core.now();
        let mut config = Config::new(EntityType::CLIENT, EntityAddrs::default());
        config.backoff.first = Duration::from_millis(1);
        let auth = Box::new(AuthNone::new(EntityType::CLIENT, "test", 7));
        let endpoint = Endpoint::new(config, auth, now);
        let owner = Owner::Kept(Kept::default());
        let client = worker.entities.insert(endpoint, owner);
        Self { tested, address, client }
    }

    /// Takes turns until the condition holds.
    fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < end, "not in time: {what}");
            self.turn();
        }
    }

    /// Takes a turn, and does not sleep for long.
    fn turn(&mut self) {
        // Nobody has this name, so nobody is idle.
        let nobody = Token::from(mio::Token(usize::MAX >> 1));
        self.tested.handler().1.arm(Duration::from_millis(10), Timer::Idle(nobody));
        self.tested.turn().unwrap();
    }

    fn dial(&mut self, port: u16) -> SessionId {
        let to = std::net::SocketAddr::new(self.address.ip(), port);
        let address = EntityAddr::msgr2(to, 0);
        let policy = Policy::LOSSY_CLIENT;
        let target = Target { address, entity: Some(EntityType::OSD), policy, reopen: true };
        self.with_client(|endpoint, now| endpoint.connect(target, now)).unwrap()
    }

    fn with_client<T>(&mut self, task: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let client = self.client;
        let (worker, core) = self.tested.handler();
        let now = core.now();
        let endpoint = Rc::clone(&worker.entities.get_mut(client).unwrap().endpoint);
        let outcome = task(&mut endpoint.borrow_mut(), now);
        worker.entities.touched(client);
        outcome
    }

    fn kept(&mut self) -> &mut Kept {
        let client = self.client;
        match &mut self.tested.handler().0.entities.get_mut(client).unwrap().owner {
            Owner::Kept(kept) => kept,
            _ => unreachable!("it is nobody else's"),
        }
    }

    fn send(&mut self, session: SessionId, tid: u64, data: usize) {
        let header = MessageHeader { kind: PING, tid, ..Default::default() };
        let data = Bytes::from(vec![7; data]);
        let message = Message { header, data, ..Default::default() };
        self.with_client(|endpoint, now| endpoint.send(session, message, now)).unwrap();
    }

    fn tids(&mut self) -> Vec<u64> {
        self.kept().messages.iter().map(|header| header.tid).collect()
    }
}

#[test]
fn an_entity_makes_its_streams_and_messages_pass_both_ways() {
    let mut world = World::new();
    let session = world.dial(world.address.port());
    for tid in 1..=40 {
        world.send(session, tid, 100_000);
    }
    world.until("all answers", |world| world.kept().messages.len() == 40);
    assert_eq!(world.tids(), (1..=40).collect::<Vec<_>>());
    let opened = |event: &Event| matches!(event, Event::Opened { .. });
    assert_eq!(world.kept().events.iter().filter(|event| opened(event)).count(), 1);
    let (worker, core) = world.tested.handler();
    assert_eq!((core.stream_count(), worker.census.of(0)), (2, 2));
}

#[test]
fn a_stream_that_cannot_be_made_is_tried_again_until_it_can() {
    let mut world = World::new();
    let closed = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let session = world.dial(closed.port());
    let lost = |event: &Event| matches!(event, Event::Lost { .. });
    world.until("two attempts", |world| {
        world.kept().events.iter().filter(|event| lost(event)).count() >= 2
    });
    let listener = StdListener::bind(closed).unwrap();
    let mut accepted = None;
    listener.set_nonblocking(true).unwrap();
    world.until("an attempt that is accepted", |_| {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    world.with_client(|endpoint, _| endpoint.close(session));
    world.until("the end of its streams", |world| world.tested.handler().1.stream_count() == 0);
    assert_eq!(world.tested.handler().0.census.of(0), 0);
}

#[test]
fn a_stream_that_is_being_made_goes_with_its_session_or_its_entity() {
    let mut world = World::new();
    let heed = |world: &mut World| {
        let client = world.client;
        let (worker, core) = world.tested.handler();
        worker.heed_entity(core, client);
        (core.stream_count(), worker.census.of(0))
    };
    let session = world.dial(world.address.port());
    assert_eq!(heed(&mut world), (1, 1));
    world.with_client(|endpoint, _| endpoint.close(session));
    assert_eq!(heed(&mut world), (0, 0), "it is not made in vain");
    world.dial(world.address.port());
    assert_eq!(heed(&mut world), (1, 1));
    let client = world.client;
    world.tested.handler().0.entities.all.remove(client.0);
    // osd-null has accepted both, and nobody talks to it.
    world.until("it is not kept", |world| world.tested.handler().1.counters().accepted == 2);
    world.until("it is over", |world| world.tested.handler().1.stream_count() == 0);
    assert_eq!(world.tested.handler().0.census.of(0), 0);
}

#[test]
fn who_has_no_room_is_not_read_and_loses_nothing() {
    let mut world = World::new();
    let session = world.dial(world.address.port());
    world.kept().most = 3;
    for tid in 1..=200 {
        world.send(session, tid, 0);
    }
    world.until("a stop", |world| world.tested.handler().1.counters().paused == 1);
    assert_eq!(world.tids(), [1, 2, 3]);
    for _ in 0..20 {
        world.turn();
    }
    assert_eq!(world.tids(), [1, 2, 3], "it is still full");
    for most in [10, 100, 200] {
        world.kept().most = most;
        world.with_client(|endpoint, now| endpoint.go_on(session, now));
        world.until("more", |world| world.kept().messages.len() == most);
    }
    assert_eq!(world.tids(), (1..=200).collect::<Vec<_>>());
}

#[test]
fn what_happens_while_a_turn_settles_makes_work_for_the_next() {
    let mut world = World::new();
    let session = world.dial(world.address.port());
    world.send(session, 1, 0);
    world.until("an answer", |world| world.kept().messages.len() == 1);
    assert!(!world.tested.handler().0.has_work());
    // As a write that fails does it: nobody is called who could heed what comes of it.
    let client = world.client;
    let (worker, core) = world.tested.handler();
    let token = worker.entities.tokens(client)[0];
    worker.dismiss(core, token, Ending::Reset);
    assert!(world.tested.handler().0.has_work(), "it would sleep, and nobody would hear of it");
    world.turn();
    let lost = |event: &Event| matches!(event, Event::Lost { .. });
    assert!(world.kept().events.iter().any(lost));
}

#[test]
fn a_silent_peer_is_asked_before_it_is_idle_and_one_that_answers_is_not() {
    let mut options = Options::default();
    options.connection.idle_time_out = Some(Duration::from_millis(300));
    let mut world = World::with(options);
    let session = world.dial(world.address.port());
    world.send(session, 1, 0);
    world.until("an answer", |world| world.kept().messages.len() == 1);
    let begin = Instant::now();
    world.until("four times the time-out", |_| begin.elapsed() > Duration::from_millis(1200));
    let opened = world.kept().events.iter().filter(|it| matches!(it, Event::Opened { .. })).count();
    assert_eq!((opened, world.tested.handler().1.stream_count()), (1, 2));
}

#[test]
fn entities_to_which_nothing_has_happened_are_not_looked_at() {
    let mut entities = Entities::default();
    let now = Instant::now();
    let [first, second, third] = std::array::from_fn(|_| {
        let server = OsdNullServer::new(OsdNullOptions::default());
        entities.insert_osd_null(OsdNullServer::endpoint(None, now), server)
    });
    let happens = |entities: &mut Entities, id| {
        let endpoint = &entities.get_mut(id).unwrap().endpoint;
        endpoint.borrow_mut().accept("127.0.0.1:1".parse().unwrap(), now);
        entities.touched(id);
    };
    assert!(!entities.has_events());
    for id in [third, first, third] {
        happens(&mut entities, id);
    }
    entities.touched(second);
    assert!(entities.has_events());
    assert_eq!(entities.eventful(), [third, first], "each once");
    entities.all.remove(first.0);
    entities.all.remove(third.0);
    assert!(!entities.has_events());
    happens(&mut entities, second);
    entities.all.remove(second.0);
    assert!(!entities.has_events(), "what is gone is nobody's concern");
    assert_eq!(entities.eventful(), []);
}
