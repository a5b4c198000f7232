//! A daemon played by hand: the other side of a segment, for tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::{AttachOptions, ConnectionId, Endpoint, attach};
use crate::shm::geometry::Geometry;
use crate::shm::job::{Asked, Notice, Request, Told};
use crate::shm::layout::Slot;
use crate::shm::part::{Envelope, LARGEST_MESSAGE};
use crate::shm::part_reader::{Body, Found, PartReader};
use crate::shm::part_writer::PartWriter;
use crate::shm::ring::{Pusher, Taker};
use crate::shm::segment::Segment;
use crate::shm::status::{Ending, State, Status};
use crate::shm::sync::{Ordering, full_fence};
use crate::shm::{Attached, Welcome, address};

pub(super) const RING: u32 = 4096;

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What the daemon itself knows of a connection.
#[derive(Debug)]
struct Held {
    status: Status,
    core: usize,
    received: u64,
    base: u64,
    sent: u64,
    /// Of a session: what has come of a message that is sent in parts.
    reader: PartReader,
}

/// The daemon's side of one segment.
#[derive(Debug)]
pub(super) struct Daemon {
    segment: Segment,
    memory: OwnedFd,
    socket: Option<OwnedFd>,
    application: EventFd,
    main: EventFd,
    cores: Vec<EventFd>,
    ups: Vec<Pusher>,
    downs: Vec<Taker>,
    jobs: Taker,
    events: Pusher,
    held: BTreeMap<u32, Held>,
    epoch: u64,
    pub(super) rings: usize,
}

fn eventfd() -> EventFd {
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).unwrap()
}

fn share(fd: impl AsFd) -> OwnedFd {
    fd.as_fd().try_clone_to_owned().unwrap()
}

impl Daemon {
    pub(super) fn new(cores: u32, slots: u32) -> Self {
        let geometry = Geometry::new(cores, slots, RING, RING).unwrap();
        let (segment, memory) = Segment::create(geometry).unwrap();
        Self {
            segment,
            memory,
            socket: None,
            application: eventfd(),
            main: eventfd(),
            cores: (0..cores).map(|_| eventfd()).collect(),
            ups: (0..cores).map(|_| Pusher::default()).collect(),
            downs: (0..cores).map(|_| Taker::default()).collect(),
            jobs: Taker::default(),
            events: Pusher::default(),
            held: BTreeMap::new(),
            epoch: 0,
            rings: 0,
        }
    }

    /// What a welcome brings, to this daemon's segment.
    pub(super) fn welcome(&mut self) -> Attached {
        let kind = (AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = socketpair(kind.0, kind.1, None, kind.2).unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&self.application, EpollEvent::new(edge, 0)).unwrap();
        let resumed = self.socket.replace(ours).is_some();
        self.epoch += 1;
        if resumed {
            self.segment.reset_control();
            (0..self.cores.len()).for_each(|core| self.segment.reset_lane(core));
            self.ups.iter_mut().for_each(|up| *up = Pusher::default());
            self.downs.iter_mut().for_each(|down| *down = Taker::default());
            (self.jobs, self.events) = (Taker::default(), Pusher::default());
            for number in self.held.keys().copied().collect::<Vec<_>>() {
                self.slot(number).flags.up.reset();
                self.raise(number);
            }
        }
        let mut descriptors = vec![share(&self.memory), epoll.0, share(&self.main)];
        descriptors.extend(self.cores.iter().map(share));
        let segment_bytes = self.segment.geometry().segment_bytes() as u64;
        let cores = self.cores.len() as u16;
        let welcome = Welcome { epoch: self.epoch, resumed, cores, segment_bytes };
        Attached { socket: theirs, welcome, descriptors }
    }

    pub(super) fn attach(&mut self, options: &AttachOptions) -> Endpoint {
        let (welcome, lanes) = attach::connect(self.welcome(), Path::new("double")).unwrap();
        Endpoint::begin(options.clone(), welcome, lanes)
    }

    pub(super) fn slot(&self, number: u32) -> &Slot {
        self.segment.slot(number)
    }

    fn write_status(&self, number: u32) {
        let status = self.held[&number].status.to_word();
        self.slot(number).of_daemon.status.store(status, Ordering::Release);
    }

