//! Keepalives of applications' sessions: a peer that vanishes is missed, and one that is there is not.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use vmsgr_messenger::client::{
    self, ConnectionId, Endpoint as Attached, EntityId, EntityOptions, EntityPolicy, Event,
    Incoming, Notice,
};
use vmsgr_messenger::msgr2::{
    AuthNone, Config, Endpoint, EntityAddr, EntityType, MessageHeader, Policy,
};
use vmsgr_tests::application::{attach, until};
use vmsgr_tests::{Driver, Launch, Namespace, PATIENCE, Vmsgrd, peer, report};

const AFTER: Duration = Duration::from_millis(100);
const WAIT: Duration = Duration::from_millis(300);

/// An application with one session, and what it has been told in that.
struct Side {
    endpoint: Attached,
    entity: EntityId,
    connection: Option<ConnectionId>,
    taken: Vec<u64>,
    notices: Vec<Notice>,
    end: Option<Option<i32>>,
}

impl Side {
    fn new(daemon: &Vmsgrd, name: &str, options: &EntityOptions) -> Self {
        let mut endpoint = attach(daemon, name);
        let entity = endpoint.entity(options).expect("attached");
        let (connection, taken, notices, end) = Default::default();
        Self { endpoint, entity, connection, taken, notices, end }
    }

    fn listen(&mut self, address: SocketAddr) {
        let asked = self.endpoint.listen_as(self.entity, address).expect("attached");
        until(&mut self.endpoint, "a listener", |_, event| match event {
            Event::Listening { job, .. } if *job == asked => Some(()),
            Event::Failed { error, .. } => panic!("{error}"),
            _ => None,
        });
    }

    fn connect(&mut self, address: SocketAddr) {
        let peer = Some(EntityType::OSD);
        self.endpoint.connect_as(self.entity, address, peer).expect("attached");
    }

