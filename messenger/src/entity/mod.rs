//! Entities of Ceph's protocol on a core: a [`msgr2::Endpoint`](crate::msgr2::Endpoint), the
//! sockets of its streams, and who gets its messages.
//!
//! ```text
//!     socket --read--> stage --> Endpoint --> Owner: osd-null, or an application's sessions
//!     socket <-writev- Outgoing <- Endpoint <-- its answers
//! ```
//!
//! What the endpoint has made of frames for a stream *is* the pending data of its socket
//! (`outgoing.rs`), so arming, flushing, ending and draining are what they are for every
//! connection. `wire.rs` is what a connection keeps; `service.rs` moves bytes and heeds the
//! endpoint's events; `ready.rs` is who has some; `owner.rs` is where messages and the events of
//! sessions go; `dial.rs` makes the streams that an entity asks for. An entity that only answers
//! exists on each core, for what is accepted there.

mod dial;
mod osd_null;
mod outgoing;
mod owner;
mod ready;
mod service;
mod sums;
#[cfg(test)]
mod tests;
mod wire;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Instant;

use vmsgr_reactor::{TimerId, Token};

use crate::application::{ApplicationId, Identity, Sessions};
use crate::msgr2::arena::{Arena, Key};
use crate::msgr2::{Endpoint, Event, SessionId, StreamId};

pub use osd_null::OsdNullOptions;
use osd_null::OsdNullServer;
pub(crate) use outgoing::Outgoing;
use owner::Owner;
use ready::{Ready, Sign};
pub use sums::EntitySums;
pub(crate) use wire::{Dial, Wire};

/// Bytes of messages that may wait in a session to be sent, or acknowledged, beside those that are
/// frames already. With more, the client of an OSD is not read, and what an application commits
/// stays in its ring.
pub(crate) const OUTBOX_BYTES: usize = 16 << 20;

/// An entity of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntityId(Key);

/// The pending data of the sockets looks into it, too.
pub(crate) type SharedEndpoint = Rc<RefCell<Endpoint>>;

/// One identity in Ceph's protocol.
#[derive(Debug)]
pub(crate) struct Entity {
    endpoint: SharedEndpoint,
    owner: Owner,
    /// Says that the endpoint has events.
    sign: Sign,
    /// The sockets of its streams.
    tokens: HashMap<StreamId, Token>,
    /// Those that are being made, by the session that asked.
    dials: HashMap<SessionId, Token>,
    /// What calls it at its deadline, and when that is.
    timer: Option<(TimerId, Instant)>,
    /// What it has done; what it has now is counted when that is asked for.
    sums: EntitySums,
}

impl Entity {
    fn new(endpoint: Endpoint, owner: Owner, sign: Sign) -> Self {
        Self {
            endpoint: Rc::new(RefCell::new(endpoint)),
            owner,
            sign,
            tokens: HashMap::new(),
            dials: HashMap::new(),
            timer: None,
            sums: EntitySums::default(),
        }
    }

    /// Where the bytes for the socket of a stream wait.
    fn outgoing(&self, stream: StreamId) -> Outgoing {
        Outgoing::new(Rc::clone(&self.endpoint), stream, self.sign.clone())
    }

    /// Gives a stream what its socket brought, and its owner the messages; what there is no room
    /// for.
    fn receive<'a>(&mut self, stream: StreamId, mut bytes: &'a [u8], now: Instant) -> &'a [u8] {
        let endpoint = &mut *self.endpoint.borrow_mut();
        while let Some(message) = endpoint.receive(stream, &mut bytes, now) {
            self.sums.messages_in += 1;
            self.sums.message_bytes_in += message.bytes() as u64;
            self.owner.received(endpoint, message, now);
        }
        bytes
    }

    fn sessions(&self) -> Option<&Sessions> {
        match &self.owner {
            Owner::Application(sessions) => Some(sessions),
            _ => None,
        }
    }

    fn sums(&self) -> EntitySums {
        let endpoint = self.endpoint.borrow();
        EntitySums {
            messages_out: endpoint.messages_sent(),
            sessions: endpoint.sessions() as u64,
            streams: endpoint.streams() as u64,
            ..self.sums
        }
    }

    fn has_events(&self) -> bool {
        self.endpoint.borrow().has_events()
    }

    /// What has happened. (A function, so that the endpoint is free again when it is looked at.)
    fn next_event(&self) -> Option<Event> {
        self.endpoint.borrow_mut().poll_event()
    }
}

/// The entities of a core.
#[derive(Debug)]
pub(crate) struct Entities {
    all: Arena<Entity>,
    ready: Ready,
    /// Those of applications, by the application and the number that is their name there.
    by_name: BTreeMap<(ApplicationId, u64), EntityId>,
    osd_nulls: Vec<(OsdNullOptions, EntityId)>,
}

impl Default for Entities {
    fn default() -> Self {
        let (ready, by_name, osd_nulls) = Default::default();
        Self { all: Arena::new(), ready, by_name, osd_nulls }
    }
}

impl Entities {
    fn insert(&mut self, endpoint: Endpoint, owner: Owner) -> EntityId {
        let sign = self.ready.sign();
        let id = EntityId(self.all.insert(Entity::new(endpoint, owner, sign.clone())));
        sign.belongs_to(id);
        id
    }

