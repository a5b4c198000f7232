//! Which application an accepted connection goes to: those that listen at one address share what is
//! accepted there, evenly.

use std::rc::Rc;
use std::sync::Arc;

use mio::net::TcpStream;
use vmsgr_reactor::Token;

use super::conduit::Conduit;
use super::lane::Lane;
use super::registry::Heard;
use super::shared::Application;
use crate::connection::{Connection, Role};
use crate::ids::ApplicationId;
use crate::ids::JobId;
use crate::message::Adopted;
use crate::worker::{Begun, Worker, WorkerCore};

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

#[derive(Debug)]
struct Endpoint {
    lane: Rc<Lane>,
    job: u64,
}

impl Endpoints {
    /// Takes a slot of the application that has the fewest connections.
    fn reserve(&mut self, core: usize) -> Option<Reserved> {
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

impl Worker {
    /// An application listens where a job of ours listens.
    pub(crate) fn join(
        &mut self,
        core: &mut WorkerCore,
        listener: JobId,
        application: ApplicationId,
        job: u64,
    ) {
        let Some(lane) = self.lane_of(application) else { return };
        let Some(Begun::Listener(token)) = self.jobs.get(&listener).copied() else { return };
        if let Some(state) = core.listener_state_mut(token) {
            state.endpoints.all.push(Endpoint { lane, job });
        }
        self.waiting.retain(|waiting| *waiting != token);
        core.resume_listener(token);
        self.say(core, Heard::Joined { application, job });
    }

    /// An application no longer listens there.
    pub(crate) fn quit(
        &mut self,
        core: &mut WorkerCore,
        listener: JobId,
        from: ApplicationId,
        job: u64,
    ) {
        let Some(Begun::Listener(token)) = self.jobs.get(&listener).copied() else { return };
        if let Some(state) = core.listener_state_mut(token) {
            let stays = |it: &Endpoint| it.lane.application.id != from || it.job != job;
            state.endpoints.all.retain(stays);
        }
    }

    /// Takes a slot for one connection of a listener of applications. If there is none the listener
    /// waits: who connects stays in the backlog.
    pub(crate) fn reserve_slot(&mut self, core: &mut WorkerCore, listener: Token) -> bool {
        let index = self.index;
        let reserved =
            core.listener_state_mut(listener).and_then(|state| state.endpoints.reserve(index));
        let admitted = reserved.is_some();
        self.reserved = reserved;
        admitted
    }

    /// Gives back a slot that was taken for a connection that has not come.
    pub(crate) fn unreserve_slot(&mut self, core: &mut WorkerCore, reserved: &Reserved) {
        let cores = reserved.application.slots.release(reserved.slot);
        self.tell_of_place(core, cores);
    }

    /// An accepted connection has arrived on the core where it stays: it gets its slot.
    pub(crate) fn serve_application(
        &mut self,
        core: &mut WorkerCore,
        adopted: Adopted,
        reserved: &Reserved,
    ) {
        let Adopted { socket, peer, .. } = adopted;
        let id = self.next_id();
        let Some(lane) = self.lane_of(reserved.application.id).filter(|lane| !lane.is_retiring())
        else {
            // It is gone meanwhile: as if it had died with the connection.
            self.unreserve_slot(core, reserved);
            vmsgr_reactor::Socket::reset_on_close(&socket);
            return self.left(core);
        };
        let slot = reserved.slot;
        let conduit = Conduit::begin(Rc::clone(&lane), slot, id, reserved.job, peer, true);
        match self.add_conduit(core, conduit, socket, Connection::accepted(id, peer, Role::Discard))
        {
            Ok(token) => self.watch_idleness(core, token),
            Err(error) => {
                self.release(core, &lane, slot);
                self.could_not_add(core, id, peer, &error);
            }
        }
    }

    /// Adds the socket of a connection that is there.
    fn add_conduit(
        &mut self,
        core: &mut WorkerCore,
        mut conduit: Conduit,
        socket: TcpStream,
        state: Connection,
    ) -> std::io::Result<Token> {
        conduit.hold(None);
        let token = core.add(socket, conduit.pending(), state)?;
        conduit.hold(Some(token));
        if let Some(socket) = core.socket(token) {
            conduit.open(socket.local_addr());
        }
        if let Some(state) = core.state_mut(token) {
            state.role = Role::Application(Box::new(conduit));
        }
        Ok(token)
    }

    /// What this core has for an application.
    pub(crate) fn lane_of(&self, application: ApplicationId) -> Option<Rc<Lane>> {
        self.lanes.iter().find(|lane| lane.application.id == application).map(Rc::clone)
    }
}
