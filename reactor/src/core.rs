//! What a handler may do to its loop, and the state that the loop keeps.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Poll, Registry};
use slab::Slab;

use crate::counters::Counters;
use crate::handler::Handler;
use crate::listener::Listener;
use crate::mesh::Port;
use crate::pending::Pending;
use crate::socket::Socket;
use crate::stage::Stage;
use crate::stream::{Readiness, Received, Stream};
use crate::timers::{TimerId, Timers};
use crate::token::{DOORBELL, Token};

/// After how long a listener that ran out of descriptors tries again. Descriptors that another
/// process frees make no event, so this is the one thing that has to be asked for.
const EXHAUSTED_RETRY: Duration = Duration::from_millis(250);

pub(crate) type StreamOf<H> =
    Stream<<H as Handler>::Socket, <H as Handler>::Pending, <H as Handler>::Stream>;

pub(crate) enum Entry<H: Handler> {
    Stream(StreamOf<H>),
    Listener(Listener<H::Listener>),
}

/// What a timer of the loop is for.
#[derive(Debug)]
pub(crate) enum Due<T> {
    /// Listeners that ran out of descriptors try again.
    Exhausted,
    /// The handler's.
    Handler(T),
}

/// Bounds of one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that one connection may receive per turn.
    pub bytes: usize,
    /// Connections that one listener may accept per turn.
    pub accepts: usize,
    /// Messages from other cores, and likewise timers, that one turn handles.
    pub messages: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 256 << 10, accepts: 16, messages: 256 }
    }
}

/// A loop's streams, listeners, timers and messages: what its [`Handler`] acts on.
///
/// It belongs to the thread that it was made on (I7): it can be neither sent nor shared.
pub struct Core<H: Handler> {
    pub(crate) poll: Poll,
    pub(crate) entries: Slab<Entry<H>>,
    /// The generation of the next entry.
    generation: u32,
    /// Entries that have something to do, each at most once, in the order in which they get to it.
    pub(crate) ready: VecDeque<Token>,
    /// Streams whose pending data, interest or end may have changed in this turn.
    pub(crate) touched: Vec<Token>,
    /// Listeners that ran out of descriptors.
    exhausted: Vec<Token>,
    pub(crate) timers: Timers<Due<H::Timer>>,
    pub(crate) mesh: Port<H::Message>,
    pub(crate) counters: Counters,
    pub(crate) budget: Budget,
    stage: Stage,
    /// The time of this turn, once someone asked for it.
    pub(crate) now: Option<Instant>,
    pub(crate) watch_settled: bool,
    pub(crate) stopping: bool,
    _not_send: PhantomData<*const ()>,
}

impl<H: Handler> Core<H> {
    pub(crate) fn new(mesh: Port<H::Message>, budget: Budget) -> io::Result<Self> {
        let poll = Poll::new()?;
        mesh.doorbell().register(poll.registry(), DOORBELL.into())?;
        Ok(Self {
            poll,
            entries: Slab::new(),
            generation: 0,
            ready: VecDeque::new(),
            touched: Vec::new(),
            exhausted: Vec::new(),
            timers: Timers::default(),
            mesh,
            counters: Counters::default(),
            budget,
            stage: Stage::new(budget.bytes),
            now: None,
            watch_settled: false,
            stopping: false,
            _not_send: PhantomData,
        })
    }

    // The loop.

    /// This loop's place in the mesh.
    pub fn index(&self) -> usize {
        self.mesh.index()
    }

