//! The entities of applications, on the messenger's thread: what they are asked for, and when they
//! end.
//!
//! An entity outlives who has asked for it, for whoever takes over. One that the successor does not
//! ask for, perhaps since it asks for one with other limits, ends a while after the takeover; or
//! when the successor listens as another one where it does, or asks for more than there may be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::endpoints::Reserved;
use super::identity::{EntityListener, Identity};
use super::served::{Known, Served};
use crate::ids::{ApplicationId, JobId};
use crate::message::{ConnectAs, Message};
use crate::messenger::Messenger;
use crate::msgr2::EntityType;
use crate::name::Service;
use crate::shm::entity::Entity;
use crate::shm::job::{Patience, Told};

/// Entities that one application may be.
const ENTITIES: usize = 64;

/// Numbers that are kept of an entity: of the application that is, and some before it.
const NUMBERS: usize = 64;

/// How long a successor may take to ask for the entities that it takes over.
pub(super) const ASKED_WITHIN: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });

impl Served {
    /// An entity that whoever is attached has not asked for.
    fn unasked(&self) -> Option<u64> {
        let mut numbers = self.entities.iter().map(|it| it.identity.number);
        numbers.find(|number| self.is_unasked(*number))
    }

    fn is_unasked(&self, number: u64) -> bool {
        let known = self.entities.iter().find(|it| it.identity.number == number);
        known.is_some_and(|it| it.asked < self.epoch())
    }
}

impl Messenger {
    /// An application is an entity from here on, or has been it before.
    pub(super) fn be(
        &mut self,
        id: ApplicationId,
        number: u64,
        entity: Entity,
    ) -> Result<(), Errno> {
        let Some(served) = self.registry.served.get_mut(&id) else { return Ok(()) };
        let epoch = served.epoch();
        let named = served.entities.iter_mut().find(|it| it.numbers.contains(&number));
        if let Some(named) = named {
            if named.identity.entity != entity {
                return Err(Errno::EEXIST);
            }
            named.asked = epoch;
            return Ok(());
        }
        if let Some(same) = served.entities.iter_mut().find(|it| it.identity.entity == entity) {
            // One who takes over calls it by another number.
            if same.numbers.len() == NUMBERS {
                same.numbers.pop_front();
            }
            same.numbers.push_back(number);
            same.asked = epoch;
            return Ok(());
        }
        if served.entities.len() >= ENTITIES {
            let unasked = served.unasked().ok_or(Errno::EMFILE)?;
            self.end_entity(id, unasked);
        }
        let core = self.place_anywhere();
        self.registry.entities += 1;
        let name = self.registry.entities;
        let Some(served) = self.registry.served.get_mut(&id) else { return Ok(()) };
        let identity = Identity { application: id, number: name, entity, core };
        served.entities.push(Known { identity, numbers: [number].into(), asked: epoch });
        Ok(())
    }

    pub(super) fn identity_of(&self, id: ApplicationId, number: u64) -> Result<Identity, Errno> {
        let served = self.registry.served.get(&id).ok_or(Errno::ENOENT)?;
        let known = served.entities.iter().find(|it| it.numbers.contains(&number));
        known.map(|it| it.identity).ok_or(Errno::ENOENT)
    }

    /// As [`listen_for`](Self::listen_for), for an entity: it has the address for itself.
    pub(super) fn listen_as(
        &mut self,
        id: ApplicationId,
        job: u64,
        identity: Identity,
        address: SocketAddr,
        backlog: u32,
    ) -> Result<(), Errno> {
        if let Some(listener) = self.listener_at(address) {
            return self.listen_instead(id, job, identity, listener);
        }
        let uid = self.may_listen(id, job, address)?;
        let service =
            |address| Service::Entity(Arc::new(EntityListener { identity, address, job }));
        let listener = self.bind_for(uid, address, backlog, service)?;
        self.join_listener(id, job, listener);
        Ok(())
    }

    pub(super) fn listener_at(&self, address: SocketAddr) -> Option<JobId> {
        let mut listened = self.registry.listened.iter();
        listened.find(|(_, it)| it.address == address).map(|(listener, _)| *listener)
    }

