//! An endpoint: all sessions and streams of one entity.
//!
//! ```text
//!      bytes in        receive ->  messages in place
//!    connected, accept ------> +----------+ -> events: Connect, Transmit, Close, Opened, Lost, ...
//!      send(message) --------> | Endpoint | -> poll_send: slices to write
//!    handle_timeout(now) ----> +----------+ -> deadline
//! ```
//!
//! Who keeps what is to be written as a queue of its own asks `fill` for it at [`Event::Transmit`]
//! and then looks at `output` and `output_bytes`; `sent` makes the next frames by itself, so that
//! nothing is written if and only if nothing waits.
//!
//! `dial.rs` is the session's part of the handshake on the side that connects, `answer.rs` that of
//! the side that accepts, `pass.rs` what happens once messages pass, `loss.rs` what happens when a
//! stream ends, `time.rs` when time has passed.

mod answer;
mod dial;
mod loss;
mod pass;
mod time;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use thiserror::Error;

use super::address::{EntityAddr, EntityAddrs, MOST_ADDRESSES};
use super::arena::Arena;
use super::auth::Authenticator;
use super::config::Config;
use super::connection::Connection;
use super::control::EntityType;
use super::error::Violation;
use super::event::Event;
use super::failure::{ConnectionError, Reason};
use super::ids::{SessionId, StreamId};
use super::message::{Message, Received};
use super::output::Slices;
use super::policy::Policy;
use super::registry::Registry;
use super::secure::Side;
use super::segment::Place;
use super::session::{Link, PeerName, Session};
use super::state::State;
use super::timers::Timers;

/// Whom to connect to, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Where it is. With a nonce other than 0 no other process there will do.
    pub address: EntityAddr,
    /// What it is; `None`: as it says.
    pub entity: Option<EntityType>,
    /// What we expect of each other.
    pub policy: Policy,
    /// A lossy session begins again by itself after a fault, without its messages.
    pub reopen: bool,
}

/// A message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// So much waits that it was refused; [`Event::Room`] says when it would be taken.
    #[error("too much waits to be sent")]
    Full(Box<Message>),
    /// There is no such session any more.
    #[error("the session is over")]
    Gone(Box<Message>),
}

/// All sessions and streams of one peer; see the page of this module in the source.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    authenticator: Box<dyn Authenticator>,
    /// Keepalives carry the time since then.
    epoch: Instant,
    streams: Arena<Connection>,
    sessions: Arena<Session>,
    registry: Registry,
    timers: Timers,
    events: VecDeque<Event>,
    /// Of the latest connection that we made.
    global_seq: u64,
    /// Messages of which frames were made.
    messages_sent: u64,
    /// The latest time that somebody told.
    now: Instant,
}

impl Endpoint {
    /// Without any session.
    pub fn new(config: Config, authenticator: Box<dyn Authenticator>, now: Instant) -> Self {
        Self {
            config,
            authenticator,
            epoch: now,
            streams: Arena::new(),
            sessions: Arena::new(),
            registry: Registry::default(),
            timers: Timers::default(),
            events: VecDeque::new(),
            global_seq: 0,
            messages_sent: 0,
            now,
        }
    }

    /// Begins a session; [`Event::Connect`] asks for its stream. A lossless session with that peer
    /// which exists already is the one. `None` if the target has no address, or there are too many
    /// sessions.
    pub fn connect(&mut self, target: Target, now: Instant) -> Option<SessionId> {
        target.address.socket?;
        if !target.policy.lossy
            && let Some(id) = self.registry.find(&target.address)
        {
            return Some(id);
        }
        if self.sessions.len() >= self.config.sessions {
            return None;
        }
        let mut session = Session::new(target.policy, &self.config, now);
        session.target = Some(target.address);
        session.entity = target.entity;
        session.reopen = target.reopen && target.policy.lossy;
        let id = SessionId(self.sessions.insert(session));
        if !target.policy.lossy {
            self.registry.insert(target.address, id);
        }
        self.ask(id);
        Some(id)
    }

