//! What a core keeps for a session of an application: its slot, how far the parts in both rings have
//! come, and what waits in front of them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::conduit::Conduit;
use super::fault::Fault;
use super::send_ring::SendRing;
use crate::msgr2::{Endpoint, Message, Received, SendError, SessionId};
use crate::shm::part::{Envelope, Notice, PartRule};
use crate::shm::part_reader::{Body, Found, PartReader};
use crate::shm::part_writer::PartWriter;
use crate::shm::status::Ending;

/// How long a session that its application has closed may take to get rid of what was committed.
const LONGEST: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 60 });

/// A session between an endpoint and a slot.
#[derive(Debug)]
pub(crate) struct Session {
    /// The slot, and the receive ring.
    pub(crate) conduit: Conduit,
    ring: SendRing,
    reader: PartReader,
    /// Behind what is in the receive ring: at most one message, since its peer is not read then.
    waiting: VecDeque<Waiting>,
    /// Messages in the receive ring: where each ends, and how many bytes it counts for.
    untaken: VecDeque<(u64, u64)>,
    /// What the endpoint has no room for. It still lies in the send ring, where it ends with so
    /// many bytes.
    refused: Option<(Message, u32)>,
    /// Its application is done with it, and it has its time to end.
    closing: bool,
    /// And all that was committed is the endpoint's.
    finished: bool,
    /// Nobody is there any more who could say anything in the slot.
    abandoned: bool,
    opened: bool,
}

/// What waits for room in the receive ring.
#[derive(Debug)]
enum Waiting {
    Message { writer: PartWriter, parts: [Bytes; 3] },
    Notices(Notices),
}

/// Notices that nothing lies between. However many there were, it is no more than this.
#[derive(Debug, Default)]
struct Notices {
    forgotten: Option<u64>,
    /// The stream came back, or was lost, since the application was told.
    stream: Option<bool>,
}

impl Notices {
    fn add(&mut self, notice: Notice) {
        match notice {
            Notice::Forgotten { lost } => {
                self.forgotten = Some(self.forgotten.unwrap_or(0).saturating_add(lost));
            }
            // Back before anybody knew that it was lost.
            Notice::StreamBack if self.stream == Some(false) => self.stream = None,
            Notice::StreamLost if self.stream == Some(true) => self.stream = None,
            Notice::StreamBack => self.stream = Some(true),
            Notice::StreamLost => self.stream = Some(false),
        }
    }

    fn first(&self) -> Option<Notice> {
        match (self.forgotten, self.stream) {
            (Some(lost), _) => Some(Notice::Forgotten { lost }),
            (None, Some(true)) => Some(Notice::StreamBack),
            (None, Some(false)) => Some(Notice::StreamLost),
            (None, None) => None,
        }
    }

    fn told(&mut self) {
        if self.forgotten.take().is_none() {
            self.stream = None;
        }
    }
}

/// What has to be done about a session that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoesOn,
    /// It is to be cut off.
    Reset,
}

impl Session {
    /// In the slot of a conduit that begins; messages have at most `largest` bytes.
    pub(crate) fn new(mut conduit: Conduit, largest: u32) -> Self {
        conduit.carry_messages(largest);
        Self {
            ring: conduit.send_ring(),
            conduit,
            reader: PartReader::new(largest),
            waiting: VecDeque::new(),
            untaken: VecDeque::new(),
            refused: None,
            closing: false,
            finished: false,
            abandoned: false,
            opened: false,
        }
    }

    /// It has a stream: the first one, or one again.
    pub(crate) fn has_stream(&mut self, local: io::Result<SocketAddr>) -> Result<(), Fault> {
        if std::mem::replace(&mut self.opened, true) {
            return self.tell(Notice::StreamBack);
        }
        self.conduit.open(local);
        Ok(())
    }

