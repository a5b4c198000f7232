//! Making connections: the upstream side of relays, and connect jobs.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use log::Level;
use mio::net::TcpStream;
use nix::errno::Errno;
use vmsgr_reactor::Token;

use crate::application::{Conduit, Reserved};
use crate::complaints::complain;
use crate::connection::{Attempt, Connection, Role, SharedTap, Targets};
use crate::ending::Ending;
use crate::entity::Dial;
use crate::ids::{ConnectionId, JobId};
use crate::job::Event;
use crate::name::Service;
use crate::worker::{Begun, Timer, Worker, WorkerCore};

/// A connection to be made, and what for.
#[derive(Debug)]
struct Wanted {
    id: ConnectionId,
    role: Role,
    job: Option<JobId>,
    targets: Targets,
    tap: Option<SharedTap>,
}

impl Worker {
    /// Takes an accepted client, and begins to connect to its upstream on the same core. The
    /// client is not read until that is there: what it sends stays with the kernel.
    pub(crate) fn begin_relay(
        &mut self,
        core: &mut WorkerCore,
        id: ConnectionId,
        socket: TcpStream,
        peer: SocketAddr,
        targets: Arc<[SocketAddr]>,
        tap: Option<SharedTap>,
    ) {
        let role = Role::Client { upstream: None };
        let state = Connection { tap: tap.clone(), ..Connection::accepted(id, peer, role) };
        match core.add(socket, self.pending(), state) {
            Ok(client) => {
                core.set_reading(client, false);
                let role = Role::Upstream { client };
                let targets = Targets { all: targets, next: 0 };
                self.attempt(core, Wanted { id, role, job: None, targets, tap });
            }
            Err(error) => self.could_not_add(core, id, peer, &error),
        }
    }

    /// Does a connect job.
    pub(crate) fn connect(
        &mut self,
        core: &mut WorkerCore,
        job: JobId,
        targets: Arc<[SocketAddr]>,
        service: &Service,
    ) {
        let role = match service {
            Service::Discard => Role::Discard,
            // The messenger refuses the others: a relay has its upstream from a client, an OSD
            // waits for clients, and applications ask themselves.
            Service::Echo
            | Service::OsdNull(_)
            | Service::Relay(_)
            | Service::RelayOriginalDst
            | Service::Tapped(_)
            | Service::Applications
            | Service::Entity(_) => Role::Echo,
        };
        let targets = Targets { all: targets, next: 0 };
        let id = self.next_id();
        self.attempt(core, Wanted { id, role, job: Some(job), targets, tap: None });
    }

    /// Makes a connection for an application, in a slot that is taken for it.
    pub(crate) fn connect_for(
        &mut self,
        core: &mut WorkerCore,
        reserved: Reserved,
        address: SocketAddr,
    ) {
        let Some(lane) = self.lane_of(reserved.application.id).filter(|it| !it.is_retiring())
        else {
            self.unreserve_slot(core, &reserved);
            return self.left(core);
        };
        let id = self.next_id();
        let conduit = Conduit::begin(lane, reserved.slot, id, reserved.job, address, false);
        conduit.hold(None);
        let role = Role::Application(Box::new(conduit));
        let targets = Targets { all: [address].into(), next: 0 };
        self.attempt(core, Wanted { id, role, job: None, targets, tap: None });
    }

    /// Makes a connection for an entity, whose place in the census is taken.
    pub(crate) fn attempt_for_entity(&mut self, core: &mut WorkerCore, dial: Dial, to: SocketAddr) {
        let targets = Targets { all: [to].into(), next: 0 };
        let id = self.next_id();
        self.attempt(core, Wanted { id, role: Role::Dial(dial), job: None, targets, tap: None });
    }

    /// Tries the next address at which something can be tried.
    fn attempt(&mut self, core: &mut WorkerCore, mut wanted: Wanted) {
        let mut last = (None, io::Error::other("no address of the wanted family"));
        while let Some(target) = wanted.targets.next() {
            if !self.connector.allows(target) {
                continue;
            }
            wanted = match self.begin(core, wanted, target) {
                Ok(()) => return,
                Err((wanted, error)) => {
                    last = (Some(target), error);
                    wanted
                }
            };
        }
        let (target, error) = last;
        self.give_up(core, wanted, target, error);
    }

