//! A small server over the reactor alone, and ways to wait for what it does.
#![allow(dead_code)] // Each test file uses a part of it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpStream, UnixStream};
use vmsgr_reactor::{
    Budget, ByteQueue, Core, End, Handler, Loop, Marks, Port, Received, SpinPolicy, Token, mesh,
};

/// Long enough for any machine; a test that gets here has failed.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What a stream of the test server does with what it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Echo,
    Discard,
    /// Passes it on to another stream.
    Pass(Token),
    /// When it is readable, closes another and adds a stream of its own in its place.
    Replace(Token),
}

/// The test server: echoes on unix sockets and remembers what happened.
#[derive(Debug, Default)]
pub struct Server {
    pub readable: Vec<Token>,
    pub closed: Vec<End>,
    pub messages: Vec<(usize, u32)>,
    pub fired: Vec<u32>,
    pub accepted: Vec<(TcpStream, SocketAddr)>,
    pub admits: bool,
    pub not_accepted: usize,
    /// What `Does::Replace` adds.
    pub spare: Option<UnixStream>,
    /// Answers each message with one to its sender.
    pub answers: bool,
    /// Leaves it for later to tell others what it has read.
    pub withholds: bool,
    /// How much it had read each time that it told them.
    pub told: Vec<usize>,
}

/// Fired when a test has run for too long.
const TOO_LATE: u32 = u32::MAX;

/// Stops the loop that gets it.
pub const STOP: u32 = u32::MAX;

/// Makes the handler that gets it panic.
pub const PANIC: u32 = u32::MAX - 1;

impl Handler for Server {
    type Socket = UnixStream;
    type Pending = ByteQueue;
    type Stream = Does;
    type Listener = ();
    type Timer = u32;
    type Message = u32;

    fn admit(&mut self, _: &mut Core<Self>, _: Token) -> bool {
        self.admits
    }

    fn accepted(&mut self, _: &mut Core<Self>, _: Token, socket: TcpStream, peer: SocketAddr) {
        self.accepted.push((socket, peer));
    }

    fn not_accepted(&mut self, _: &mut Core<Self>, _: Token, _: Option<&io::Error>) {
        self.not_accepted += 1;
    }

    fn readable(&mut self, core: &mut Core<Self>, stream: Token) {
        self.readable.push(stream);
        let Some(&does) = core.state(stream) else { return };
        let to = match does {
            Does::Echo => stream,
            Does::Pass(to) => to,
            Does::Discard => {
                if core.read(stream, |_| ()) == Received::End {
                    core.finish(stream);
                }
                return;
            }
            Does::Replace(other) => {
                core.close(other);
                if let Some(socket) = self.spare.take() {
                    core.add(socket, ByteQueue::default(), Does::Echo).unwrap();
                }
                stream
            }
        };
        if core.transfer(stream, to) == Received::End {
            core.finish(to);
        }
    }

    fn closed(&mut self, _: &mut Core<Self>, _: UnixStream, _: Does, end: End) {
        self.closed.push(end);
    }

    fn timer(&mut self, _: &mut Core<Self>, timer: u32) {
        assert_ne!(timer, TOO_LATE, "the condition did not come about in time");
        self.fired.push(timer);
    }

    fn message(&mut self, core: &mut Core<Self>, from: usize, message: u32) {
        match message {
            STOP => core.stop(),
            PANIC => panic!("asked to panic"),
            _ if self.answers => core.post(from, message + 1).expect("there is room"),
            _ => self.messages.push((from, message)),
        }
    }

    fn withholds(&self) -> bool {
        self.withholds && self.told.last().copied().unwrap_or(0) < self.readable.len()
    }

    fn publish_withheld(&mut self, _: &mut Core<Self>) {
        self.told.push(self.readable.len());
    }
}

/// A loop of its own, which does not spin.
pub fn alone(budget: Budget) -> Loop<Server> {
    on(mesh(1).unwrap().pop().unwrap(), budget)
}

pub fn on(port: Port<u32>, budget: Budget) -> Loop<Server> {
    let server = Server { admits: true, ..Server::default() };
    Loop::new(server, port, SpinPolicy::Fixed(Duration::ZERO), budget).unwrap()
}

/// Adds one end of a socket pair; the other, which blocks, is the peer's.
pub fn add(
    tested: &mut Loop<Server>,
    does: Does,
    marks: Marks,
) -> (Token, std::os::unix::net::UnixStream) {
    let (ours, peers) = UnixStream::pair().unwrap();
    let token = tested.handler().1.add(ours, ByteQueue::new(marks), does).unwrap();
    (token, blocking(peers))
}

pub fn blocking(socket: UnixStream) -> std::os::unix::net::UnixStream {
    let socket = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(socket));
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// Takes turns until `condition` holds.
pub fn turn_until(tested: &mut Loop<Server>, condition: impl Fn(&mut Loop<Server>) -> bool) {
    let late = tested.handler().1.arm(DEADLINE, TOO_LATE);
    while !condition(tested) {
        tested.turn().unwrap();
    }
    tested.handler().1.cancel(late);
}

/// A fixed, non-repeating-looking sequence of bytes.
pub fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// Waits until a thread of this process sleeps.
pub fn wait_until_asleep(thread: i32) {
    let deadline = Instant::now() + DEADLINE;
    let asleep = || {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('S')
    };
    while !asleep() {
        assert!(Instant::now() < deadline, "it never falls asleep");
        std::thread::yield_now();
    }
}

/// Context switches of a thread of this process so far, of both kinds.
pub fn context_switches(thread: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
    let numbers = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    numbers.map(|(_, number)| number.trim().parse::<u64>().unwrap()).sum()
}
