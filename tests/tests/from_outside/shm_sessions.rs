//! Sessions of applications whose streams are cut at any moment: every message once and in order.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::libc::EISCONN;
use nix::sys::signal::Signal;
use vmsgr_messenger::client::{
    ConnectionId, Endpoint, EntityId, EntityOptions, EntityPolicy, Event, Incoming, Message,
};
use vmsgr_messenger::msgr2::{EntityType, MessageHeader};
use vmsgr_messenger::shm::Notice;
use vmsgr_tests::application::{attach, listen_as};
use vmsgr_tests::{
    Cutter, Launch, Namespace, PATIENCE, Pattern, Random, Vmsgrd, peer, report, two_cores,
};

/// How often a way is cut.
const CUTS: usize = 100;

/// Longer than the longest time between two attempts to connect.
const OUTAGE: Duration = Duration::from_secs(16);

/// Attempts that are in vain within that time, at least: after 0.2, 0.6, 1.4, 3, 6.2 and 12.6 s.
const ATTEMPTS: u64 = 5;

/// The largest message, in bytes.
const MOST: u64 = 5000;

/// One of two peers: sends numbered messages, and takes the other's.
struct Half {
    endpoint: Endpoint,
    entity: EntityId,
    session: Option<ConnectionId>,
    sent: u64,
    taken: u64,
    lost: usize,
}

/// What a message with this number carries: front, and data.
fn content(number: u64) -> [Vec<u8>; 2] {
    let bytes = number.wrapping_mul(2_654_435_761) % (MOST + 1);
    [bytes / 3, bytes - bytes / 3].map(|bytes| {
        let mut content = vec![0; bytes as usize];
        Pattern::new(number).fill(&mut content);
        content
    })
}

impl Half {
    fn new(daemon: &Vmsgrd, name: &str, policy: EntityPolicy) -> Self {
        let mut endpoint = attach(daemon, name);
        let options = EntityOptions::new(EntityType::OSD, name).policy(policy);
        let entity = endpoint.entity(&options).expect("attached");
        Self { endpoint, entity, session: None, sent: 0, taken: 0, lost: 0 }
    }

    fn listen(&mut self) -> SocketAddr {
        listen_as(&mut self.endpoint, self.entity)
    }

    fn connect(&mut self, to: SocketAddr) {
        self.endpoint.connect_as(self.entity, to, Some(EntityType::OSD)).expect("attached");
        self.endpoint.flush();
    }

