//! All applications, as the messenger's thread knows them: who is attached, who has died and may
//! come back, who listens where.

use std::collections::{HashMap, VecDeque};

use super::served::{Listened, Served};
use crate::ids::{ApplicationId, JobId};
use crate::job::Event;
use crate::shm::sync::full_fence;

/// Applications that are kept at a time, dead or alive: each has a segment.
pub(super) const APPLICATIONS: usize = if cfg!(test) { 16 } else { 1024 };

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Entities that there have been.
    pub(super) entities: u64,
    pub(crate) served: HashMap<ApplicationId, Served>,
    pub(crate) listened: HashMap<JobId, Listened>,
    /// The last name that was given.
    pub(super) last: u64,
    /// What the messenger's owner is to be told.
    pub(crate) events: VecDeque<Event>,
}

impl Registry {
    /// Declares to the applications that the messenger's thread is going to sleep; false if one of
    /// them has a job after all, and then it is awake.
    pub(crate) fn declare_sleep(&mut self, may_post: bool) -> bool {
        if self.served.is_empty() {
            return true;
        }
        for served in self.served.values().filter(|served| served.is_attached()) {
            served.shared.segment.control().daemon.0.declare();
        }
        full_fence();
        // Cores that have fallen behind wake it when they have caught up.
        let may_sleep = !may_post || !self.served.values_mut().any(Served::has_jobs);
        if !may_sleep {
            self.cancel_sleep();
        }
        may_sleep
    }

    /// The messenger's thread is awake.
    pub(crate) fn cancel_sleep(&self) {
        for served in self.served.values() {
            served.shared.segment.control().daemon.0.cancel();
        }
    }
}
