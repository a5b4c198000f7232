//! The way from the send ring of a session to its endpoint.

use bytes::Bytes;

use super::super::fault::Fault;
use super::super::lines::{Pause, Turn};
use super::{Far, LONGEST, Session};
use crate::msgr2::{Message, SendError};
use crate::shm::part::{Envelope, PartRule};
use crate::shm::part_reader::{Body, Found};

impl Session {
    /// Gives the endpoint what was committed, and counts what is held after that.
    pub(super) fn send(&mut self, far: &mut Far<'_>, turn: Turn) -> Result<(), Fault> {
        let sent = self.send_some(far, turn);
        self.count();
        sent
    }

    /// Whole messages, until the endpoint has no room, or this session has to wait.
    fn send_some(&mut self, far: &mut Far<'_>, turn: Turn) -> Result<(), Fault> {
        self.pause = None;
        if let Some((message, part)) = self.refused.take()
            && !self.send_one(far, message, part)
        {
            return Ok(());
        }
        while self.ring.len() > 0 {
            if !self.moved.may_move(turn) {
                self.pause = Some(Pause::Turn);
                return Ok(());
            }
            // What the message before it was is counted before another is begun.
            self.count();
            if self.reader.holds() == 0
                && !self.conduit.lane.has_room()
                && far.endpoint.holds_some(far.id)
            {
                far.endpoint.await_end(far.id);
                self.pause = Some(Pause::Room);
                return Ok(());
            }
            let Some((message, part)) = self.next_part()? else { return Ok(()) };
            self.moved.moved(part as usize);
            match message {
                None => self.ring.consume(part as usize),
                Some(message) => {
                    if !self.send_one(far, message, part) {
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
    fn send_one(&mut self, far: &mut Far<'_>, message: Message, part: u32) -> bool {
        if let Err(SendError::Full(message)) = far.endpoint.send(far.id, message, far.now) {
            self.refused = Some((*message, part));
            return false;
        }
        self.ring.consume(part as usize);
        true
    }

    /// Ends the session behind what was committed, if its application has closed it.
    pub(super) fn finish_if_done(&mut self, far: &mut Far<'_>) {
        if !self.conduit.is_shut_down() && !self.retired {
            return;
        }
        // Its peer may never take what is left.
        if !std::mem::replace(&mut self.closing, true) {
            far.endpoint.end_by(far.id, far.now + LONGEST);
        }
        let given = self.refused.is_none() && self.pause.is_none();
        if given && !std::mem::replace(&mut self.finished, true) {
            far.endpoint.finish(far.id, far.now + LONGEST);
        }
    }
}

fn message(envelope: &Envelope, body: Vec<u8>) -> Message {
    let mut data = Bytes::from(body);
    let front = data.split_to(envelope.front as usize);
    let middle = data.split_to(envelope.middle as usize);
    Message { header: envelope.header(), front, middle, data }
}
