//! An application as a test double: it writes what it likes into its segment, true or not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollEvent};
use vmsgr_reactor::{Budget, CoreMask, Doorbell, Loop, SpinPolicy, mesh};

use super::allowance::Allowance;
use super::attachment::{Attachment, Grant};
use super::lane::Lane;
use super::pool::SlotPool;
use super::shared::Application;
use crate::census::Census;
use crate::ids::ApplicationId;
use crate::job::Event;
use crate::messenger::Messenger;
use crate::options::Options;
use crate::shm::geometry::Geometry;
use crate::shm::job::{Asked, Notice, Request, Told};
use crate::shm::ring::{Pusher, Taker};
use crate::shm::segment::Segment;
use crate::shm::status::{State, Status};
use crate::shm::sync::{Ordering, full_fence};
use crate::shm::{Allow, Permissions, Policy, Users};
use crate::worker::Worker;

/// A worker that no messenger drives, and its lane to an application with so many slots.
pub(crate) fn worker_alone(slots: u32) -> (Loop<Worker>, Rc<Lane>) {
    worker_with(slots, 4096, 1 << 20)
}

/// The same, whose rings have so many bytes, and for which so many may be held.
pub(crate) fn worker_with(slots: u32, ring: u32, held: u64) -> (Loop<Worker>, Rc<Lane>) {
    let application = Application {
        id: ApplicationId(1),
        segment: Segment::create(Geometry::new(1, slots, ring, ring).unwrap()).unwrap().0,
        slots: SlotPool::new(slots, 1),
        allowance: Allowance::new(held, 1),
        doorbell: Doorbell::new().unwrap(),
    };
    let lane = Rc::new(Lane::new(Arc::new(application), 0));
    lane.attach();
    let census = Arc::new(Census::new(1, None));
    let mut worker = Worker::new(0, 1, Arc::new(Options::default()), census);
    worker.lanes.push(Rc::clone(&lane));
    let port = mesh(2).unwrap().remove(0);
    let tested = Loop::new(worker, port, SpinPolicy::Auto, Budget::default()).unwrap();
    (tested, lane)
}

/// After this time a test has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A messenger, and the thread that drives it: the test's.
pub(crate) struct Scene {
    pub(crate) messenger: Messenger,
    pub(crate) events: Vec<Event>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let mask = CoreMask::first().unwrap();
        let messenger = Messenger::start(&mask, options).unwrap();
        Self { messenger, events: Vec::new() }
    }

    /// Drives the messenger until something holds.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.messenger.take() {
                self.events.push(event);
            }
            self.messenger.publish();
            if let Some(value) = done(self) {
                return value;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}; {:?}", self.events);
            let doorbell =
                PollFd::new(std::os::fd::AsFd::as_fd(self.messenger.doorbell()), PollFlags::POLLIN);
            // It is level-triggered here and never read: this only yields.
            let _ = poll(&mut [doorbell], PollTimeout::from(1u8));
            std::thread::yield_now();
        }
    }

    pub(crate) fn attach(&mut self, name: &str) -> Double {
        self.attach_as(attachment(name))
    }

    pub(crate) fn attach_as(&mut self, attachment: Attachment) -> Double {
        let id = self.messenger.attach(attachment.clone()).unwrap();
        let grant = self.until("the application is attached", |scene| {
            let answer = |event: &Event| match event {
                Event::Granted { application, .. } | Event::Detached { application, .. } => {
                    *application == id
                }
                _ => false,
            };
            let index = scene.events.iter().position(answer)?;
            Some(scene.events.remove(index))
        });
        match grant {
            Event::Granted { grant, .. } => Double::new(id, *grant),
            // What it would have taken over turned out to be spoilt.
            _ => self.attach_as(attachment),
        }
    }

    /// Waits until the messenger has detached the application; why.
    pub(crate) fn detached(&mut self, id: ApplicationId) -> String {
        self.until("the application is detached", |scene| {
            scene.events.iter().find_map(|event| match event {
                Event::Detached { application, reason } if *application == id => {
                    Some(reason.clone())
                }
                _ => None,
            })
        })
    }

    pub(crate) fn stop(mut self) {
        self.messenger.drain(Duration::ZERO);
        // It may be behind much that is on its way.
        self.until("its loop has ended", |scene| {
            let ended = |event: &Event| matches!(event, Event::Exited { .. });
            scene.events.iter().any(ended).then_some(())
        });
        self.messenger.join();
    }
}

/// To this machine alone: those who lie may ask for anything.
pub(crate) fn permissions() -> Permissions {
    let rules: Vec<_> = ["127.0.0.0/8:*", "[::1]:*"].map(|rule| rule.parse().unwrap()).into();
    let allow = Allow { users: Users::Any, listen: rules.clone(), connect: rules };
    Policy::new(vec![allow]).attach(0).unwrap()
}

pub(crate) fn attachment(name: &str) -> Attachment {
    Attachment {
        name: name.to_owned(),
        uid: 0,
        pid: 1,
        slots: 8,
        receive_ring_bytes: 4096,
        send_ring_bytes: 4096,
        linger: Duration::from_secs(30),
        permissions: permissions(),
    }
}

/// The application's side.
pub(crate) struct Double {
    pub(crate) id: ApplicationId,
    pub(crate) grant: Grant,
    pub(crate) segment: Segment,
    doorbells: Vec<OwnedFd>,
    pub(crate) jobs: Pusher,
    events: Taker,
    pub(crate) down: Pusher,
    up: Taker,
}

