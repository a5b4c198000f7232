//! How many instructions the hot paths take, one scenario per argument.
//!
//! `.ci/instructions` runs it under callgrind and compares the counts with `baseline.txt`. What the
//! kernel does is not counted, so these are the instructions that are ours to save.
//!
//! Nothing here may depend on time: loops do not spin, deadlines are computed beforehand, and
//! "random" numbers come from a fixed sequence.

mod harness;

use std::hint::black_box;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as Peer;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::{ROUNDS, Scenario, WARM_UP, play, rounds};
use mio::net::{TcpStream, UnixStream};
use vmsgr_reactor::{
    Budget, ByteQueue, Core, Counters, End, Handler, Loop, Port, Received, SpinPolicy, TimerId,
    Timers, Token, mesh,
};

/// Bytes of a message.
const MESSAGE: usize = 64;

/// Timers that are armed while one of them changes.
const TIMERS: usize = 100_000;

const SCENARIOS: [Scenario; 13] = [
    ("turn_message", 1, turn_message),
    ("turn_echo", 1, || turn_echo(1)),
    ("turn_echo_of_64", 64, || turn_echo(64)),
    ("turn_relay", 1, turn_relay),
    ("turn_send_whole", 1, turn_send_whole),
    ("turn_send_pending", 1, turn_send_pending),
    ("mesh_awake", 1, mesh_awake),
    ("mesh_asleep", 1, mesh_asleep),
    ("timer_arm", 1, timer_arm),
    ("timer_postpone", 1, timer_postpone),
    ("timer_advance", 1, timer_advance),
    ("timer_cancel", 1, timer_cancel),
    ("timer_expire", 1, timer_expire),
];

fn main() -> ExitCode {
    harness::main(&SCENARIOS)
}

/// Sends on what it receives, and sends a message to `told` when another core says so.
struct Server {
    told: Option<Token>,
    handled: usize,
}

impl Handler for Server {
    type Socket = UnixStream;
    type Pending = ByteQueue;
    /// To whom it goes; to itself if to nobody.
    type Stream = Option<Token>;
    type Listener = ();
    type Timer = ();
    type Message = u64;

    fn accepted(&mut self, _: &mut Core<Self>, _: Token, _: TcpStream, _: SocketAddr) {
        unreachable!("there is no listener");
    }

    fn readable(&mut self, core: &mut Core<Self>, stream: Token) {
        let to = core.state(stream).copied().flatten().unwrap_or(stream);
        self.handled += usize::from(matches!(core.transfer(stream, to), Received::Bytes(_)));
    }

    fn closed(&mut self, _: &mut Core<Self>, _: UnixStream, _: Option<Token>, end: End) {
        panic!("a connection ended: {end:?}");
    }

    fn message(&mut self, core: &mut Core<Self>, _: usize, message: u64) {
        self.handled += 1;
        if let Some(told) = self.told {
            let bytes = [message as u8; MESSAGE];
            assert_eq!(core.queue(told, &bytes), MESSAGE);
        }
    }
}

/// A loop with its peers, and the core beside it.
struct Scene {
    served: Loop<Server>,
    peers: Vec<Peer>,
    beside: Port<u64>,
    counters: Counters,
}

impl Scene {
    /// A loop that does not spin, with so many connections that are echoed.
    fn new(connections: usize) -> Self {
        let mut ports = mesh(2).unwrap();
        let beside = ports.remove(0);
        let server = Server { told: None, handled: 0 };
        let never = SpinPolicy::Fixed(Duration::ZERO);
        let served = Loop::new(server, ports.remove(0), never, Budget::default()).unwrap();
        let mut scene = Self { served, peers: Vec::new(), beside, counters: Counters::default() };
        for _ in 0..connections {
            scene.connect(None);
        }
        scene
    }

    fn connect(&mut self, to: Option<Token>) -> Token {
        let (ours, theirs) = Peer::pair().unwrap();
        self.peers.push(theirs);
        ours.set_nonblocking(true).unwrap();
        let socket = UnixStream::from_std(ours);
        self.served.handler().1.add(socket, ByteQueue::default(), to).unwrap()
    }

