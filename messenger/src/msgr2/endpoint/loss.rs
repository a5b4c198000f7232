//! Streams end; sessions go on, or end too.

use std::time::Instant;

use super::super::event::Event;
use super::super::failure::{ConnectionError, Reason};
use super::super::ids::{SessionId, StreamId};
use super::super::session::Link;
use super::super::timers::Subject;
use super::Endpoint;

impl Endpoint {
    /// A stream has failed: it is closed, and its session knows.
    pub(super) fn fail(&mut self, id: StreamId, error: ConnectionError, now: Instant) {
        let Some(stream) = self.streams.remove(id.0) else { return };
        self.timers.disarm(Subject::Stream(id));
        self.events.push_back(Event::Close { stream: id, error: error.clone() });
        if let Some(session_id) = stream.session
            && self.sessions.get(session_id.0).is_some_and(|session| session.stream() == Some(id))
        {
            self.lose(session_id, error, now);
        }
    }

    /// Closes a stream; its session has another already, or waits for one.
    pub(super) fn drop_stream(&mut self, id: StreamId, reason: Reason) {
        if let Some(stream) = self.streams.remove(id.0) {
            self.timers.disarm(Subject::Stream(id));
            self.events.push_back(Event::Close { stream: id, error: stream.error(reason) });
        }
    }

    /// Takes its stream from a session that gets another.
    pub(super) fn detach(&mut self, id: SessionId, now: Instant) {
        if let Some(session) = self.sessions.get_mut(id.0)
            && let Some(stream) = session.stream()
        {
            session.link = Link::Idle(now);
            self.drop_stream(stream, Reason::Replaced);
        }
    }

    /// A session has lost its stream, or could not get one.
    pub(super) fn lose(&mut self, id: SessionId, error: ConnectionError, now: Instant) {
        let Some(session) = self.sessions.get_mut(id.0) else { return };
        let lossy = session.policy.lossy;
        if (lossy && !session.reopen) || is_final(&error.reason) {
            self.end(id, error);
            return;
        }
        if session.opens_by.is_some() {
            session.last_failure = Some(error.clone());
        }
        let lost = if lossy { session.reset() } else { 0 };
        session.acknowledged();
        session.outbox.rewind();
        if session.works_from.take().is_some_and(|from| from <= now) {
            session.backoff.reset();
        } else {
            session.backoff.failed();
        }
        // Who has asked for a session says nothing in it before it is open.
        let wanted = !session.policy.standby || !session.outbox.is_empty() || !session.has_begun();
        let again = session.may_connect() && wanted;
        session.link =
            if again { Link::Retrying(now + session.backoff.take()) } else { Link::Idle(now) };
        self.events.push_back(Event::Lost { session: id, error, lost });
        if session.outbox.take_relief() {
            self.events.push_back(Event::Room(id));
        }
        self.arm_session(id);
        self.end_if_finished(id);
    }

    /// A session is over.
    pub(super) fn end(&mut self, id: SessionId, error: ConnectionError) {
        let Some(session) = self.sessions.remove(id.0) else { return };
        self.timers.disarm(Subject::Session(id));
        for name in session.target.iter().chain(&session.addresses.0) {
            self.registry.remove(name, id);
        }
        if let Some(stream) = session.stream() {
            self.drop_stream(stream, error.reason.clone());
        }
        self.events.push_back(Event::Ended { session: id, error });
    }
}

/// Whether another attempt would come to the same end.
fn is_final(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::BadMethod(_)
            | Reason::Authentication(_)
            | Reason::MissingFeatures(_)
            | Reason::WrongPeer { .. }
    )
}
