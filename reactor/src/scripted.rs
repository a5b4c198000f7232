//! Streams over a kernel that plays by a script: every short read and write, EAGAIN, EINTR and
//! error, in any order, with the edges that the real kernel would make.
//!
//! What holds for all scripts: bytes leave once and in order; WRITABLE is registered exactly while
//! something is pending; without an error everything arrives, and with one the connection ends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use nix::errno::Errno;
use proptest::prelude::*;

use crate::stream::{Readiness, Stream};
use crate::*;

/// How the kernel answers one read or write.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// With at most so many bytes.
    Upto(usize),
    Again,
    Interrupted,
    Reset,
    Pipe,
}

/// The kernel's side of one socket.
#[derive(Debug, Default)]
struct Kernel {
    reads: VecDeque<Answer>,
    writes: VecDeque<Answer>,
    /// What the peer has sent and has not been read.
    incoming: VecDeque<u8>,
    /// After the last byte of `incoming` comes the end.
    incoming_ends: bool,
    /// What has been written.
    outgoing: Vec<u8>,
    ended: bool,
    /// There is something to read, as far as the application can know.
    readable: bool,
    /// There is room in the send buffer.
    writable: bool,
    interest: Option<Interest>,
    /// Edges that the poll has not told yet.
    edges: Readiness,
    failed: bool,
    /// Changes of the registered interest.
    controls: u32,
}

impl Kernel {
    fn new(reads: Vec<Answer>, writes: Vec<Answer>) -> Self {
        let (reads, writes) = (reads.into(), writes.into());
        Self { reads, writes, writable: true, ..Self::default() }
    }

    /// As ep_modify and ep_insert do: what is ready now makes an event.
    fn registered(&mut self, interest: Interest) {
        self.interest = Some(interest);
        self.controls += 1;
        self.edges.readable |= self.readable && interest.is_readable();
        self.edges.writable |= self.writable && interest.is_writable();
    }

    /// Bytes came, or those that were kept back show.
    fn data_ready(&mut self) {
        if !self.incoming.is_empty() || self.incoming_ends {
            self.readable = true;
            self.edges.readable |= self.interest.is_some_and(Interest::is_readable);
            self.edges.unusual |= self.incoming_ends;
        }
    }

    /// The peer has read: there is room.
    fn room_made(&mut self) {
        if !self.writable {
            self.writable = true;
            self.edges.writable |= self.interest.is_some_and(Interest::is_writable);
        }
    }

    fn fail(&mut self, errno: Errno) -> io::Error {
        self.failed = true;
        io::Error::from_raw_os_error(errno as i32)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = match self.reads.pop_front().unwrap_or(Answer::Upto(usize::MAX)) {
            Answer::Interrupted => return Err(ErrorKind::Interrupted.into()),
            Answer::Reset | Answer::Pipe => return Err(self.fail(Errno::ECONNRESET)),
            Answer::Again => 0,
            Answer::Upto(most) => most.max(1),
        };
        if most == 0 || (self.incoming.is_empty() && !self.incoming_ends) {
            self.readable = false;
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = most.min(into.len()).min(self.incoming.len());
        for (place, byte) in into.iter_mut().zip(self.incoming.drain(..count)) {
            *place = byte;
        }
        // A short read says that nothing was left; what is left came later, with an edge.
        self.readable = count == into.len() || self.incoming_ends;
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = match self.writes.pop_front().unwrap_or(Answer::Upto(usize::MAX)) {
            Answer::Interrupted => return Err(ErrorKind::Interrupted.into()),
            Answer::Reset => return Err(self.fail(Errno::ECONNRESET)),
            Answer::Pipe => return Err(self.fail(Errno::EPIPE)),
            Answer::Again => 0,
            Answer::Upto(most) => most.max(1),
        };
        let count = if self.writable { most.min(bytes.len()) } else { 0 };
        self.writable = count == bytes.len();
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.outgoing.extend(&bytes[..count]);
        Ok(count)
    }
}

#[derive(Debug)]
struct Scripted(Rc<RefCell<Kernel>>);

impl AsFd for Scripted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unreachable!("its kernel is a script")
    }
}

impl Source for Scripted {
    fn register(&mut self, _: &Registry, _: mio::Token, interest: Interest) -> io::Result<()> {
        self.0.borrow_mut().registered(interest);
        Ok(())
    }

