//! How applications come to a core, die, are taken over, and go.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use vmsgr_reactor::Doorbell;

use super::heard::Heard;
use super::lane::{Held, Lane};
use super::shared::Application;
use crate::connection::Role;
use crate::ending::Ending;
use crate::ids::ApplicationId;
use crate::worker::{Timer, Worker, WorkerCore};

impl Worker {
    /// An application has come, or has come again.
    pub(crate) fn attach(
        &mut self,
        core: &mut WorkerCore,
        application: Arc<Application>,
        doorbell: Doorbell,
    ) {
        let id = application.id;
        let lane = self.lane_of(id).unwrap_or_else(|| {
            let lane = Rc::new(Lane::new(application, self.index));
            self.lanes.push(Rc::clone(&lane));
            lane
        });
        if let Some(old) = lane.doorbell.take() {
            core.unwatch(old);
        }
        match core.watch(doorbell, id.0 as usize) {
            Ok(token) => lane.doorbell.set(Some(token)),
            Err(error) => return self.say(core, Heard::Unwatched { application: id, error }),
        }
        end_time(core, &lane);
        lane.attach();
        self.say(core, Heard::Attached { application: id });
        // Its listeners may have waited for it.
        self.resume_waiting(core);
    }

    /// A doorbell of an application has rung.
    pub(crate) fn application_rang(&mut self, id: usize) {
        if let Some(lane) = self.lane_of(ApplicationId(id as u64)) {
            lane.ring();
        }
    }

    /// An application has died: what it has committed goes on its way, and what was half done is
    /// repaired. Its connections stay, for whoever comes after it.
    pub(crate) fn depart(&mut self, core: &mut WorkerCore, id: ApplicationId) {
        if let Some(lane) = self.lane_of(id) {
            end_time(core, &lane);
            if lane.is_attached() {
                // Nothing of it is lost that a look at all slots would not find; but what it has
                // done wrong shows here.
                let most = lane.application.segment.geometry().ready_entries();
                self.take_numbers_of(core, &lane, most);
            }
            lane.depart();
            for (_, held) in lane.all_held() {
                if let Held::Session { entity, session, .. } = held {
                    self.depart_session(core, entity, session);
                }
                let Held::Live { token, .. } = held else { continue };
                if let Some(Role::Application(conduit)) = core.state(token).map(|state| &state.role)
                {
                    conduit.complete_intent();
                }
                self.look(core, token);
            }
            for (slot, held) in lane.all_held() {
                if matches!(held, Held::Over { .. }) {
                    self.release_if_given_up(core, &lane, slot);
                }
            }
        }
        self.say(core, Heard::Departed { application: id });
    }

    /// An application has so much time from now on, until it dies or somebody comes after it.
    pub(crate) fn begin_time(&mut self, core: &mut WorkerCore, id: ApplicationId, time: Duration) {
        let Some(lane) = self.lane_of(id) else { return };
        let timer = core.arm(time, Timer::Application(id));
        let before = lane.time.replace(Some(timer));
        debug_assert!(before.is_none(), "who dies or comes ends the time before");
    }

    /// That time is over.
    pub(crate) fn time_over(&mut self, core: &mut WorkerCore, application: ApplicationId) {
        if let Some(lane) = self.lane_of(application) {
            lane.time.set(None);
        }
        self.say(core, Heard::TimeOver { application });
    }

    /// An application is gone for good: each connection is closed behind what was committed.
    pub(crate) fn retire(&mut self, core: &mut WorkerCore, id: ApplicationId) {
        let Some(lane) = self.lane_of(id) else { return };
        lane.retire();
        for (slot, held) in lane.all_held() {
            match held {
                Held::Live { token, .. } => {
                    self.look(core, token);
                    if let Some(state) = core.state_mut(token)
                        && let Role::Application(conduit) = &mut state.role
                    {
                        conduit.give_up();
                    }
                    self.close_for_application(core, token);
                }
                Held::Session { entity, session, .. } => {
                    self.retire_session(core, entity, session);
                }
                Held::Over { .. } => self.release(core, &lane, slot),
                Held::Nothing => {}
            }
        }
        self.retire_entities(core, id);
        self.drop_lane_if_done(core, &lane);
    }

    /// An application has done something wrong: its connections are cut off.
    pub(crate) fn evict(&mut self, core: &mut WorkerCore, id: ApplicationId) {
        let Some(lane) = self.lane_of(id) else { return };
        lane.retire();
        for (slot, held) in lane.all_held() {
            match held {
                Held::Live { token, .. } => self.dismiss(core, token, Ending::Reset),
                Held::Session { entity, session, .. } => {
                    self.evict_session(core, entity, session);
                }
                Held::Over { .. } => self.release(core, &lane, slot),
                Held::Nothing => {}
            }
        }
        self.retire_entities(core, id);
        self.drop_lane_if_done(core, &lane);
    }

    /// A lane that nobody comes to any more goes with its last connection.
    pub(crate) fn drop_lane_if_done(&mut self, core: &mut WorkerCore, lane: &Rc<Lane>) {
        if !lane.is_retiring() || !lane.is_empty() {
            return;
        }
        if let Some(doorbell) = lane.doorbell.take() {
            core.unwatch(doorbell);
        }
        end_time(core, lane);
        let to_tell = lane.portion.end(&lane.application.allowance);
        self.tell_of_place(core, to_tell);
        self.lanes.retain(|other| !Rc::ptr_eq(other, lane));
    }
}

/// The phase is over that had a time.
fn end_time(core: &mut WorkerCore, lane: &Lane) {
    if let Some(timer) = lane.time.take() {
        core.cancel(timer);
    }
}