    /// A message from the core beside it.
    fn tell(&mut self, message: usize) {
        self.beside.post(1, message as u64).unwrap();
        self.beside.publish(&mut self.counters);
    }

    /// Takes one turn and checks that it did what it was to do.
    fn turn(&mut self, handles: usize) {
        let before = self.served.handler().0.handled;
        self.served.turn().unwrap();
        assert_eq!(self.served.handler().0.handled - before, handles);
    }

    fn write(&mut self, peer: usize, round: usize) {
        self.peers[peer].write_all(&[round as u8; MESSAGE]).unwrap();
    }

    fn expect(&mut self, peer: usize, round: usize) {
        let mut answer = [0; MESSAGE];
        self.peers[peer].read_exact(&mut answer).unwrap();
        assert_eq!(answer, [round as u8; MESSAGE]);
    }
}

/// A turn with one message from another core, of which nothing comes: what a turn costs by itself.
fn turn_message() {
    let mut scene = Scene::new(1);
    rounds(&mut scene, |scene, round| scene.tell(round), |scene, _| scene.turn(1), |_, _| ());
}

/// A turn with so many ready connections, each of which has a message that is echoed.
fn turn_echo(connections: usize) {
    let mut scene = Scene::new(connections);
    rounds(
        &mut scene,
        |scene, round| (0..connections).for_each(|peer| scene.write(peer, round)),
        |scene, _| scene.turn(connections),
        |scene, round| (0..connections).for_each(|peer| scene.expect(peer, round)),
    );
}

/// A turn with one ready connection, whose message goes to another.
fn turn_relay() {
    let mut scene = Scene::new(1);
    let to = scene.served.handler().1.streams()[0];
    scene.connect(Some(to));
    rounds(
        &mut scene,
        |scene, round| scene.write(1, round),
        |scene, _| scene.turn(1),
        |scene, round| scene.expect(0, round),
    );
}

/// As `turn_message`, and 64 bytes are sent, which the kernel takes whole.
fn turn_send_whole() {
    let mut scene = Scene::new(1);
    let told = scene.served.handler().1.streams()[0];
    scene.served.handler().0.told = Some(told);
    rounds(
        &mut scene,
        |scene, round| scene.tell(round),
        |scene, _| scene.turn(1),
        |scene, round| scene.expect(0, round),
    );
}

/// As `turn_send_whole`, but the kernel has no room: one turn in which the bytes become pending and
/// WRITABLE is registered, and one in which there is room, they leave and WRITABLE is removed.
fn turn_send_pending() {
    let (ours, theirs) = Peer::pair().unwrap();
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true).unwrap();
    }
    // The same socket as the loop's, to fill it behind its back.
    let filler = ours.try_clone().unwrap();
    let mut scene = Scene::new(0);
    let socket = UnixStream::from_std(ours);
    let told = scene.served.handler().1.add(socket, ByteQueue::default(), None).unwrap();
    scene.served.handler().0.told = Some(told);
    let fill = || while (&filler).write(&[0; 4096]).is_ok() {};
    let drain = || {
        let mut total = 0;
        let mut buffer = [0; 4096];
        loop {
            match (&theirs).read(&mut buffer) {
                Ok(count) => total += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
                Err(error) => panic!("{error}"),
            }
        }
    };
    for round in 0..WARM_UP + ROUNDS {
        fill();
        scene.tell(round);
        play(round, || scene.turn(1));
        assert_eq!(scene.served.counters().pending_bytes, MESSAGE as u64);
        assert!(drain() > 0);
        play(round, || scene.turn(0));
        assert_eq!(drain(), MESSAGE);
    }
    let counters = scene.served.counters();
    let each_round = (WARM_UP + ROUNDS) as u64;
    assert_eq!((counters.writable_armed, counters.writable_disarmed), (each_round, each_round));
}

/// Two members of a mesh and what they count.
type Pair = (Port<u64>, Port<u64>, Counters);

fn pair() -> Pair {
    let mut ports = mesh(2).unwrap();
    (ports.remove(0), ports.remove(0), Counters::default())
}

