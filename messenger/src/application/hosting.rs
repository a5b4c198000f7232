//! What a worker does for the entities of its applications: they are made, their sessions get
//! slots, and what happens on one side is told to the other.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use log::Level;
use mio::net::TcpStream;
use nix::errno::Errno;

use super::conduit::Conduit;
use super::identity::{EntityListener, Identity};
use super::lane::{Held, Lane};
use super::session::{Far, Session};
use super::sessions::Sessions;
use crate::complaints::complain;
use crate::ending::Ending;
use crate::entity::{EntityId, OUTBOX_BYTES};
use crate::ids::{ApplicationId, JobId};
use crate::msgr2::{
    AuthNone, Config, ConnectionError, Cookies, Endpoint, EntityAddr, EntityAddrs, Event,
    Keepalive, Reason, SessionId, StreamId,
};
use crate::name::Service;
use crate::shm::entity::Entity;
use crate::shm::keepalive::Keepalives;
use crate::shm::part::Notice;
use crate::worker::{Begun, Worker, WorkerCore};

impl Worker {
    /// The entity on this core, its home; `None` if its application is gone.
    pub(super) fn entity_of(
        &mut self,
        core: &mut WorkerCore,
        identity: &Identity,
    ) -> Option<EntityId> {
        let lane = self.lane_of(identity.application)?;
        if lane.is_retiring() || lane.has_ended(identity.number) {
            return None;
        }
        if let Some(known) = self.entities.of_identity(identity) {
            return Some(known);
        }
        let endpoint = self.endpoint_of(core, identity, &lane);
        let sessions = Sessions::new(*identity, lane);
        Some(self.entities.insert_for_application(endpoint, sessions))
    }

    fn endpoint_of(&self, core: &mut WorkerCore, identity: &Identity, lane: &Lane) -> Endpoint {
        let entity = &identity.entity;
        let mut config = Config::new(entity.kind, EntityAddrs::default());
        config.policy = entity.policy.policy();
        config.throttle = entity.throttle;
        config.outbox_bytes = OUTBOX_BYTES;
        config.tally = lane.portion.tally.clone();
        // osd.3 is number 3 to its peers.
        config.gid = entity.id.as_str().parse().ok();
        // Tells it from others that have no address, either.
        config.nonce = Cookies::Random.give() as u32;
        let limits = &mut config.limits;
        limits.front_bytes = entity.largest_message;
        limits.middle_bytes = entity.largest_message;
        limits.data_bytes = entity.largest_message;
        limits.message_bytes = entity.largest_message;
        let idle = self.options.connection.idle_time_out;
        config.keepalive = keepalive(entity, idle);
        let auth = AuthNone::new(entity.kind, entity.id.as_str(), 0);
        Endpoint::new(config, Box::new(auth), core.now())
    }

    /// An entity of an application listens: at home it has to know where it is, so that its peers
    /// do.
    pub(crate) fn listen_for_entity(&mut self, core: &mut WorkerCore, listener: &EntityListener) {
        if listener.identity.core != self.index {
            return;
        }
        let Some(id) = self.entity_of(core, &listener.identity) else { return };
        let Some((endpoint, sessions)) = self.entities.of_application(id) else { return };
        let address = listener.address;
        if sessions.listens(address, listener.job) && !address.ip().is_unspecified() {
            endpoint.borrow_mut().add_address(EntityAddr::msgr2(address, 0));
        }
    }

    /// What is accepted at a listener of an entity is another one's from here on.
    pub(crate) fn inherit(
        &mut self,
        core: &mut WorkerCore,
        listener: JobId,
        heir: Arc<EntityListener>,
    ) {
        self.listen_for_entity(core, &heir);
        if let Some(Begun::Listener(token)) = self.jobs.get(&listener).copied()
            && let Some(state) = core.listener_state_mut(token)
        {
            state.service = Service::Entity(heir);
        }
    }

    /// An accepted connection has arrived at the home of an entity of an application.
    pub(crate) fn serve_for_entity(
        &mut self,
        core: &mut WorkerCore,
        socket: TcpStream,
        peer: SocketAddr,
        listener: &EntityListener,
    ) {
        self.listen_for_entity(core, listener);
        match self.entity_of(core, &listener.identity) {
            Some(entity) => {
                let id = self.next_id();
                self.serve_entity(core, id, socket, peer, entity);
            }
            None => {
                // It is gone meanwhile: as if it had died with the connection.
                vmsgr_reactor::Socket::reset_on_close(&socket);
                drop(socket);
                self.left(core);
            }
        }
    }

