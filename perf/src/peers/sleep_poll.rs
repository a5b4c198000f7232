//! The prototype's design, rebuilt: per connection a fiber that reads and a fiber that writes, each
//! of which sleeps for 1 us when it finds nothing to do.
//!
//! It stands on the reactor that `vmsgrd` stands on: its sockets, its pending data, its turn with
//! one `epoll_wait` and at most one `writev` a connection, its timers. What differs is the design
//! alone. Here no event starts anything. The read fiber looks whether the reactor has something for
//! it to read, and leaves it in `out`; the write fiber looks whether something lies in `out`, and
//! gives that to the socket. Who has found something looks again in the next turn; who has not arms
//! a timer of its own and is run when that is due. Between two turns the thread sleeps in the
//! kernel until the first timer is due.
//!
//! What that costs, and why:
//!
//! - A turn runs whoever is due, and 1 us later that is nearly everybody. So it takes a timer off
//!   the heap, looks, asks for the time and puts a timer back, twice for each connection, whether
//!   that has anything or not, and a message on one waits for the looks at all the others. That
//!   grows with the number of connections, not with that of messages: a fifth of the CPU at 64 of
//!   them (fan), where also the tail of the latency is twice as long.
//! - A message is written by another fiber than has read it, a look later: it waits twice.
//! - The kernel's sleep of 1 us is several: a timer is programmed, the core rests and comes back.
//!   With one connection (ping) most of the time goes there; whoever looks without sleeping answers
//!   in half the time with half the CPU. With many nobody ever sleeps.
//! - It never ends. An idle server takes a whole core.
//!
//! What it does not cost on this reactor is throughput where every look finds something (pipeline,
//! op4k, crowd): then a look is what others pay for an event. A runtime that sets a timer of the
//! kernel for each sleep pays a system call for each look, and is slower there by as much.
//!
//! It is kind to the prototype where the reactor is: what the socket does not take at once leaves
//! when WRITABLE says so, connections are accepted by an event, a server without any sleeps, and
//! the thread's timer slack is 1 ns, without which the kernel would make 50 us of the 1 us.

mod queue;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use nix::sys::prctl;
use queue::Queue;
use vmsgr_reactor::{
    Budget, Core, End, Handler, Loop, Pending, Received, Socket, SpinPolicy, Timers, Token, mesh,
};

/// How long a fiber that found nothing sleeps.
const NAP: Duration = Duration::from_micros(1);

/// Echoes whatever arrives on connections to `listener`, for ever.
///
/// # Errors
/// When the loop fails. A connection that fails ends alone.
pub fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    prctl::set_timerslack(1)?;
    let never = SpinPolicy::Fixed(Duration::ZERO);
    let mut reactor = Loop::new(Fibers::default(), mesh(1)?.remove(0), never, Budget::default())?;
    reactor.handler().1.listen(TcpListener::from_std(listener), ())?;
    loop {
        reactor.turn()?;
        thread::sleep(reactor.handler().0.until_the_first_is_due());
    }
}

/// Half of a connection.
#[derive(Debug, Clone, Copy)]
enum Fiber {
    Read(Token),
    Write(Token),
}

/// What a fiber's look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Something,
    /// There will be nothing to do any more.
    End,
}

/// What the two fibers of a connection share.
#[derive(Debug, Default)]
struct Connection {
    /// What the read fiber leaves for the write fiber.
    out: Queue,
    /// Nothing will be added to it.
    ended: bool,
}

/// All fibers: each is either asleep or to look in the next turn.
#[derive(Debug, Default)]
struct Fibers {
    asleep: Timers<Fiber>,
    awake: VecDeque<Fiber>,
}

impl Fibers {
    /// Zero if somebody is to look in the next turn, and while there is nobody: then it is the
    /// reactor that sleeps.
    fn until_the_first_is_due(&mut self) -> Duration {
        if !self.awake.is_empty() {
            return Duration::ZERO;
        }
        self.asleep.time_out(Instant::now()).unwrap_or_default()
    }

