//! How an application goes: it dies and may come back, it is gone for good, or it is thrown out;
//! and what the cores tell of the one and the other.

use super::fault::Fault;
use super::heard::Heard;
use super::served::{Phase, Served};
use crate::ids::ApplicationId;
use crate::job::Event;
use crate::message::Message;
use crate::messenger::Messenger;

impl Messenger {
    /// An application has died, or has gone.
    pub fn depart(&mut self, id: ApplicationId) {
        let cores = self.cores();
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        match served.phase {
            // It goes when all cores have confirmed that it has come.
            Phase::Attaching => {
                served.stillborn = true;
                served.successor = None;
            }
            Phase::Attached => {
                served.phase = Phase::Departing;
                self.do_last_jobs_of(id);
                let Some(served) = self.registry.served.get_mut(&id) else { return };
                if served.name.is_empty() || served.linger.is_zero() {
                    if served.successor.is_some() {
                        let reason = "the one before it was being attached: try again".to_owned();
                        let event = Event::Detached { application: id, reason };
                        self.registry.events.push_back(event);
                    }
                    return self.retire(id);
                }
                served.unconfirmed = cores;
                self.post_all(|| Message::Depart(id));
            }
            // The one that waited to come after it has died, too.
            Phase::Departing => served.successor = None,
            Phase::Departed => {}
        }
    }

    /// An application is gone for good.
    pub(crate) fn retire(&mut self, id: ApplicationId) {
        if self.forget(id).is_some() {
            self.post_all(|| Message::Retire(id));
        }
    }

    /// An application has done something wrong.
    pub(crate) fn evict(&mut self, id: ApplicationId, reason: &str) {
        if self.forget(id).is_none() {
            return;
        }
        self.post_all(|| Message::Evict(id));
        let reason = reason.to_owned();
        self.registry.events.push_back(Event::Detached { application: id, reason });
    }

    fn forget(&mut self, id: ApplicationId) -> Option<Served> {
        let served = self.registry.served.remove(&id)?;
        for (&job, listen) in &served.listens {
            self.leave_listener(listen.listener, id, job);
        }
        Some(served)
    }

    /// A doorbell of an application has rung; see [`Grant::doorbell`](super::Grant::doorbell).
    pub fn application_rang(&mut self, id: ApplicationId) {
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        if std::mem::replace(&mut served.rung, true) {
            self.count_vain(id);
        }
    }

    fn count_vain(&mut self, id: ApplicationId) {
        const VAIN: u32 = 10_000;
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        served.vain += 1;
        if served.vain >= VAIN {
            let fault = Fault::Vain(served.vain);
            self.evict(id, &fault.to_string());
        }
    }

    /// Acts on what a core tells of an application.
    pub(crate) fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Attached { application } => self.confirmed(application, Phase::Attaching),
            Heard::Departed { application } => self.confirmed(application, Phase::Departing),
            Heard::Unwatched { application, error } => {
                self.evict(application, &format!("its doorbell cannot be watched: {error}"));
            }
            Heard::Joined { application, job } => self.joined(application, job),
            Heard::Fault { application, fault } => self.evict(application, &fault.to_string()),
            Heard::TimeOver { application } => self.time_over(application),
        }
    }

    /// The time of an application's present phase is over. What a core says of an earlier one comes
    /// before it confirms the next, and so finds it in between.
    fn time_over(&mut self, id: ApplicationId) {
        let Some(served) = self.registry.served.get(&id) else { return };
        match served.phase {
            Phase::Attached => self.end_unasked(id),
            Phase::Departed => {
                log::info!("{} did not come back: its connections are closed", served.label());
                self.retire(id);
            }
            Phase::Attaching | Phase::Departing => {}
        }
    }

    fn confirmed(&mut self, id: ApplicationId, phase: Phase) {
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        if served.phase != phase {
            return;
        }
        served.unconfirmed -= 1;
        if served.unconfirmed > 0 {
            return;
        }
        if phase == Phase::Attaching {
            return self.grant(id);
        }
        served.phase = Phase::Departed;
        let (linger, successor) = (served.linger, served.successor.take());
        // Also if one comes at once, which ends it: it may fail to.
        self.post(0, Message::Time(id, linger));
        if let Some(successor) = successor {
            self.succeed(id, successor);
        }
    }

    /// For tests: the end of the application of this name is confirmed by all cores.
    #[cfg(test)]
    pub(crate) fn is_departed(&self, name: &str) -> bool {
        let mut served = self.registry.served.values().filter(|served| served.name == name);
        served.any(|served| served.phase == Phase::Departed)
    }

    /// For tests: nothing could be taken over from the application of this name.
    #[cfg(test)]
    pub(crate) fn has_left_nothing(&self, name: &str) -> bool {
        let mut served = self.registry.served.values().filter(|served| served.name == name);
        !served.any(|served| served.has_left_something())
    }
}
