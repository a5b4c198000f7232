//! What an endpoint asks of its daemon: listeners, entities, connections, and their ends.

use std::net::SocketAddr;
use std::time::Duration;

use super::entity::{EntityId, EntityOptions};
use super::listens::Listen;
use super::{Endpoint, Error, JobId};
use crate::msgr2::EntityType;
use crate::shm::job::{Asked, Patience, Request};

#[cfg(doc)]
use super::{Connection, Event};

impl Endpoint {
    /// Asks for a listener; what becomes of it is told as [`Event::Listening`] or
    /// [`Event::Failed`]. Port 0 is any that is free. Endpoints may listen on the same address, and
    /// share what is accepted there.
    ///
    /// After a takeover, an address at which the application before has listened is one that this
    /// one listens at already: its job is returned, and `Listening` is told of it.
    ///
    /// # Errors
    /// Detached, or too many jobs wait.
    pub fn listen(&mut self, address: SocketAddr) -> Result<JobId, Error> {
        self.listen_with(address, 0)
    }

    /// As [`listen`](Self::listen), with room for `backlog` connections that wait to be accepted;
    /// 0: as many as the daemon is configured for.
    ///
    /// # Errors
    /// Detached, or too many jobs wait.
    pub fn listen_with(&mut self, address: SocketAddr, backlog: u32) -> Result<JobId, Error> {
        self.listen_for(None, address, backlog)
    }

    fn listen_for(
        &mut self,
        entity: Option<EntityId>,
        address: SocketAddr,
        backlog: u32,
    ) -> Result<JobId, Error> {
        self.may_submit()?;
        if self.welcome.resumed
            && let Some(there) = self.listens.at(address)
            && there.messages == entity.is_some()
            && (there.entity.is_none() || there.entity == entity)
        {
            if let Some(entity) = entity.filter(|_| there.entity.is_none()) {
                // The daemon looks whether it is that one's.
                if !self.ask(there.job, listening(Some(entity), address, backlog)) {
                    return Err(Error::JobsFull);
                }
                self.listens.belongs(there.job, entity);
            }
            return Ok(there.job);
        }
        let job = self.submit(listening(entity, address, backlog))?;
        let messages = entity.is_some();
        self.listens.began(Listen { job, address, backlog, entity, messages });
        Ok(job)
    }

    /// The application is this entity, to whoever speaks msgr2: it can
    /// [listen](Self::listen_as) and [connect](Self::connect_as) as it from now on. It ends with
    /// the application. Nothing is told of it, unless as [`Event::Failed`], with its
    /// [number](EntityId::job) for a job, if the daemon cannot have it.
    ///
    /// After a takeover, an entity that is what one of the application before was *is* that one,
    /// with its sessions. One that is not asked for again within a minute ends, and its listeners
    /// and sessions with it; sooner if another listens [where it does](Self::listen_as).
    ///
    /// # Errors
    /// Detached, too many jobs wait, or something of it is out of its range.
    pub fn entity(&mut self, options: &EntityOptions) -> Result<EntityId, Error> {
        let entity = options.entity()?;
        let id = EntityId(self.submit(Asked::Entity(entity))?.0);
        self.entities.began(id, entity);
        Ok(id)
    }

    /// As [`listen`](Self::listen), as an entity: what is accepted here are its sessions, which
    /// have [messages](Connection::messages). Of one address there is one entity.
    ///
    /// # Errors
    /// Detached, or too many jobs wait.
    pub fn listen_as(&mut self, entity: EntityId, address: SocketAddr) -> Result<JobId, Error> {
        self.listen_for(Some(entity), address, 0)
    }

    /// Ends the listener that this job began, which is told as [`Event::Unlistened`]; the
    /// connections that it has accepted go on.
    ///
    /// # Errors
    /// Detached, or too many jobs wait.
    pub fn unlisten(&mut self, job: JobId) -> Result<(), Error> {
        self.may_submit()?;
        if !self.ask(job, Asked::Unlisten) {
            return Err(Error::JobsFull);
        }
        self.listens.ended(job);
        Ok(())
    }

    /// Asks for a connection; what becomes of it is told as [`Event::Connected`] or
    /// [`Event::Failed`].
    ///
    /// # Errors
    /// Detached, or too many jobs wait.
    pub fn connect(&mut self, address: SocketAddr) -> Result<JobId, Error> {
        self.submit(Asked::Connect { address })
    }

    /// As [`connect`](Self::connect), as an entity: the connection is a session with the one at the
    /// address, if that is a `peer`; `None`: whatever it says that it is.
    ///
    /// A lossless session is tried again and again, for at most a minute until it is open for the
    /// first time; then it has failed, for the reason that the last attempt had.
    /// [`connect_as_within`](Self::connect_as_within) has another time.
    ///
    /// # Errors
    /// Detached, or too many jobs wait.
    pub fn connect_as(
        &mut self,
        entity: EntityId,
        address: SocketAddr,
        peer: Option<EntityType>,
    ) -> Result<JobId, Error> {
        let (entity, patience) = (entity.0, Patience::Usual);
        self.submit(Asked::ConnectAs { entity, address, peer, patience })
    }

    /// As [`connect_as`](Self::connect_as), and the session has failed if it is not open within
    /// `time`, in milliseconds, at least one; `None`: a lossless one is tried until it is open, or
    /// [cancelled](Self::cancel).
    ///
    /// # Errors
    /// Detached, or too many jobs wait.
    pub fn connect_as_within(
        &mut self,
        entity: EntityId,
        address: SocketAddr,
        peer: Option<EntityType>,
        time: Option<Duration>,
    ) -> Result<JobId, Error> {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX - 1);
        let patience = time.map_or(Patience::Endless, |time| Patience::Ms(ms(time)));
        self.submit(Asked::ConnectAs { entity: entity.0, address, peer, patience })
    }

    /// Gives up the connection that this job asked for. If it is not there yet, the job is told as
    /// [`Event::Failed`], with ECANCELED; else it is told as if nobody had called this, and is to
    /// be [closed](Connection::close).
    ///
    /// # Errors
    /// Detached, or too many jobs wait.
    pub fn cancel(&mut self, job: JobId) -> Result<(), Error> {
        self.may_submit()?;
        self.ask(job, Asked::Cancel).then_some(()).ok_or(Error::JobsFull)
    }

    fn submit(&mut self, kind: Asked) -> Result<JobId, Error> {
        self.may_submit()?;
        let job = JobId(self.jobs + 1);
        if !self.ask(job, kind) {
            return Err(Error::JobsFull);
        }
        self.jobs = job.0;
        Ok(job)
    }

    fn may_submit(&self) -> Result<(), Error> {
        self.detached.map_or(Ok(()), |reason| Err(reason.into()))
    }

    /// False if there is no room.
    pub(super) fn ask(&self, job: JobId, kind: Asked) -> bool {
        self.lanes.push_job(Request { job: job.0, kind }.to_words())
    }
}

/// What is asked for to listen.
pub(super) fn listening(entity: Option<EntityId>, address: SocketAddr, backlog: u32) -> Asked {
    match entity {
        Some(EntityId(entity)) => Asked::ListenAs { entity, address, backlog },
        None => Asked::Listen { address, backlog },
    }
}