    /// The stream that [`Event::Connect`] asked for is made. `None` if it is not needed any more:
    /// close it.
    pub fn connected(&mut self, id: SessionId, now: Instant) -> Option<StreamId> {
        let session = self.sessions.get_mut(id.0)?;
        if session.link != Link::Asked {
            return None;
        }
        let target = session.target?;
        let entity = session.entity;
        let mut stream = Connection::new(Side::Initiator, target.socket, &self.config, now);
        stream.expect(target, entity);
        stream.session = Some(id);
        let stream = self.insert(stream);
        let global_seq = self.next_global_seq();
        if let Some(session) = self.sessions.get_mut(id.0) {
            session.link = Link::Connecting(stream);
            session.global_seq = global_seq;
        }
        Some(stream)
    }

    /// The stream that [`Event::Connect`] asked for could not be made; the errno says why.
    pub fn connect_failed(&mut self, id: SessionId, errno: i32, now: Instant) {
        if self.sessions.get(id.0).is_some_and(|session| session.link == Link::Asked) {
            let reason = Reason::Unreachable(errno);
            let error = ConnectionError { state: State::Banner, reason };
            self.lose(id, error, now);
        }
    }

    /// A stream that somebody made to us from that address.
    pub fn accept(&mut self, from: SocketAddr, now: Instant) -> StreamId {
        self.insert(Connection::new(Side::Acceptor, Some(from), &self.config, now))
    }

    fn insert(&mut self, stream: Connection) -> StreamId {
        let id = StreamId(self.streams.insert(stream));
        self.arm_stream(id);
        self.announce(id);
        id
    }