    /// Takes what has come, and sends messages up to a number.
    fn turn(&mut self, most: u64) {
        while let Some(event) = self.endpoint.next_event() {
            match event {
                Event::Accepted { connection, .. } | Event::Connected { connection, .. } => {
                    assert_eq!(self.session.replace(connection), None, "one session");
                }
                Event::Closed { error, .. } => panic!("the session is over: {error:?}"),
                // The peer was sooner, and there is one session with it.
                Event::Failed { error, .. } if error.raw_os_error() == Some(EISCONN) => {}
                Event::Failed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
        let Some(mut connection) = self.session.and_then(|id| self.endpoint.connection(id)) else {
            return;
        };
        let mut messages = connection.messages().expect("a session");
        while let Some(incoming) = messages.peek() {
            match incoming {
                Incoming::Message(message) => {
                    assert_eq!(message.header.tid, self.taken, "in order, each once");
                    let [front, data] = content(self.taken);
                    assert!(message.front.contiguous() == front, "front of {}", self.taken);
                    assert!(message.data.contiguous() == data, "data of {}", self.taken);
                    self.taken += 1;
                }
                Incoming::Notice(Notice::StreamLost) => self.lost += 1,
                Incoming::Notice(notice @ Notice::Forgotten { .. }) => panic!("{notice:?}"),
                Incoming::Notice(_) => {}
            }
            messages.consume();
        }
        while self.sent < most {
            let header = MessageHeader { tid: self.sent, kind: 1000, ..Default::default() };
            let [front, data] = content(self.sent);
            let message = Message { data: data[..].into(), ..Message::new(header, &front) };
            if !messages.send(&message).expect("it may") {
                break;
            }
            self.sent += 1;
        }
    }
}

/// The longest time without a message: an outage, and no longer one until the next attempt to connect.
const SILENCE: Duration = OUTAGE.saturating_mul(2).saturating_add(PATIENCE);

/// Has two exchange messages until `goes_on` says that it is enough, and then all that are under way.
fn exchange(a: &mut Half, b: &mut Half, mut goes_on: impl FnMut(&Half, &Half) -> bool) {
    let (mut progress, mut since) = ((0, 0), Instant::now());
    let mut most = None;
    while most.is_none_or(|most| a.taken < most || b.taken < most) {
        a.turn(most.unwrap_or(u64::MAX));
        b.turn(most.unwrap_or(u64::MAX));
        if most.is_none() && !goes_on(a, b) {
            most = Some(a.sent.max(b.sent));
        }
        if progress != (a.taken, b.taken) {
            (progress, since) = ((a.taken, b.taken), Instant::now());
        }
        let (there, back) = ((a.sent, b.taken), (b.sent, a.taken));
        let lost = (a.lost, b.lost);
        assert!(since.elapsed() < SILENCE, "{there:?} and {back:?} of {most:?}, {lost:?}");
        a.endpoint.wait(Some(Duration::from_millis(1))).expect("the daemon is there");
    }
}

/// Cuts all ways a hundred times, and closes them once for long, while two exchange messages.
fn cut_often(a: &mut Half, b: &mut Half, ways: &[&Cutter]) {
    let mut random = Random::of_this_run();
    let begin = Instant::now();
    let (mut cuts, mut next, mut closed, mut opened) = (0, None, None::<Instant>, false);
    // What both had taken at the last cut, after which they are to have taken more, or maybe not.
    let (mut taken, mut anywhere) = ((0, 0), true);
    let mut last = begin;
    exchange(a, b, |a, b| {
        let now = Instant::now();
        if let Some(since) = closed {
            // Whoever came in just before.
            for way in ways {
                way.cut();
            }
            if now - since >= OUTAGE && refused(ways) >= ATTEMPTS {
                ways.iter().for_each(|way| way.refuse(false));
                (closed, opened) = (None, true);
            }
        } else if next.is_some_and(|next| now >= next) {
            cuts += ways.iter().filter(|way| way.cut() > 0).count();
            // Some within a handshake: not many, since after each the next attempt is later.
            (next, taken, anywhere) = (None, (a.taken, b.taken), random.below(8) == 0);
            last = now;
            if cuts >= CUTS / 2 && !opened {
                (closed, anywhere) = (Some(now), false);
                ways.iter().for_each(|way| way.refuse(true));
            }
        } else if next.is_none()
            && ways.iter().any(|way| way.connections() > 0)
            && (anywhere || (a.taken > taken.0 && b.taken > taken.1))
        {
            let most = [1000, 10_000, 40_000][random.below(3) as usize];
            next = Some(now + Duration::from_micros(random.below(most)));
        }
        assert!(now - last < SILENCE, "{cuts} cuts, and no further one");
        cuts < CUTS || !opened
    });
    report(&format!("{cuts} cuts and {} refusals in {:?}", refused(ways), begin.elapsed()));
    report(&format!("messages: {}, {}; streams lost: {}, {}", a.sent, b.sent, a.lost, b.lost));
}

/// Streams that have become sessions, or gone on with one, on both sides. An application may not be told:
/// not of a stream that is back before there was room to tell of its loss.
fn opened(daemons: &[Vmsgrd]) -> u64 {
    let of = |daemon: &Vmsgrd| daemon.counters().msgr2.expect("entities")["opened"].as_u64();
    daemons.iter().map(|daemon| of(daemon).expect("a number")).sum()
}

fn refused(ways: &[&Cutter]) -> u64 {
    ways.iter().map(|way| way.refused()).sum()
}

fn daemon() -> Vmsgrd {
    Vmsgrd::start(&["-l", "127.0.0.1:0=echo"])
}

#[test]
fn a_client_whose_connection_is_cut_again_and_again_loses_and_doubles_nothing() {
    let daemon = daemon();
    let mut client = Half::new(&daemon, "a", EntityPolicy::LosslessClient);
    let mut server = Half::new(&daemon, "b", EntityPolicy::StatefulServer);
    let cutter = Cutter::new(server.listen());
    client.connect(cutter.address());
    cut_often(&mut client, &mut server, &[&cutter]);
    // Not twice as many: some are cut before there is a session again.
    assert!(opened(&[daemon]) > CUTS as u64);
}

/// One way between them is cut; the other side knows another one.
#[test]
fn peers_find_each_other_again_and_it_is_the_same_session() {
    let daemon = daemon();
    let [mut a, mut b] = ["a", "b"].map(|it| Half::new(&daemon, it, EntityPolicy::LosslessPeer));
    a.listen();
    let cutter = Cutter::new(b.listen());
    a.connect(cutter.address());
    let mut cut = None;
    exchange(&mut a, &mut b, |a, b| {
        let taken = a.taken.min(b.taken);
        if cut.is_none() && taken > 100 {
            assert_eq!(cutter.cut(), 1);
            cut = Some(a.taken.max(b.taken));
        }
        cut.is_none_or(|cut| taken < cut + 5000)
    });
    assert!(opened(&[daemon]) >= 4, "another stream, on both sides");
}

/// A daemon for each of two peers, in a network of their own, where every way leads through a cutter.
#[test]
fn peers_that_both_connect_and_are_cut_a_hundred_times_lose_and_double_nothing() {
    let Some(_) = peer("nft") else { return };
    let Some(namespace) = Namespace::new() else { return };
    let daemons = ["127.0.0.1:7001=echo", "127.0.0.1:7002=echo"]
        .map(|echo| Launch::new(&["-l", echo]).under(&namespace.exec()).start());
    let [mut a, mut b] =
        [0, 1].map(|n| Half::new(&daemons[n], &n.to_string(), EntityPolicy::LosslessPeer));
    let addresses = [a.listen(), b.listen()];
    let cutters = addresses.map(|address| {
        let cutter = namespace.enter(|| Cutter::new(address));
        let (to, through) = (address.port(), cutter.address().port());
        let from = Cutter::FROM;
        namespace.redirect(&format!("ip saddr != {from} tcp dport {to}"), through);
        cutter
    });
    a.connect(addresses[1]);
    b.connect(addresses[0]);
    cut_often(&mut a, &mut b, &[&cutters[0], &cutters[1]]);
    assert!(opened(&daemons) > CUTS as u64);
    for daemon in &daemons {
        let counts = daemon.counters().msgr2.expect("an entity");
        assert_eq!(counts["sessions"], 1, "{counts}");
    }
}

#[test]
fn both_connecting_at_once_come_to_one_session() {
    const ROUNDS: u64 = 40;
    const MESSAGES: u64 = 20;
    let mut random = Random::of_this_run();
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    let start = || Vmsgrd::start(&["--core-mask", &cores, "-l", "127.0.0.1:0=echo"]);
    let daemons = [start(), start()];
    let closed = || {
        let counts = daemons.each_ref().map(|daemon| daemon.counters().msgr2.expect("entities"));
        counts.iter().map(|counts| counts["closed"].as_u64().expect("a number")).sum::<u64>()
    };
    let (mut races, mut pairs) = ([0; 2], Vec::new());
    for round in 1..=ROUNDS {
        let name = round.to_string();
        let [mut a, mut b] =
            daemons.each_ref().map(|it| Half::new(it, &name, EntityPolicy::LosslessPeer));
        let addresses = [a.listen(), b.listen()];
        let before = closed();
        // Held, neither takes what the other says before it has been asked to connect itself.
        let held = round % 2 == 0;
        if held {
            daemons.iter().for_each(|daemon| daemon.signal(Signal::SIGSTOP));
        }
        a.connect(addresses[1]);
        let later = Instant::now() + Duration::from_micros(random.below(2000));
        while !held && Instant::now() < later {
            a.turn(MESSAGES);
        }
        b.connect(addresses[0]);
        if held {
            daemons.iter().for_each(|daemon| daemon.signal(Signal::SIGCONT));
        }
        exchange(&mut a, &mut b, |a, b| a.taken < MESSAGES || b.taken < MESSAGES);
        races[usize::from(held)] += u64::from(closed() > before);
        for daemon in &daemons {
            // A stream that has lost the race is about to be gone.
            daemon.eventually("one session with one stream", |now| {
                let counts = now.msgr2.as_ref().expect("an entity");
                counts["sessions"] == round && counts["streams"] == round
            });
        }
        pairs.push((a, b));
    }
    let [free, held] = races;
    report(&format!("{free} races in {0} rounds, {held} in {0} that were held", ROUNDS / 2));
    assert!(held > 0);
}