    /// Somebody listens there already. That is well if it was the same entity for who had its place
    /// before; and an entity that it has left, and that is not asked for any more, gives way.
    fn listen_instead(
        &mut self,
        id: ApplicationId,
        job: u64,
        identity: Identity,
        listener: JobId,
    ) -> Result<(), Errno> {
        let served = self.registry.served.get(&id).ok_or(Errno::ENOENT)?;
        let there = self.registry.listened.get_mut(&listener).ok_or(Errno::ENOENT)?;
        let ours = there.members.iter().position(|(member, _)| *member == id);
        let (Some(ours), Some(number)) = (ours, there.entity) else {
            return Err(Errno::EADDRINUSE);
        };
        let before = there.members[ours].1;
        if number == identity.number && before == job {
            // It was told so when it took over.
            return Ok(());
        }
        if !served.permissions.may_listen(there.address) {
            return Err(Errno::EACCES);
        }
        if before != job && served.listens.contains_key(&job) {
            return Err(Errno::EEXIST);
        }
        if !served.is_unasked(number) {
            return Err(Errno::EADDRINUSE);
        }
        there.entity = Some(identity.number);
        there.members.remove(ours);
        let heir = Arc::new(EntityListener { identity, address: there.address, job });
        self.post_all(|| Message::Inherit { listener, heir: Arc::clone(&heir) });
        self.post_all(|| Message::Quit { listener, application: id, job: before });
        // Before anything is told, which may show that the application lies: then it leaves this,
        // too.
        self.join_listener(id, job, listener);
        if before != job {
            self.unlistened(id, before);
        }
        self.end_entity(id, number);
        Ok(())
    }

    pub(super) fn connect_as(
        &mut self,
        id: ApplicationId,
        job: u64,
        identity: Identity,
        address: SocketAddr,
        (peer, patience): (Option<EntityType>, Patience),
    ) -> Result<(), Errno> {
        let Some(served) = self.registry.served.get(&id) else { return Ok(()) };
        if !served.permissions.may_connect(address) {
            return Err(Errno::EACCES);
        }
        let application = Arc::clone(&served.shared);
        let slot = application.slots.reserve(identity.core).ok_or(Errno::EMFILE)?;
        let reserved = Reserved { application, slot, job };
        let wanted = ConnectAs { reserved, identity, address, peer, patience };
        self.post(identity.core, Message::ConnectAs(Box::new(wanted)));
        Ok(())
    }

    /// A successor has had its time to ask for what it has taken over.
    pub(super) fn end_unasked(&mut self, id: ApplicationId) {
        while let Some(served) = self.registry.served.get(&id)
            && let Some(number) = served.unasked()
        {
            self.end_entity(id, number);
        }
    }

    /// Ends an entity: its listeners, of which the application is told, and its sessions behind
    /// what was committed.
    fn end_entity(&mut self, id: ApplicationId, number: u64) {
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        let is = |it: &mut Known| it.identity.number == number;
        let Some(known) = served.entities.extract_if(.., is).next() else { return };
        let (label, entity) = (served.label(), known.identity.entity);
        let (kind, name) = (entity.kind, entity.id.as_str());
        log::info!("{label} has not asked for entity {kind}.{name} again: it ends");
        let listened = &self.registry.listened;
        let of_it = |listener| listened.get(&listener).is_some_and(|it| it.entity == Some(number));
        let listens = served.listens.iter().filter(|(_, listen)| of_it(listen.listener));
        let ended: Vec<_> = listens.map(|(job, listen)| (*job, listen.listener)).collect();
        for (job, listener) in ended {
            self.leave_listener(listener, id, job);
            self.unlistened(id, job);
        }
        self.post(known.identity.core, Message::EndEntity(Box::new(known.identity)));
    }

    /// An application no longer listens, and is told so if it has room for that: it has not asked.
    fn unlistened(&mut self, id: ApplicationId, job: u64) {
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        served.listens.remove(&job);
        if served.may_answer() {
            self.answer(id, job, Told::Unlistened);
        }
    }
}