    /// Tells its application what has happened to it.
    pub(crate) fn tell(&mut self, notice: Notice) -> Result<(), Fault> {
        if !self.opened || self.conduit.is_shut_down() {
            return Ok(());
        }
        match self.waiting.back_mut() {
            Some(Waiting::Notices(notices)) => notices.add(notice),
            _ => {
                let mut notices = Notices::default();
                notices.add(notice);
                self.waiting.push_back(Waiting::Notices(notices));
            }
        }
        self.flush()
    }

    /// A message has come. If there is no room for it, it waits, and no other may come.
    pub(crate) fn deliver(
        &mut self,
        endpoint: &mut Endpoint,
        message: Received<'_>,
        now: Instant,
    ) -> Result<(), Fault> {
        let (id, bytes) = (message.session, message.bytes() as u64);
        if self.conduit.is_shut_down() {
            endpoint.taken(id, 1, bytes, now);
            return Ok(());
        }
        let [front, middle, data] =
            [&message.front, &message.middle, &message.data].map(|part| part.len() as u32);
        let mut writer = PartWriter::new(Envelope::new(&message.header, front, middle, data));
        if self.waiting.is_empty() {
            let body: [&[u8]; 3] = [&message.front, &message.middle, &message.data];
            if self.conduit.put(&mut writer, &body)? {
                self.untaken.push_back((self.conduit.received(), bytes));
                return self.relieve(endpoint, id, now);
            }
        }
        let Received { front, middle, data, .. } = message;
        let parts = [front, middle, data].map(|part| part.into_owned());
        self.waiting.push_back(Waiting::Message { writer, parts });
        endpoint.stop(id);
        Ok(())
    }

    /// Looks what was taken once the throttle is full. Who takes at once leaves room in the ring, and
    /// so has no reason to tell of it.
    fn relieve(
        &mut self,
        endpoint: &mut Endpoint,
        id: SessionId,
        now: Instant,
    ) -> Result<(), Fault> {
        if endpoint.is_throttled(id) {
            self.conduit.ask_for_consumption();
            // It may have consumed in between, and not have seen the wish.
            self.conduit.look_at_consumed()?;
            self.settle_receipts(endpoint, id, now);
        }
        Ok(())
    }

