//! What a worker does for its applications in a turn: numbers come up and go down, rings are
//! filled.

use std::rc::Rc;

use vmsgr_reactor::{Received, TimerId, Token};

use super::conduit::Conduit;
use super::fault::Fault;
use super::lane::{Held, Lane};
use crate::connection::Role;
use crate::ending;
use crate::shm::status::{Ending, Status};
use crate::shm::sync::{Ordering, full_fence};
use crate::waiting::Waiting;
use crate::worker::{Worker, WorkerCore};

/// Numbers of one application that are taken in one turn (I6).
const NUMBERS: usize = 1024;

impl Worker {
    /// Takes the numbers that applications have pushed; how many.
    pub(crate) fn take_numbers(&mut self, core: &mut WorkerCore) -> usize {
        let mut found = 0;
        for index in 0..self.lanes.len() {
            // A lane goes only when its last connection ends, which may happen here.
            let Some(lane) = self.lanes.get(index).filter(|lane| lane.has_some()) else { continue };
            let lane = Rc::clone(lane);
            found += self.take_numbers_of(core, &lane, NUMBERS);
        }
        found
    }

    pub(crate) fn take_numbers_of(
        &mut self,
        core: &mut WorkerCore,
        lane: &Rc<Lane>,
        most: usize,
    ) -> usize {
        let mut found = 0;
        while found < most
            && let Some((slot, generation)) = lane.take()
        {
            found += 1;
            self.heed(core, lane, slot, generation);
        }
        found
    }

    fn heed(&mut self, core: &mut WorkerCore, lane: &Rc<Lane>, slot: u32, generation: u32) {
        let slots = lane.application.segment.geometry().slots;
        if slot >= slots {
            return lane.fail(Fault::Slot { slot, slots });
        }
        let lower = || {
            let lowered = lane.slot(slot).flags.down.lower(generation);
            if lowered {
                lane.heeded()
            } else {
                lane.fail(Fault::PushedTwice(slot))
            }
            lowered
        };
        match lane.held(slot) {
            Held::Live { generation: held, token } if held == generation => {
                if lower() {
                    self.look(core, token);
                }
            }
            Held::Session { generation: held, entity, session } if held == generation => {
                if lower() {
                    self.look_at_session(core, entity, session);
                }
            }
            Held::Over { generation: held } if held == generation => {
                if lower() {
                    self.release_if_given_up(core, lane, slot);
                }
            }
            // Pushed when the connection was gone already.
            _ => lane.count_vain(),
        }
    }

    /// Looks at a connection of which its application has said that there is something new.
    pub(crate) fn look(&mut self, core: &mut WorkerCore, token: Token) {
        if let Err((lane, fault)) = self.try_to_look(core, token) {
            lane.fail(fault);
        }
    }

    fn try_to_look(
        &mut self,
        core: &mut WorkerCore,
        token: Token,
    ) -> Result<(), (Rc<Lane>, Fault)> {
        let Some(conduit) = conduit_of(core, token) else { return Ok(()) };
        let lane = Rc::clone(&conduit.lane);
        let blame = |fault| (Rc::clone(&lane), fault);
        // The ending before the bytes: all that was committed before it is sent.
        let was_shut_down = conduit.is_shut_down();
        let ending = conduit.look_at_ending().map_err(blame)?;
        if conduit.stopped && conduit.room().map_err(blame)? > 0 {
            conduit.stopped = false;
            core.set_reading(token, true);
        }
        if !was_shut_down && let Some(Waiting::Ring(ring)) = core.pending_mut(token) {
            ring.refresh().map_err(blame)?;
        }
        match ending {
            None | Some(Ending::None) => {}
            Some(Ending::Shutdown) => core.finish(token),
            Some(Ending::Close) => self.close_for_application(core, token),
            Some(Ending::Reset) => self.dismiss(core, token, ending::Ending::Reset),
        }
        Ok(())
    }

    /// The application is done with a connection: what it has committed is sent, and its peer gets
    /// it; what comes is forgotten.
    pub(crate) fn close_for_application(&mut self, core: &mut WorkerCore, token: Token) {
        let Some(state) = core.state(token) else { return };
        if state.attempt.is_some() {
            // Nothing has been sent, and nobody waits for it any more.
            return self.dismiss(core, token, ending::Ending::Close);
        }
        if core.pending_bytes(token) > 0 || !self.close_if_acknowledged(core, token) {
            self.linger(core, token);
            self.bound_linger(core, token);
        }
    }

