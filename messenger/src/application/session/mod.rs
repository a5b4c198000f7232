//! What a core keeps for a session of an application: its slot, how far the parts in both rings
//! have come, and what waits in front of them.

mod notices;
mod sending;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use notices::Notices;

use super::allowance::Share;
use super::conduit::Conduit;
use super::fault::Fault;
use super::lines::{Moved, Pause, Turn};
use super::send_ring::SendRing;
use crate::msgr2::{Endpoint, Message, PeerName, Received, SessionId};
use crate::shm::PeerEntity;
use crate::shm::part::{Envelope, Notice};
use crate::shm::part_reader::PartReader;
use crate::shm::part_writer::PartWriter;
use crate::shm::status::Ending;

/// How long a session that its application has closed may take to get rid of what was committed.
const LONGEST: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 60 });

/// A session at its endpoint, at one time.
#[derive(Debug)]
pub(crate) struct Far<'a> {
    pub(crate) endpoint: &'a mut Endpoint,
    pub(crate) id: SessionId,
    pub(crate) now: Instant,
}

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
    /// What its application has committed and it has left in the send ring, and why.
    pub(super) pause: Option<Pause>,
    /// It waits in the line for its next turn, and in that for room.
    pub(super) in_line: [bool; 2],
    moved: Moved,
    /// What it holds that the endpoint does not count.
    share: Share,
    /// Its application is done with it, and it has its time to end.
    closing: bool,
    /// And all that was committed is the endpoint's.
    finished: bool,
    /// Nobody is there any more who could say anything in the slot.
    abandoned: bool,
    /// Its entity is over: nothing more is taken from its application.
    retired: bool,
    opened: bool,
}

/// What waits for room in the receive ring.
#[derive(Debug)]
enum Waiting {
    Message { writer: PartWriter, parts: [Bytes; 3] },
    Notices(Notices),
}

impl Session {
    /// In the slot of a conduit that begins; messages have at most `largest` bytes.
    pub(crate) fn new(mut conduit: Conduit, largest: u32) -> Self {
        conduit.carry_messages(largest);
        Self {
            ring: conduit.send_ring(),
            share: Share::new(conduit.lane.portion.tally.clone()),
            conduit,
            reader: PartReader::new(largest),
            waiting: VecDeque::new(),
            untaken: VecDeque::new(),
            refused: None,
            pause: None,
            in_line: [false; 2],
            moved: Moved::default(),
            closing: false,
            finished: false,
            abandoned: false,
            retired: false,
            opened: false,
        }
    }

    /// It has a stream: the first one, or one again.
    pub(crate) fn has_stream(
        &mut self,
        local: io::Result<SocketAddr>,
        peer: Option<PeerName>,
    ) -> Result<(), Fault> {
        if let Some(PeerName { entity, number, address }) = peer {
            let (kind, nonce, address) = (entity, address.nonce, address.socket);
            self.conduit.tell_of_peer(&PeerEntity { kind, number, address, nonce });
        }
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
        far: &mut Far<'_>,
        message: Received<'_>,
    ) -> Result<(), Fault> {
        let bytes = message.bytes() as u64;
        if self.conduit.is_shut_down() {
            far.endpoint.taken(far.id, 1, bytes, far.now);
            return Ok(());
        }
        let [front, middle, data] =
            [&message.front, &message.middle, &message.data].map(|part| part.len() as u32);
        let mut writer = PartWriter::new(Envelope::new(&message.header, front, middle, data));
        if self.waiting.is_empty() {
            let body: [&[u8]; 3] = [&message.front, &message.middle, &message.data];
            if self.conduit.put(&mut writer, &body)? {
                self.untaken.push_back((self.conduit.received(), bytes));
                return self.relieve(far);
            }
        }
        let Received { front, middle, data, .. } = message;
        let parts = [front, middle, data].map(|part| part.into_owned());
        self.waiting.push_back(Waiting::Message { writer, parts });
        self.count();
        far.endpoint.stop(far.id);
        Ok(())
    }

    /// Looks what was taken once the throttle is full. Who takes at once leaves room in the ring,
    /// and so has no reason to tell of it.
    fn relieve(&mut self, far: &mut Far<'_>) -> Result<(), Fault> {
        if far.endpoint.is_throttled(far.id) {
            self.conduit.ask_for_consumption();
            // It may have consumed in between, and not have seen the wish.
            self.conduit.look_at_consumed()?;
            self.settle_receipts(far);
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

    /// Counts what it holds.
    fn count(&mut self) {
        let waiting = self.waiting.iter().map(|waiting| match waiting {
            Waiting::Message { writer, .. } => writer.envelope().body_bytes(),
            Waiting::Notices(_) => 0,
        });
        let refused = self.refused.as_ref().map_or(0, |(message, _)| message.bytes());
        self.share.set(waiting.sum::<u64>() as usize + refused + self.reader.holds());
    }

    /// Looks what its application has done since: consumed, committed, ended; true if it is to be
    /// cut off.
    pub(crate) fn look(&mut self, far: &mut Far<'_>, turn: Turn) -> Result<bool, Fault> {
        if self.abandoned {
            self.send(far, turn)?;
            self.finish_if_done(far);
            return Ok(false);
        }
        // The ending before the positions: all that was committed before it is sent.
        let was_shut_down = self.conduit.is_shut_down();
        if self.conduit.look_at_ending()? == Some(Ending::Reset) {
            return Ok(true);
        }
        self.conduit.look_at_consumed()?;
        self.flush()?;
        if !was_shut_down && !self.retired {
            self.ring.refresh()?;
        }
        self.settle_receipts(far);
        self.relieve(far)?;
        self.send(far, turn)?;
        self.finish_if_done(far);
        Ok(false)
    }

    /// Its application is gone for good: as if it had closed it.
    pub(crate) fn give_up(&mut self, far: &mut Far<'_>) {
        self.abandoned = true;
        self.conduit.give_up();
        self.settle_receipts(far);
        self.finish_if_done(far);
    }

    /// Its entity is over: it ends behind what was committed until now.
    pub(crate) fn retire(&mut self, far: &mut Far<'_>) {
        self.retired = true;
        self.finish_if_done(far);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }

    /// Tells the endpoint what was taken; of a session that is being closed, all is.
    fn settle_receipts(&mut self, far: &mut Far<'_>) {
        let closing = self.conduit.is_shut_down();
        if closing {
            while let Some(waiting) = self.waiting.pop_front() {
                if let Waiting::Message { writer, .. } = waiting {
                    far.endpoint.taken(far.id, 1, writer.envelope().body_bytes(), far.now);
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
            far.endpoint.taken(far.id, messages, bytes, far.now);
        }
        if self.waiting.is_empty() {
            far.endpoint.go_on(far.id, far.now);
        }
        self.count();
    }

    /// Nothing is under way in it, as far as is known.
    pub(crate) fn rests(&self) -> bool {
        self.conduit.is_consumed()
            && self.waiting.is_empty()
            && self.refused.is_none()
            && self.ring.len() == 0
    }
}
