//! The memory, and the ready rings in it: which connections have something new, both ways.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sched::sched_getcpu;

use super::DetachReason;
use super::counters::Counters;
use super::doorbells::Doorbells;
use crate::shm::layout::WORDS;
use crate::shm::ring::{Pusher, Taker};
use crate::shm::segment::Segment;
use crate::shm::sync::full_fence;

/// So many entries are taken from one ring before the next has its turn.
const TURN: u32 = 64;

/// What was taken from the rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// A slot has something new, for the connection of this generation.
    Slot(u32, u32),
    /// An entry of the event ring.
    Notice([u64; WORDS]),
    /// There is nothing.
    Nothing,
}

/// A ring to the daemon.
#[derive(Debug, Default)]
struct Outbound {
    pusher: Pusher,
    /// Something was pushed since the daemon's side was last roused.
    pushed: bool,
}

/// One ready ring for each core and direction, and the rings of jobs and events.
#[derive(Debug)]
pub(super) struct Lanes {
    segment: Segment,
    doorbells: Doorbells,
    events: Taker,
    ups: Vec<Taker>,
    /// Pushed to while the views of connections are borrowed, hence the cells.
    downs: Vec<RefCell<Outbound>>,
    jobs: RefCell<Outbound>,
    /// Whether any of the above was pushed to.
    pushed: Cell<bool>,
    /// The ring whose turn it is, the ring of events being the last; and how many entries it may
    /// still give.
    turn: usize,
    left: u32,
    /// What of the memory cannot be.
    contradiction: Cell<Option<&'static str>>,
    counters: Cell<Counters>,
}