impl Double {
    fn new(id: ApplicationId, mut grant: Grant) -> Self {
        let segment = Segment::open(&grant.descriptors[0]).unwrap();
        let doorbells = grant.descriptors.split_off(1);
        let (jobs, down) = (Pusher::default(), Pusher::default());
        let (events, up) = (Taker::default(), Taker::default());
        Self { id, grant, segment, doorbells, jobs, events, down, up }
    }

    /// Rings: 1 is the messenger, 2 its first core.
    pub(crate) fn ring(&self, which: usize) {
        nix::unistd::write(&self.doorbells[which], &1u64.to_ne_bytes()).unwrap();
    }

    pub(crate) fn ask(&mut self, job: u64, kind: Asked) {
        let words = Request { job, kind }.to_words();
        assert_eq!(self.jobs.push(self.segment.jobs(), words), Ok(true));
    }

    pub(crate) fn told(&mut self) -> Option<Notice> {
        Notice::from_words(self.events.take(self.segment.events()).unwrap()?)
    }

    /// Listens on a free port; the address.
    pub(crate) fn listen(&mut self, scene: &mut Scene) -> SocketAddr {
        self.ask(1, Asked::Listen { address: "127.0.0.1:0".parse().unwrap(), backlog: 0 });
        scene.until("it listens", |_| match self.told()? {
            Notice { told: Told::Listening { address }, .. } => Some(address),
            other => panic!("{other:?}"),
        })
    }

    pub(crate) fn status(&self, slot: u32) -> Status {
        Status::from_word(self.segment.slot(slot).of_daemon.status.load(Ordering::Acquire))
    }

    /// Takes numbers until there are none: the slots, each with its generation.
    pub(crate) fn numbers(&mut self) -> Vec<(u32, u32)> {
        let mut numbers = Vec::new();
        while let Some([entry]) = self.up.take(self.segment.up(0)).unwrap() {
            let (slot, generation) = (entry as u32, (entry >> 32) as u32);
            self.segment.slot(slot).flags.up.lower(generation);
            numbers.push((slot, generation));
        }
        numbers
    }

    /// Waits for a connection to be open; its slot.
    pub(crate) fn open(&mut self, scene: &mut Scene) -> u32 {
        scene.until("a connection is open", |_| {
            let numbers = self.numbers();
            numbers.iter().map(|it| it.0).find(|&slot| self.status(slot).state == State::Open)
        })
    }

    /// Raises a slot and rings.
    pub(crate) fn raise(&mut self, slot: u32) {
        let generation = self.status(slot).generation;
        if self.segment.slot(slot).flags.down.raise(generation) {
            self.push(slot, generation);
        }
        self.wake();
    }

    pub(crate) fn push(&mut self, slot: u32, generation: u32) {
        let entry = u64::from(generation) << 32 | u64::from(slot);
        assert_eq!(self.down.push(self.segment.down(0), [entry]), Ok(true));
    }

    /// Rings the core if it sleeps.
    pub(crate) fn wake(&self) {
        full_fence();
        if self.segment.lane(0).core.0.rouse() {
            self.ring(2);
        }
    }

    pub(crate) fn received(&self, slot: u32) -> u64 {
        self.segment.slot(slot).of_daemon.received.load(Ordering::Acquire)
    }

    /// Puts bytes at the beginning of the send ring, and says that they are committed; assumes that
    /// the ring does not wrap.
    pub(crate) fn commit(&mut self, slot: u32, bytes: &[u8]) {
        let shared = &self.segment.slot(slot).of_application;
        let before = shared.committed.load(Ordering::Relaxed);
        let pieces = self.segment.send_ring(slot).pieces(before, bytes.len() as u32);
        let (front, back) = bytes.split_at(pieces[0].len());
        pieces[0].copy_from(front);
        pieces[1].copy_from(back);
        shared.committed.store(before + bytes.len() as u64, Ordering::Release);
    }

    /// It dies: nobody is told but the messenger.
    pub(crate) fn die(self, scene: &mut Scene) {
        scene.messenger.depart(self.id);
    }

    /// Whether its own doorbell has rung.
    pub(crate) fn is_rung(&self) -> bool {
        let epoll = self.doorbells[0].try_clone().unwrap();
        let mut events = [EpollEvent::empty()];
        Epoll(epoll).wait(&mut events, 0u8).unwrap() > 0
    }
}

/// A peer of an application.
pub(crate) fn peer(address: SocketAddr) -> TcpStream {
    let peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

/// An application that echoes one exchange, beside whatever else is going on.
pub(crate) fn echoes(scene: &mut Scene, application: &mut Double, address: SocketAddr) {
    let mut client = peer(address);
    let slot = application.open(scene);
    client.write_all(b"how are you").unwrap();
    scene.until("it is received", |_| (application.received(slot) == 11).then_some(()));
    application.commit(slot, b"fine");
    application.raise(slot);
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"fine");
    application.segment.slot(slot).of_application.consumed.store(11, Ordering::Release);
    application.segment.slot(slot).of_application.ending.store(2, Ordering::Release);
    application.raise(slot);
    assert_eq!(client.read(&mut answer).unwrap(), 0, "its end");
    scene.until("the slot is free", |_| {
        (application.status(slot).state == State::Free).then_some(())
    });
}