    fn reregister(&mut self, _: &Registry, _: mio::Token, interest: Interest) -> io::Result<()> {
        self.0.borrow_mut().registered(interest);
        Ok(())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Scripted {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(into)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn send_slices(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.0.borrow_mut().write(&bytes)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.0.borrow_mut().ended = true;
        Ok(())
    }

    fn reset_on_close(&self) {}
}

/// Passes what one stream receives on to the other, or back if there is one only.
#[derive(Debug, Default)]
struct Passing {
    ends: Vec<End>,
}

impl Handler for Passing {
    type Socket = Scripted;
    type Pending = ByteQueue;
    type Stream = Option<Token>;
    type Listener = ();
    type Timer = ();
    type Message = ();

    fn accepted(&mut self, _: &mut Core<Self>, _: Token, _: TcpStream, _: std::net::SocketAddr) {
        unreachable!("nobody listens")
    }

    fn readable(&mut self, core: &mut Core<Self>, stream: Token) {
        let to = core.state(stream).copied().flatten().unwrap_or(stream);
        if core.transfer(stream, to) == Received::End {
            core.finish(to);
        }
    }

    fn closed(&mut self, core: &mut Core<Self>, _: Scripted, other: Option<Token>, end: End) {
        if matches!(end, End::Failed(_))
            && let Some(other) = other
        {
            core.reset(other);
        }
        self.ends.push(end);
    }

    fn message(&mut self, _: &mut Core<Self>, _: usize, (): ()) {}
}

/// The machine under test with the kernel's sides of its streams.
struct Rig {
    tested: Loop<Passing>,
    kernels: Vec<(Token, Rc<RefCell<Kernel>>)>,
}

impl Rig {
    fn new(kernels: Vec<Kernel>, marks: Marks, budget_bytes: usize) -> Self {
        let budget = Budget { bytes: budget_bytes, ..Budget::default() };
        let port = mesh(1).unwrap().pop().unwrap();
        let spin = SpinPolicy::Fixed(std::time::Duration::ZERO);
        let mut tested = Loop::new(Passing::default(), port, spin, budget).unwrap();
        let kernels: Vec<_> = kernels
            .into_iter()
            .map(|kernel| {
                let kernel = Rc::new(RefCell::new(kernel));
                let (socket, pending) = (Scripted(Rc::clone(&kernel)), ByteQueue::new(marks));
                (tested.core.add(socket, pending, None).unwrap(), kernel)
            })
            .collect();
        if let [(a, _), (b, _)] = kernels[..] {
            *tested.core.state_mut(a).unwrap() = Some(b);
            *tested.core.state_mut(b).unwrap() = Some(a);
        }
        Self { tested, kernels }
    }

    /// Tells the edges and takes turns until there is nothing to do.
    fn run(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..10_000 {
            for (token, kernel) in &self.kernels {
                let edges = std::mem::take(&mut kernel.borrow_mut().edges);
                if edges != Readiness::default() {
                    self.tested.core.note(*token, edges);
                }
            }
            if !self.tested.has_work() && self.tested.core.touched.is_empty() {
                return Ok(());
            }
            // With work to do it does not sleep. Asserts the invariants, too.
            self.tested.turn().unwrap();
            self.check_interest()?;
        }
        Err(TestCaseError::fail("it never comes to rest"))
    }

    /// I1, seen from the kernel.
    fn check_interest(&self) -> Result<(), TestCaseError> {
        let counters = self.tested.counters();
        for (token, kernel) in &self.kernels {
            let Some(stream) = self.tested.core.stream(*token) else { continue };
            let pending = !stream.pending.is_empty();
            let armed = kernel.borrow().interest.is_some_and(Interest::is_writable);
            prop_assert_eq!(armed, pending, "I1");
        }
        if counters.failed == 0 && self.tested.handler.ends.is_empty() {
            let armed = counters.writable_armed - counters.writable_disarmed;
            prop_assert_eq!(armed, counters.pending_streams, "I1, by the counters");
        }
        Ok(())
    }
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        6 => (1usize..700).prop_map(Answer::Upto),
        2 => Just(Answer::Upto(usize::MAX)),
        2 => Just(Answer::Again),
        2 => Just(Answer::Interrupted),
    ]
}

fn fatal() -> impl Strategy<Value = Answer> {
    prop_oneof![Just(Answer::Reset), Just(Answer::Pipe)]
}

/// Answers of which at most one is an error.
fn script() -> impl Strategy<Value = Vec<Answer>> {
    let answers = proptest::collection::vec(answer(), 0..40);
    (answers, proptest::option::weighted(0.2, (fatal(), 0usize..40))).prop_map(
        |(mut list, fatal)| {
            if let Some((error, at)) = fatal {
                list.insert(at.min(list.len()), error);
            }
            list
        },
    )
}

/// What the peers do between the turns.
#[derive(Debug, Clone)]
enum Act {
    /// Stream n's peer sends so many bytes.
    Send(usize, usize),
    /// Stream n's peer reads, or what it sent before shows.
    Stir(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0usize..2, 1usize..1500).prop_map(|(n, count)| Act::Send(n, count)),
        (0usize..2).prop_map(Act::Stir),
    ]
}