    /// Puts a connection into a slot, without a word.
    pub(super) fn put(
        &mut self,
        number: u32,
        generation: u32,
        core: usize,
        accepted: bool,
        state: State,
    ) -> ConnectionId {
        let slot = self.slot(number);
        let (application, daemon) = (&slot.of_application, &slot.of_daemon);
        let zeros = [
            &application.consumed,
            &application.committed,
            &application.send_base,
            &application.ending,
            &application.cookie,
            &daemon.received,
            &daemon.receive_base,
            &daemon.sent,
        ];
        zeros.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        slot.flags.send_room.clear();
        slot.flags.receive_room.clear();
        daemon.job.store(77, Ordering::Relaxed);
        daemon.name.store((core as u64) << 48 | 5, Ordering::Relaxed);
        let addresses =
            [(&slot.addresses.peer, "10.0.0.1:999"), (&slot.addresses.local, "[::1]:7")];
        for (words, text) in addresses {
            for (word, value) in words.iter().zip(address::to_words(at(text))) {
                word.store(value, Ordering::Relaxed);
            }
        }
        let (messages, peer_ended) = (false, false);
        let status = Status { generation, errno: 0, peer_ended, accepted, messages, state };
        let reader = PartReader::new(LARGEST_MESSAGE);
        self.held.insert(number, Held { status, core, received: 0, base: 0, sent: 0, reader });
        self.write_status(number);
        ConnectionId { slot: number, generation }
    }

    pub(super) fn accept(&mut self, number: u32, generation: u32, core: usize) -> ConnectionId {
        let id = self.put(number, generation, core, true, State::Open);
        self.raise(number);
        id
    }

    /// A session of an entity, whose messages have at most `largest` bytes.
    pub(super) fn accept_session(
        &mut self,
        number: u32,
        generation: u32,
        largest: u64,
    ) -> ConnectionId {
        let id = self.put(number, generation, 0, true, State::Open);
        self.slot(number).of_daemon.largest_message.store(largest, Ordering::Relaxed);
        self.change(number, |status| status.messages = true);
        id
    }

    /// As many parts of a message come as there is room for; true when all of it has.
    pub(super) fn deliver(&mut self, number: u32, writer: &mut PartWriter, body: &[&[u8]]) -> bool {
        let consumed = self.slot(number).of_application.consumed.load(Ordering::Acquire);
        let held = self.held.get_mut(&number).unwrap();
        if consumed == held.received {
            held.base = held.received;
        }
        let room = RING - (held.received - consumed) as u32;
        let ring = self.segment.receive_ring(number);
        held.received += u64::from(writer.put(ring, held.received - held.base, room, body));
        let (received, base) = (held.received, held.base);
        let of_daemon = &self.slot(number).of_daemon;
        of_daemon.receive_base.store(base, Ordering::Relaxed);
        of_daemon.received.store(received, Ordering::Release);
        self.raise(number);
        writer.is_done()
    }

    /// The whole messages that the application has sent, checked as the daemon checks them: with
    /// front, middle and data.
    pub(super) fn sent_messages(&mut self, number: u32) -> Vec<(Envelope, Vec<u8>)> {
        let mut messages = Vec::new();
        loop {
            let unread = self.pending(number) as u32;
            let base = self.slot(number).of_application.send_base.load(Ordering::Relaxed);
            let held = self.held.get_mut(&number).unwrap();
            let ring = self.segment.send_ring(number);
            let part =
                held.reader.next(ring, held.sent - base, unread).expect("parts by the rules");
            let Some(part) = part else { return messages };
            match part.found {
                Found::InPlace(envelope, Body { front, middle, data }) => {
                    let mut body = Vec::new();
                    let pieces = [front, middle, data];
                    pieces.as_flattened().iter().for_each(|piece| piece.append_to(&mut body));
                    messages.push((envelope, body));
                }
                Found::Whole(envelope, body) => messages.push((envelope, body)),
                Found::Some => {}
                Found::Notice(notice) => panic!("an application has sent {notice:?}"),
            }
            self.send(number, part.bytes.into());
        }
    }

    pub(super) fn raise(&mut self, number: u32) {
        let generation = self.held[&number].status.generation;
        if self.slot(number).flags.up.raise(generation) {
            self.push_up(self.held[&number].core, number, generation);
        }
    }

    /// Pushes a number, whether it may be pushed or not.
    pub(super) fn push_up(&mut self, core: usize, number: u32, generation: u32) {
        let entry = [u64::from(generation) << 32 | u64::from(number)];
        assert_eq!(self.ups[core].push(self.segment.up(core), entry), Ok(true));
    }

    /// Bytes come from the peer: as many as there is room for, which is asserted to be enough.
    pub(super) fn receive(&mut self, number: u32, bytes: &[u8]) {
        let consumed = self.slot(number).of_application.consumed.load(Ordering::Acquire);
        let held = self.held.get_mut(&number).unwrap();
        let room = u64::from(RING) - (held.received - consumed);
        assert!(bytes.len() as u64 <= room, "{} of {room}", bytes.len());
        if consumed == held.received {
            held.base = held.received;
        }
        let (offset, base) = (held.received - held.base, held.base);
        held.received += bytes.len() as u64;
        let received = held.received;
        let [front, back] = self.segment.receive_ring(number).pieces(offset, bytes.len() as u32);
        front.copy_from(bytes);
        back.copy_from(&bytes[front.len()..]);
        let of_daemon = &self.slot(number).of_daemon;
        of_daemon.receive_base.store(base, Ordering::Relaxed);
        of_daemon.received.store(received, Ordering::Release);
        self.raise(number);
    }

