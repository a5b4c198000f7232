//! When applications are told what a worker has for them.
//!
//! Whom the worker wakes on its own processor takes that from it, for a few messages at a time: two
//! changes of process for each batch. An application that has said that it sleeps there, as its
//! doorbell is left for later, until the worker has nothing else to do, but neither for many turns
//! nor for many connections, nor where no other connection could join those that there are. One
//! that sleeps elsewhere is rung for at the end of the turn.

use super::heard::Heard;
use crate::shm::sync::full_fence;
use crate::worker::{Worker, WorkerCore};

/// So many numbers for one application are not left for later.
const NUMBERS: u32 = 64;

impl Worker {
    /// Tells the applications what there is for them, each with at most one doorbell, and the
    /// messenger which of them has done something wrong. One that sleeps `here` may be left for
    /// later; `None`: nobody is.
    pub(crate) fn tell_applications(&mut self, core: &mut WorkerCore, here: Option<u32>) {
        let here = here.filter(|_| self.bells.may_wait());
        let mut fenced = false;
        let mut withheld = false;
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            if let Some(fault) = lane.take_fault() {
                let application = lane.application.id;
                self.say(core, Heard::Fault { application, fault });
                continue;
            }
            let news = lane.news();
            if news == 0 {
                continue;
            }
            if !std::mem::replace(&mut fenced, true) {
                full_fence();
            }
            let may_grow = news < NUMBERS && (news as usize) < lane.holds();
            if may_grow && here.is_some_and(|here| lane.application.is_asleep_on(here)) {
                withheld = true;
                continue;
            }
            lane.told();
            let counters = core.counters_mut();
            match lane.application.rouse() {
                true => counters.doorbells_rung += 1,
                false => counters.doorbells_saved += 1,
            }
        }
        self.bells.turn_is_over(withheld);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bells::TURNS;
    use super::*;
    use std::rc::Rc;

    use vmsgr_reactor::Loop;

    use crate::application::Lane;
    use crate::application::double::worker_alone;
    use crate::application::lane::Held;

    const HERE: Option<u32> = Some(3);

    /// A worker whose application has so many connections.
    fn with_connections(count: u32) -> (Loop<Worker>, Rc<Lane>) {
        let (tested, lane) = worker_alone(count);
        (0..count).for_each(|slot| lane.hold(slot, Held::Over { generation: 1 }));
        (tested, lane)
    }

    fn sleeps_on(lane: &Lane, processor: u32) {
        lane.application.segment.control().application.0.declare_on(processor);
    }

    #[test]
    fn who_would_take_this_processor_is_rung_for_when_there_is_nothing_else_to_do() {
        let (mut tested, lane) = with_connections(4);
        let (worker, core) = tested.handler();
        sleeps_on(&lane, 3);
        worker.tell_applications(core, HERE);
        assert!(!worker.bells.withhold(), "there is nothing to tell");
        lane.announce(0, 1);
        worker.tell_applications(core, HERE);
        assert!(worker.bells.withhold());
        assert_eq!(core.counters().doorbells_rung, 0);
        worker.tell_applications(core, None);
        assert!(!worker.bells.withhold());
        assert_eq!(core.counters().doorbells_rung, 1);
        worker.tell_applications(core, None);
        let counters = core.counters();
        assert_eq!((counters.doorbells_rung, counters.doorbells_saved), (1, 0), "told once");
    }

    #[test]
    fn who_sleeps_elsewhere_or_does_not_say_where_is_rung_for_at_once() {
        let (mut tested, lane) = with_connections(4);
        let (worker, core) = tested.handler();
        sleeps_on(&lane, 2);
        lane.announce(0, 1);
        worker.tell_applications(core, HERE);
        assert_eq!(core.counters().doorbells_rung, 1);
        lane.application.segment.control().application.0.declare();
        lane.announce(1, 1);
        worker.tell_applications(core, HERE);
        assert_eq!(core.counters().doorbells_rung, 2);
        sleeps_on(&lane, u32::MAX);
        lane.announce(2, 1);
        worker.tell_applications(core, HERE);
        assert_eq!(core.counters().doorbells_rung, 3);
        lane.announce(3, 1);
        worker.tell_applications(core, HERE);
        assert_eq!(core.counters().doorbells_saved, 1, "it is awake");
        assert!(!worker.bells.withhold());
    }

    #[test]
    fn nobody_waits_for_many_turns_or_for_many_connections() {
        let (mut tested, lane) = with_connections(2 * NUMBERS);
        let (worker, core) = tested.handler();
        sleeps_on(&lane, 3);
        lane.announce(0, 1);
        for turn in 1..=TURNS {
            worker.tell_applications(core, HERE);
            assert_eq!(core.counters().doorbells_rung, 0, "turn {turn}");
        }
        worker.tell_applications(core, HERE);
        assert_eq!(core.counters().doorbells_rung, 1);
        sleeps_on(&lane, 3);
        (1..NUMBERS).for_each(|slot| lane.announce(slot, 1));
        worker.tell_applications(core, HERE);
        assert_eq!(core.counters().doorbells_rung, 1);
        lane.announce(NUMBERS, 1);
        worker.tell_applications(core, HERE);
        assert_eq!(core.counters().doorbells_rung, 2);
    }

    #[test]
    fn nobody_waits_for_connections_that_there_are_not() {
        let (mut tested, lane) = with_connections(2);
        let (worker, core) = tested.handler();
        sleeps_on(&lane, 3);
        lane.announce(0, 1);
        worker.tell_applications(core, HERE);
        assert_eq!(core.counters().doorbells_rung, 0);
        lane.announce(1, 1);
        worker.tell_applications(core, HERE);
        assert_eq!(core.counters().doorbells_rung, 1);
    }
}
