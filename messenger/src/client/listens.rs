//! The listeners that an endpoint has asked for, to be asked for again from another daemon.

use std::net::SocketAddr;

use super::{EntityId, JobId};

/// A listener that was asked for and has not ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listen {
    pub(super) job: JobId,
    pub(super) address: SocketAddr,
    pub(super) backlog: u32,
    /// For messages to it.
    pub(super) entity: Option<EntityId>,
    /// For messages, to whichever entity.
    pub(super) messages: bool,
}

/// All of them, the oldest first. There are few.
#[derive(Debug, Default)]
pub(super) struct Listens(Vec<Listen>);

impl Listens {
    pub(super) fn began(&mut self, listen: Listen) {
        self.0.push(listen);
    }

    /// It listens there, which is where it has to listen again: who asked for any port has told
    /// others by now which one it got. One that was not asked for here was taken over.
    pub(super) fn listens(&mut self, job: JobId, address: SocketAddr, messages: bool) {
        match self.0.iter_mut().find(|listen| listen.job == job) {
            Some(listen) => listen.address = address,
            None => self.began(Listen { job, address, backlog: 0, entity: None, messages }),
        }
    }

    /// One that was taken over belongs to this entity.
    pub(super) fn belongs(&mut self, job: JobId, entity: EntityId) {
        if let Some(listen) = self.0.iter_mut().find(|listen| listen.job == job) {
            listen.entity = Some(entity);
        }
    }

    pub(super) fn ended(&mut self, job: JobId) {
        self.0.retain(|listen| listen.job != job);
    }

    /// The one there.
    pub(super) fn at(&self, address: SocketAddr) -> Option<Listen> {
        self.0.iter().find(|listen| listen.address == address).copied()
    }

    pub(super) fn all(&self) -> &[Listen] {
        &self.0
    }
}