    /// Something has happened to a session of an application.
    pub(crate) fn session_event(&mut self, core: &mut WorkerCore, id: EntityId, event: &Event) {
        let notice = |worker: &mut Self, session, notice| {
            if let Some((_, sessions)) = worker.entities.of_application(id) {
                sessions.tell(session, notice);
            }
        };
        match event {
            Event::Opened { session, stream, .. } => {
                self.session_opened(core, id, *session, *stream);
            }
            Event::Reset { session, lost } => {
                notice(self, *session, Notice::Forgotten { lost: *lost });
            }
            Event::Lost { session, .. } => {
                notice(self, *session, Notice::StreamLost);
                self.session_lost(core, id, *session);
            }
            Event::Room(session) => self.attend(core, id, *session),
            Event::Ended { session, error } => self.session_ended(core, id, *session, error),
            _ => {}
        }
    }

    fn session_opened(
        &mut self,
        core: &mut WorkerCore,
        id: EntityId,
        session: SessionId,
        stream: StreamId,
    ) {
        let now = core.now();
        let token = self.entities.token(id, stream);
        let peer = token.and_then(|token| core.state(token)).map(|state| state.peer);
        let local = token.and_then(|token| core.socket(token)).map(TcpStream::local_addr);
        let local = local.unwrap_or_else(|| Err(std::io::ErrorKind::NotConnected.into()));
        let name = self.next_id();
        let Some((shared, sessions)) = self.entities.of_application(id) else { return };
        let mut endpoint = shared.borrow_mut();
        let peer_name = endpoint.peer_name(session);
        if let Some(known) = sessions.get_mut(session) {
            if let Err(fault) = known.has_stream(local, peer_name) {
                sessions.lane.fail(fault);
            }
            sessions.strangers.remove(session);
            return;
        }
        let Some(peer) = peer else { return endpoint.close(session) };
        let lane = Rc::clone(&sessions.lane);
        if sessions.is_over() {
            return endpoint.close(session);
        }
        let Some(slot) = lane.application.slots.reserve(self.index) else {
            endpoint.close(session);
            drop(endpoint);
            self.make_room(core, &lane);
            complain!(
                self.complaints,
                now,
                Level::Warn,
                "peer={peer} closed: all {} slots of application={} are taken",
                lane.application.segment.geometry().slots,
                lane.application.id
            );
            return;
        };
        let job = sessions.job_at(local.as_ref().ok().copied());
        let conduit = Conduit::begin(Rc::clone(&lane), slot, name, job, peer, true);
        let generation = conduit.generation();
        lane.hold(slot, Held::Session { generation, entity: id, session });
        let mut new = Session::new(conduit, sessions.identity.entity.largest_message);
        if let Err(fault) = new.has_stream(local, peer_name) {
            lane.fail(fault);
        }
        sessions.insert(&mut endpoint, session, new, now);
        drop(endpoint);
        self.make_room(core, &lane);
    }

    fn session_ended(
        &mut self,
        core: &mut WorkerCore,
        id: EntityId,
        session: SessionId,
        error: &ConnectionError,
    ) {
        let Some((_, sessions)) = self.entities.of_application(id) else { return };
        let Some(session) = sessions.remove(session) else { return };
        let errno = match error.reason {
            // What its application has committed since is lost.
            Reason::Local if session.is_retired() => Errno::ESHUTDOWN,
            _ => errno(&error.reason),
        };
        self.over(core, session.conduit, errno as u16);
    }

    /// Looks at a session of which its application has said that there is something new.
    pub(crate) fn look_at_session(
        &mut self,
        core: &mut WorkerCore,
        id: EntityId,
        session: SessionId,
    ) {
        self.attend(core, id, session);
        self.heed_entity(core, id);
        if self.draining {
            for token in self.entities.tokens(id) {
                self.end_if_resting(core, token);
            }
        }
    }

    fn attend(&mut self, core: &mut WorkerCore, id: EntityId, session: SessionId) {
        let (now, turn) = (core.now(), self.turn());
        let Some((endpoint, sessions)) = self.entities.of_application(id) else { return };
        let cut_off = {
            let endpoint = &mut endpoint.borrow_mut();
            sessions.look(&mut Far { endpoint, id: session, now }, turn)
        };
        if cut_off {
            return self.cut_session(core, id, session);
        }
        let Some(found) = sessions.get_mut(session) else { return };
        if let Some(pause) = found.pause
            && !std::mem::replace(&mut found.in_line[pause as usize], true)
        {
            found.conduit.lane.lines.join(pause, id, session);
        }
    }

