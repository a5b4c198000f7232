//! The session's part of the handshake, on the side that accepts.

use std::time::Instant;

use super::super::address::EntityAddr;
use super::super::control::{ClientIdent, Control, FLAG_LOSSY, ServerIdent, SessionReconnect};
use super::super::error::Rule;
use super::super::event::Event;
use super::super::failure::{ConnectionError, Reason};
use super::super::ids::{SessionId, StreamId};
use super::super::policy::Policy;
use super::super::registry::{Beginning, Continuation, begin, go_on};
use super::super::session::{Link, Session};
use super::super::state::State;
use super::super::tag::Tag;
use super::Endpoint;

impl Endpoint {
    /// What we expect of the peer of a stream.
    fn policy_of(&self, id: StreamId) -> Policy {
        let entity = self.streams.get(id.0).map(|stream| stream.peer.entity);
        entity.map_or(self.config.policy, |entity| self.config.policy_for(entity))
    }

    /// The address that names a peer. One that does not know its own is where it came from.
    fn name_of(&self, id: StreamId, said: EntityAddr) -> EntityAddr {
        let from = self.streams.get(id.0).and_then(|stream| stream.socket);
        match (said.socket, from) {
            (Some(mut socket), Some(from)) if socket.ip().is_unspecified() => {
                socket.set_ip(from.ip());
                EntityAddr { socket: Some(socket), ..said }
            }
            _ => said,
        }
    }

    pub(super) fn answer_ident(
        &mut self,
        id: StreamId,
        ident: ClientIdent,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        if self.config.only_for_us && ident.target.nonce != self.address().nonce {
            return self.turn_away(id, Reason::NotUs);
        }
        let missing = ident.required & !self.config.supported;
        if missing != 0 {
            return self.turn_away(id, Reason::MissingFeatures(missing));
        }
        let missing = self.config.required & !ident.supported;
        if missing != 0 {
            return self.say(id, State::Accepting, &Control::IdentMissingFeatures(missing));
        }
        let mut policy = self.policy_of(id);
        policy.lossy |= ident.flags & FLAG_LOSSY != 0;
        if policy.lossy {
            let session = self.new_session(policy, &ident, now);
            return match session {
                Some(session) => self.welcome(id, session, now),
                None => self.turn_away(id, Reason::TooManySessions),
            };
        }
        let peer = self.name_of(id, ident.addresses.msgr2());
        let existing = self.registry.find(&peer);
        let verdict = existing
            .and_then(|existing| self.sessions.get(existing.0))
            .map(|existing| begin(existing, &ident, &peer, &self.address()));
        match (existing, verdict) {
            (_, Some(Beginning::Stale)) => self.turn_away(id, Reason::Stale),
            (_, Some(Beginning::Wait)) => self.say(id, State::Superseded, &Control::Wait),
            (Some(existing), Some(Beginning::Adopt { reset })) => {
                self.adopt(existing, &ident, reset, now);
                self.welcome(id, existing, now)
            }
            _ => {
                let Some(session_id) = self.new_session(policy, &ident, now) else {
                    return self.turn_away(id, Reason::TooManySessions);
                };
                self.registry.insert(peer, session_id);
                if let Some(session) = self.sessions.get_mut(session_id.0) {
                    session.target = Some(peer);
                }
                self.welcome(id, session_id, now)
            }
        }
    }

    fn new_session(
        &mut self,
        policy: Policy,
        ident: &ClientIdent,
        now: Instant,
    ) -> Option<SessionId> {
        if self.sessions.len() >= self.config.sessions {
            return None;
        }
        let mut session = Session::new(policy, &self.config, now);
        session.client_cookie = ident.cookie;
        session.peer_global_seq = ident.global_seq;
        session.number = ident.gid;
        session.addresses = ident.addresses.clone();
        if !policy.lossy {
            session.server_cookie = self.config.cookies.give();
        }
        Some(SessionId(self.sessions.insert(session)))
    }

    /// A session that exists gets a stream that begins one.
    fn adopt(&mut self, id: SessionId, ident: &ClientIdent, reset: bool, now: Instant) {
        self.detach(id, now);
        let cookie = self.config.cookies.give();
        let Some(session) = self.sessions.get_mut(id.0) else { return };
        let same = session.client_cookie == ident.cookie;
        let forgotten = if same { None } else { session.forgotten(reset) };
        if !session.has_begun() {
            session.server_cookie = cookie;
        }
        session.client_cookie = ident.cookie;
        session.connect_seq = 0;
        session.peer_global_seq = ident.global_seq;
        session.number = ident.gid;
        session.addresses = ident.addresses.clone();
        self.events.extend(forgotten.map(|lost| Event::Reset { session: id, lost }));
    }