    fn begin(
        &mut self,
        core: &mut WorkerCore,
        wanted: Wanted,
        target: SocketAddr,
    ) -> Result<(), (Wanted, io::Error)> {
        let socket = match self.connector.begin(target) {
            Ok(socket) => socket,
            Err(error) => return Err((wanted, error)),
        };
        let Wanted { id, role, job, targets, tap } = wanted;
        let client = role.other();
        let attempt = Some(Box::new(Attempt { targets, time_out: None }));
        let state = Connection {
            attempt,
            job,
            tap: tap.clone(),
            ..Connection::accepted(id, target, Role::Discard)
        };
        let pending = match &role {
            Role::Application(conduit) => conduit.pending(),
            _ => self.pending(),
        };
        // Registering fails only for want of kernel memory: no other address would help.
        let token = match core.connect(socket, pending, state) {
            Ok(token) => token,
            Err(error) => {
                let targets = Targets { all: [].into(), next: 0 };
                return Err((Wanted { id, role, job, targets, tap }, error));
            }
        };
        if let Role::Application(conduit) = &role {
            conduit.hold(Some(token));
        }
        if let Role::Dial(dial) = &role {
            self.dialing(token, *dial);
        }
        if let Some(state) = core.state_mut(token) {
            state.role = role;
        }
        let timer = core.arm(self.connector.options.time_out, Timer::Attempt(token));
        if let Some(attempt) = core.state_mut(token).and_then(|state| state.attempt.as_mut()) {
            attempt.time_out = Some(timer);
        }
        if let Some(client) = client.and_then(|client| core.state_mut(client)) {
            client.role = Role::Client { upstream: Some(token) };
        }
        if let Some(job) = job {
            self.jobs.insert(job, Begun::Stream(token));
        }
        Ok(())
    }

    /// A connection has been made.
    pub(crate) fn established(&mut self, core: &mut WorkerCore, token: Token) {
        let Some(state) = core.state_mut(token) else { return };
        let attempt = state.attempt.take();
        let (connection, peer, job) = (state.id, state.peer, state.job);
        let client = state.role.other();
        if let Some(timer) = attempt.and_then(|attempt| attempt.time_out) {
            core.cancel(timer);
        }
        if let Some(client) = client {
            core.set_reading(client, true);
        }
        let local = core.socket(token).map(TcpStream::local_addr);
        if let Some(local) = local
            && let Some(state) = core.state_mut(token)
            && let Role::Application(conduit) = &mut state.role
        {
            conduit.open(local);
        }
        self.watch_idleness(core, token);
        if let Some(&Role::Dial(dial)) = core.state(token).map(|state| &state.role) {
            self.dialed(core, token, dial);
        }
        if let Some(job) = job {
            self.tell(core, Event::Connected { job, connection, peer });
        }
    }

    /// The address that a connection tried has not answered in time.
    pub(crate) fn attempt_timed_out(&mut self, core: &mut WorkerCore, token: Token) {
        if let Some(state) = core.close(token) {
            self.attempt_failed(core, state, ErrorKind::TimedOut.into());
        }
    }

    /// The address that a connection tried has refused, or has not answered.
    pub(crate) fn attempt_failed(
        &mut self,
        core: &mut WorkerCore,
        mut state: Connection,
        error: io::Error,
    ) {
        let Some(attempt) = state.attempt.take() else { return };
        if let Some(timer) = attempt.time_out {
            core.cancel(timer);
        }
        let Connection { id, peer, role, job, tap, .. } = state;
        let mut wanted = Wanted { id, role, job, targets: attempt.targets, tap };
        let left = &wanted.targets.all[wanted.targets.next.min(wanted.targets.all.len())..];
        if left.iter().any(|target| self.connector.allows(*target)) {
            self.attempt(core, wanted);
        } else {
            wanted.targets.next = usize::MAX;
            self.give_up(core, wanted, Some(peer), error);
        }
    }

    /// No address is left to try.
    fn give_up(
        &mut self,
        core: &mut WorkerCore,
        wanted: Wanted,
        target: Option<SocketAddr>,
        error: io::Error,
    ) {
        let id = wanted.id;
        let target = target.map_or_else(|| "none".to_owned(), |target| target.to_string());
        let client = wanted.role.other();
        let peer = client.and_then(|client| core.state(client)).map(|state| state.peer);
        let now = core.now();
        if let Some(peer) = peer {
            complain!(
                self.complaints,
                now,
                Level::Warn,
                "conn={id} peer={peer} upstream={target} could not be reached: {error}"
            );
        }
        if let Some(client) = client {
            // Not a proper end: the client must not take it for an empty answer.
            self.end(core, client, Ending::Reset);
            if is_exhaustion(&error) {
                // The next ones had better wait in the backlog.
                for begun in self.jobs.values() {
                    if let Begun::Listener(listener) = *begun {
                        core.exhaust_listener(listener);
                    }
                }
            }
        }
        let errno = error.raw_os_error().unwrap_or(match error.kind() {
            ErrorKind::TimedOut => Errno::ETIMEDOUT as i32,
            // No address of the family that the daemon may use.
            _ => Errno::EADDRNOTAVAIL as i32,
        });
        if let Role::Dial(dial) = wanted.role {
            self.not_dialed(core, dial, errno);
        } else if let Role::Application(conduit) = wanted.role {
            self.over(core, *conduit, errno as u16);
        }
        if let Some(job) = wanted.job {
            self.end_job(core, job, Some(error));
        }
        self.left(core);
    }
}

/// Descriptors or memory have run out, which is no upstream's fault.
fn is_exhaustion(error: &io::Error) -> bool {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS)
}
