//! What only TCP has: accepting, connecting, resets, urgent data.

mod util;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::AsRawFd;

use mio::net::{TcpListener, TcpStream};
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};
use util::DEADLINE;
use vmsgr_reactor::{
    Budget, ByteQueue, Core, End, Handler, Loop, Received, SpinPolicy, Token, mesh,
};

/// Echoes what it accepts, unless it is told not to read.
#[derive(Debug, Default)]
struct Tcp {
    reads: bool,
    streams: Vec<Token>,
    connected: usize,
    closed: Vec<End>,
    admitted: usize,
    not_accepted: usize,
}

impl Handler for Tcp {
    type Socket = TcpStream;
    type Pending = ByteQueue;
    type Stream = ();
    type Listener = ();
    type Timer = ();
    type Message = ();

    fn admit(&mut self, _: &mut Core<Self>, _: Token) -> bool {
        self.admitted += 1;
        true
    }

    fn accepted(&mut self, core: &mut Core<Self>, _: Token, socket: TcpStream, _: SocketAddr) {
        let token = core.add(socket, ByteQueue::default(), ()).unwrap();
        core.set_reading(token, self.reads);
        self.streams.push(token);
    }

    fn not_accepted(&mut self, _: &mut Core<Self>, _: Token, _: Option<&std::io::Error>) {
        self.not_accepted += 1;
    }

    fn connected(&mut self, _: &mut Core<Self>, _: Token) {
        self.connected += 1;
    }

    fn readable(&mut self, core: &mut Core<Self>, stream: Token) {
        if core.transfer(stream, stream) == Received::End {
            core.finish(stream);
        }
    }

    fn closed(&mut self, _: &mut Core<Self>, _: TcpStream, (): (), end: End) {
        self.closed.push(end);
    }

    fn timer(&mut self, _: &mut Core<Self>, (): ()) {
        panic!("the condition did not come about in time");
    }

    fn message(&mut self, _: &mut Core<Self>, _: usize, (): ()) {}
}

fn tcp(reads: bool, budget: Budget) -> (Loop<Tcp>, SocketAddr) {
    let port = mesh(1).unwrap().pop().unwrap();
    let handler = Tcp { reads, ..Tcp::default() };
    let spin = SpinPolicy::Fixed(std::time::Duration::ZERO);
    let mut tested = Loop::new(handler, port, spin, budget).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    tested.handler().1.listen(socket, ()).unwrap();
    (tested, address)
}

fn turn_until(tested: &mut Loop<Tcp>, condition: impl Fn(&mut Loop<Tcp>) -> bool) {
    let late = tested.handler().1.arm(DEADLINE, ());
    while !condition(tested) {
        tested.turn().unwrap();
    }
    tested.handler().1.cancel(late);
}

fn reset(socket: StdStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&socket, sockopt::Linger, &linger).unwrap();
}

#[test]
fn a_listener_accepts_no_more_than_its_budget_in_a_turn_and_all_in_the_end() {
    let (mut tested, address) = tcp(true, Budget { accepts: 4, ..Budget::default() });
    let _peers: Vec<_> = (0..10).map(|_| StdStream::connect(address).unwrap()).collect();
    tested.turn().unwrap();
    assert_eq!(tested.counters().accepted, 4, "I6");
    turn_until(&mut tested, |tested| tested.counters().accepted == 10);
    turn_until(&mut tested, |tested| tested.handler().0.not_accepted == 1);
    assert_eq!(tested.handler().0.admitted, 11, "each that is admitted comes or does not");
}

#[test]
fn bytes_behind_urgent_data_are_not_forgotten() {
    let (mut tested, address) = tcp(true, Budget::default());
    let mut peer = StdStream::connect(address).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.set_nodelay(true).unwrap();
    // All of it lies there before the loop looks: the read stops short at the urgent byte, and
    // no edge comes for what is behind it.
    peer.write_all(b"before").unwrap();
    send(peer.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap();
    peer.write_all(b"behind").unwrap();
    turn_until(&mut tested, |tested| tested.counters().bytes_out == 12);
    let mut received = [0; 12];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"beforebehind");
}