    /// Answers with SERVER_IDENT: messages may pass.
    fn welcome(
        &mut self,
        id: StreamId,
        session_id: SessionId,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let global_seq = self.next_global_seq();
        let seen = self.streams.get(id.0).map_or(EntityAddr::NONE, |stream| stream.peer.sees_us_at);
        let addresses = match self.config.addresses.0.is_empty() {
            // Who does not know its addresses is where it was reached.
            true => seen.into(),
            false => self.config.addresses.clone(),
        };
        let Some(session) = self.sessions.get(session_id.0) else { return Ok(()) };
        let ident = Control::ServerIdent(ServerIdent {
            addresses,
            gid: self.config.gid.unwrap_or(0),
            global_seq,
            supported: self.config.supported,
            required: self.config.required,
            flags: if session.policy.lossy { FLAG_LOSSY } else { 0 },
            cookie: session.server_cookie,
        });
        self.say(id, State::Accepting, &ident)?;
        self.open(id, session_id, false, now);
        Ok(())
    }

    pub(super) fn answer_reconnect(
        &mut self,
        id: StreamId,
        reconnect: &SessionReconnect,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let peer = self.name_of(id, reconnect.addresses.msgr2());
        let reset_check = self.policy_of(id).reset_check;
        let found = self.registry.find(&peer);
        let existing = found.and_then(|found| self.sessions.get(found.0));
        let verdict = go_on(existing, reconnect, reset_check, &peer, &self.address());
        match (found, verdict) {
            (Some(session), Continuation::Resume) => self.go_on_with(id, session, reconnect, now),
            (Some(session), Continuation::Unheard) => {
                self.hear_only_later(session, reconnect.global_seq);
                self.say(id, State::Accepting, &Control::SessionReset(false))
            }
            (_, Continuation::Wait) => self.say(id, State::Superseded, &Control::Wait),
            (_, Continuation::Retry(seq)) => {
                self.say(id, State::Accepting, &Control::SessionRetry(seq))
            }
            (_, Continuation::RetryGlobal(seq)) => {
                self.say(id, State::Accepting, &Control::SessionRetryGlobal(seq))
            }
            (_, Continuation::Reset(full)) => {
                self.say(id, State::Accepting, &Control::SessionReset(full))
            }
            (None, Continuation::Resume | Continuation::Unheard) => Ok(()),
        }
    }

    fn go_on_with(
        &mut self,
        id: StreamId,
        session_id: SessionId,
        reconnect: &SessionReconnect,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let Some(session) = self.sessions.get_mut(session_id.0) else { return Ok(()) };
        if !session.outbox.acknowledge(reconnect.msg_seq) {
            let rule = Rule::AckBeyond(reconnect.msg_seq);
            return Err(self.broken(id, Tag::SessionReconnect, rule));
        }
        session.known = true;
        session.connect_seq = reconnect.connect_seq;
        session.peer_global_seq = reconnect.global_seq;
        let ok = Control::SessionReconnectOk(session.in_seq);
        self.detach(session_id, now);
        self.say(id, State::Accepting, &ok)?;
        self.open(id, session_id, true, now);
        Ok(())
    }

    /// Messages pass from here on.
    pub(super) fn open(
        &mut self,
        id: StreamId,
        session_id: SessionId,
        resumed: bool,
        now: Instant,
    ) {
        let Some(stream) = self.streams.get_mut(id.0) else { return };
        let Some(session) = self.sessions.get_mut(session_id.0) else { return };
        stream.session = Some(session_id);
        stream.become_ready();
        stream.pulse.heard(now);
        session.link = Link::Ready(id);
        session.works_from = Some(now + self.config.backoff.most);
        (session.opens_by, session.last_failure) = (None, None);
        session.entity.get_or_insert(stream.peer.entity);
        session.outbox.rewind();
        session.acknowledged();
        self.events.push_back(Event::Opened {
            session: session_id,
            stream: id,
            peer: stream.peer.clone(),
            addresses: session.addresses.clone(),
            resumed,
        });
        if session.outbox.take_relief() {
            self.events.push_back(Event::Room(session_id));
        }
        self.arm_stream(id);
        self.announce(id);
    }
}