    fn insert_osd_null(&mut self, endpoint: Endpoint, server: OsdNullServer) -> EntityId {
        let options = server.options;
        let id = self.insert(endpoint, Owner::OsdNull(server));
        self.osd_nulls.push((options, id));
        id
    }

    fn get_mut(&mut self, id: EntityId) -> Option<&mut Entity> {
        self.all.get_mut(id.0)
    }

    /// Takes in an entity of an application.
    pub(crate) fn insert_for_application(
        &mut self,
        endpoint: Endpoint,
        sessions: Sessions,
    ) -> EntityId {
        let Identity { application, number, .. } = sessions.identity;
        let id = self.insert(endpoint, Owner::Application(Box::new(sessions)));
        self.by_name.insert((application, number), id);
        id
    }

    /// Of an entity of an application, its endpoint and its sessions.
    pub(crate) fn of_application(
        &mut self,
        id: EntityId,
    ) -> Option<(SharedEndpoint, &mut Sessions)> {
        let entity = self.get_mut(id)?;
        match &mut entity.owner {
            Owner::Application(sessions) => Some((Rc::clone(&entity.endpoint), sessions)),
            _ => None,
        }
    }

    /// The entity that this one of an application is.
    pub(crate) fn of_identity(&self, identity: &Identity) -> Option<EntityId> {
        // One of an application that is gone may be there still, and another get its names.
        let id = *self.by_name.get(&(identity.application, identity.number))?;
        let sessions = self.all.get(id.0)?.sessions()?;
        (sessions.identity == *identity && !sessions.is_over()).then_some(id)
    }

    /// All entities of an application.
    pub(crate) fn all_of(&self, application: ApplicationId) -> Vec<EntityId> {
        let all = self.by_name.range((application, 0)..=(application, u64::MAX));
        all.map(|(_, id)| *id).collect()
    }

    /// The socket of a stream.
    pub(crate) fn token(&self, id: EntityId, stream: StreamId) -> Option<Token> {
        self.all.get(id.0)?.tokens.get(&stream).copied()
    }

    /// The sockets of an entity.
    pub(crate) fn tokens(&self, id: EntityId) -> Vec<Token> {
        self.all.get(id.0).map_or_else(Vec::new, |entity| entity.tokens.values().copied().collect())
    }

    /// The stream goes, whatever its endpoint says of it.
    pub(crate) fn forget_token(&mut self, id: EntityId, stream: StreamId) -> Option<Token> {
        self.get_mut(id)?.tokens.remove(&stream)
    }

    /// Whether nothing is under way for the owner of a stream, as far as is known.
    pub(crate) fn rests(&self, wire: &Wire) -> bool {
        self.all.get(wire.entity.0).is_none_or(|entity| match &entity.owner {
            Owner::Application(sessions) => sessions.rest(),
            _ => true,
        })
    }

    /// Takes out an entity of an application that is gone, once it has no session and no stream.
    fn remove_if_over(&mut self, id: EntityId) -> Option<Entity> {
        let entity = self.all.get(id.0)?;
        let Owner::Application(sessions) = &entity.owner else { return None };
        let endpoint = entity.endpoint.borrow();
        let over = sessions.is_over() && endpoint.sessions() == 0 && endpoint.streams() == 0;
        let Identity { application, number, .. } = sessions.identity;
        drop(endpoint);
        if !over {
            return None;
        }
        if self.by_name.get(&(application, number)) == Some(&id) {
            self.by_name.remove(&(application, number));
        }
        self.all.remove(id.0)
    }

    /// Takes those with events that nobody has heeded.
    fn eventful(&mut self) -> Vec<EntityId> {
        let mut eventful = self.ready.take();
        eventful.retain(|id| {
            let entity = self.all.get(id.0);
            entity.inspect(|it| it.sign.lower()).is_some_and(Entity::has_events)
        });
        eventful
    }

    /// Whether there are such.
    pub(crate) fn has_events(&self) -> bool {
        debug_assert!(
            self.all.iter().all(|(_, it)| it.sign.is_raised() || !it.has_events()),
            "an entity has something that nobody would look at"
        );
        // What was done to those of a turn may have been heeded since.
        self.ready.any(|id| self.all.get(id.0).is_some_and(Entity::has_events))
    }

    /// Something was done to the endpoint of this one, which is not heeded in the same turn
    /// otherwise.
    pub(crate) fn touched(&self, id: EntityId) {
        if let Some(entity) = self.all.get(id.0) {
            entity.sign.raise();
        }
    }

    /// What they have done, if there are any.
    pub(crate) fn sums(&self) -> Option<Box<EntitySums>> {
        let mut sums: Option<Box<EntitySums>> = None;
        for (_, entity) in self.all.iter() {
            sums.get_or_insert_default().add(&entity.sums());
        }
        sums
    }

    /// The one that answers like this, if there is one already.
    fn osd_null(&self, options: OsdNullOptions) -> Option<EntityId> {
        self.osd_nulls.iter().find(|(of, _)| *of == options).map(|(_, id)| *id)
    }
}
