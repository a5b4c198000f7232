//! A connection of messages: what is received and sent are messages, not bytes.

use super::ConnectionId;
use super::halves::{Receiving, Sending};
use super::inbox::Inbox;
use super::message::{Incoming, Message, SendError};
use super::place::Place;
use super::receiver::Receiver;
use super::sender::Sender;
use crate::shm::intent;
use crate::shm::part::LARGEST_MESSAGE;
use crate::shm::part_writer::PartWriter;
use crate::shm::sync::Ordering;

/// The messages of a [`Connection`](super::Connection) of an entity, for as long as that is held.
///
/// A message that with 64 bytes of headers takes at most half of the receive ring lies in it, and
/// is looked at there. A larger one, up to 128 MiB, comes in parts: they are put together, checked
/// against what the message has said of itself, and it is shown when all of it is there. So choose
/// the ring twice as large as the messages that are usual.
///
/// What is not consumed holds back its peer, and nobody else: see
/// [`EntityOptions::throttle`](super::EntityOptions::throttle).
///
/// ```no_run
/// use vmsgr_messenger::client::{ConnectionId, Endpoint, Incoming, Message};
/// use vmsgr_messenger::msgr2::MessageHeader;
///
/// /// Answers every message with its front.
/// fn serve(endpoint: &mut Endpoint, id: ConnectionId) -> Result<(), Box<dyn std::error::Error>> {
///     let Some(mut connection) = endpoint.connection(id) else { return Ok(()) };
///     let Some(mut messages) = connection.messages() else { return Ok(()) };
///     while let Some(incoming) = messages.peek() {
///         let Incoming::Message(message) = incoming else {
///             messages.consume();
///             continue;
///         };
///         let header = MessageHeader { tid: message.header.tid, kind: 43, ..Default::default() };
///         let front = message.front.contiguous().into_owned();
///         if !messages.reply(&Message::new(header, &front))? {
///             break; // There is no room: `Event::Writable` tells when there is.
///         }
///     }
///     Ok(())
/// }
/// ```
///
/// # After a crash
///
/// With [`reply`](Self::reply) every message that lies in the ring is answered exactly once,
/// whenever the process is killed. Of one that came in parts the process has what was put together,
/// so it is gone with it, as is one of ours that was sent in part; those behind are intact.
#[derive(Debug)]
pub struct Messages<'a> {
    pub(super) place: Place<'a>,
    pub(super) receiving: &'a mut Receiving,
    pub(super) sending: &'a mut Sending,
    pub(super) inbox: &'a mut Inbox,
}

/// How far a message has been [sent in steps](Messages::send_some).
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress(Option<Steps>);

#[derive(Debug, Clone, Copy)]
struct Steps {
    writer: PartWriter,
    connection: ConnectionId,
    /// Where the next part goes.
    position: u64,
}