    /// One look.
    fn run(&mut self, core: &mut Core<Self>, fiber: Fiber) -> Found {
        let found = match fiber {
            Fiber::Read(stream) => read(core, stream),
            Fiber::Write(stream) => write(core, stream),
        };
        match found {
            Found::Nothing => drop(self.asleep.arm(Instant::now() + NAP, fiber)),
            Found::Something => self.awake.push_back(fiber),
            Found::End => {}
        }
        found
    }
}

/// Reads into `out` once, if the reactor knows of something to read.
fn read(core: &mut Core<Fibers>, stream: Token) -> Found {
    // Taken out, since the reactor must be free to read.
    let Some(state) = core.state_mut(stream) else { return Found::End };
    let mut out = mem::take(&mut state.out);
    let mut received = Received::Nothing;
    if out.room() > 0 {
        let into = out.spare(usize::MAX);
        received = core.receive(stream, into.len(), |socket| socket.receive(into));
    }
    if let Received::Bytes(count) = received {
        out.commit(count);
    }
    let Some(state) = core.state_mut(stream) else { return Found::End };
    state.out = out;
    match received {
        Received::Nothing => Found::Nothing,
        Received::Bytes(_) => Found::Something,
        Received::End => {
            state.ended = true;
            Found::End
        }
    }
}

/// Gives what lies in `out` to the socket, unless that has not taken what it was given before.
fn write(core: &mut Core<Fibers>, stream: Token) -> Found {
    let is_free = core.pending_bytes(stream) == 0;
    let Some(state) = core.state_mut(stream) else { return Found::End };
    if state.out.is_empty() {
        if !state.ended {
            return Found::Nothing;
        }
        core.finish(stream);
        return Found::End;
    }
    if !is_free {
        return Found::Nothing;
    }
    let mut out = mem::take(&mut state.out);
    if let Some(pending) = core.pending_mut(stream) {
        mem::swap(pending, &mut out);
    }
    if let Some(state) = core.state_mut(stream) {
        // The socket's last one, empty: each goes back and forth.
        state.out = out;
    }
    Found::Something
}

impl Handler for Fibers {
    type Socket = TcpStream;
    type Pending = Queue;
    type Stream = Connection;
    type Listener = ();
    type Timer = ();
    type Message = ();

    fn accepted(&mut self, core: &mut Core<Self>, _: Token, socket: TcpStream, _: SocketAddr) {
        // A connection that fails so early is closed by being dropped.
        if socket.set_nodelay(true).is_err() {
            return;
        }
        if let Ok(stream) = core.add(socket, Queue::default(), Connection::default()) {
            self.awake.extend([Fiber::Read(stream), Fiber::Write(stream)]);
        }
    }

    /// Nothing: the read fiber looks by itself.
    fn readable(&mut self, _: &mut Core<Self>, _: Token) {}

    fn closed(&mut self, _: &mut Core<Self>, _: TcpStream, _: Connection, _: End) {}

    fn message(&mut self, _: &mut Core<Self>, _: usize, (): ()) {}

    /// Runs each fiber that is awake or due, once.
    fn gather(&mut self, core: &mut Core<Self>) -> usize {
        let now = Instant::now();
        let mut found = 0;
        for _ in 0..self.awake.len() {
            let Some(fiber) = self.awake.pop_front() else { break };
            found += usize::from(self.run(core, fiber) == Found::Something);
        }
        // Those who go to sleep meanwhile are due after `now`.
        while let Some(fiber) = self.asleep.expired(now) {
            found += usize::from(self.run(core, fiber) == Found::Something);
        }
        found
    }

    /// While there are fibers the reactor looks at its sockets and goes on.
    fn has_work(&self) -> bool {
        !self.asleep.is_empty() || !self.awake.is_empty()
    }
}
