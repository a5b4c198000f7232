//! Time has passed.

use std::time::Instant;

use super::super::control::{Control, Timestamp};
use super::super::failure::{ConnectionError, Reason};
use super::super::ids::{SessionId, StreamId};
use super::super::keepalive::Silence;
use super::super::session::Link;
use super::super::state::State;
use super::super::timers::Subject;
use super::Endpoint;

impl Endpoint {
    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(subject) = self.timers.take_due(now) {
            match subject {
                Subject::Stream(id) => self.look_after_stream(id, now),
                Subject::Session(id) => self.look_after_session(id, now),
            }
        }
    }

    /// Arms the timer of a stream for what it waits for.
    pub(super) fn arm_stream(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(id.0) else { return };
        let deadline = match (stream.state, self.config.keepalive) {
            (State::Ready, Some(keepalive)) if !stream.held => stream.pulse.deadline(keepalive),
            (State::Ready, _) => {
                self.timers.disarm(Subject::Stream(id));
                return;
            }
            _ => stream.handshake_deadline,
        };
        self.timers.arm(Subject::Stream(id), deadline);
    }

    fn look_after_stream(&mut self, id: StreamId, now: Instant) {
        let Some(stream) = self.streams.get_mut(id.0) else { return };
        let reason = if stream.state == State::Ready {
            match self.config.keepalive.filter(|_| !stream.held) {
                Some(keepalive) => match stream.pulse.look(keepalive, stream.output.gone(), now) {
                    Silence::Fine => None,
                    Silence::Ask => {
                        stream.pulse.asked(stream.output.gone(), stream.output.len(), now);
                        self.ask_for_life(id, now);
                        None
                    }
                    Silence::Dead => Some(Reason::KeepaliveTime(keepalive.patience)),
                },
                None => None,
            }
        } else if now >= stream.handshake_deadline {
            Some(Reason::HandshakeTime(self.config.handshake_time))
        } else {
            None
        };
        match reason {
            Some(reason) => {
                if let Some(error) = self.streams.get(id.0).map(|stream| stream.error(reason)) {
                    self.fail(id, error, now);
                }
            }
            None => self.arm_stream(id),
        }
    }

    /// Sends a keepalive.
    fn ask_for_life(&mut self, id: StreamId, now: Instant) {
        let since = now.saturating_duration_since(self.epoch);
        let seconds = since.as_secs() as u32;
        let time = Timestamp { seconds, nanoseconds: since.subsec_nanos() };
        if let Some(stream) = self.streams.get_mut(id.0) {
            match stream.send(&Control::Keepalive2(time)) {
                Ok(()) => self.announce(id),
                Err(error) => self.fail(id, error, now),
            }
        }
    }

    /// Asks the peer of a session whether it is there; [`Event::Alive`](super::Event::Alive) says
    /// that it is.
    pub fn ping(&mut self, id: SessionId, now: Instant) {
        if let Some(Link::Ready(stream)) = self.sessions.get(id.0).map(|session| session.link) {
            self.ask_for_life(stream, now);
        }
    }

    /// Arms the timer of a session for what it waits for.
    pub(super) fn arm_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id.0) else { return };
        let deadline = match session.link {
            Link::Ready(_) => session.ack_due,
            Link::Retrying(at) | Link::Waiting(at) => Some(at),
            Link::Idle(since) if !session.may_connect() => Some(since + self.config.linger),
            Link::Idle(_) | Link::Asked | Link::Connecting(_) => None,
        };
        if let Some(deadline) =
            deadline.into_iter().chain(session.ends_by).chain(session.opens_by).min()
        {
            self.timers.arm(Subject::Session(id), deadline);
        }
    }

    fn look_after_session(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get(id.0) else { return };
        let is_over = |by: Option<Instant>| by.is_some_and(|at| at <= now);
        if is_over(session.ends_by) || is_over(session.opens_by) {
            let failure = session.last_failure.clone().filter(|_| is_over(session.opens_by));
            let time_over = ConnectionError { state: self.state(id), reason: Reason::TimeOver };
            return self.end(id, failure.unwrap_or(time_over));
        }
        match session.link {
            Link::Ready(stream) if session.ack_due.is_some_and(|due| due <= now) => {
                self.acknowledge_now(id, stream, now);
            }
            Link::Retrying(at) | Link::Waiting(at) if at <= now => self.ask(id),
            Link::Idle(since) if !session.may_connect() && since + self.config.linger <= now => {
                let reason = Reason::Lingered(self.config.linger);
                self.end(id, ConnectionError { state: State::Banner, reason });
            }
            _ => {}
        }
        // There is one deadline for all that it waits for: its end may be what is left of that.
        self.arm_session(id);
    }

    fn acknowledge_now(&mut self, id: SessionId, stream: StreamId, now: Instant) {
        let Some(session) = self.sessions.get_mut(id.0) else { return };
        session.acknowledged();
        let ack = Control::Ack(session.in_seq);
        if let Some(connection) = self.streams.get_mut(stream.0) {
            match connection.send(&ack) {
                Ok(()) => self.announce(stream),
                Err(error) => self.fail(stream, error, now),
            }
        }
    }
}
