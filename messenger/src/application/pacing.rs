//! How much a worker does for the sessions of its applications at a time: each moves a budget of
//! bytes in a turn, and those that have left something in their rings go on in a later one.

use std::rc::Rc;

use super::lane::Lane;
use super::lines::{Pause, Turn};
use crate::worker::{Worker, WorkerCore};

impl Worker {
    /// The turn that is now, and what a session may move in it.
    pub(crate) fn turn(&self) -> Turn {
        Turn { number: self.turns, bytes: self.options.budget.bytes }
    }

    /// Goes on with those sessions that wait for no more than that; how many.
    pub(crate) fn take_more(&mut self, core: &mut WorkerCore) -> usize {
        self.turns += 1;
        let mut found = 0;
        for index in 0..self.lanes.len() {
            // A lane goes only when its last session ends, which may happen here.
            let Some(lane) = self.lanes.get(index).filter(|lane| has_more(lane)) else { continue };
            let lane = Rc::clone(lane);
            // Who waits for room has it before those who go on. Those that join either line
            // meanwhile wait for the next turn.
            let waiting = [Pause::Room, Pause::Turn].map(|pause| (pause, lane.lines.len(pause)));
            for (pause, waiting) in waiting {
                for _ in 0..waiting {
                    if pause == Pause::Room && !lane.has_room() {
                        break;
                    }
                    let Some((entity, session)) = lane.lines.next(pause) else { break };
                    if let Some((_, sessions)) = self.entities.of_application(entity)
                        && let Some(session) = sessions.get_mut(session)
                    {
                        session.in_line[pause as usize] = false;
                        found += 1;
                    }
                    self.look_at_session(core, entity, session);
                }
            }
        }
        found
    }

    /// Some session could go on.
    pub(crate) fn has_more(&self) -> bool {
        self.lanes.iter().any(|lane| has_more(lane))
    }

    /// Gives back what cores with more to hold may need of this one's portions.
    pub(crate) fn settle_portions(&mut self, core: &mut WorkerCore) {
        for index in 0..self.lanes.len() {
            let lane = &self.lanes[index];
            let mut to_tell = lane.portion.settle(&lane.application.allowance);
            // It sees that by itself before it sleeps.
            to_tell.retain(|other| *other != self.index);
            self.tell_of_place(core, to_tell);
        }
    }
}

fn has_more(lane: &Lane) -> bool {
    !lane.lines.is_empty(Pause::Turn) || !lane.lines.is_empty(Pause::Room) && lane.has_room()
}
