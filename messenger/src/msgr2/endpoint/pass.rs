//! Messages pass.

use std::time::Instant;

use super::super::arena::Arena;
use super::super::config::Config;
use super::super::connection::{Connection, Step};
use super::super::control::{Control, Timestamp};
use super::super::error::Rule;
use super::super::event::Event;
use super::super::failure::ConnectionError;
use super::super::header::MessageHeader;
use super::super::ids::{SessionId, StreamId};
use super::super::message::Received;
use super::super::segment::Segment;
use super::super::session::{Link, Session};
use super::super::state::State;
use super::super::tag::Tag;
use super::Endpoint;

/// Frames are made while fewer bytes than this wait on a stream.
pub(super) const FILL: usize = 256 << 10;

fn broken(tag: Tag, rule: Rule) -> ConnectionError {
    ConnectionError::rule(State::Ready, Some(tag), rule)
}

impl Endpoint {
    /// Does what a step of a stream asks for.
    pub(super) fn step<'a>(
        &mut self,
        id: StreamId,
        step: Step<'a>,
        now: Instant,
    ) -> Result<Option<Received<'a>>, ConnectionError> {
        match step {
            Step::Authenticated => self.begin(id)?,
            Step::Session(Control::Ack(seq)) => self.acknowledge(id, Tag::Ack, seq)?,
            Step::Session(control) => self.converse(id, control, now)?,
            Step::Asked => drop(self.heard(id)),
            Step::Alive(time) => self.alive(id, time, now),
            Step::Message(header, parts, forgotten) => {
                return self.message(id, header, parts, forgotten, now);
            }
        }
        Ok(None)
    }

    /// Something that passes in sessions has come on a stream: it works, and the peer knows its session.
    /// Which that is.
    fn heard(&mut self, id: StreamId) -> Option<(SessionId, &mut Session)> {
        let session = self.streams.get(id.0)?.session?;
        let found = self.sessions.get_mut(session.0)?;
        (found.works_from, found.known) = (Some(self.now), true);
        Some((session, found))
    }

    /// Whether the stream's session takes no more messages for now.
    pub(super) fn hold(&mut self, id: StreamId) -> bool {
        let session = self.streams.get(id.0).and_then(|stream| stream.session);
        let session = session.and_then(|session| self.sessions.get(session.0));
        let full = session.is_some_and(Session::is_full);
        if full && let Some(stream) = self.streams.get_mut(id.0) {
            stream.held = true;
        }
        full
    }

    fn acknowledge(&mut self, id: StreamId, tag: Tag, seq: u64) -> Result<(), ConnectionError> {
        let Some((session_id, session)) = self.heard(id) else { return Ok(()) };
        // A lossy session keeps nothing to be acknowledged.
        if session.policy.lossy {
            return Ok(());
        }
        if !session.outbox.acknowledge(seq) {
            return Err(broken(tag, Rule::AckBeyond(seq)));
        }
        if session.outbox.take_relief() {
            self.events.push_back(Event::Room(session_id));
        }
        self.end_if_finished(session_id);
        Ok(())
    }

    fn alive(&mut self, id: StreamId, time: Timestamp, now: Instant) {
        let since = now.saturating_duration_since(self.epoch);
        let asked = std::time::Duration::new(time.seconds.into(), time.nanoseconds % 1_000_000_000);
        // The next question is due before we would have lost patience with this one.
        self.arm_stream(id);
        let Some((session, _)) = self.heard(id) else { return };
        // What the peer echoes need not be what it was sent.
        if let Some(after) = since.checked_sub(asked) {
            self.events.push_back(Event::Alive { session, after });
        }
    }

    fn message<'a>(
        &mut self,
        id: StreamId,
        header: MessageHeader,
        [front, middle, data]: [Segment<'a>; 3],
        forgotten: usize,
        now: Instant,
    ) -> Result<Option<Received<'a>>, ConnectionError> {
        self.acknowledge(id, Tag::Message, header.ack_seq)?;
        let (ack_every, ack_after) = (self.config.ack_every, self.config.ack_after);
        let Some((session_id, session)) = self.heard(id) else { return Ok(None) };
        if !session.policy.lossy {
            // A duplicate shows that the peer does not know that we have it.
            session.unacknowledged = session.unacknowledged.saturating_add(1);
            let due = if session.unacknowledged >= ack_every { now } else { now + ack_after };
            session.ack_due = Some(session.ack_due.map_or(due, |before| before.min(due)));
        }
        let duplicate = header.seq <= session.in_seq;
        let expected = session.in_seq.saturating_add(1);
        // A peer may begin anywhere: it says again what a predecessor of this session has not
        // heard.
        if !duplicate && session.in_seq != 0 && header.seq != expected {
            return Err(broken(Tag::Message, Rule::Skipped { expected, got: header.seq }));
        }
        let received = Received { session: session_id, header, front, middle, data, forgotten };
        if !duplicate {
            session.in_seq = header.seq;
            session.throttle.received(received.bytes() as u64);
        }
        self.arm_session(session_id);
        Ok((!duplicate).then_some(received))
    }

    /// Whether there is something to write to a stream.
    pub(super) fn has_output(
        stream: &Connection,
        sessions: &Arena<Session>,
        config: &Config,
    ) -> bool {
        if stream.output.len() > 0 || stream.keepalive_ack.is_some() {
            return true;
        }
        let session = stream.session.filter(|_| stream.state == State::Ready);
        session.and_then(|id| sessions.get(id.0)).is_some_and(|session| {
            session.outbox.has_unsent() || session.unacknowledged >= config.ack_every
        })
    }

    /// Makes frames of what waits, until enough do.
    pub(super) fn make_frames(&mut self, id: StreamId) -> Result<(), ConnectionError> {
        let Some(stream) = self.streams.get_mut(id.0) else { return Ok(()) };
        if let Some(time) = stream.keepalive_ack.take() {
            stream.send(&Control::Keepalive2Ack(time))?;
        }
        if stream.state != State::Ready {
            return Ok(());
        }
        let Some(session_id) = stream.session else { return Ok(()) };
        let Some(session) = self.sessions.get_mut(session_id.0) else { return Ok(()) };
        debug_assert_eq!(session.link, Link::Ready(id), "a stream is ready for its session only");
        while stream.output.len() < FILL {
            let ack_seq = session.in_seq;
            let header = |header: MessageHeader| MessageHeader { ack_seq, ..header };
            let sent = if session.policy.lossy {
                let Some(message) = session.outbox.next_to_forget() else { break };
                stream.output.message(header(message.header), &message)
            } else {
                let Some(message) = session.outbox.next_to_keep() else { break };
                stream.output.message(header(message.header), message)
            };
            sent.map_err(|rule| broken(Tag::Message, rule))?;
            session.acknowledged();
            self.messages_sent += 1;
        }
        // What is due by the clock the timer says.
        if session.unacknowledged >= self.config.ack_every {
            let ack = Control::Ack(session.in_seq);
            session.acknowledged();
            stream.send(&ack)?;
        }
        if session.outbox.take_relief() {
            self.events.push_back(Event::Room(session_id));
        }
        Ok(())
    }
}
