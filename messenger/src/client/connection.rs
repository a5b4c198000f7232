//! One connection, in the application's hands for a moment.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use super::ConnectionId;
use super::inbox::Inbox;
use super::messages::Messages;
use super::place::Place;
use super::receiver::{self, Receiver};
use super::sender::Sender;
use super::view::{Due, View};
use crate::ConnectionId as DaemonsName;
use crate::shm::PeerEntity;
use crate::shm::address;
use crate::shm::byte_ring::Piece;
use crate::shm::intent;
use crate::shm::status::{Ending, State};
use crate::shm::sync::{AtomicU64, Ordering};

/// How far a connection is, in bytes since it began.
///
/// `consumed <= received` and `sent <= committed`. They are kept across a crash of the application,
/// so that one that takes over knows what was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// Bytes that came from the peer.
    pub received: u64,
    /// Bytes that the application has consumed of them.
    pub consumed: u64,
    /// Bytes that the application has committed for sending.
    pub committed: u64,
    /// Bytes of them that the daemon's socket has taken.
    pub sent: u64,
}

/// A connection of an [`Endpoint`](super::Endpoint), which is borrowed by it: take it by its name
/// when an event tells of it, do what is to be done, and let it go.
///
/// Letting go is what tells the daemon's core of what was sent and consumed, once for all of it; a
/// core that sleeps is woken by the endpoint's `flush`. Nothing here makes a system call.
///
/// One of an [entity](super::Endpoint::entity) has [messages](Self::messages), and no bytes: what
/// deals in bytes ([`recv`](Self::recv), [`send`](Self::send), [`peek`](Self::peek),
/// [`split`](Self::split) and their like) panics there, and `Read` and `Write` say `Unsupported`.
#[derive(Debug)]
pub struct Connection<'a> {
    pub(super) place: Place<'a>,
    pub(super) view: &'a mut View,
}