impl Lanes {
    pub(super) fn new(segment: Segment, doorbells: Doorbells) -> Self {
        let cores = segment.geometry().cores as usize;
        Self {
            segment,
            doorbells,
            events: Taker::default(),
            ups: (0..cores).map(|_| Taker::default()).collect(),
            downs: (0..cores).map(|_| RefCell::default()).collect(),
            jobs: RefCell::default(),
            pushed: Cell::new(false),
            turn: 0,
            left: TURN,
            contradiction: Cell::new(None),
            counters: Cell::default(),
        }
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(super) fn doorbells(&self) -> &Doorbells {
        &self.doorbells
    }

    pub(super) fn cores(&self) -> usize {
        self.ups.len()
    }

    /// What contradicts itself, if anything does; nothing more is taken or pushed then.
    pub(super) fn contradiction(&self) -> Option<DetachReason> {
        self.contradiction.get().map(DetachReason::Contradiction)
    }

    pub(super) fn contradicts(&self, what: &'static str) {
        self.contradiction.set(Some(what));
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters.get()
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        count(&mut counters);
        self.counters.set(counters);
    }

    /// Takes the next entry. The rings have turns, so that none waits for ever for another.
    pub(super) fn take(&mut self) -> Taken {
        // Once round, and the rest of the one where it began.
        for _ in 0..=self.cores() + 1 {
            if self.left > 0 {
                let taken = if self.turn < self.ups.len() {
                    let ring = self.segment.up(self.turn);
                    self.ups[self.turn].take(ring).map(|entry| match entry {
                        Some([word]) => Taken::Slot(word as u32, (word >> 32) as u32),
                        None => Taken::Nothing,
                    })
                } else {
                    Ok(self.take_notice().map_or(Taken::Nothing, Taken::Notice))
                };
                match taken {
                    Ok(Taken::Nothing) => {}
                    Ok(taken) => {
                        self.left -= 1;
                        return taken;
                    }
                    Err(_) => {
                        self.contradicts("a cursor of the daemon's is out of its range");
                        return Taken::Nothing;
                    }
                }
            }
            self.turn = if self.turn == self.ups.len() { 0 } else { self.turn + 1 };
            self.left = TURN;
        }
        Taken::Nothing
    }

    /// Takes the next entry of the event ring.
    pub(super) fn take_notice(&mut self) -> Option<[u64; WORDS]> {
        let notice = self.events.take(self.segment.events()).unwrap_or_else(|_| {
            self.contradicts("the daemon's cursor of events is out of its range");
            None
        });
        if notice.is_some() {
            self.made_room_for_answers();
        }
        notice
    }

    /// The daemon takes no job for whose answer there is no room. If jobs wait, it may sleep for
    /// want of the room that there is now.
    fn made_room_for_answers(&self) {
        let jobs = self.segment.jobs();
        let mut outbound = self.jobs.borrow_mut();
        if outbound.pusher.room(jobs).is_ok_and(|room| room < jobs.entries.len()) {
            outbound.pushed = true;
            self.pushed.set(true);
        }
    }

    /// There is something to take.
    pub(super) fn has_some(&self) -> bool {
        let mut ups = self.ups.iter().enumerate();
        ups.any(|(core, up)| up.has_some(self.segment.up(core)))
            || self.events.has_some(self.segment.events())
    }

    /// Tells a core of a connection: it hears of it now if it looks, with [`rouse`](Self::rouse) if
    /// it sleeps.
    pub(super) fn raise(&self, slot: u32, generation: u32, core: u16) {
        let core = usize::from(core);
        if !self.segment.slot(slot).flags.down.raise(generation) {
            return;
        }
        let mut down = self.downs[core].borrow_mut();
        let entry = [u64::from(generation) << 32 | u64::from(slot)];
        match down.pusher.push(self.segment.down(core), entry) {
            Ok(true) => {}
            Ok(false) => self.contradicts("a ready ring is full"),
            Err(_) => self.contradicts("a cursor of a core's is out of its range"),
        }
        down.pushed = true;
        self.pushed.set(true);
    }

    /// Pushes a job; false if there is no room for it.
    pub(super) fn push_job(&self, words: [u64; WORDS]) -> bool {
        let mut jobs = self.jobs.borrow_mut();
        let pushed = jobs.pusher.push(self.segment.jobs(), words).unwrap_or_else(|_| {
            self.contradicts("the daemon's cursor of jobs is out of its range");
            false
        });
        // Also if it was full: who sleeps on a full ring has to be woken for it.
        jobs.pushed = true;
        self.pushed.set(true);
        pushed
    }

    /// Rings for whoever was pushed to and sleeps: one fence, and at most one ring for each.
    pub(super) fn rouse(&self) {
        if !self.pushed.replace(false) {
            return;
        }
        full_fence();
        for (core, down) in self.downs.iter().enumerate() {
            if std::mem::take(&mut down.borrow_mut().pushed) {
                let sleeps = self.segment.lane(core).core.0.rouse();
                self.ring(sleeps, || self.doorbells.ring_core(core));
            }
        }
        if std::mem::take(&mut self.jobs.borrow_mut().pushed) {
            let sleeps = self.segment.control().daemon.0.rouse();
            self.ring(sleeps, || self.doorbells.ring_daemon());
        }
    }

    fn ring(&self, sleeps: bool, ring: impl FnOnce()) {
        if sleeps {
            ring();
        }
        self.count(|counters| {
            counters.doorbells_rung += u64::from(sleeps);
            counters.doorbells_saved += u64::from(!sleeps);
        });
    }

    /// Declares that the application is going to sleep; false if there is something to take.
    pub(super) fn declare_sleep(&self) -> bool {
        let application = &self.segment.control().application.0;
        match sched_getcpu() {
            Ok(processor) => application.declare_on(processor as u32),
            Err(_) => application.declare(),
        }
        full_fence();
        if self.has_some() {
            application.cancel();
            return false;
        }
        true
    }

    pub(super) fn cancel_sleep(&self) {
        self.segment.control().application.0.cancel();
    }
}

impl AsFd for Lanes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.doorbells.as_fd()
    }
}
