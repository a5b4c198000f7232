//! The way between one core and one application: slot numbers go up and down.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use vmsgr_reactor::{TimerId, Token};

use super::allowance::Portion;
use super::fault::Fault;
use super::lines::Lines;
use super::shared::Application;
use crate::entity::EntityId;
use crate::msgr2::SessionId;
use crate::shm::layout::Slot;
use crate::shm::ring::{Pusher, Taker};

/// Doorbells in a row, or stale numbers, that lead to nothing. One that is in its senses never
/// makes two: it rings after it has pushed, and only for a sleeper.
const VAIN: u32 = 10_000;

/// Numbers of entities that are kept when those are over.
const ENDED: usize = 128;

/// What a core has in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Nothing,
    /// A connection with this generation.
    Live {
        generation: u32,
        token: Token,
    },
    /// A session of one of its entities, with this generation.
    Session {
        generation: u32,
        entity: EntityId,
        session: SessionId,
    },
    /// A connection that is over, until the application says that it is done with it.
    Over {
        generation: u32,
    },
}

/// One core's end of the way. Belongs to the core's thread.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) application: Arc<Application>,
    core: usize,
    up: RefCell<Pusher>,
    down: RefCell<Taker>,
    held: RefCell<Vec<Held>>,
    /// How many of them are not `Nothing`.
    holds: Cell<usize>,
    /// Somebody is at the other end.
    attached: Cell<bool>,
    /// Nobody will be any more: it ends with its last connection.
    retiring: Cell<bool>,
    /// Numbers that were pushed up, of which the application has not been told.
    news: Cell<u32>,
    /// The application has done something wrong.
    failed: Cell<bool>,
    /// What that was, until it is told.
    fault: Cell<Option<Fault>>,
    /// Its doorbell rang, and no number has come since.
    rung: Cell<bool>,
    vain: Cell<u32>,
    /// The doorbell that it rings for this core.
    pub(crate) doorbell: Cell<Option<Token>>,
    /// Ends the time in which somebody may come again, or whoever has come may ask for what was
    /// taken over, on the core that measures it.
    pub(crate) time: Cell<Option<TimerId>>,
    /// Its entities that have ended here: what is on its way to them comes too late. The last ones.
    ended: RefCell<VecDeque<u64>>,
    /// What is held for it here outside its segment.
    pub(crate) portion: Portion,
    /// Its sessions that wait to go on.
    pub(crate) lines: Lines,
}

impl Lane {
    pub(crate) fn new(application: Arc<Application>, core: usize) -> Self {
        Self {
            application,
            core,
            up: RefCell::default(),
            down: RefCell::default(),
            held: RefCell::default(),
            holds: Cell::new(0),
            attached: Cell::new(false),
            retiring: Cell::new(false),
            news: Cell::new(0),
            failed: Cell::new(false),
            fault: Cell::new(None),
            rung: Cell::new(false),
            vain: Cell::new(0),
            doorbell: Cell::new(None),
            time: Cell::new(None),
            ended: RefCell::default(),
            portion: Portion::default(),
            lines: Lines::default(),
        }
    }

    /// A slot of the application, whose number was checked.
    pub(crate) fn slot(&self, slot: u32) -> &Slot {
        self.application.segment.slot(slot)
    }

    /// What this core has in a slot.
    pub(crate) fn held(&self, slot: u32) -> Held {
        self.held.borrow().get(slot as usize).copied().unwrap_or(Held::Nothing)
    }

    pub(crate) fn hold(&self, slot: u32, held: Held) {
        let mut all = self.held.borrow_mut();
        if all.len() <= slot as usize {
            all.resize(slot as usize + 1, Held::Nothing);
        }
        let before = std::mem::replace(&mut all[slot as usize], held);
        let holds = self.holds.get() + usize::from(held != Held::Nothing);
        self.holds.set(holds - usize::from(before != Held::Nothing));
    }

    /// All slots in which this core has something.
    pub(crate) fn all_held(&self) -> Vec<(u32, Held)> {
        let held = self.held.borrow();
        let all = held.iter().enumerate().map(|(slot, held)| (slot as u32, *held));
        all.filter(|(_, held)| *held != Held::Nothing).collect()
    }

    /// In how many slots it has something.
    pub(crate) fn holds(&self) -> usize {
        self.holds.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.holds.get() == 0
    }

    /// The entity of this number is over.
    pub(crate) fn end_entity(&self, number: u64) {
        let mut ended = self.ended.borrow_mut();
        if ended.len() == ENDED {
            ended.pop_front();
        }
        ended.push_back(number);
    }

    pub(crate) fn has_ended(&self, number: u64) -> bool {
        self.ended.borrow().contains(&number)
    }

    /// More may be held for the application.
    pub(crate) fn has_room(&self) -> bool {
        self.portion.has_room(&self.application.allowance, self.core)
    }

    /// Somebody is at the other end, and has done nothing wrong.
    pub(crate) fn is_attached(&self) -> bool {
        self.attached.get()
    }

