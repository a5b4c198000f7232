//! An entity of an application, as all threads know it.

use std::net::SocketAddr;

use crate::ids::ApplicationId;
use crate::shm::entity::Entity;

/// One msgr2 identity of an application, and where it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) application: ApplicationId,
    /// Its name, which no other entity of the daemon's gets: applications have numbers of their own
    /// for it, and may use one again.
    pub(crate) number: u64,
    /// What was asked for, checked.
    pub(crate) entity: Entity,
    /// Its home: all its sessions are there, and their streams.
    pub(crate) core: usize,
}

/// A listener of an entity of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityListener {
    pub(crate) identity: Identity,
    /// As bound.
    pub(crate) address: SocketAddr,
    /// The application's number for its listen job.
    pub(crate) job: u64,
}