#[test]
fn a_reset_is_noticed_on_a_stream_that_nobody_reads() {
    let (mut tested, address) = tcp(false, Budget::default());
    let peer = StdStream::connect(address).unwrap();
    turn_until(&mut tested, |tested| tested.counters().connections == 1);
    reset(peer);
    turn_until(&mut tested, |tested| tested.counters().connections == 0);
    let closed = &tested.handler().0.closed;
    assert!(
        matches!(&closed[..], [End::Failed(error)]
            if error.kind() == std::io::ErrorKind::ConnectionReset),
        "{closed:?}"
    );
}

#[test]
fn a_reset_ends_a_stream_with_an_error_and_does_not_spin() {
    let (mut tested, address) = tcp(true, Budget::default());
    let mut peer = StdStream::connect(address).unwrap();
    peer.write_all(&[1; 1000]).unwrap();
    turn_until(&mut tested, |tested| tested.counters().bytes_out == 1000);
    let turns = tested.counters().turns;
    reset(peer);
    turn_until(&mut tested, |tested| tested.counters().connections == 0);
    assert!(tested.counters().turns <= turns + 4);
    assert_eq!(tested.counters().failed, 1);
}

#[test]
fn connecting_succeeds_or_fails_and_says_which() {
    let (mut tested, _) = tcp(true, Budget::default());
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let there = listener.local_addr().unwrap();
    let socket = TcpStream::connect(there).unwrap();
    tested.handler().1.connect(socket, ByteQueue::default(), ()).unwrap();
    turn_until(&mut tested, |tested| tested.handler().0.connected == 1);
    let counters = tested.counters();
    assert_eq!((counters.writable_armed, counters.writable_disarmed), (1, 1));
    // Nobody listens there, and no other test ever will: port 0 does not give it.
    let socket = TcpStream::connect("127.0.0.1:1".parse().unwrap()).unwrap();
    tested.handler().1.connect(socket, ByteQueue::default(), ()).unwrap();
    turn_until(&mut tested, |tested| !tested.handler().0.closed.is_empty());
    let refused = std::io::ErrorKind::ConnectionRefused;
    assert!(matches!(&tested.handler().0.closed[0], End::Failed(error) if error.kind() == refused));
}

#[test]
fn a_listener_that_is_not_admitted_waits_without_waking_and_goes_on_when_resumed() {
    let mut tested = util::alone(Budget::default());
    tested.handler().0.admits = false;
    let socket = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let listener = tested.handler().1.listen(socket, ()).unwrap();
    let _first = StdStream::connect(address).unwrap();
    tested.turn().unwrap();
    let wakeups = tested.counters().wakeups;
    // Another one comes: that is not told, since nothing could be done about it.
    let _second = StdStream::connect(address).unwrap();
    tested.handler().1.arm(std::time::Duration::from_millis(20), 1);
    util::turn_until(&mut tested, |tested| tested.handler().0.fired == [1]);
    assert_eq!(tested.counters().wakeups, wakeups + 1, "the timer's alone");
    tested.handler().0.admits = true;
    tested.handler().1.resume_listener(listener);
    util::turn_until(&mut tested, |tested| tested.handler().0.accepted.len() == 2);
}

#[test]
fn listeners_that_ran_out_of_descriptors_share_one_timer_and_go_on_when_a_stream_ends() {
    let mut tested = util::alone(Budget::default());
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let socket = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        addresses.push(socket.local_addr().unwrap());
        let listener = tested.handler().1.listen(socket, ()).unwrap();
        for _ in 0..3 {
            tested.handler().1.exhaust_listener(listener);
        }
    }
    assert_eq!(tested.counters().timers, 1);
    let (token, _peer) = util::add(&mut tested, util::Does::Echo, vmsgr_reactor::Marks::default());
    tested.handler().1.close(token);
    assert_eq!(tested.counters().timers, 0);
    let _peers: Vec<_> =
        addresses.iter().map(|address| StdStream::connect(address).unwrap()).collect();
    util::turn_until(&mut tested, |tested| tested.handler().0.accepted.len() == 2);
}

#[test]
fn listeners_that_ran_out_of_descriptors_try_again_by_themselves() {
    let mut tested = util::alone(Budget::default());
    let socket = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let listener = tested.handler().1.listen(socket, ()).unwrap();
    tested.handler().1.exhaust_listener(listener);
    let _peer = StdStream::connect(address).unwrap();
    util::turn_until(&mut tested, |tested| tested.handler().0.accepted.len() == 1);
    assert_eq!((tested.counters().timers, tested.counters().timers_fired), (0, 1));
}