    /// Reads from the socket of a connection straight into its receive ring.
    pub(crate) fn fill(&mut self, core: &mut WorkerCore, token: Token) -> Received {
        let Some(state) = core.state_mut(token) else { return Received::Nothing };
        // Taken out, since the socket lies beside it.
        let Role::Application(mut conduit) = std::mem::replace(&mut state.role, Role::Discard)
        else {
            return Received::Nothing;
        };
        let received = match conduit.room() {
            Ok(0) => {
                conduit.stopped = true;
                core.set_reading(token, false);
                Received::Nothing
            }
            Ok(room) => core.receive(token, room as usize, |socket| conduit.read(socket, room)),
            Err(fault) => {
                conduit.lane.fail(fault);
                Received::Nothing
            }
        };
        match received {
            Received::Bytes(count) => conduit.came(count),
            Received::End => conduit.peer_ended(),
            Received::Nothing => {}
        }
        if let Some(state) = core.state_mut(token) {
            state.role = Role::Application(conduit);
        }
        received
    }

    /// A connection of an application may have something to be read.
    pub(crate) fn readable_for_application(
        &mut self,
        core: &mut WorkerCore,
        token: Token,
        idle: Option<TimerId>,
    ) {
        if let Received::Bytes(_) = self.fill(core, token)
            && let (Some(timer), Some(delay)) = (idle, self.options.connection.idle_time_out)
        {
            core.rearm(timer, delay);
        }
    }

    /// An application has pushed something.
    pub(crate) fn has_numbers(&self) -> bool {
        self.lanes.iter().any(|lane| lane.has_some())
    }

    /// Declares to the applications that the core is going to sleep; false if there is something
    /// to do after all, and then it is awake.
    pub(crate) fn declare_sleep(&self) -> bool {
        if self.lanes.is_empty() {
            return true;
        }
        self.lanes.iter().for_each(|lane| lane.declare());
        full_fence();
        let may_sleep = !self.has_numbers();
        if !may_sleep {
            self.cancel_sleep();
        }
        may_sleep
    }

    /// The core is awake.
    pub(crate) fn cancel_sleep(&self) {
        self.lanes.iter().for_each(|lane| lane.cancel());
    }

    /// A connection of an application is over, whatever ended it.
    pub(crate) fn over(&mut self, core: &mut WorkerCore, mut conduit: Conduit, errno: u16) {
        let (lane, slot) = (Rc::clone(&conduit.lane), conduit.slot);
        conduit.close(errno);
        lane.hold(slot, Held::Over { generation: conduit.generation() });
        // What it says may be of use to it no more; a lie is as good as a farewell then.
        let _ = conduit.look_at_ending();
        if conduit.is_given_up() || lane.is_retiring() {
            self.release(core, &lane, slot);
        } else {
            conduit.announce();
        }
    }

    pub(crate) fn release_if_given_up(
        &mut self,
        core: &mut WorkerCore,
        lane: &Rc<Lane>,
        slot: u32,
    ) {
        let word = lane.slot(slot).of_application.ending.load(Ordering::Acquire);
        if Ending::from_word(word).is_none_or(|ending| ending >= Ending::Close) {
            self.release(core, lane, slot);
        }
    }

    /// Gives a slot back to its application's other connections.
    pub(crate) fn release(&mut self, core: &mut WorkerCore, lane: &Rc<Lane>, slot: u32) {
        let generation = match lane.held(slot) {
            Held::Live { generation, .. }
            | Held::Session { generation, .. }
            | Held::Over { generation } => generation,
            Held::Nothing => return,
        };
        let free = Status { generation, ..Status::UNUSED };
        let status = &lane.slot(slot).of_daemon.status;
        status.store(free.to_word(), Ordering::Release);
        lane.hold(slot, Held::Nothing);
        let cores = lane.application.slots.release(slot);
        self.tell_of_place(core, cores);
        self.drop_lane_if_done(core, lane);
    }
}

fn conduit_of(core: &mut WorkerCore, token: Token) -> Option<&mut Conduit> {
    match &mut core.state_mut(token)?.role {
        Role::Application(conduit) => Some(conduit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::application::double::worker_alone;
    use crate::shm::ring::Pusher;

    #[test]
    fn no_more_numbers_are_taken_in_a_turn_than_it_may() {
        let (mut tested, lane) = worker_alone(4);
        let mut pusher = Pusher::default();
        for slot in 0..4 {
            assert_eq!(pusher.push(lane.application.segment.down(0), [slot]), Ok(true));
        }
        let (worker, core) = tested.handler();
        assert_eq!(worker.take_numbers_of(core, &lane, 3), 3);
        assert!(lane.has_some());
        assert_eq!(worker.take_numbers_of(core, &lane, 3), 1);
    }
}