    /// Ends a session at once, and its stream so that the peer sees it.
    fn cut_session(&mut self, core: &mut WorkerCore, id: EntityId, session: SessionId) {
        let Some((endpoint, _)) = self.entities.of_application(id) else { return };
        let stream = endpoint.borrow().stream(session);
        endpoint.borrow_mut().close(session);
        let token = stream.and_then(|stream| self.entities.forget_token(id, stream));
        if let Some(token) = token {
            self.dismiss(core, token, Ending::Reset);
        }
    }

    /// The application of a session has died: completes the reply that it was making, and looks
    /// what it has left.
    pub(crate) fn depart_session(
        &mut self,
        core: &mut WorkerCore,
        id: EntityId,
        session: SessionId,
    ) {
        if let Some((_, sessions)) = self.entities.of_application(id)
            && let Some(session) = sessions.get_mut(session)
        {
            session.conduit.complete_intent();
        }
        self.look_at_session(core, id, session);
    }

    /// The application of a session is gone for good: it ends behind what was committed.
    pub(crate) fn retire_session(
        &mut self,
        core: &mut WorkerCore,
        id: EntityId,
        session: SessionId,
    ) {
        self.end_session(core, id, session, Session::give_up);
        self.heed_entity(core, id);
    }

    /// Has a session ended in this way, behind a last look at it.
    fn end_session(
        &mut self,
        core: &mut WorkerCore,
        id: EntityId,
        session: SessionId,
        end: impl FnOnce(&mut Session, &mut Far<'_>),
    ) {
        self.attend(core, id, session);
        let now = core.now();
        if let Some((endpoint, sessions)) = self.entities.of_application(id)
            && let Some(found) = sessions.get_mut(session)
        {
            end(found, &mut Far { endpoint: &mut endpoint.borrow_mut(), id: session, now });
        }
    }

    /// The application of a session has done something wrong.
    pub(crate) fn evict_session(
        &mut self,
        core: &mut WorkerCore,
        id: EntityId,
        session: SessionId,
    ) {
        self.cut_session(core, id, session);
        self.heed_entity(core, id);
    }

    /// An entity of an application that goes on is over: its sessions end behind what was
    /// committed.
    pub(crate) fn end_entity(&mut self, core: &mut WorkerCore, identity: &Identity) {
        let known = self.entities.of_identity(identity);
        if let Some(lane) = self.lane_of(identity.application) {
            lane.end_entity(identity.number);
        }
        let Some(id) = known else { return };
        let Some((_, sessions)) = self.entities.of_application(id) else { return };
        for session in sessions.end() {
            self.end_session(core, id, session, Session::retire);
        }
        self.heed_entity(core, id);
    }

    /// An application is gone: so are its entities, each with its last stream.
    pub(crate) fn retire_entities(&mut self, core: &mut WorkerCore, application: ApplicationId) {
        for id in self.entities.all_of(application) {
            self.heed_entity(core, id);
        }
    }
}

/// Of lossless sessions whose application says nothing else: they cost nothing by losing a stream,
/// and would wait for minutes for a peer that has vanished.
const USUAL: Keepalive =
    Keepalive { after: Duration::from_secs(15), patience: Duration::from_secs(30) };

/// When the sessions of an entity ask whether their peers are there.
pub(super) fn keepalive(entity: &Entity, idle: Option<Duration>) -> Option<Keepalive> {
    let said = match entity.keepalives {
        Keepalives::Usual => (!entity.policy.policy().lossy).then_some(USUAL),
        Keepalives::Never => None,
        Keepalives::After(said) => Some(said),
    };
    // Only those who are not there shall seem idle.
    let needed = idle.map(Keepalive::within);
    match (said, needed) {
        (Some(said), Some(needed)) => Some(Keepalive {
            after: said.after.min(needed.after),
            patience: said.patience.min(needed.patience),
        }),
        (said, needed) => said.or(needed),
    }
}

/// What an application is told of a session that has ended for this reason.
fn errno(reason: &Reason) -> Errno {
    match reason {
        Reason::Local => Errno::from_raw(0),
        Reason::Unreachable(errno) => Errno::from_raw(*errno),
        Reason::WrongPeer { .. } | Reason::NotUs => Errno::ECONNREFUSED,
        Reason::HandshakeTime(_)
        | Reason::KeepaliveTime(_)
        | Reason::Lingered(_)
        | Reason::TimeOver => Errno::ETIMEDOUT,
        Reason::Cancelled => Errno::ECANCELED,
        Reason::BadMethod(_) | Reason::Authentication(_) => Errno::EACCES,
        Reason::Violation(_) | Reason::MissingFeatures(_) => Errno::EPROTO,
        Reason::TooManySessions => Errno::EMFILE,
        Reason::Closed | Reason::Replaced | Reason::Stale | Reason::Race => Errno::ECONNRESET,
    }
}