    /// Takes what there is.
    fn turn(&mut self) {
        while let Some(event) = self.endpoint.next_event() {
            match event {
                Event::Accepted { connection, .. } | Event::Connected { connection, .. } => {
                    assert_eq!(self.connection.replace(connection), None, "one session");
                }
                Event::Closed { error, .. } => {
                    self.end = Some(error.and_then(|error| error.raw_os_error()));
                }
                Event::Failed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
        let connection = self.connection.and_then(|id| self.endpoint.connection(id));
        let Some(mut connection) = connection else { return };
        let Some(mut messages) = connection.messages() else { return };
        while let Some(incoming) = messages.peek() {
            match incoming {
                Incoming::Message(message) => self.taken.push(message.header.tid),
                Incoming::Notice(notice) => self.notices.push(notice),
            }
            messages.consume();
        }
    }

    fn is_open(&mut self) -> bool {
        self.turn();
        self.connection.is_some()
    }

    fn has_lost_its_stream(&mut self) -> bool {
        self.turn();
        self.notices.contains(&Notice::StreamLost)
    }

    fn send(&mut self, tid: u64) {
        let id = self.connection.expect("there is a session");
        let mut connection = self.endpoint.connection(id).expect("it goes on");
        let header = MessageHeader { tid, kind: 1000, ..Default::default() };
        let message = client::Message::new(header, b"are you there?");
        assert!(connection.messages().expect("a session").send(&message).expect("it may"));
        drop(connection);
        self.endpoint.flush();
    }
}

/// Waits until both have got so far.
#[track_caller]
fn both(
    a: &mut Side,
    b: &mut Side,
    what: &str,
    mut done: impl FnMut(&mut Side, &mut Side) -> bool,
) {
    let end = Instant::now() + PATIENCE;
    loop {
        a.turn();
        b.turn();
        if done(a, b) {
            return;
        }
        let told = [&a.notices, &b.notices];
        assert!(Instant::now() < end, "{what}: {:?} {:?} {told:?}", a.taken, b.taken);
        a.endpoint.wait(Some(Duration::from_millis(5))).expect("the daemon is there");
    }
}

fn osd(name: &str, policy: EntityPolicy) -> EntityOptions {
    EntityOptions::new(EntityType::OSD, name).policy(policy)
}

/// What is sent between the two is dropped on the way, as by a cable that is pulled: neither is told.
#[test]
fn a_lossless_peer_that_vanishes_is_missed_and_nothing_is_lost_when_it_is_back() {
    if peer("nft").is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let daemon = Launch::new(&["-l", "127.0.0.1:0=echo"]).under(&namespace.exec()).start();
    let asking = osd("0", EntityPolicy::LosslessPeer).keepalive(AFTER, WAIT);
    let mut a = Side::new(&daemon, "a", &asking);
    let mut b = Side::new(&daemon, "b", &osd("1", EntityPolicy::LosslessPeer).no_keepalive());
    let [a_address, b_address] = [6801, 6802].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    a.listen(a_address);
    b.listen(b_address);
    a.connect(b_address);
    both(&mut a, &mut b, "a session", |a, b| a.is_open() && b.is_open());
    a.send(1);
    b.send(1);
    both(&mut a, &mut b, "a message", |a, b| a.taken == [1] && b.taken == [1]);

    namespace.run(&["nft", "add", "table", "inet", "vmsgr"]);
    let chain = "{ type filter hook input priority 0; }";
    namespace.run(&["nft", "add", "chain", "inet", "vmsgr", "input", chain]);
    for ports in ["tcp dport 6801-6802 drop", "tcp sport 6801-6802 drop"] {
        namespace.run(&["nft", "add", "rule", "inet", "vmsgr", "input", ports]);
    }
    let begin = Instant::now();
    a.send(2);
    both(&mut a, &mut b, "the loss is noticed", |a, _| a.has_lost_its_stream());
    report(&format!("missed after {:?}", begin.elapsed()));
    assert_eq!((b.notices.as_slice(), b.taken.as_slice()), (&[][..], &[1][..]), "it did not ask");

    namespace.run(&["nft", "flush", "ruleset"]);
    both(&mut a, &mut b, "what was sent meanwhile", |_, b| b.taken == [1, 2]);
    b.send(2);
    both(&mut a, &mut b, "an answer", |a, _| a.taken == [1, 2]);
    assert!(a.notices.contains(&Notice::StreamBack), "{:?}", a.notices);
    assert_eq!((a.end, b.end), (None, None), "the session goes on");
}

/// A server of lossless OSDs and lossy clients, which lives while the test drives it.
fn server() -> (Driver, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let mut config = Config::new(EntityType::OSD, EntityAddr::msgr2(address, 0).into());
    config.policies = vec![(EntityType::CLIENT, Policy::STATELESS_SERVER)];
    config.policy = Policy::STATEFUL_SERVER;
    let auth = Box::new(AuthNone::new(EntityType::OSD, "9", 0));
    (Driver::new(Endpoint::new(config, auth, Instant::now()), Some(listener)), address)
}

#[test]
fn a_silent_peer_is_asked_by_those_who_said_so_and_one_that_answers_is_not_missed() {
    let daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo"]);
    let (mut driver, address) = server();
    let client = EntityOptions::new(EntityType::CLIENT, "x");
    let mut sides = [
        ("asking", osd("0", EntityPolicy::LosslessClient).keepalive(AFTER, WAIT)),
        ("lossy", client.keepalive(AFTER, WAIT)),
        ("usual", osd("1", EntityPolicy::LosslessClient)),
        ("never", osd("2", EntityPolicy::LosslessClient).no_keepalive()),
    ]
    .map(|(name, options)| {
        let mut side = Side::new(&daemon, name, &options);
        side.connect(address);
        side
    });
    driver.until("sessions", PATIENCE, |_| sides.iter_mut().all(Side::is_open).then_some(()));
    let begin = Instant::now();
    driver.until("five times the time", PATIENCE, |_| {
        sides.iter_mut().for_each(Side::turn);
        let quiet = |side: &Side| side.notices.is_empty() && side.end.is_none();
        assert!(sides.iter().all(quiet), "it answers");
        (begin.elapsed() > 5 * (AFTER + WAIT)).then_some(())
    });

    // Nobody drives the server any more: the kernel takes what is sent to it, and that is all.
    let [asking, lossy, usual, never] = &mut sides;
    both(asking, lossy, "they miss it", |asking, lossy| {
        asking.has_lost_its_stream() && lossy.end.is_some()
    });
    assert_eq!(lossy.end, Some(Some(nix::libc::ETIMEDOUT)));
    assert_eq!(asking.end, None, "it waits for another stream");
    for side in [usual, never] {
        side.turn();
        assert_eq!((side.notices.as_slice(), side.end), (&[][..], None), "it has time");
    }
}