    /// Puts what waits into the receive ring, as far as there is room.
    fn flush(&mut self) -> Result<(), Fault> {
        while let Some(first) = self.waiting.front_mut() {
            match first {
                Waiting::Message { writer, parts } => {
                    let bytes = writer.envelope().body_bytes();
                    let [front, middle, data] = parts;
                    if !self.conduit.put(writer, &[front, middle, data])? {
                        return Ok(());
                    }
                    self.untaken.push_back((self.conduit.received(), bytes));
                }
                Waiting::Notices(notices) => {
                    while let Some(notice) = notices.first() {
                        if !self.conduit.put_notice(notice)? {
                            return Ok(());
                        }
                        notices.told();
                    }
                }
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Looks what its application has done since: consumed, committed, ended.
    pub(crate) fn look(
        &mut self,
        endpoint: &mut Endpoint,
        id: SessionId,
        now: Instant,
    ) -> Result<Verdict, Fault> {
        if self.abandoned {
            self.send(endpoint, id, now)?;
            self.finish_if_done(endpoint, id, now);
            return Ok(Verdict::GoesOn);
        }
        // The ending before the positions: all that was committed before it is sent.
        let was_shut_down = self.conduit.is_shut_down();
        if self.conduit.look_at_ending()? == Some(Ending::Reset) {
            return Ok(Verdict::Reset);
        }
        self.conduit.look_at_consumed()?;
        self.flush()?;
        if !was_shut_down {
            self.ring.refresh()?;
        }
        self.settle_receipts(endpoint, id, now);
        self.relieve(endpoint, id, now)?;
        self.send(endpoint, id, now)?;
        self.finish_if_done(endpoint, id, now);
        Ok(Verdict::GoesOn)
    }

    /// Its application is gone for good: as if it had closed it.
    pub(crate) fn give_up(&mut self, endpoint: &mut Endpoint, id: SessionId, now: Instant) {
        self.abandoned = true;
        self.conduit.give_up();
        self.settle_receipts(endpoint, id, now);
        self.finish_if_done(endpoint, id, now);
    }

    /// Tells the endpoint what was taken; of a session that is being closed, all is.
    fn settle_receipts(&mut self, endpoint: &mut Endpoint, id: SessionId, now: Instant) {
        let closing = self.conduit.is_shut_down();
        if closing {
            while let Some(waiting) = self.waiting.pop_front() {
                if let Waiting::Message { writer, .. } = waiting {
                    endpoint.taken(id, 1, writer.envelope().body_bytes(), now);
                }
            }
        }
        let (mut messages, mut bytes) = (0, 0);
        while let Some((_, size)) =
            self.untaken.pop_front_if(|(end, _)| closing || *end <= self.conduit.consumed())
        {
            messages += 1;
            bytes += size;
        }
        if messages > 0 {
            endpoint.taken(id, messages, bytes, now);
        }
        if self.waiting.is_empty() {
            endpoint.go_on(id, now);
        }
    }

    /// Gives the endpoint what was committed: whole messages, until it has no room.
    fn send(&mut self, endpoint: &mut Endpoint, id: SessionId, now: Instant) -> Result<(), Fault> {
        if let Some((message, part)) = self.refused.take()
            && !self.send_one(endpoint, id, message, part, now)
        {
            return Ok(());
        }
        while let Some((message, part)) = self.next_part()? {
            match message {
                None => self.ring.consume(part as usize),
                Some(message) => {
                    if !self.send_one(endpoint, id, message, part, now) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// The next part in the send ring: the message that ends with it, if one does, and its bytes.
    fn next_part(&mut self) -> Result<Option<(Option<Message>, u32)>, Fault> {
        let slot = self.conduit.slot;
        let fault = |rule: PartRule| Fault::Part { slot, what: rule.text() };
        let (ring, offset) =
            (self.conduit.lane.application.segment.send_ring(slot), self.ring.offset());
        let part = self.reader.next(ring, offset, self.ring.len_bytes()).map_err(fault)?;
        let Some(part) = part else { return Ok(None) };
        let message = match part.found {
            Found::Some => None,
            Found::InPlace(envelope, Body { front, middle, data }) => {
                let mut body = Vec::with_capacity(envelope.body_bytes() as usize);
                for piece in [front, middle, data].as_flattened() {
                    piece.append_to(&mut body);
                }
                Some(message(&envelope, body))
            }
            Found::Whole(envelope, body) => Some(message(&envelope, body)),
            Found::Notice(_) => return Err(fault(PartRule::Kind)),
        };
        Ok(Some((message, part.bytes)))
    }

    /// False if the endpoint has no room: then the message stays in the send ring.
    fn send_one(
        &mut self,
        endpoint: &mut Endpoint,
        id: SessionId,
        message: Message,
        part: u32,
        now: Instant,
    ) -> bool {
        if let Err(SendError::Full(message)) = endpoint.send(id, message, now) {
            self.refused = Some((*message, part));
            return false;
        }
        self.ring.consume(part as usize);
        true
    }

    /// Ends the session behind what was committed, if its application has closed it.
    fn finish_if_done(&mut self, endpoint: &mut Endpoint, id: SessionId, now: Instant) {
        if !self.conduit.is_shut_down() {
            return;
        }
        // Its peer may never take what is left.
        if !std::mem::replace(&mut self.closing, true) {
            endpoint.end_by(id, now + LONGEST);
        }
        if self.refused.is_none() && !std::mem::replace(&mut self.finished, true) {
            endpoint.finish(id, now + LONGEST);
        }
    }

    /// Nothing is under way in it, as far as is known.
    pub(crate) fn rests(&self) -> bool {
        self.conduit.is_consumed()
            && self.waiting.is_empty()
            && self.refused.is_none()
            && self.ring.len() == 0
    }
}

fn message(envelope: &Envelope, body: Vec<u8>) -> Message {
    let mut data = Bytes::from(body);
    let front = data.split_to(envelope.front as usize);
    let middle = data.split_to(envelope.middle as usize);
    Message { header: envelope.header(), front, middle, data }
}