/// Plays a script to its end and holds the outcome against what was sent.
fn play(
    scripts: Vec<(Vec<Answer>, Vec<Answer>)>,
    acts: &[Act],
    budget_bytes: usize,
) -> Result<(), TestCaseError> {
    let count = scripts.len();
    let kernels = scripts.into_iter().map(|(reads, writes)| Kernel::new(reads, writes)).collect();
    let marks = Marks::new(300, 1000).unwrap();
    let mut rig = Rig::new(kernels, marks, budget_bytes);
    let mut sent = vec![Vec::new(); count];
    for act in acts {
        match *act {
            Act::Send(n, bytes) => {
                let n = n % count;
                let mut kernel = rig.kernels[n].1.borrow_mut();
                let from = sent[n].len();
                sent[n].extend((from..from + bytes).map(|i| (i % 251) as u8 ^ n as u8));
                kernel.incoming.extend(&sent[n][from..]);
                kernel.data_ready();
            }
            Act::Stir(n) => {
                let mut kernel = rig.kernels[n % count].1.borrow_mut();
                kernel.room_made();
                kernel.data_ready();
            }
        }
        rig.run()?;
    }
    // Everyone says that this is the end, and goes on until the scripts are used up.
    for _ in 0..400 {
        for (_, kernel) in &rig.kernels {
            let mut kernel = kernel.borrow_mut();
            kernel.incoming_ends = true;
            kernel.room_made();
            kernel.data_ready();
        }
        rig.run()?;
    }
    let failed = rig.kernels.iter().any(|(_, kernel)| kernel.borrow().failed);
    for (n, sent) in sent.iter().enumerate() {
        let to = (n + 1) % count;
        let kernel = rig.kernels[to].1.borrow();
        prop_assert!(sent.starts_with(&kernel.outgoing), "I5: once and in order");
        if !failed {
            prop_assert_eq!(kernel.outgoing.len(), sent.len(), "I5: all of it");
        }
    }
    let errors = rig.tested.handler.ends.iter().filter(|end| matches!(end, End::Failed(_))).count();
    prop_assert_eq!(errors > 0, failed, "I5: an error says so");
    prop_assert!(rig.tested.core.streams().is_empty(), "every stream has ended");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_echo_keeps_the_invariants(
        script in (script(), script()),
        acts in proptest::collection::vec(act(), 1..30),
        budget in prop_oneof![Just(64usize), Just(4096)],
    ) {
        play(vec![script], &acts, budget)?;
    }

    #[test]
    fn a_relay_keeps_the_invariants(
        a in (script(), script()),
        b in (script(), script()),
        acts in proptest::collection::vec(act(), 1..30),
        budget in prop_oneof![Just(64usize), Just(4096)],
    ) {
        play(vec![a, b], &acts, budget)?;
    }
}

#[test]
fn a_send_that_the_kernel_takes_whole_changes_no_interest() {
    let mut rig = Rig::new(vec![Kernel::new(vec![], vec![])], Marks::default(), 4096);
    for _ in 0..100 {
        let mut kernel = rig.kernels[0].1.borrow_mut();
        kernel.incoming.extend([7; 64]);
        kernel.data_ready();
        drop(kernel);
        rig.run().unwrap();
    }
    assert_eq!(rig.kernels[0].1.borrow().controls, 1, "the first registration");
    assert_eq!(rig.kernels[0].1.borrow().outgoing.len(), 6400);
}

