//! The session's part of the handshake, on the side that connects.

use std::time::Instant;

use super::super::control::{ClientIdent, Control, FLAG_LOSSY, ServerIdent, SessionReconnect};
use super::super::error::Rule;
use super::super::event::Event;
use super::super::failure::{ConnectionError, Reason};
use super::super::ids::{SessionId, StreamId};
use super::super::secure::Side;
use super::super::session::{Link, Session};
use super::super::state::State;
use super::super::tag::Tag;
use super::Endpoint;

/// After so many RETRYs on one stream there is a race, and it is the side with the greater address
/// that gives way.
const MOST_RETRIES: u64 = 3;

impl Endpoint {
    /// The peer has proved who it is: begins a session on a stream that we made, or goes on with
    /// it.
    pub(super) fn begin(&mut self, id: StreamId) -> Result<(), ConnectionError> {
        let Some(stream) = self.streams.get(id.0) else { return Ok(()) };
        if stream.side == Side::Acceptor {
            return Ok(());
        }
        let session = stream.session.and_then(|session| self.sessions.get(session.0));
        match session {
            Some(session) if session.server_cookie != 0 => self.reconnect(id),
            Some(_) => self.identify(id),
            None => Ok(()),
        }
    }

    /// The session that a stream is being made for.
    fn dialled(&mut self, id: StreamId) -> Option<(SessionId, &mut Session)> {
        let session = self.streams.get(id.0)?.session?;
        Some((session, self.sessions.get_mut(session.0)?))
    }

    fn identify(&mut self, id: StreamId) -> Result<(), ConnectionError> {
        let Some(stream) = self.streams.get(id.0) else { return Ok(()) };
        let (seen, global_id) = (stream.peer.sees_us_at, stream.peer.global_id);
        let addresses = self.addresses(seen);
        let (supported, required) = (self.config.supported, self.config.required);
        let gid = self.config.gid.unwrap_or(global_id);
        let mut cookies = self.config.cookies;
        let Some((_, session)) = self.dialled(id) else { return Ok(()) };
        if !session.policy.lossy && session.client_cookie == 0 {
            session.client_cookie = cookies.give();
        }
        let ident = Control::ClientIdent(ClientIdent {
            addresses,
            target: session.target.unwrap_or(super::EntityAddr::NONE),
            gid,
            global_seq: session.global_seq,
            supported,
            required,
            flags: if session.policy.lossy { FLAG_LOSSY } else { 0 },
            cookie: session.client_cookie,
        });
        self.config.cookies = cookies;
        self.say(id, State::Identifying, &ident)
    }

    fn reconnect(&mut self, id: StreamId) -> Result<(), ConnectionError> {
        let Some(stream) = self.streams.get(id.0) else { return Ok(()) };
        let addresses = self.addresses(stream.peer.sees_us_at);
        let Some((_, session)) = self.dialled(id) else { return Ok(()) };
        // A peer may have said to count from anywhere.
        session.connect_seq = session.connect_seq.saturating_add(1);
        let reconnect = Control::SessionReconnect(SessionReconnect {
            addresses,
            client_cookie: session.client_cookie,
            server_cookie: session.server_cookie,
            global_seq: session.global_seq,
            connect_seq: session.connect_seq,
            msg_seq: session.in_seq,
        });
        self.say(id, State::Reconnecting, &reconnect)
    }

    /// Sends a frame of the handshake; its answer is awaited in `state`.
    pub(super) fn say(
        &mut self,
        id: StreamId,
        state: State,
        control: &Control,
    ) -> Result<(), ConnectionError> {
        let Some(stream) = self.streams.get_mut(id.0) else { return Ok(()) };
        stream.send(control)?;
        stream.state = state;
        Ok(())
    }

    /// A frame of the session's part of the handshake; it has a place in the stream's state.
    pub(super) fn converse(
        &mut self,
        id: StreamId,
        control: Control,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let tag = control.tag();
        match control {
            Control::ClientIdent(ident) => self.answer_ident(id, ident, now),
            Control::SessionReconnect(reconnect) => self.answer_reconnect(id, &reconnect, now),
            Control::ServerIdent(ident) => self.identified(id, ident, now),
            Control::IdentMissingFeatures(features) => {
                self.turn_away(id, Reason::MissingFeatures(features))
            }
            Control::SessionReconnectOk(seq) => self.reconnected(id, seq, now),
            Control::SessionReset(full) => self.reset_by_peer(id, full),
            Control::SessionRetry(seq) => self.retry(id, seq, now),
            Control::SessionRetryGlobal(seq) => self.retry_global(id, seq),
            Control::Wait => {
                self.give_way(id, now);
                Ok(())
            }
            _ => Err(self.broken(id, tag, Rule::Unexpected)),
        }
    }

    /// Ends a stream for this reason.
    pub(super) fn turn_away(&self, id: StreamId, reason: Reason) -> Result<(), ConnectionError> {
        let state = self.streams.get(id.0).map_or(State::Banner, |stream| stream.state);
        Err(ConnectionError { state, reason })
    }