    /// Waits for room in the receive ring, as a core does that has filled it.
    pub(super) fn want_room(&self, number: u32, bytes: u32) {
        self.slot(number).flags.receive_room.want(bytes);
    }

    /// What is committed and not sent yet, checked as the daemon checks it.
    pub(super) fn pending(&self, number: u32) -> u64 {
        let committed = self.slot(number).of_application.committed.load(Ordering::Acquire);
        let pending = committed - self.held[&number].sent;
        assert!(pending <= u64::from(RING), "{pending} bytes are committed");
        pending
    }

    /// Sends at most `n` bytes to the peer, and tells who waits for room.
    pub(super) fn send(&mut self, number: u32, n: u64) -> Vec<u8> {
        let n = self.pending(number).min(n);
        let base = self.slot(number).of_application.send_base.load(Ordering::Relaxed);
        let sent = self.held[&number].sent;
        let mut bytes = vec![0; n as usize];
        let [front, back] = self.segment.send_ring(number).pieces(sent - base, n as u32);
        front.copy_to(&mut bytes);
        back.copy_to(&mut bytes[front.len()..]);
        self.held.get_mut(&number).unwrap().sent += n;
        self.slot(number).of_daemon.sent.store(sent + n, Ordering::Release);
        full_fence();
        let room = RING - self.pending(number) as u32;
        if self.slot(number).flags.send_room.made(room, RING) {
            self.raise(number);
        }
        bytes
    }

    /// A core takes one number, and lowers its flag.
    pub(super) fn take(&mut self, core: usize) -> Option<ConnectionId> {
        let [word] = self.downs[core].take(self.segment.down(core)).unwrap()?;
        let (slot, generation) = (word as u32, (word >> 32) as u32);
        self.slot(slot).flags.down.lower(generation);
        Some(ConnectionId { slot, generation })
    }

    pub(super) fn ending(&self, number: u32) -> Ending {
        Ending::from_word(self.slot(number).of_application.ending.load(Ordering::Acquire)).unwrap()
    }

    pub(super) fn change(&mut self, number: u32, change: impl FnOnce(&mut Status)) {
        change(&mut self.held.get_mut(&number).unwrap().status);
        self.write_status(number);
        self.raise(number);
    }

    /// The slot is nobody's.
    pub(super) fn free(&mut self, number: u32) {
        self.held.get_mut(&number).unwrap().status.state = State::Free;
        self.write_status(number);
        self.held.remove(&number);
    }

    pub(super) fn job(&mut self) -> Option<(u64, Asked)> {
        let words = self.jobs.take(self.segment.jobs()).unwrap()?;
        let Request { job, kind } = Request::from_words(words).expect("a job with a meaning");
        Some((job, kind))
    }

    pub(super) fn tell(&mut self, job: u64, told: Told) {
        let words = Notice { job, told }.to_words();
        assert_eq!(self.events.push(self.segment.events(), words), Ok(true));
    }

    /// Wakes the application if it sleeps.
    pub(super) fn rouse(&mut self) {
        full_fence();
        if self.segment.control().application.0.rouse() {
            self.rings += 1;
            self.application.write(1).unwrap();
        }
    }

    /// The processor on which the application says that it sleeps, of the first so many.
    pub(super) fn application_sleeps_on(&self, processors: u32) -> Option<u32> {
        let sleep = &self.segment.control().application.0;
        (0..processors).find(|&processor| sleep.is_asleep_on(processor))
    }

    pub(super) fn application_sleeps(&self) -> bool {
        // Nothing is taken from a sign by declaring again what it says.
        let sleeps = self.segment.control().application.0.rouse();
        if sleeps {
            self.segment.control().application.0.declare();
        }
        sleeps
    }

    pub(super) fn core_sleeps(&self, core: usize) {
        self.segment.lane(core).core.0.declare();
    }

    pub(super) fn main_sleeps(&self) {
        self.segment.control().daemon.0.declare();
    }

    /// How often a core's doorbell was rung since the last look.
    pub(super) fn core_rings(&self, core: usize) -> u64 {
        self.cores[core].read().unwrap_or(0)
    }

    pub(super) fn main_rings(&self) -> u64 {
        self.main.read().unwrap_or(0)
    }

    pub(super) fn application_bell(&self) -> BorrowedFd<'_> {
        self.application.as_fd()
    }

    /// The cursor of a core's ring is anywhere.
    pub(super) fn lie(&self) {
        self.segment.lane(0).up_pushed.0.store(1 << 40, Ordering::Release);
    }

    /// The daemon is gone, or throws the application out.
    pub(super) fn hang_up(&mut self) {
        self.socket = None;
    }

    /// The application was killed: its socket is closed, all else stays as it is.
    pub(super) fn application_died(&self) {
        let mut byte = [0];
        let socket = self.socket.as_ref().unwrap();
        assert_eq!(nix::unistd::read(socket, &mut byte), Ok(0), "its socket is still open");
    }
}