#[test]
fn an_episode_of_pending_data_costs_one_change_each_way() {
    let mut rig = Rig::new(vec![Kernel::new(vec![], vec![])], Marks::default(), 4096);
    let feed = |rig: &mut Rig, full: bool| {
        let mut kernel = rig.kernels[0].1.borrow_mut();
        kernel.writable &= !full;
        kernel.incoming.extend([7; 64]);
        kernel.data_ready();
        drop(kernel);
        rig.run().unwrap();
    };
    feed(&mut rig, true);
    (0..10).for_each(|_| feed(&mut rig, false));
    assert_eq!(rig.kernels[0].1.borrow().controls, 2);
    rig.kernels[0].1.borrow_mut().room_made();
    rig.run().unwrap();
    let kernel = rig.kernels[0].1.borrow();
    assert_eq!((kernel.controls, kernel.outgoing.len()), (3, 11 * 64));
}

#[test]
fn bytes_are_not_offered_past_those_that_wait() {
    let kernel = Rc::new(RefCell::new(Kernel::new(vec![], vec![])));
    let mut counters = Counters::default();
    let socket = Scripted(Rc::clone(&kernel));
    let mut stream = Stream::new(socket, ByteQueue::default(), (), 1, false);
    assert_eq!(stream.offer(b"first", &mut counters), 5);
    stream.pending.append(b"second");
    assert_eq!(stream.offer(b"third", &mut counters), 0);
    assert_eq!(kernel.borrow().outgoing, b"first");
}

/// Two streams that pass to a third.
fn funnel(marks: Marks) -> (Rig, [Token; 3]) {
    let kernels = (0..3).map(|_| Kernel::new(vec![], vec![])).collect();
    let mut rig = Rig::new(kernels, marks, 4096);
    let tokens = [0, 1, 2].map(|n: usize| rig.kernels[n].0);
    for from in [tokens[0], tokens[1]] {
        *rig.tested.core.state_mut(from).unwrap() = Some(tokens[2]);
    }
    (rig, tokens)
}

fn feed(rig: &Rig, n: usize, bytes: &[u8]) {
    let mut kernel = rig.kernels[n].1.borrow_mut();
    kernel.incoming.extend(bytes);
    kernel.data_ready();
}

#[test]
fn what_waits_on_the_stage_counts_towards_the_high_mark() {
    let (mut rig, _) = funnel(Marks::new(1, 10).unwrap());
    rig.kernels[2].1.borrow_mut().writable = false;
    feed(&rig, 0, &[1; 10]);
    feed(&rig, 1, &[2; 10]);
    rig.run().unwrap();
    assert_eq!(rig.tested.counters().pending_bytes, 10);
    rig.kernels[2].1.borrow_mut().room_made();
    rig.run().unwrap();
    assert_eq!(rig.kernels[2].1.borrow().outgoing, [[1; 10], [2; 10]].concat());
}

#[test]
fn what_is_queued_comes_behind_what_was_read_before() {
    let (mut rig, [from, _, to]) = funnel(Marks::default());
    feed(&rig, 0, b"read");
    let edges = std::mem::take(&mut rig.kernels[0].1.borrow_mut().edges);
    rig.tested.core.note(from, edges);
    assert_eq!(rig.tested.core.transfer(from, to), Received::Bytes(4));
    assert_eq!(rig.tested.core.queue(to, b" and queued"), 11);
    rig.run().unwrap();
    assert_eq!(rig.kernels[2].1.borrow().outgoing, b"read and queued");
}

#[test]
fn a_stream_that_is_read_again_may_hold_what_came_meanwhile() {
    let mut rig = Rig::new(vec![Kernel::new(vec![], vec![])], Marks::default(), 4096);
    let token = rig.kernels[0].0;
    rig.tested.core.set_reading(token, false);
    rig.tested.core.arm(std::time::Duration::ZERO, ());
    rig.tested.turn().unwrap();
    feed(&rig, 0, b"meanwhile");
    rig.tested.core.set_reading(token, true);
    assert!(!rig.tested.core.is_idle(token), "as far as is known before it is looked at");
    rig.run().unwrap();
    assert_eq!(rig.kernels[0].1.borrow().outgoing, b"meanwhile");
}