    pub(super) fn broken(&self, id: StreamId, tag: Tag, rule: Rule) -> ConnectionError {
        let state = self.streams.get(id.0).map_or(State::Banner, |stream| stream.state);
        ConnectionError::rule(state, Some(tag), rule)
    }

    /// The peer has made an attempt of this number to go on with a session that we are beginning. Had it
    /// let us begin on our stream before, it has lost that, though what it said there may still come: that
    /// it says again, and it would be heard twice. What it says on our stream from now on is later.
    pub(super) fn hear_only_later(&mut self, id: SessionId, global_seq: u64) {
        if let Some(session) = self.sessions.get(id.0)
            && let Link::Connecting(stream) = session.link
            && let Some(stream) = self.streams.get_mut(stream.0)
        {
            stream.peer_tried = stream.peer_tried.max(global_seq);
        }
    }

    fn identified(
        &mut self,
        id: StreamId,
        ident: ServerIdent,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let missing = ident.required & !self.config.supported;
        if self.streams.get(id.0).is_some_and(|stream| ident.global_seq < stream.peer_tried) {
            return self.turn_away(id, Reason::Stale);
        }
        let Some((session_id, session)) = self.dialled(id) else { return Ok(()) };
        if missing != 0 {
            return self.turn_away(id, Reason::MissingFeatures(missing));
        }
        let wanted = session.target.map_or(0, |target| target.nonce);
        let found = ident.addresses.msgr2().nonce;
        if wanted != 0 && wanted != found {
            return self.turn_away(id, Reason::WrongPeer { wanted, found });
        }
        // The server may be content with less than we are.
        if ident.flags & FLAG_LOSSY != 0 {
            session.policy.lossy = true;
        } else {
            session.server_cookie = ident.cookie;
        }
        session.known = true;
        session.peer_global_seq = ident.global_seq;
        session.number = ident.gid;
        let former = std::mem::replace(&mut session.addresses, ident.addresses);
        let (name, target, lossy) = (session.name(), session.target, session.policy.lossy);
        for name in former.0.iter().filter(|name| target != Some(**name)) {
            self.registry.remove(name, session_id);
        }
        // It may say that it is elsewhere than where it was reached. From there it comes to us.
        if let Some(name) = name
            && !lossy
            && self.registry.find(&name).is_none()
        {
            self.registry.insert(name, session_id);
        }
        self.open(id, session_id, false, now);
        Ok(())
    }

    fn reconnected(&mut self, id: StreamId, seq: u64, now: Instant) -> Result<(), ConnectionError> {
        let Some((session_id, session)) = self.dialled(id) else { return Ok(()) };
        if !session.outbox.acknowledge(seq) {
            return Err(self.broken(id, Tag::SessionReconnectOk, Rule::AckBeyond(seq)));
        }
        session.known = true;
        self.open(id, session_id, true, now);
        self.end_if_finished(session_id);
        Ok(())
    }

    fn reset_by_peer(&mut self, id: StreamId, full: bool) -> Result<(), ConnectionError> {
        let Some((session_id, session)) = self.dialled(id) else { return Ok(()) };
        let forgotten = session.forgotten(full);
        self.events.extend(forgotten.map(|lost| Event::Reset { session: session_id, lost }));
        self.identify(id)
    }

    fn retry(&mut self, id: StreamId, seq: u64, now: Instant) -> Result<(), ConnectionError> {
        let ours = self.address().rank();
        let Some(stream) = self.streams.get_mut(id.0) else { return Ok(()) };
        stream.retries += 1;
        let many = stream.retries > MOST_RETRIES;
        let Some((_, session)) = self.dialled(id) else { return Ok(()) };
        if many && session.name().is_some_and(|peer| peer.rank() < ours) {
            self.give_way(id, now);
            return Ok(());
        }
        session.known = true;
        session.connect_seq = session.connect_seq.max(seq);
        if session.connect_seq == u64::MAX {
            return Err(self.broken(id, Tag::SessionRetry, Rule::TooManySteps));
        }
        self.reconnect(id)
    }

    fn retry_global(&mut self, id: StreamId, seq: u64) -> Result<(), ConnectionError> {
        if seq == u64::MAX {
            return Err(self.broken(id, Tag::SessionRetryGlobal, Rule::TooManySteps));
        }
        self.global_seq = self.global_seq.max(seq);
        let global_seq = self.next_global_seq();
        if let Some((_, session)) = self.dialled(id) {
            session.known = true;
            session.global_seq = global_seq;
        }
        self.reconnect(id)
    }

    /// The peer's own connection is to go on, and is awaited.
    fn give_way(&mut self, id: StreamId, now: Instant) {
        let until = now + self.config.handshake_time;
        if let Some((session_id, session)) = self.dialled(id) {
            session.link = Link::Waiting(until);
            self.arm_session(session_id);
        }
        self.drop_stream(id, Reason::Race);
    }
}
