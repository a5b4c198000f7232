//! Entities: who an application is to its msgr2 peers.

use std::fmt;
use std::time::Duration;

use super::JobId;
use crate::msgr2::{EntityType, Keepalive, ThrottleLimits};
use crate::shm::entity::{Entity, EntityName};
use crate::shm::keepalive::Keepalives;
use crate::shm::part::LARGEST_MESSAGE;
use crate::shm::{EntityError, EntityPolicy};

/// What an application is to its msgr2 peers: a type and an identifier, how sessions outlive their
/// streams, and how much of each session may wait for the application.
///
/// ```
/// use std::time::Duration;
/// use vmsgr_messenger::client::{EntityOptions, EntityPolicy};
/// use vmsgr_messenger::msgr2::EntityType;
///
/// let osd = EntityOptions::new(EntityType::OSD, "0");
/// let mds = EntityOptions::new(EntityType::MDS, "a")
///     .policy(EntityPolicy::StatefulServer)
///     .throttle(100, 64 << 20)
///     .largest_message(16 << 20)
///     .keepalive(Duration::from_secs(5), Duration::from_secs(10));
/// ```
#[derive(Debug, Clone)]
pub struct EntityOptions {
    kind: EntityType,
    id: String,
    policy: EntityPolicy,
    throttle: ThrottleLimits,
    largest_message: u32,
    keepalives: Keepalives,
}

/// Names an entity of an endpoint; no job of it has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityId(pub(super) u64);

impl EntityOptions {
    /// An entity of this type, and the part of its name behind it: `0` of `osd.0`, at most 32
    /// characters of `A-Z a-z 0-9 . _ -`.
    ///
    /// If nothing else is said it is a lossy client where it is a client, else a stateless server;
    /// 1,024 messages and 100 MiB of each session may wait, and messages be as large as 128 MiB;
    /// the peers of lossless sessions are asked whether they are there after 15 s of silence, and
    /// given 30 s to answer.
    pub fn new(kind: EntityType, id: impl Into<String>) -> Self {
        let policy = match kind {
            EntityType::CLIENT => EntityPolicy::LossyClient,
            _ => EntityPolicy::StatelessServer,
        };
        let (throttle, largest_message) = (ThrottleLimits::default(), LARGEST_MESSAGE);
        let keepalives = Keepalives::Usual;
        Self { kind, id: id.into(), policy, throttle, largest_message, keepalives }
    }

    /// What it and its peers expect of each other when a stream is lost.
    pub fn policy(mut self, policy: EntityPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How much of a session may have come and not be [consumed](super::Messages::consume):
    /// messages, 1 to 4,294,967,295, and bytes of their fronts, middles and data, rounded up to
    /// KiB, less than 4 TiB. At either the session's stream is not read, and its peer, nobody else,
    /// has to wait; the message that reaches it may exceed it.
    pub fn throttle(mut self, messages: u64, bytes: u64) -> Self {
        self.throttle = ThrottleLimits { messages, bytes };
        self
    }

    /// The largest message that is received or sent, in bytes of front, middle and data together:
    /// 1 to 134,217,728, 128 MiB.
    pub fn largest_message(mut self, bytes: u32) -> Self {
        self.largest_message = bytes;
        self
    }

    /// After how much silence of its peer a session asks whether that is there, and how long it
    /// waits for a sign of life then, before its stream is lost: each 100 ms to a day, rounded up
    /// to milliseconds. A lossy session ends with that; a lossless one has
    /// [`Notice::StreamLost`](super::Notice::StreamLost) and tries to get another.
    ///
    /// Any byte is a sign of life, and while what lies before the question goes out, that is one,
    /// too. Who is not read, for what it has sent is not taken, need not answer. A peer that takes
    /// nothing for so long cannot be told from one that is gone.
    ///
    /// If nothing is said, lossless sessions have 15 s and 30 s, and lossy ones none. Where the
    /// daemon closes connections that are idle (`connection.idle_timeout_secs`), all have at most
    /// half of that for each, so that only those who are not there seem idle.
    pub fn keepalive(mut self, after: Duration, patience: Duration) -> Self {
        self.keepalives = Keepalives::After(Keepalive { after, patience });
        self
    }

    /// No session asks its peer whether it is there, but where the daemon closes connections that
    /// are idle. So one whose peer has vanished lasts until TCP gives up what it sends.
    pub fn no_keepalive(mut self) -> Self {
        self.keepalives = Keepalives::Never;
        self
    }

    pub(super) fn entity(&self) -> Result<Entity, EntityError> {
        let Self { kind, policy, throttle, largest_message, keepalives, .. } = *self;
        let id = EntityName::new(&self.id)?;
        let entity = Entity { kind, id, policy, throttle, largest_message, keepalives };
        entity.check().map(|()| entity)
    }
}

impl EntityId {
    /// What [`Failed`](super::Event::Failed) names if the daemon cannot have it.
    pub fn job(self) -> JobId {
        JobId(self.0)
    }

    /// It as a number, which is never 0.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// What [`to_bits`](Self::to_bits) has made a number.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Those that an endpoint has asked for, to be asked for again from another daemon. There are few.
#[derive(Debug, Default)]
pub(super) struct Entities(Vec<(EntityId, Entity)>);

impl Entities {
    pub(super) fn began(&mut self, id: EntityId, entity: Entity) {
        self.0.push((id, entity));
    }

    /// The daemon cannot have it.
    pub(super) fn ended(&mut self, job: JobId) {
        self.0.retain(|(id, _)| id.job() != job);
    }

    pub(super) fn all(&self) -> &[(EntityId, Entity)] {
        &self.0
    }
}