    /// It ends with its last connection.
    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring.get()
    }

    /// Nobody is at the other end any more, and nobody will be.
    pub(crate) fn retire(&self) {
        self.attached.set(false);
        self.retiring.set(true);
    }

    /// Nobody is at the other end for now.
    pub(crate) fn depart(&self) {
        self.attached.set(false);
        self.application.segment.lane(self.core).core.0.cancel();
    }

    /// Somebody has come, or come again: the rings begin anew, and everything there is is
    /// announced.
    pub(crate) fn attach(&self) {
        self.application.segment.reset_lane(self.core);
        self.up.take();
        self.down.take();
        self.attached.set(true);
        for (slot, held) in self.all_held() {
            let (Held::Live { generation, .. }
            | Held::Session { generation, .. }
            | Held::Over { generation }) = held
            else {
                continue;
            };
            self.slot(slot).flags.up.reset();
            self.slot(slot).flags.down.reset();
            self.announce(slot, generation);
        }
    }

    /// Tells the application that there is something new in a slot.
    pub(crate) fn announce(&self, slot: u32, generation: u32) {
        if !self.attached.get() || !self.slot(slot).flags.up.raise(generation) {
            return;
        }
        let ring = self.application.segment.up(self.core);
        let entry = u64::from(generation) << 32 | u64::from(slot);
        match self.up.borrow_mut().push(ring, [entry]) {
            Ok(true) => self.news.set(self.news.get() + 1),
            // There is room for every number twice.
            Ok(false) => self.fail(Fault::RingFull),
            Err(lies) => self.fail(lies.into()),
        }
    }

    /// The next number that the application has pushed: slot and generation.
    pub(crate) fn take(&self) -> Option<(u32, u32)> {
        match self.down.borrow_mut().take(self.application.segment.down(self.core)) {
            Ok(None) => None,
            Ok(Some([entry])) => Some((entry as u32, (entry >> 32) as u32)),
            Err(lies) => {
                self.fail(lies.into());
                None
            }
        }
    }

    /// There are numbers to take.
    pub(crate) fn has_some(&self) -> bool {
        self.attached.get() && self.down.borrow().has_some(self.application.segment.down(self.core))
    }

    /// Declares that the core is going to sleep; a full fence and [`has_some`](Self::has_some)
    /// follow.
    pub(crate) fn declare(&self) {
        if self.attached.get() {
            self.application.segment.lane(self.core).core.0.declare();
        }
    }

    /// The core is awake.
    pub(crate) fn cancel(&self) {
        if self.attached.get() {
            self.application.segment.lane(self.core).core.0.cancel();
        }
    }

    /// Numbers of which the application has not been told.
    pub(crate) fn news(&self) -> u32 {
        self.news.get()
    }

    /// From now on it has been told of all.
    pub(crate) fn told(&self) {
        self.news.set(0);
    }

    /// The application has done something wrong: nothing that it says is heeded any more.
    pub(crate) fn fail(&self, fault: Fault) {
        self.attached.set(false);
        if !self.failed.replace(true) {
            self.fault.set(Some(fault));
        }
    }

    /// What it has done wrong, to be told once.
    pub(crate) fn take_fault(&self) -> Option<Fault> {
        self.fault.take()
    }

    /// The application has rung this core.
    pub(crate) fn ring(&self) {
        if self.rung.replace(true) {
            self.count_vain();
        }
    }

    /// A number came that means something.
    pub(crate) fn heeded(&self) {
        self.rung.set(false);
        self.vain.set(0);
    }

    /// Something came that means nothing.
    pub(crate) fn count_vain(&self) {
        let vain = self.vain.get() + 1;
        self.vain.set(vain);
        if vain >= VAIN {
            self.fail(Fault::Vain(vain));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::double::worker_alone;

    #[test]
    fn who_has_done_something_wrong_is_neither_heard_nor_told_any_more() {
        let (_worker, lane) = worker_alone(4);
        lane.announce(0, 1);
        assert_eq!(lane.news(), 1);
        lane.told();
        assert_eq!(Pusher::default().push(lane.application.segment.down(0), [1]), Ok(true));
        assert!(lane.has_some());
        lane.fail(Fault::PushedTwice(2));
        lane.fail(Fault::PushedTwice(3));
        assert!(!lane.has_some() && !lane.is_attached());
        lane.announce(1, 1);
        assert_eq!(lane.news(), 0);
        assert_eq!(lane.take_fault(), Some(Fault::PushedTwice(2)), "the first, once");
        assert_eq!(lane.take_fault(), None);
    }

    #[test]
    fn rings_for_nothing_count_only_in_a_row() {
        let (_worker, lane) = worker_alone(4);
        for _ in 0..VAIN {
            lane.ring();
            lane.ring();
            lane.heeded();
        }
        assert_eq!(lane.take_fault(), None);
        (0..VAIN).for_each(|_| lane.ring());
        assert_eq!(lane.take_fault(), None, "the first one may have been for something");
        lane.ring();
        assert_eq!(lane.take_fault(), Some(Fault::Vain(VAIN)));
    }
}