    /// Takes received bytes from `input`, up to the next message: call it until it gives none. If
    /// then bytes are left the session is full ([`is_held`](Self::is_held)), and they are to be
    /// given again after [`Event::Resume`]. What is wrong with them is said in [`Event::Close`].
    pub fn receive<'a>(
        &mut self,
        id: StreamId,
        input: &mut &'a [u8],
        now: Instant,
    ) -> Option<Received<'a>> {
        self.now = now;
        loop {
            let Some(stream) = self.streams.get_mut(id.0) else {
                *input = &[];
                return None;
            };
            if stream.state == State::Ready && self.hold(id) {
                return None;
            }
            let stream = self.streams.get_mut(id.0)?;
            let step = match stream.receive(input, &*self.authenticator, now) {
                Ok(Some(step)) => self.step(id, step, now),
                Ok(None) => {
                    self.announce(id);
                    return None;
                }
                Err(error) => Err(error),
            };
            match step {
                Ok(None) => {}
                Ok(Some(received)) => {
                    self.announce(id);
                    return Some(received);
                }
                Err(error) => self.fail(id, error, now),
            }
        }
    }

    /// Where the next bytes that a stream brings belong, if it is in the midst of a long segment
    /// and that lies open: they may be read there at once, and not to be copied there. What was put
    /// there is looked at by the next [`receive`](Self::receive), which needs no other input.
    pub fn place(&mut self, id: StreamId) -> Option<Place<'_>> {
        self.streams.get_mut(id.0)?.place()
    }

    /// Whether a stream is not read since its session is full, or [stopped](Self::stop).
    pub fn is_held(&self, id: StreamId) -> bool {
        self.streams.get(id.0).is_some_and(|stream| stream.held)
    }

    /// The receiver has taken so many messages with so many bytes
    /// ([`Received::bytes`](super::Received::bytes)) that this session gave it.
    pub fn taken(&mut self, id: SessionId, messages: u64, bytes: u64, now: Instant) {
        let Some(session) = self.sessions.get_mut(id.0) else { return };
        if session.throttle.taken(messages, bytes) {
            self.resume(id, now);
        }
    }

    /// Whether a session's throttle lets no more messages through.
    pub fn is_throttled(&self, id: SessionId) -> bool {
        self.sessions.get(id.0).is_some_and(|session| session.throttle.is_full())
    }

    /// Takes no more messages of a session, whatever its throttle says, until
    /// [`go_on`](Self::go_on): its receiver has no room even for those that it has.
    pub fn stop(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id.0) {
            session.stopped = true;
        }
    }

    /// Takes messages of a session again.
    pub fn go_on(&mut self, id: SessionId, now: Instant) {
        if let Some(session) = self.sessions.get_mut(id.0)
            && std::mem::take(&mut session.stopped)
        {
            self.resume(id, now);
        }
    }

    /// Has the stream of a session read again, if it was held and need not be.
    fn resume(&mut self, id: SessionId, now: Instant) {
        if let Some(session) = self.sessions.get(id.0)
            && !session.is_full()
            && let Some(stream) = session.stream()
            && let Some(connection) = self.streams.get_mut(stream.0)
            && std::mem::take(&mut connection.held)
        {
            // We did not listen: the silence was ours.
            connection.pulse.heard(now);
            self.arm_stream(stream);
            self.events.push_back(Event::Resume(stream));
        }
    }

    /// Puts a message into a session's queue; its number there.
    ///
    /// # Errors
    ///
    /// The message is given back if the queue is full or the session over.
    pub fn send(
        &mut self,
        id: SessionId,
        message: Message,
        _now: Instant,
    ) -> Result<u64, SendError> {
        let Some(session) = self.sessions.get_mut(id.0) else {
            return Err(SendError::Gone(Box::new(message)));
        };
        let seq = session.outbox.push(message).map_err(SendError::Full)?;
        match session.link {
            Link::Ready(stream) => self.announce(stream),
            Link::Idle(_) if session.may_connect() => self.ask(id),
            _ => {}
        }
        Ok(seq)
    }

    /// What is to be written to a stream, from where it lies. Tell [`sent`](Self::sent) how much
    /// was. It is empty if and only if nothing waits.
    pub fn poll_send(&mut self, id: StreamId, now: Instant) -> Slices<'_> {
        self.now = now;
        self.fill(id);
        self.output(id)
    }

    /// Makes frames of what waits on a stream, until enough do.
    pub fn fill(&mut self, id: StreamId) {
        if let Err(error) = self.make_frames(id) {
            self.fail(id, error, self.now);
        }
        if let Some(stream) = self.streams.get_mut(id.0) {
            stream.announced = stream.output.len() > 0;
        }
    }

    /// The frames of a stream, as far as they are made, from where they lie.
    pub fn output(&self, id: StreamId) -> Slices<'_> {
        self.streams.get(id.0).map_or_else(Slices::none, |stream| stream.output.slices())
    }

    /// Bytes of those frames.
    pub fn output_bytes(&self, id: StreamId) -> usize {
        self.streams.get(id.0).map_or(0, |stream| stream.output.len())
    }

    /// So many bytes of what was to be written are; the next frames are made.
    pub fn sent(&mut self, id: StreamId, bytes: usize) {
        if let Some(stream) = self.streams.get_mut(id.0) {
            stream.output.consume(bytes);
            let session = stream.session;
            self.fill(id);
            if let Some(session) = session {
                self.end_if_finished(session);
            }
        }
    }

    /// The stream has ended, properly or not.
    pub fn closed(&mut self, id: StreamId, now: Instant) {
        if let Some(stream) = self.streams.get(id.0) {
            let error = stream.error(Reason::Closed);
            self.fail(id, error, now);
        }
    }

    /// Ends a session and its stream.
    pub fn close(&mut self, id: SessionId) {
        self.end_for(id, Reason::Local);
    }

    /// Ends a session once all that was put into it is written, and acknowledged if it is lossless;
    /// at `until` at the latest.
    pub fn finish(&mut self, id: SessionId, until: Instant) {
        if let Some(session) = self.sessions.get_mut(id.0) {
            session.finishing = true;
            self.end_by(id, until);
            self.end_if_finished(id);
        }
    }

    /// Ends a session at `until` at the latest, or when it was to end already; what is put into it
    /// meanwhile may be sent.
    pub fn end_by(&mut self, id: SessionId, until: Instant) {
        if let Some(session) = self.sessions.get_mut(id.0) {
            session.ends_by.get_or_insert(until);
            self.arm_session(id);
        }
    }

    /// Ends a session at `until` if it has not been open until then, for the reason that its last
    /// attempt had. Without this a lossless one is tried for ever.
    pub fn open_by(&mut self, id: SessionId, until: Instant) {
        if let Some(session) = self.sessions.get_mut(id.0) {
            session.opens_by = Some(until);
            self.arm_session(id);
        }
    }

    /// Whether a message has passed in a session: one has come, or the peer has acknowledged one.
    pub fn has_conversed(&self, id: SessionId) -> bool {
        let passed = |it: &Session| it.in_seq > 0 || it.outbox.has_acknowledged();
        self.sessions.get(id.0).is_some_and(passed)
    }

    /// Ends a session whose place another needs.
    pub fn displace(&mut self, id: SessionId) {
        self.end_for(id, Reason::TooManySessions);
    }

    /// Ends a session that nobody waits for any more, and its stream.
    pub fn cancel(&mut self, id: SessionId) {
        self.end_for(id, Reason::Cancelled);
    }

    fn end_for(&mut self, id: SessionId, reason: Reason) {
        let state = self.state(id);
        self.end(id, ConnectionError { state, reason });
    }

    fn end_if_finished(&mut self, id: SessionId) {
        let finishing = self.sessions.get(id.0).filter(|session| session.finishing);
        let Some(session) = finishing else { return };
        let stream = session.stream().and_then(|stream| self.streams.get(stream.0));
        if session.outbox.is_empty() && stream.is_none_or(|stream| stream.output.len() == 0) {
            self.close(id);
        }
    }

    /// The stream that a session has now, also one that is in its handshake.
    pub fn stream(&self, id: SessionId) -> Option<StreamId> {
        self.sessions.get(id.0).and_then(Session::stream)
    }

    /// Who a session is with, once it has had a stream.
    pub fn peer_name(&self, id: SessionId) -> Option<PeerName> {
        self.sessions.get(id.0)?.peer_name()
    }

    /// We are there, too: what later peers are told. Of more than they would listen to, it is the
    /// oldest that are not; but the first is the name by which peers know us, and stays.
    pub fn add_address(&mut self, address: EntityAddr) {
        let all = &mut self.config.addresses.0;
        if all.contains(&address) {
            return;
        }
        if all.len() >= MOST_ADDRESSES as usize {
            all.remove(1);
        }
        all.push(address);
    }

    /// Ends a session whose peer has sent something that it must not.
    pub fn refuse(&mut self, id: SessionId, violation: Violation) {
        self.end_for(id, Reason::Violation(violation));
    }

    /// Something has happened.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// What has happened since the last call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Sessions, connected or not.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Streams, in their handshake or ready.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Messages of which frames were made so far, those that were sent again included.
    pub fn messages_sent(&self) -> u64 {
        self.messages_sent
    }

    /// Bytes that wait to be sent or acknowledged in a session.
    pub fn outbox_bytes(&self, id: SessionId) -> usize {
        self.sessions.get(id.0).map_or(0, |session| session.outbox.bytes())
    }

    /// Whether a session holds a message, or part of one, that was put into it: its queue is not
    /// empty, or as many frames wait as are made at a time.
    pub fn holds_some(&self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(id.0) else { return false };
        let frames = session.stream().map_or(0, |stream| self.output_bytes(stream));
        !session.outbox.is_empty() || frames >= pass::FILL
    }

    /// [`Event::Room`] tells when a session may [hold](Self::holds_some) nothing more; more often
    /// than that, perhaps, but not before its queue is empty.
    pub fn await_end(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id.0) {
            session.outbox.await_end();
        }
    }

    /// Where a session's stream stands.
    fn state(&self, id: SessionId) -> State {
        let stream = self.sessions.get(id.0).and_then(Session::stream);
        stream.and_then(|id| self.streams.get(id.0)).map_or(State::Banner, |stream| stream.state)
    }

    /// Asks for a stream.
    fn ask(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id.0) else { return };
        if let Some(to) = session.target.and_then(|target| target.socket) {
            session.link = Link::Asked;
            self.events.push_back(Event::Connect { session: id, to });
        }
    }

    fn next_global_seq(&mut self) -> u64 {
        // A peer may have said to count from anywhere.
        self.global_seq = self.global_seq.saturating_add(1);
        self.global_seq
    }

    /// Our own address, as others know it.
    fn address(&self) -> EntityAddr {
        self.config.addresses.msgr2()
    }

    /// How we present ourselves to who sees us at `seen`.
    fn addresses(&self, seen: EntityAddr) -> EntityAddrs {
        if !self.config.addresses.0.is_empty() {
            return self.config.addresses.clone();
        }
        match seen.socket {
            Some(socket) => EntityAddr::client(socket.ip(), self.config.nonce).into(),
            None => EntityAddr::NONE.into(),
        }
    }

    /// Tells the owner, once, that something waits to be written.
    fn announce(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id.0) else { return };
        if !stream.announced && Self::has_output(stream, &self.sessions, &self.config) {
            stream.announced = true;
            self.events.push_back(Event::Transmit(id));
        }
    }
}
