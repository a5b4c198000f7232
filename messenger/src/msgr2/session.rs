//! A session: what two entities have said to each other, over however many streams.

use std::time::Instant;

use super::address::{EntityAddr, EntityAddrs};
use super::backoff::Backoff;
use super::config::Config;
use super::control::EntityType;
use super::failure::ConnectionError;
use super::ids::StreamId;
use super::outbox::Outbox;
use super::policy::Policy;
use super::throttle::Throttle;

/// How a session is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Not, and nobody is doing anything about it; since then.
    Idle(Instant),
    /// The owner was asked for a stream.
    Asked,
    /// The owner is asked at that time.
    Retrying(Instant),
    /// The peer's stream is awaited until then.
    Waiting(Instant),
    /// Our stream is in its handshake.
    Connecting(StreamId),
    /// Messages pass.
    Ready(StreamId),
}

/// Who the peer of a session is, as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerName {
    /// What it is.
    pub entity: EntityType,
    /// Its number among its kind: 3 of `osd.3`; of a client the number that authentication gave it.
    pub number: u64,
    /// Where it is.
    pub address: EntityAddr,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) policy: Policy,
    /// Where to connect to, if we may.
    pub(super) target: Option<EntityAddr>,
    /// What is there.
    pub(super) entity: Option<EntityType>,
    /// Its number among its kind, as it says.
    pub(super) number: u64,
    /// The peer's addresses, as it says.
    pub(super) addresses: EntityAddrs,
    /// Lossy, and begins again by itself.
    pub(super) reopen: bool,
    pub(super) link: Link,
    pub(super) backoff: Backoff,
    /// The present stream counts as one that works from then on: since something came in the session, or
    /// once it has stood for the longest back-off.
    pub(super) works_from: Option<Instant>,
    /// The peer has heard that the session has begun: it has said so, or said something in it.
    pub(super) known: bool,
    /// The session's name on the side that connected first; 0 until there is one.
    pub(super) client_cookie: u64,
    /// And on the other.
    pub(super) server_cookie: u64,
    /// Of our present attempt.
    pub(super) global_seq: u64,
    /// Of the peer's latest.
    pub(super) peer_global_seq: u64,
    /// Rises with every attempt within the session.
    pub(super) connect_seq: u64,
    pub(super) outbox: Outbox,
    /// `seq` of the last message that came.
    pub(super) in_seq: u64,
    /// Messages that came and were not acknowledged.
    pub(super) unacknowledged: u32,
    /// When they have to be.
    pub(super) ack_due: Option<Instant>,
    pub(super) throttle: Throttle,
    /// Its receiver takes nothing, whatever the throttle says.
    pub(super) stopped: bool,
    /// It ends once nothing waits in it.
    pub(super) finishing: bool,
    /// It ends at the latest then.
    pub(super) ends_by: Option<Instant>,
    /// It ends then if it has not been open, for the reason that the last attempt had.
    pub(super) opens_by: Option<Instant>,
    pub(super) last_failure: Option<ConnectionError>,
}

impl Session {
    pub(super) fn new(policy: Policy, config: &Config, now: Instant) -> Self {
        Self {
            policy,
            target: None,
            entity: None,
            number: 0,
            addresses: EntityAddrs::default(),
            reopen: false,
            link: Link::Idle(now),
            backoff: Backoff::new(config.backoff),
            works_from: None,
            known: false,
            client_cookie: 0,
            server_cookie: 0,
            global_seq: 0,
            peer_global_seq: 0,
            connect_seq: 0,
            outbox: Outbox::new(config.outbox_bytes, config.tally.clone()),
            in_seq: 0,
            unacknowledged: 0,
            ack_due: None,
            throttle: Throttle::new(config.throttle),
            stopped: false,
            finishing: false,
            ends_by: None,
            opens_by: None,
            last_failure: None,
        }
    }

    /// The stream that it has.
    pub(super) fn stream(&self) -> Option<StreamId> {
        match self.link {
            Link::Connecting(stream) | Link::Ready(stream) => Some(stream),
            _ => None,
        }
    }

    /// Whether we may connect. There is nothing to connect to of a client that does not listen.
    pub(super) fn may_connect(&self) -> bool {
        let socket = self.target.and_then(|target| target.socket);
        !self.policy.server && socket.is_some_and(|socket| socket.port() != 0)
    }

    /// Whether it has begun on our side; on the peer's, too, if it is known. A lossy one begins with each
    /// stream.
    pub(super) fn has_begun(&self) -> bool {
        self.server_cookie != 0
    }

    /// The peer's address: as it says, or else as we know it.
    pub(super) fn name(&self) -> Option<EntityAddr> {
        if self.addresses.0.is_empty() { self.target } else { Some(self.addresses.msgr2()) }
    }

    /// By what it goes on with the session: where it is, as it says, if it knows.
    pub(super) fn peer_name(&self) -> Option<PeerName> {
        let told = |name: &EntityAddr| name.socket.is_some_and(|it| !it.ip().is_unspecified());
        let address = self.name().filter(told).or(self.target).or(self.name());
        let address = address.unwrap_or(EntityAddr::NONE);
        self.entity.map(|entity| PeerName { entity, number: self.number, address })
    }

    /// Forgets what was said; how many messages are lost.
    pub(super) fn reset(&mut self) -> u64 {
        self.begin_again();
        self.client_cookie = 0;
        self.outbox.reset()
    }

    /// The peer knows nothing of what was said, and hears it again; but for messages that are to be
    /// forgotten. How many are lost, if any are, or if the peer knew: what it has not heard of it
    /// cannot forget, since both may have begun one and been cut.
    pub(super) fn forgotten(&mut self, messages: bool) -> Option<u64> {
        let known = self.known;
        let lost = if messages {
            self.reset()
        } else {
            self.begin_again();
            0
        };
        (known || lost > 0).then_some(lost)
    }

    /// As at the beginning, but for the messages and our name for it.
    fn begin_again(&mut self) {
        self.known = false;
        self.server_cookie = 0;
        self.connect_seq = 0;
        self.in_seq = 0;
        self.acknowledged();
    }

    /// Whether nothing may be received.
    pub(super) fn is_full(&self) -> bool {
        self.stopped || self.throttle.is_full()
    }

    /// Messages have been acknowledged, or are about to be.
    pub(super) fn acknowledged(&mut self) {
        self.unacknowledged = 0;
        self.ack_due = None;
    }
}
