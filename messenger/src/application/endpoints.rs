//! Which application an accepted connection goes to: those that listen at one address share what is
//! accepted there, evenly.

use std::rc::Rc;
use std::sync::Arc;

use super::lane::Lane;
use super::shared::Application;
use crate::ids::ApplicationId;

/// A slot that is taken for a connection on its way.
#[derive(Debug, Clone)]
pub(crate) struct Reserved {
    pub(crate) application: Arc<Application>,
    pub(crate) slot: u32,
    /// The application's number for its listen job.
    pub(crate) job: u64,
}

/// The applications that listen at one address, as one core knows them.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    all: Vec<Endpoint>,
    /// Who is first among equals next.
    next: usize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) lane: Rc<Lane>,
    /// The application's number for its listen job.
    pub(super) job: u64,
}

impl Endpoints {
    /// One more listens.
    pub(super) fn join(&mut self, endpoint: Endpoint) {
        self.all.push(endpoint);
    }

    /// One no longer does.
    pub(super) fn quit(&mut self, from: ApplicationId, job: u64) {
        self.all.retain(|it| it.lane.application.id != from || it.job != job);
    }

    /// Takes a slot of the application that has the fewest connections.
    pub(super) fn reserve(&mut self, core: usize) -> Option<Reserved> {
        let count = self.all.len();
        let start = self.next;
        let mut order: Vec<usize> = (0..count).map(|n| (start + n) % count).collect();
        order.retain(|&index| self.all[index].lane.is_attached());
        order.sort_by_key(|&index| self.all[index].lane.application.slots.taken());
        for index in order {
            let Endpoint { lane, job } = &self.all[index];
            if let Some(slot) = lane.application.slots.reserve(core) {
                self.next = (index + 1) % count;
                return Some(Reserved {
                    application: Arc::clone(&lane.application),
                    slot,
                    job: *job,
                });
            }
        }
        None
    }
}
