//! What a core keeps for a connection of an application: its slot, and how far its bytes have come.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use mio::net::TcpStream;
use vmsgr_reactor::Token;

use super::fault::Fault;
use super::lane::{Held, Lane};
use super::send_ring::SendRing;
use crate::ids::ConnectionId;
use crate::shm::PeerEntity;
use crate::shm::address;
use crate::shm::intent;
use crate::shm::part::{NOTICE_BYTES, Notice, PART_BYTES};
use crate::shm::part_writer::PartWriter;
use crate::shm::status::{Ending, State, Status};
use crate::shm::sync::{AtomicU64, Ordering};
use crate::shm::transfer;
use crate::waiting::Waiting;

/// The connection between a socket and a slot.
#[derive(Debug)]
pub(crate) struct Conduit {
    pub(crate) lane: Rc<Lane>,
    pub(crate) slot: u32,
    status: Status,
    peer: SocketAddr,
    /// The job that it comes from.
    job: u64,
    /// Positions: what has come, and what is known to be consumed.
    received: u64,
    consumed: u64,
    /// The position at the beginning of the receive ring.
    base: u64,
    /// How the application has said that it ends.
    ending: Ending,
    /// The ring was full, and the socket is not read.
    pub(crate) stopped: bool,
}

impl Conduit {
    /// Begins a connection in a slot that was taken for it. Nobody is told before
    /// [`open`](Self::open), or [`announce`](Self::announce) for one that is being made.
    pub(crate) fn begin(
        lane: Rc<Lane>,
        slot: u32,
        name: ConnectionId,
        job: u64,
        peer: SocketAddr,
        accepted: bool,
    ) -> Self {
        let generation = lane.application.slots.next_generation(slot);
        let shared = lane.slot(slot);
        let zero = |words: &[&AtomicU64]| words.iter().for_each(|w| w.store(0, Ordering::Relaxed));
        let (daemon, application) = (&shared.of_daemon, &shared.of_application);
        zero(&[&daemon.received, &daemon.receive_base, &daemon.sent]);
        zero(&[&application.consumed, &application.committed, &application.send_base]);
        zero(&[&application.ending, &application.intent, &application.cookie]);
        shared.flags.up.reset();
        shared.flags.down.reset();
        shared.flags.send_room.clear();
        shared.flags.receive_room.clear();
        daemon.job.store(job, Ordering::Relaxed);
        let name = u64::from(name.core) << 48 | (name.serial & ((1 << 48) - 1));
        daemon.name.store(name, Ordering::Relaxed);
        shared.peer.clear();
        put_address(&shared.addresses.peer, peer);
        shared.addresses.local.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        let state = State::Connecting;
        let (messages, peer_ended) = (false, false);
        let status = Status { generation, errno: 0, peer_ended, accepted, messages, state };
        let this = Self {
            lane,
            slot,
            status,
            peer,
            job,
            received: 0,
            consumed: 0,
            base: 0,
            ending: Ending::None,
            stopped: false,
        };
        this.publish_status();
        this
    }

    /// Says on the lane that the slot has this connection, as `token` if that is known yet.
    pub(crate) fn hold(&self, token: Option<Token>) {
        let generation = self.generation();
        let held =
            token.map_or(Held::Over { generation }, |token| Held::Live { generation, token });
        self.lane.hold(self.slot, held);
    }

    /// Where the bytes that its application commits wait.
    pub(crate) fn pending(&self) -> Waiting {
        Waiting::Ring(self.send_ring())
    }

    pub(crate) fn send_ring(&self) -> SendRing {
        SendRing::new(Rc::clone(&self.lane), self.slot, self.generation())
    }

    /// It is a session, with messages of at most `largest` bytes. Before anybody is told of it.
    pub(crate) fn carry_messages(&mut self, largest: u32) {
        let word = &self.lane.slot(self.slot).of_daemon.largest_message;
        word.store(largest.into(), Ordering::Relaxed);
        self.status.messages = true;
        self.publish_status();
    }