impl Messages<'_> {
    fn receiver(&mut self) -> Receiver<'_> {
        Receiver { place: self.place, view: self.receiving }
    }

    fn sender(&mut self) -> Sender<'_> {
        Sender { place: self.place, view: self.sending }
    }

    fn id(&self) -> ConnectionId {
        ConnectionId { slot: self.place.number, generation: self.place.generation }
    }

    fn ring(&self) -> u32 {
        self.place.send_ring().size()
    }

    /// The next message or notice, which stays the next until it is [consumed](Self::consume) or
    /// [answered](Self::reply). `None`: there is none yet; a [`Readable`](super::Event::Readable)
    /// tells when more has come.
    ///
    /// If what lies in the ring breaks the rules there is none either, and the next event is
    /// [`Detached`](super::Event::Detached), which names the rule.
    pub fn peek(&mut self) -> Option<Incoming<'_>> {
        self.look();
        self.inbox.head(self.place, self.receiving)
    }

    fn look(&mut self) {
        let mut receiver = Receiver { place: self.place, view: self.receiving };
        self.inbox.look(&mut receiver);
    }

    /// What [`peek`](Self::peek) has shown is done with, and its peer may send as much; false if it
    /// has shown nothing.
    pub fn consume(&mut self) -> bool {
        let bytes = self.inbox.done();
        self.receiver().consumed(bytes as usize);
        bytes > 0
    }

    /// The most bytes that a message sent here may have: what its entity allows.
    pub fn largest(&self) -> u32 {
        let largest = self.place.slot.of_daemon.largest_message.load(Ordering::Relaxed);
        match u32::try_from(largest) {
            Ok(largest @ 1..=LARGEST_MESSAGE) => largest,
            _ => LARGEST_MESSAGE,
        }
    }

    /// Sends a message, whole. False: there is no room now; a
    /// [`Writable`](super::Event::Writable) tells when there is, and nothing of it was sent.
    ///
    /// # Errors
    /// As [`SendError`] says; one that is larger than the ring goes with
    /// [`send_some`](Self::send_some).
    pub fn send(&mut self, message: &Message<'_>) -> Result<bool, SendError> {
        let Some(put) = self.put(message)? else { return Ok(false) };
        self.sender().committed(put as usize);
        Ok(true)
    }

    /// Sends a message in as many steps as it takes: true when all of it has been. False: there is
    /// no room now for more of it; go on, with the same message and progress, when
    /// [`Writable`](super::Event::Writable) tells that there is. Nothing else can be sent in
    /// between, unless it is [abandoned](Self::abandon).
    ///
    /// ```no_run
    /// # use vmsgr_messenger::client::{Message, Messages, Progress, SendError};
    /// struct Large {
    ///     front: Vec<u8>,
    ///     progress: Progress,
    /// }
    ///
    /// fn go_on(messages: &mut Messages<'_>, large: &mut Large) -> Result<bool, SendError> {
    ///     let message = Message::new(Default::default(), &large.front);
    ///     messages.send_some(&message, &mut large.progress)
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub fn send_some(
        &mut self,
        message: &Message<'_>,
        progress: &mut Progress,
    ) -> Result<bool, SendError> {
        self.check_size(message)?;
        let mut writer = self.go_on(message, progress)?;
        let (size, slices) = (self.ring(), message.slices());
        let mut put_all = 0;
        while !writer.is_done() {
            let all = writer.all_parts(size).min(size.into()) as usize;
            let mut sender = self.sender();
            let room = sender.room_for(all, sender.wish(all)) as u32;
            let put = writer.put(sender.place.send_ring(), sender.offset(), room, &slices);
            if put == 0 {
                break;
            }
            sender.committed(put as usize);
            put_all += put;
        }
        let (connection, position) = (self.id(), self.sending.committed);
        self.sending.unfinished = writer.has_begun() && !writer.is_done();
        if put_all > 0 || !writer.has_begun() {
            *progress = Progress(Some(Steps { writer, connection, position }));
        }
        Ok(writer.is_done())
    }

    /// Where the steps before have come to.
    fn go_on(&self, message: &Message<'_>, progress: &Progress) -> Result<PartWriter, SendError> {
        match progress.0 {
            Some(steps) if steps.writer.is_done() => Err(SendError::Another),
            Some(steps) if steps.writer.has_begun() => {
                let same = steps.connection == self.id()
                    && self.sending.unfinished
                    && steps.position == self.sending.committed
                    && *steps.writer.envelope() == message.envelope();
                same.then_some(steps.writer).ok_or(SendError::Another)
            }
            _ if self.sending.unfinished => Err(SendError::Unfinished),
            _ => Ok(PartWriter::new(message.envelope())),
        }
    }

    /// Gives up the message that was sent in part: its peer never sees anything of it.
    pub fn abandon(&mut self) {
        // The next one begins with a first part, at which what there is of this one is dropped.
        self.sending.unfinished = false;
    }

    /// Consumes the message that comes next, and sends the answer to it, in one step: whenever the
    /// application is killed, both have happened or neither. So whoever takes over answers what
    /// lies there, and every message is answered exactly once. False: there is no room now, nothing
    /// has happened, and a [`Writable`](super::Event::Writable) tells when there is.
    ///
    /// # Errors
    /// As [`SendError`] says: an answer has to fit into the ring.
    pub fn reply(&mut self, answer: &Message<'_>) -> Result<bool, SendError> {
        self.look();
        if !self.inbox.has_message() {
            return Err(SendError::NoRequest);
        }
        let Some(put) = self.put(answer)? else { return Ok(false) };
        let done = self.inbox.done();
        let (receiving, sending) = (&mut *self.receiving, &mut *self.sending);
        receiving.consumed = receiving.consumed.wrapping_add(done.into());
        sending.committed = sending.committed.wrapping_add(put.into());
        let of_application = &self.place.slot.of_application;
        intent::reply(of_application, receiving.consumed, sending.committed);
        receiving.made_room = true;
        sending.news = true;
        Ok(true)
    }

    /// Puts all of a message behind what is committed: how many bytes, if there is room for it.
    fn put(&mut self, message: &Message<'_>) -> Result<Option<u32>, SendError> {
        self.check_size(message)?;
        if self.sending.unfinished {
            return Err(SendError::Unfinished);
        }
        let (ring, mut writer) = (self.ring(), PartWriter::new(message.envelope()));
        let all = writer.all_parts(ring);
        if all > ring.into() {
            return Err(SendError::LargerThanRing { bytes: message.len(), ring });
        }
        let mut sender = self.sender();
        if sender.room_for(all as usize, all as usize) < all as usize {
            return Ok(None);
        }
        let room = all as u32;
        Ok(Some(writer.put(sender.place.send_ring(), sender.offset(), room, &message.slices())))
    }

    fn check_size(&self, message: &Message<'_>) -> Result<(), SendError> {
        let (bytes, largest) = (message.len(), self.largest());
        if self.sending.ended {
            return Err(SendError::Ended);
        }
        if bytes > largest as usize {
            return Err(SendError::TooLarge { bytes, largest });
        }
        Ok(())
    }
}
