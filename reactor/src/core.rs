//! What a handler may do to its loop, and the state that the loop keeps.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::time::{Duration, Instant};

use mio::Poll;
use slab::Slab;

use crate::counters::Counters;
use crate::doorbell::Doorbell;
use crate::handler::Handler;
use crate::listener::Listener;
use crate::mesh::Port;
use crate::pending::Pending;
use crate::socket::Socket;
use crate::stage::Stage;
use crate::stream::{Readiness, Stream};
use crate::timers::{TimerId, Timers};
use crate::token::{DOORBELL, Token};

pub(crate) type StreamOf<H> =
    Stream<<H as Handler>::Socket, <H as Handler>::Pending, <H as Handler>::Stream>;

pub(crate) enum Entry<H: Handler> {
    Stream(StreamOf<H>),
    Listener(Listener<H::Listener>),
    /// One that somebody outside rings, and what the handler knows it by.
    Doorbell(Doorbell, usize),
}

/// What an event of the poll was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// A stream or a listener, which is ready now.
    Ready,
    /// A doorbell with this tag.
    Rung(usize),
    /// Something that is gone.
    Stale,
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
    pub(crate) exhausted: Vec<Token>,
    /// Armed while there are such listeners.
    pub(crate) exhausted_retry: Option<TimerId>,
    /// Streams among the entries.
    stream_count: usize,
    /// Doorbells among the entries.
    doorbells: HashSet<Token>,
    pub(crate) timers: Timers<Due<H::Timer>>,
    pub(crate) mesh: Port<H::Message>,
    pub(crate) counters: Counters,
    pub(crate) budget: Budget,
    /// Where bytes are read that do not stay; so an idle connection owns no buffer.
    pub(crate) stage: Stage,
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
            exhausted_retry: None,
            stream_count: 0,
            doorbells: HashSet::new(),
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
        self.stream_count += 1;
        Ok(token)
    }

    pub(crate) fn next_generation(&mut self) -> u32 {
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

    /// Bytes that the socket of a stream has taken so far.
    pub fn sent(&self, stream: Token) -> u64 {
        self.stream(stream).map_or(0, |stream| stream.sent)
    }

    /// The number of the turn in which bytes were last read from a stream; 0 if never.
    pub fn last_read(&self, stream: Token) -> u64 {
        self.stream(stream).map_or(0, |stream| stream.last_read)
    }

    /// The peer of a stream has ended its direction, or the stream is gone.
    pub fn has_ended(&self, stream: Token) -> bool {
        self.stream(stream).is_none_or(Stream::has_ended)
    }

    /// Bytes that wait for the socket of a stream.
    pub fn pending_bytes(&self, stream: Token) -> usize {
        self.stream(stream).map_or(0, |stream| stream.pending.len())
    }

    /// How many streams there are.
    pub fn stream_count(&self) -> usize {
        self.stream_count
    }

    /// All streams.
    pub fn streams(&self) -> Vec<Token> {
        let streams = self.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Stream(stream) => Some(Token::new(key, stream.generation)),
            Entry::Listener(_) | Entry::Doorbell(..) => None,
        });
        streams.collect()
    }

    /// The pending data of a stream, to be changed: the turn settles the stream at its end.
    pub fn pending_mut(&mut self, stream: Token) -> Option<&mut H::Pending> {
        self.touch(stream);
        self.stream_mut(stream).map(|stream| &mut stream.pending)
    }

    /// Nothing is pending on the stream and nothing that came is left unread.
    pub fn is_idle(&self, stream: Token) -> bool {
        self.stream(stream).is_none_or(Stream::is_idle)
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
        self.stream_count -= 1;
        // Its descriptor is free once the caller drops it, which is before the next turn.
        self.retry_exhausted();
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

    /// Takes in what the poll says of `token`.
    pub(crate) fn note(&mut self, token: Token, readiness: Readiness) -> Noted {
        match self.entries.get_mut(token.key()) {
            Some(Entry::Stream(stream)) if stream.generation == token.generation() => {
                stream.note(readiness);
                self.make_ready(token);
                if readiness.writable || readiness.error {
                    self.touch(token);
                }
                Noted::Ready
            }
            Some(Entry::Listener(listener)) if listener.generation == token.generation() => {
                listener.readable = true;
                if !mem::replace(&mut listener.queued, true) {
                    self.ready.push_back(token);
                }
                Noted::Ready
            }
            Some(Entry::Doorbell(_, tag)) if self.doorbells.contains(&token) => Noted::Rung(*tag),
            // The event was on its way when its stream was closed.
            _ => {
                self.counters.stale_events += 1;
                Noted::Stale
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

    // Doorbells.

    /// Wakes for `doorbell`, which others ring, and calls [`Handler::rung`] with `tag` then.
    pub fn watch(&mut self, doorbell: Doorbell, tag: usize) -> io::Result<Token> {
        let generation = self.next_generation();
        let vacant = self.entries.vacant_entry();
        let token = Token::new(vacant.key(), generation);
        doorbell.register(self.poll.registry(), token.into())?;
        vacant.insert(Entry::Doorbell(doorbell, tag));
        self.doorbells.insert(token);
        Ok(token)
    }

    /// No longer wakes for a doorbell.
    pub fn unwatch(&mut self, doorbell: Token) {
        if self.doorbells.remove(&doorbell) {
            let Entry::Doorbell(bell, _) = self.entries.remove(doorbell.key()) else {
                unreachable!()
            };
            // Whoever rings it has a descriptor of it, too: it must be taken out.
            if let Err(error) = bell.deregister(self.poll.registry()) {
                log::error!("doorbell {doorbell:?} cannot be deregistered: {error}");
            }
        }
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