    /// It is still being made, by this job.
    pub(crate) fn is_being_made_by(&self, job: u64) -> bool {
        self.status.state == State::Connecting && !self.status.accepted && self.job == job
    }

    /// Who has connected, if it was accepted.
    pub(crate) fn accepted_from(&self) -> Option<SocketAddr> {
        self.status.accepted.then_some(self.peer)
    }

    /// Who is at the other end, as msgr2 tells.
    pub(crate) fn tell_of_peer(&self, peer: &PeerEntity) {
        self.lane.slot(self.slot).peer.write(peer);
    }

    pub(crate) fn generation(&self) -> u32 {
        self.status.generation
    }

    /// The connection is there: bytes may go both ways.
    pub(crate) fn open(&mut self, local: io::Result<SocketAddr>) {
        if let Ok(local) = local {
            put_address(&self.lane.slot(self.slot).addresses.local, local);
        }
        self.status.state = State::Open;
        self.publish_status();
        self.announce();
    }

    /// The connection is over; `errno` is why, 0 if both directions have come to their end.
    pub(crate) fn close(&mut self, errno: u16) {
        self.status.state = State::Closed;
        self.status.errno = errno;
        self.publish_status();
    }

    /// The peer has ended its direction.
    pub(crate) fn peer_ended(&mut self) {
        self.status.peer_ended = true;
        self.publish_status();
        self.announce();
    }

    fn publish_status(&self) {
        let word = &self.lane.slot(self.slot).of_daemon.status;
        word.store(self.status.to_word(), Ordering::Release);
    }

    pub(crate) fn announce(&self) {
        self.lane.announce(self.slot, self.status.generation);
    }

    /// The room in the receive ring. If there is none the application is asked to tell of some, and
    /// the socket must not be read until then.
    pub(crate) fn room(&mut self) -> Result<u32, Fault> {
        let free = self.free()?;
        if free > 0 {
            return Ok(free);
        }
        let wish = &self.lane.slot(self.slot).flags.receive_room;
        wish.want(self.size() / 2);
        // It may have consumed in between, and not have seen the wish.
        let free = self.free()?;
        if free > 0 {
            self.lane.slot(self.slot).flags.receive_room.clear();
        }
        Ok(free)
    }

    fn free(&mut self) -> Result<u32, Fault> {
        self.look_at_consumed()?;
        Ok(self.size() - (self.received - self.consumed) as u32)
    }

    /// The room for at least `bytes`. If there is less the application is asked to tell of room.
    fn room_for(&mut self, bytes: u32) -> Result<Option<u32>, Fault> {
        let free = self.free()?;
        if free >= bytes {
            return Ok(Some(free));
        }
        // No part is larger.
        let half = self.size() / 2;
        self.lane.slot(self.slot).flags.receive_room.want(half);
        // It may have consumed in between, and not have seen the wish, which stays: a full throttle
        // may have made it, too.
        let free = self.free()?;
        Ok((free >= bytes).then_some(free))
    }

    /// Puts as many parts of a message into the receive ring as there is room for; whether all of
    /// it is there. If it is not, the application tells of room.
    pub(crate) fn put(&mut self, writer: &mut PartWriter, body: &[&[u8]]) -> Result<bool, Fault> {
        while !writer.is_done() {
            let Some(room) = self.room_for(writer.next_part(self.size()))? else {
                return Ok(false);
            };
            self.begin_anew();
            let ring = self.lane.application.segment.receive_ring(self.slot);
            let put = writer.put(ring, self.received - self.base, room, body);
            self.came(put as usize);
        }
        Ok(true)
    }

