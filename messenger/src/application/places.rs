//! Connections that are accepted for applications: each gets a slot of one of those that listen
//! there.

use std::rc::Rc;

use mio::net::TcpStream;
use vmsgr_reactor::Token;

use super::conduit::Conduit;
use super::endpoints::{Endpoint, Reserved};
use super::heard::Heard;
use super::lane::Lane;
use crate::connection::{Connection, Role};
use crate::ids::ApplicationId;
use crate::ids::JobId;
use crate::message::Adopted;
use crate::worker::{Begun, Worker, WorkerCore};

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
            state.endpoints.join(Endpoint { lane, job });
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
            state.endpoints.quit(from, job);
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

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream as Blocking};
    use std::sync::Arc;

    use vmsgr_reactor::{Budget, Doorbell, Loop, SpinPolicy, mesh};

    use super::*;
    use crate::application::Application;
    use crate::application::allowance::Allowance;
    use crate::application::lane::Held;
    use crate::application::pool::SlotPool;
    use crate::census::Census;
    use crate::name::Service;
    use crate::options::Options;
    use crate::shm::geometry::Geometry;
    use crate::shm::segment::Segment;

    /// A worker with a lane to an application that has a connection here and is gone for good.
    fn retiring() -> (Loop<Worker>, Rc<Lane>, Arc<Census>) {
        let geometry = Geometry::new(2, 4, 4096, 4096).unwrap();
        let application = Application {
            id: ApplicationId(1),
            segment: Segment::create(geometry).unwrap().0,
            slots: SlotPool::new(4, 2),
            allowance: Allowance::new(1 << 20, 2),
            doorbell: Doorbell::new().unwrap(),
        };
        let lane = Rc::new(Lane::new(Arc::new(application), 0));
        lane.attach();
        let slot = lane.application.slots.reserve(0).unwrap();
        lane.hold(slot, Held::Over { generation: 1 });
        lane.retire();
        let census = Arc::new(Census::new(2, None));
        let mut worker = Worker::new(0, 2, Arc::new(Options::default()), Arc::clone(&census));
        worker.lanes.push(Rc::clone(&lane));
        let port = mesh(3).unwrap().remove(0);
        let tested = Loop::new(worker, port, SpinPolicy::Auto, Budget::default()).unwrap();
        (tested, lane, census)
    }

    /// A slot, as another core takes it before it hands a connection over, or the messenger's
    /// thread before it has one made.
    fn reserve(lane: &Lane, census: &Census) -> Reserved {
        census.enter_anyway(0);
        let slot = lane.application.slots.reserve(1).unwrap();
        Reserved { application: Arc::clone(&lane.application), slot, job: 1 }
    }

    fn nothing_came_of_it(lane: &Lane, census: &Census) {
        assert_eq!(lane.application.slots.taken(), 1, "its slot is free again");
        assert_eq!(lane.all_held().len(), 1);
        assert_eq!(census.of(0), 0);
    }

    #[test]
    fn who_is_handed_over_to_an_application_that_is_gone_is_reset() {
        let (mut tested, lane, census) = retiring();
        let (worker, core) = tested.handler();
        let reserved = reserve(&lane, &census);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Blocking::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let (socket, service) = (TcpStream::from_std(socket), Service::Applications);
        worker.adopt(core, Adopted { socket, peer, service, reserved: Some(reserved) });
        nothing_came_of_it(&lane, &census);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn nothing_is_made_for_an_application_that_is_gone() {
        let (mut tested, lane, census) = retiring();
        let (worker, core) = tested.handler();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let reserved = reserve(&lane, &census);
        worker.connect_for(core, reserved, listener.local_addr().unwrap());
        nothing_came_of_it(&lane, &census);
    }
}