/// From one member of the mesh to another, which takes it.
fn pass((from, to, counters): &mut Pair, round: usize) {
    from.post(1, round as u64).unwrap();
    from.publish(counters);
    assert_eq!(to.take(), Some((0, round as u64)));
    to.made_room(counters);
}

/// A message to a core that is awake.
fn mesh_awake() {
    let mut pair = pair();
    rounds(&mut pair, |_, _| (), pass, |_, _| ());
    assert_eq!(pair.2.doorbells_rung, 0);
}

/// A message to a core that sleeps: it falls asleep, is rung for, wakes up, takes it.
fn mesh_asleep() {
    let mut pair = pair();
    rounds(
        &mut pair,
        |_, _| (),
        |(from, to, counters), round| {
            assert!(to.fall_asleep());
            from.post(1, round as u64).unwrap();
            from.publish(counters);
            to.woke_up();
            assert_eq!(to.take(), Some((0, round as u64)));
            to.made_room(counters);
        },
        |_, _| (),
    );
    assert_eq!(pair.2.doorbells_rung, (WARM_UP + ROUNDS) as u64);
}

/// Armed timers with deadlines all over the next hundred seconds.
struct Clock {
    timers: Timers<u64>,
    ids: Vec<TimerId>,
    start: Instant,
    /// Of the rounds: one timer each, and a deadline.
    picked: Vec<(usize, Instant)>,
    armed: Option<TimerId>,
}

impl Clock {
    fn new() -> Self {
        let start = Instant::now();
        let mut numbers = sequence();
        let mut timers = Timers::default();
        let mut draw = move || numbers.next().unwrap_or_default();
        // Whole seconds and none of their fractions: then adding one never carries.
        let later = |draw: &mut dyn FnMut() -> u64| start + Duration::from_secs(draw() % 100);
        let ids = (0..TIMERS as u64).map(|n| timers.arm(later(&mut draw), n)).collect();
        let picked =
            (0..WARM_UP + ROUNDS).map(|_| (draw() as usize % TIMERS, later(&mut draw))).collect();
        Self { timers, ids, start, picked, armed: None }
    }
}

/// Numbers that look random and are always the same (Knuth's MMIX generator, the upper half).
fn sequence() -> impl Iterator<Item = u64> {
    let step =
        |n: &u64| Some(n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407));
    std::iter::successors(Some(1), step).map(|n| n >> 32)
}

fn timer_arm() {
    rounds(
        &mut Clock::new(),
        |_, _| (),
        |clock, round| clock.armed = Some(clock.timers.arm(clock.picked[round].1, 0)),
        |clock, _| assert!(clock.armed.take().and_then(|id| clock.timers.cancel(id)).is_some()),
    );
}

/// To a later deadline, as with every message for an idle time-out.
fn timer_postpone() {
    let mut clock = Clock::new();
    let far = clock.start + Duration::from_secs(1000);
    rounds(
        &mut clock,
        |_, _| (),
        |clock, round| {
            let id = clock.ids[clock.picked[round].0];
            assert!(clock.timers.rearm(id, far));
        },
        |_, _| (),
    );
}

/// To an earlier deadline, before all others.
fn timer_advance() {
    rounds(
        &mut Clock::new(),
        |_, _| (),
        |clock, round| {
            let id = clock.ids[clock.picked[round].0];
            assert!(clock.timers.rearm(id, clock.start));
        },
        |_, _| (),
    );
}

fn timer_cancel() {
    rounds(
        &mut Clock::new(),
        |_, _| (),
        |clock, round| {
            let id = clock.ids[clock.picked[round].0];
            assert!(black_box(clock.timers.cancel(id)).is_some());
        },
        |clock, round| {
            let (n, deadline) = clock.picked[round];
            clock.ids[n] = clock.timers.arm(deadline, n as u64);
        },
    );
}

fn timer_expire() {
    let mut clock = Clock::new();
    let end = clock.start + Duration::from_secs(100);
    rounds(
        &mut clock,
        |_, _| (),
        |clock, _| assert!(black_box(clock.timers.expired(end)).is_some()),
        |_, _| (),
    );
}