impl Connection<'_> {
    /// Its name.
    pub fn id(&self) -> ConnectionId {
        ConnectionId { slot: self.place.number, generation: self.place.generation }
    }

    /// What the daemon's log calls it.
    pub fn name(&self) -> DaemonsName {
        let word = self.place.slot.of_daemon.name.load(Ordering::Relaxed);
        DaemonsName { core: (word >> 48) as u16, serial: word & ((1 << 48) - 1) }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> SocketAddr {
        address_of(&self.place.slot.addresses.peer)
    }

    /// Our end.
    pub fn local(&self) -> SocketAddr {
        address_of(&self.place.slot.addresses.local)
    }

    /// Of a connection of an entity, who is at the other end, as it says; `None` of one of bytes,
    /// and until the session has been open.
    pub fn peer_entity(&self) -> Option<PeerEntity> {
        self.place.slot.peer.read().filter(|_| self.has_messages())
    }

    /// It was accepted; if not, the daemon made it.
    pub fn is_accepted(&self) -> bool {
        self.view.status.accepted
    }

    /// The peer will send nothing more, as far as events have told or are about to.
    pub fn peer_has_ended(&self) -> bool {
        self.view.status.peer_ended || self.is_closed()
    }

    /// It is over, as far as events have told or are about to; what lies unread can still be read.
    pub fn is_closed(&self) -> bool {
        self.view.status.state == State::Closed
    }

    /// How far it is.
    pub fn positions(&self) -> Positions {
        // Those that are at most as large as others are read first, or are our own.
        let of_daemon = &self.place.slot.of_daemon;
        Positions {
            sent: of_daemon.sent.load(Ordering::Acquire),
            received: of_daemon.received.load(Ordering::Acquire),
            consumed: self.view.receiving.consumed,
            committed: self.view.sending.committed,
        }
    }

    /// The application's own number for the connection: 0 at first, kept across a crash.
    pub fn cookie(&self) -> u64 {
        self.place.slot.of_application.cookie.load(Ordering::Relaxed)
    }

    /// Sets the application's own number.
    pub fn set_cookie(&mut self, cookie: u64) {
        self.place.slot.of_application.cookie.store(cookie, Ordering::Relaxed);
    }

    /// Its messages, if it is a connection of an entity.
    pub fn messages(&mut self) -> Option<Messages<'_>> {
        if !self.view.status.messages {
            return None;
        }
        let (place, resumed) = (self.place, self.view.resumed);
        let View { receiving, sending, inbox, .. } = &mut *self.view;
        let inbox = inbox.get_or_insert_with(|| Box::new(Inbox::new(resumed)));
        Some(Messages { place, receiving, sending, inbox })
    }

    /// It is a connection of an entity, of messages and not of bytes.
    pub fn has_messages(&self) -> bool {
        self.view.status.messages
    }

    /// Whoever moved bytes here would tear messages apart.
    fn expect_bytes(&self) {
        assert!(!self.has_messages(), "connection {} is one of messages, not of bytes", self.id());
    }

    fn refuse_messages(&self) -> io::Result<()> {
        match self.has_messages() {
            true => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a connection of messages has no bytes to be read or written",
            )),
            false => Ok(()),
        }
    }

    /// Both halves, so that one can be read while the other is written.
    pub fn split(&mut self) -> (Receiver<'_>, Sender<'_>) {
        self.expect_bytes();
        let place = self.place;
        let View { receiving, sending, .. } = &mut *self.view;
        (Receiver { place, view: receiving }, Sender { place, view: sending })
    }

    fn receiver(&mut self) -> Receiver<'_> {
        self.expect_bytes();
        Receiver { place: self.place, view: &mut self.view.receiving }
    }

    fn sender(&mut self) -> Sender<'_> {
        self.expect_bytes();
        Sender { place: self.place, view: &mut self.view.sending }
    }

    /// How many bytes lie unread.
    pub fn unread(&self) -> usize {
        self.expect_bytes();
        self.place.unread(self.view.receiving.consumed).iter().map(Piece::len).sum()
    }

    /// Reads as many bytes as there are and fit, and consumes them. 0: there are none now; whether
    /// more may come is told by events, or by [`peer_has_ended`](Self::peer_has_ended).
    pub fn recv(&mut self, into: &mut [u8]) -> usize {
        self.receiver().recv(into)
    }

    /// The unread bytes, where they lie: two pieces if they go round the end of the ring, else the
    /// second is empty. Together they may be as large as the receive ring; what needs more than
    /// that has to be consumed in parts.
    pub fn peek(&self) -> (&[u8], &[u8]) {
        self.expect_bytes();
        receiver::slices(self.place.unread(self.view.receiving.consumed), self)
    }

    /// The first `n` unread bytes are done with.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn consume(&mut self, n: usize) {
        self.receiver().consume(n);
    }

    /// How many bytes can be sent now: 0 as well if the direction has ended.
    pub fn room(&mut self) -> usize {
        self.sender().room()
    }

    /// Sends as many of the bytes as there is room for, and returns how many. If that is not all,
    /// [`Writable`](super::Event::Writable) tells when there is room again: for the rest, or in
    /// half of the ring.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        self.sender().send(bytes)
    }

    /// Room for `n` bytes, to be filled and [committed](Self::commit), or to be taken by a
    /// [reply](Self::reply): without a copy on their way. Two pieces if it goes round the end of
    /// the ring, else the second is empty; what lies in it is anything.
    ///
    /// It is less if there is less, and at most what the ring holds;
    /// [`Writable`](super::Event::Writable) then tells when there is room for all. Reserving again
    /// gives up what was reserved before.
    pub fn reserve(&mut self, n: usize) -> (&mut [u8], &mut [u8]) {
        self.sender().into_reserved(n)
    }

    /// How many bytes may be committed: the room that there was when it was last looked for.
    pub fn reserved(&self) -> usize {
        self.expect_bytes();
        self.view.sending.committable(self.place.send_ring().size())
    }

    /// The first `n` bytes of what was [reserved](Self::reserve) are to be sent.
    ///
    /// # Panics
    /// If there is not so much room.
    pub fn commit(&mut self, n: usize) {
        self.sender().commit(n);
    }

    /// Consumes `consume` unread bytes, a request, and commits `commit` bytes of what was
    /// [reserved](Self::reserve), its answer, in one step: whenever the application is killed, both
    /// have happened or neither. So whoever takes over answers what lies unread, and every request
    /// is answered exactly once.
    ///
    /// # Panics
    /// If there are not so many bytes, or is not so much room.
    pub fn reply(&mut self, consume: usize, commit: usize) {
        let (unread, room) = (self.unread(), self.reserved());
        assert!(consume <= unread, "{consume} bytes consumed of {unread}");
        assert!(commit <= room, "{commit} bytes committed of {room}");
        let View { receiving, sending, .. } = &mut *self.view;
        receiving.consumed = receiving.consumed.wrapping_add(consume as u64);
        sending.committed = sending.committed.wrapping_add(commit as u64);
        let of_application = &self.place.slot.of_application;
        intent::reply(of_application, receiving.consumed, sending.committed);
        receiving.made_room |= consume > 0;
        sending.news |= commit > 0;
    }

    /// Sends back what was received: at most `n` bytes of it, and as many as there is room for;
    /// returns how many. One copy, from ring to ring, and one [step](Self::reply). If there was
    /// room for less, [`Writable`](super::Event::Writable) tells when there is more.
    pub fn forward(&mut self, n: usize) -> usize {
        let (receiver, mut sender) = self.split();
        let (front, back) = receiver.peek();
        let all = n.min(front.len() + back.len());
        let copied = sender.room_for(all, sender.wish(all));
        let front = &front[..front.len().min(copied)];
        sender.fill(0, front);
        sender.fill(front.len(), &back[..copied - front.len()]);
        self.reply(copied, copied);
        copied
    }

    /// Our direction ends behind what was sent; the peer's goes on.
    pub fn shutdown(&mut self) {
        if !self.view.sending.ended {
            self.view.sending.ended = true;
            self.view.sending.news = true;
            self.write_ending(Ending::Shutdown);
        }
    }

    /// The application is done with the connection: what was sent goes out, what comes is
    /// forgotten, and nothing more is told of it.
    pub fn close(mut self) {
        self.end(Ending::Close);
    }

    /// Cuts the connection off: what was not sent yet is lost, and the peer sees that it was reset.
    pub fn reset(mut self) {
        self.end(Ending::Reset);
    }

    pub(super) fn end(&mut self, ending: Ending) {
        self.write_ending(ending);
        self.view.live = false;
        self.view.due = Due::NONE;
    }

    /// Behind what was committed, in this order.
    fn write_ending(&mut self, ending: Ending) {
        self.place.slot.of_application.ending.store(ending.to_word(), Ordering::Release);
    }
}

/// The core is told what there is to tell.
impl Drop for Connection<'_> {
    fn drop(&mut self) {
        if !self.view.live {
            // It is the daemon's from now on, but for this.
            self.place.raise();
            return;
        }
        if self.view.receiving.made_room {
            Receiver { place: self.place, view: &mut self.view.receiving }.tell_room();
        }
        if std::mem::take(&mut self.view.sending.news) {
            self.place.raise();
        }
    }
}

impl Read for Connection<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.refuse_messages()?;
        self.receiver().read(into)
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.refuse_messages()?;
        self.sender().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The daemon writes addresses only.
pub(super) fn address_of(words: &[AtomicU64; 3]) -> SocketAddr {
    let words = std::array::from_fn(|word| words[word].load(Ordering::Relaxed));
    address::from_words(words).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
}