    /// The time of this turn.
    pub fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }

    /// The counters, with the gauges as they are now.
    pub fn counters(&self) -> Counters {
        let mut counters =
            Counters { timers: self.timers.len() as u64, connections: 0, ..self.counters };
        for (_, entry) in &self.entries {
            let Entry::Stream(stream) = entry else { continue };
            counters.connections += 1;
            counters.pending_streams += u64::from(!stream.pending.is_empty());
            counters.pending_bytes += stream.pending.len() as u64;
            counters.paused += u64::from(stream.is_paused());
        }
        counters
    }

    /// For counters that only the handler can count.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// The loop returns after this turn.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether [`Handler::settled`] is to be called.
    pub fn watch_settled(&mut self, watch: bool) {
        self.watch_settled = watch;
    }

    // Streams.

    /// Adds a connected socket.
    pub fn add(
        &mut self,
        socket: H::Socket,
        pending: H::Pending,
        state: H::Stream,
    ) -> io::Result<Token> {
        self.insert_stream(socket, pending, state, false)
    }

    /// Adds a socket whose connection is under way; [`Handler::connected`] or
    /// [`Handler::closed`] follows.
    pub fn connect(
        &mut self,
        socket: H::Socket,
        pending: H::Pending,
        state: H::Stream,
    ) -> io::Result<Token> {
        self.insert_stream(socket, pending, state, true)
    }

    fn insert_stream(
        &mut self,
        socket: H::Socket,
        pending: H::Pending,
        state: H::Stream,
        connecting: bool,
    ) -> io::Result<Token> {
        let generation = self.next_generation();
        let vacant = self.entries.vacant_entry();
        let token = Token::new(vacant.key(), generation);
        let mut stream = Stream::new(socket, pending, state, generation, connecting);
        stream.register(self.poll.registry(), token, &mut self.counters)?;
        vacant.insert(Entry::Stream(stream));
        Ok(token)
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// What the handler keeps for a stream; `None` if it is gone.
    pub fn state(&self, stream: Token) -> Option<&H::Stream> {
        self.stream(stream).map(|stream| &stream.state)
    }

    /// See [`state`](Self::state).
    pub fn state_mut(&mut self, stream: Token) -> Option<&mut H::Stream> {
        self.stream_mut(stream).map(|stream| &mut stream.state)
    }

    /// The socket of a stream, for its addresses and options.
    pub fn socket(&self, stream: Token) -> Option<&H::Socket> {
        self.stream(stream).map(Stream::socket)
    }

    /// All streams.
    pub fn streams(&self) -> Vec<Token> {
        let streams = self.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Stream(stream) => Some(Token::new(key, stream.generation)),
            Entry::Listener(_) => None,
        });
        streams.collect()
    }

    /// Nothing is pending on the stream and nothing that came is left unread.
    pub fn is_idle(&self, stream: Token) -> bool {
        self.stream(stream).is_none_or(Stream::is_idle)
    }

    /// Reads once, at most the budget of a turn, and hands the bytes over as they lie in the
    /// scratch buffer: they are gone afterwards.
    pub fn read(&mut self, stream: Token, take: impl FnOnce(&[u8])) -> Received {
        let mut stage = mem::take(&mut self.stage);
        let into = stage.spare(self.budget.bytes);
        let received = self.read_into(stream, into);
        if let Received::Bytes(count) = received {
            take(&into[..count]);
        }
        self.stage = stage;
        received
    }

    /// Reads from `from` once, at most the budget of a turn, and sends that to `to`, which may be
    /// the same stream. What the socket of `to` does not take becomes its pending data; while that
    /// is full `from` is not read (I4), and is resumed when it is relieved.
    pub fn transfer(&mut self, from: Token, to: Token) -> Received {
        let budget = self.budget.bytes;
        if self.stream(to).is_some_and(|target| target.staged) || self.stage.is_full() {
            self.send_staged();
        }
        let Some(target) = self.stream_mut(to) else { return Received::Nothing };
        debug_assert!(!target.is_finishing(), "sent after the end");
        let room = target.pending.room();
        if room == 0 {
            target.stopped = Some(from);
            self.set_reading(from, false);
            return Received::Nothing;
        }
        let most = room.min(budget);
        if target.pending.is_empty() {
            let mut stage = mem::take(&mut self.stage);
            let received = self.read_into(from, stage.spare(most));
            if let Received::Bytes(count) = received {
                match stage.put(to, count) {
                    Some(bytes) => self.send(to, bytes),
                    None => self.stream_mut(to).expect("reading removes no stream").staged = true,
                }
            }
            self.stage = stage;
            received
        } else {
            // Others wait already: behind them, without a copy.
            let mut pending = mem::take(&mut target.pending);
            let received = self.read_into(from, pending.spare(most));
            if let Received::Bytes(count) = received {
                pending.commit(count);
            }
            self.stream_mut(to).expect("reading removes no stream").pending = pending;
            self.touch(to);
            received
        }
    }

    /// Sends what was read in this turn and waits on the stage.
    pub(crate) fn send_staged(&mut self) {
        let mut stage = mem::take(&mut self.stage);
        let mut next = 0;
        while let Some((to, bytes)) = stage.piece(next) {
            next += 1;
            if let Some(target) = self.stream_mut(to) {
                target.staged = false;
                self.send(to, bytes);
            }
        }
        stage.clear();
        self.stage = stage;
    }

    fn read_into(&mut self, stream: Token, into: &mut [u8]) -> Received {
        let Some(Entry::Stream(reader)) = self.entries.get_mut(stream.key()) else {
            return Received::Nothing;
        };
        if reader.generation != stream.generation() || !reader.is_to_be_read() {
            return Received::Nothing;
        }
        let received = reader.read(into, &mut self.counters);
        if received == Received::Nothing || received == Received::End {
            // It may have failed, or both directions may have ended.
            self.touch(stream);
        }
        received
    }

    /// Sends bytes for which there is room in the pending data of `to`.
    fn send(&mut self, to: Token, bytes: &[u8]) {
        let Some(Entry::Stream(target)) = self.entries.get_mut(to.key()) else { return };
        let taken = target.offer(bytes, &mut self.counters);
        if taken < bytes.len() {
            let kept = target.pending.append(&bytes[taken..]);
            debug_assert_eq!(kept, bytes.len() - taken, "no more is read than there is room for");
            self.touch(to);
        }
    }

    /// Adds bytes to the pending data of a stream; all that a turn adds leaves with one `writev`
    /// at its end. How many there was room for: the rest is the caller's to keep.
    pub fn queue(&mut self, stream: Token, bytes: &[u8]) -> usize {
        if self.stream(stream).is_some_and(|target| target.staged) {
            // What was read before comes before.
            self.send_staged();
        }
        let Some(target) = self.stream_mut(stream) else { return 0 };
        debug_assert!(!target.is_finishing(), "sent after the end");
        let taken = target.pending.append(bytes);
        self.touch(stream);
        taken
    }

    /// Stops or goes on reading a stream.
    pub fn set_reading(&mut self, stream: Token, reading: bool) {
        let Some(target) = self.stream_mut(stream) else { return };
        if target.set_reading(reading) {
            self.touch(stream);
            self.make_ready(stream);
        }
    }

    /// Ends our direction of a stream once its pending data has been sent. When the peer's has
    /// ended too, the stream is closed.
    pub fn finish(&mut self, stream: Token) {
        if let Some(target) = self.stream_mut(stream) {
            target.finish();
            self.touch(stream);
        }
    }

    /// Closes a stream now, without [`Handler::closed`]; pending data is lost. What was kept.
    pub fn close(&mut self, stream: Token) -> Option<H::Stream> {
        self.remove(stream).map(|stream| stream.into_parts().1)
    }

    /// Closes a stream now and tells the peer so with a reset, without [`Handler::closed`].
    pub fn reset(&mut self, stream: Token) -> Option<H::Stream> {
        self.stream(stream)?.socket().reset_on_close();
        self.close(stream)
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<StreamOf<H>> {
        self.stream(token)?;
        // No deregistration: the kernel forgets a socket when it is closed.
        let Entry::Stream(stream) = self.entries.remove(token.key()) else { unreachable!() };
        for listener in mem::take(&mut self.exhausted) {
            // Its descriptor is free once the caller drops it, which is before the next turn.
            self.resume_listener(listener);
        }
        Some(stream)
    }

    pub(crate) fn stream(&self, token: Token) -> Option<&StreamOf<H>> {
        match self.entries.get(token.key()) {
            Some(Entry::Stream(stream)) if stream.generation == token.generation() => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn stream_mut(&mut self, token: Token) -> Option<&mut StreamOf<H>> {
        match self.entries.get_mut(token.key()) {
            Some(Entry::Stream(stream)) if stream.generation == token.generation() => Some(stream),
            _ => None,
        }
    }

    /// Takes in what the poll says of `token`; false if that is gone.
    pub(crate) fn note(&mut self, token: Token, readiness: Readiness) -> bool {
        match self.entries.get_mut(token.key()) {
            Some(Entry::Stream(stream)) if stream.generation == token.generation() => {
                stream.note(readiness);
                self.make_ready(token);
                if readiness.writable || readiness.error {
                    self.touch(token);
                }
                true
            }
            Some(Entry::Listener(listener)) if listener.generation == token.generation() => {
                listener.readable = true;
                if !mem::replace(&mut listener.queued, true) {
                    self.ready.push_back(token);
                }
                true
            }
            // The event was on its way when its stream was closed.
            _ => {
                self.counters.stale_events += 1;
                false
            }
        }
    }

    /// Has the turn settle a stream at its end.
    pub(crate) fn touch(&mut self, token: Token) {
        let Some(stream) = self.stream_mut(token) else { return };
        if !mem::replace(&mut stream.touched, true) {
            self.touched.push(token);
        }
    }

    /// Puts a stream at the back of the ready list if there is something for it to do.
    pub(crate) fn make_ready(&mut self, token: Token) {
        let Some(stream) = self.stream_mut(token) else { return };
        if stream.is_ready() && !mem::replace(&mut stream.queued, true) {
            self.ready.push_back(token);
        }
    }

    // Listeners.

    /// Accepts connections from `socket` from now on.
    pub fn listen(&mut self, socket: TcpListener, state: H::Listener) -> io::Result<Token> {
        let generation = self.next_generation();
        let vacant = self.entries.vacant_entry();
        let token = Token::new(vacant.key(), generation);
        let mut listener = Listener::new(socket, state, generation);
        listener.resume(self.poll.registry(), token)?;
        vacant.insert(Entry::Listener(listener));
        Ok(token)
    }

    /// What the handler keeps for a listener; `None` if it is gone.
    pub fn listener_state(&self, listener: Token) -> Option<&H::Listener> {
        match self.entries.get(listener.key()) {
            Some(Entry::Listener(found)) if found.generation == listener.generation() => {
                Some(&found.state)
            }
            _ => None,
        }
    }

    /// The socket of a listener, for its address.
    pub fn listener_socket(&self, listener: Token) -> Option<&TcpListener> {
        match self.entries.get(listener.key()) {
            Some(Entry::Listener(found)) if found.generation == listener.generation() => {
                Some(found.socket())
            }
            _ => None,
        }
    }

    pub(crate) fn listener_mut(&mut self, token: Token) -> Option<&mut Listener<H::Listener>> {
        match self.entries.get_mut(token.key()) {
            Some(Entry::Listener(found)) if found.generation == token.generation() => Some(found),
            _ => None,
        }
    }

    /// Goes on accepting after [`Handler::admit`] refused.
    pub fn resume_listener(&mut self, listener: Token) {
        self.with_listener(listener, |found, registry| found.resume(registry, listener));
    }

    /// Stops accepting; nobody in the backlog is lost.
    pub(crate) fn pause_listener(&mut self, listener: Token) {
        self.with_listener(listener, |found, registry| found.pause(registry));
    }

    fn with_listener(
        &mut self,
        token: Token,
        action: impl FnOnce(&mut Listener<H::Listener>, &Registry) -> io::Result<()>,
    ) {
        let Some(Entry::Listener(found)) = self.entries.get_mut(token.key()) else { return };
        if found.generation == token.generation()
            && let Err(error) = action(found, self.poll.registry())
        {
            // epoll_ctl fails only for want of kernel memory.
            log::error!("listener {token:?} cannot change its registration: {error}");
        }
    }

    /// Stops accepting until a stream of this loop has ended, or some time has passed.
    pub(crate) fn exhaust_listener(&mut self, listener: Token) {
        self.pause_listener(listener);
        if self.exhausted.is_empty() {
            let deadline = self.now() + EXHAUSTED_RETRY;
            self.timers.arm(deadline, Due::Exhausted);
        }
        self.exhausted.push(listener);
    }

    pub(crate) fn retry_exhausted(&mut self) {
        for listener in mem::take(&mut self.exhausted) {
            self.resume_listener(listener);
        }
    }

    /// Closes a listener. Who waited in its backlog is reset by the kernel.
    pub fn close_listener(&mut self, listener: Token) -> Option<H::Listener> {
        self.listener_mut(listener)?;
        let Entry::Listener(found) = self.entries.remove(listener.key()) else { unreachable!() };
        Some(found.state)
    }

    // Timers.

    /// Calls [`Handler::timer`] after `delay`, never before.
    pub fn arm(&mut self, delay: Duration, timer: H::Timer) -> TimerId {
        let deadline = self.now() + delay;
        self.timers.arm(deadline, Due::Handler(timer))
    }

    /// Lets an armed timer count from now again; cheap when that is later.
    pub fn rearm(&mut self, id: TimerId, delay: Duration) -> bool {
        let deadline = self.now() + delay;
        self.timers.rearm(id, deadline)
    }

    /// Disarms a timer.
    pub fn cancel(&mut self, id: TimerId) {
        self.timers.cancel(id);
    }

    // Messages.

    /// Sends a message to another member of the mesh at the end of this turn. Gives it back if
    /// that one is so far behind that ring and outbox are full.
    pub fn post(&mut self, peer: usize, message: H::Message) -> Result<(), H::Message> {
        self.mesh.post(peer, message)
    }
}

impl<H: Handler> fmt::Debug for Core<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entries, ready) = (self.entries.len(), self.ready.len());
        write!(f, "Core({}: {entries} entries, {ready} ready)", self.index())
    }
}