    /// As [`put`](Self::put), a notice.
    pub(crate) fn put_notice(&mut self, notice: Notice) -> Result<bool, Fault> {
        if self.room_for(PART_BYTES + NOTICE_BYTES)?.is_none() {
            return Ok(false);
        }
        self.begin_anew();
        let (ring, bytes) =
            (self.lane.application.segment.receive_ring(self.slot), notice.encode());
        ring.write(self.received - self.base, &bytes);
        self.came(bytes.len());
        Ok(true)
    }

    /// The position behind what has come.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// What is known to be consumed.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    pub(crate) fn look_at_consumed(&mut self) -> Result<(), Fault> {
        let said = self.lane.slot(self.slot).of_application.consumed.load(Ordering::Acquire);
        self.accept(said)
    }

    /// `consumed` is what the application says: checked, then used.
    pub(crate) fn accept(&mut self, consumed: u64) -> Result<(), Fault> {
        let (slot, least, most) = (self.slot, self.consumed, self.received);
        if consumed < least || consumed > most {
            return Err(Fault::Position { slot, what: "consumed", said: consumed, least, most });
        }
        self.consumed = consumed;
        Ok(())
    }

    /// Nothing that came is left to be consumed, as far as is known.
    pub(crate) fn is_consumed(&self) -> bool {
        let shared = self.lane.slot(self.slot);
        shared.of_application.consumed.load(Ordering::Acquire) == self.received
    }

    /// Has the application tell when it consumes something.
    pub(crate) fn ask_for_consumption(&self) {
        self.lane.slot(self.slot).flags.receive_room.want(1);
    }

    /// Where the next `room` bytes go, once: reads them from the socket.
    pub(crate) fn read(&mut self, socket: &TcpStream, room: u32) -> io::Result<usize> {
        self.begin_anew();
        let ring = self.lane.application.segment.receive_ring(self.slot);
        transfer::receive(socket, ring.pieces(self.received - self.base, room))
    }

    /// If nothing is in the ring it begins anew, with the lines that the cache has.
    fn begin_anew(&mut self) {
        if self.received == self.consumed && self.base != self.received {
            self.base = self.received;
            let base = &self.lane.slot(self.slot).of_daemon.receive_base;
            base.store(self.base, Ordering::Relaxed);
        }
    }

    /// So many bytes have come: the application is told.
    pub(crate) fn came(&mut self, count: usize) {
        self.received += count as u64;
        let received = &self.lane.slot(self.slot).of_daemon.received;
        received.store(self.received, Ordering::Release);
        self.announce();
    }

    /// Takes in how the application wants it to end; what has to be done about it, if anything.
    pub(crate) fn look_at_ending(&mut self) -> Result<Option<Ending>, Fault> {
        let said = self.lane.slot(self.slot).of_application.ending.load(Ordering::Acquire);
        match Ending::from_word(said) {
            Some(ending) if ending >= self.ending => {
                let news = ending != self.ending;
                self.ending = ending;
                Ok(news.then_some(ending))
            }
            _ => {
                let before = self.ending.to_word();
                Err(Fault::Ending { slot: self.slot, said, before })
            }
        }
    }

    /// The application has nothing more to do with it.
    pub(crate) fn is_given_up(&self) -> bool {
        self.ending >= Ending::Close
    }

    /// Nothing more may be committed.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.ending >= Ending::Shutdown
    }

    /// The application is gone for good: as if it had closed the connection.
    pub(crate) fn give_up(&mut self) {
        self.ending = self.ending.max(Ending::Close);
    }

    /// The size of the receive ring.
    fn size(&self) -> u32 {
        self.lane.application.segment.geometry().receive_ring_bytes
    }

    /// Completes a reply that the application was making when it died: it has happened wholly or
    /// not at all. Only while nobody is attached.
    pub(crate) fn complete_intent(&self) {
        intent::complete(&self.lane.slot(self.slot).of_application);
    }
}

fn put_address(words: &[AtomicU64; 3], address: SocketAddr) {
    for (word, value) in words.iter().zip(address::to_words(address)) {
        word.store(value, Ordering::Relaxed);
    }
}
