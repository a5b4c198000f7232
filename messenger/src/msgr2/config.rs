//! What an endpoint is and what it allows.

use std::time::Duration;

use super::address::EntityAddrs;
use super::backoff::BackoffLimits;
use super::control::EntityType;
use super::cookies::Cookies;
use super::limits::Limits;
use super::policy::Policy;
use super::tally::Tally;
use super::throttle::ThrottleLimits;

/// Features of messages that Ceph 16.2 knows. What they mean is the receiver's of a message to
/// know.
pub const FEATURES: u64 = 0x3f01_cfbd_fffd_ffff;

/// When to ask a silent peer whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// After so much silence.
    pub after: Duration,
    /// How long to wait for a sign of life then.
    pub patience: Duration,
}

impl Keepalive {
    /// Asks in time that only who is not there is silent for as long as `silence`.
    pub fn within(silence: Duration) -> Self {
        Self { after: silence / 2, patience: silence / 2 }
    }
}

/// What an endpoint is and what it allows.
#[derive(Debug, Clone)]
pub struct Config {
    /// What we are.
    pub entity: EntityType,
    /// Where we listen. Without any we are a client, at the address that servers see us at.
    pub addresses: EntityAddrs,
    /// Tells our process from others at the same address; of a client without addresses.
    pub nonce: u32,
    /// Our number among our kind; without one that which authentication gives.
    pub gid: Option<u64>,
    /// What we expect of those who connect, by what they are.
    pub policies: Vec<(EntityType, Policy)>,
    /// And of all others.
    pub policy: Policy,
    /// Clients who look for another process (by its nonce) at our address are refused.
    pub only_for_us: bool,
    /// Features of messages that we know.
    pub supported: u64,
    /// Those that a peer has to know.
    pub required: u64,
    /// Bounds of frames.
    pub limits: Limits,
    /// Data of messages is checked, and kept only where that costs nothing: of those who would
    /// throw it away. Encrypted data is kept.
    pub forget_data: bool,
    /// Bounds of what is received and not taken, per session.
    pub throttle: ThrottleLimits,
    /// Bound of what waits to be sent or acknowledged, per session, in bytes.
    pub outbox_bytes: usize,
    /// What waits to be sent or acknowledged, of all sessions of whoever shares it.
    pub tally: Tally,
    /// Bound of sessions.
    pub sessions: usize,
    /// How long a connection may take to become a session.
    pub handshake_time: Duration,
    /// Keepalives.
    pub keepalive: Option<Keepalive>,
    /// Acknowledge at the latest after so many messages.
    pub ack_every: u32,
    /// And at the latest after so long.
    pub ack_after: Duration,
    /// Between attempts to connect.
    pub backoff: BackoffLimits,
    /// How long a session that waits for its peer is kept.
    pub linger: Duration,
    /// Where the names of sessions come from.
    pub cookies: Cookies,
}

impl Config {
    /// Of an entity with these addresses, with the bounds that Ceph has.
    pub fn new(entity: EntityType, addresses: EntityAddrs) -> Self {
        Self {
            entity,
            addresses,
            nonce: 0,
            gid: None,
            policies: Vec::new(),
            policy: Policy::STATELESS_SERVER,
            only_for_us: false,
            supported: FEATURES,
            required: 0,
            limits: Limits::default(),
            forget_data: false,
            throttle: ThrottleLimits::default(),
            outbox_bytes: 64 << 20,
            tally: Tally::default(),
            sessions: 65_536,
            handshake_time: Duration::from_secs(10),
            keepalive: None,
            ack_every: 16,
            ack_after: Duration::from_millis(50),
            backoff: BackoffLimits::default(),
            linger: Duration::from_secs(300),
            cookies: Cookies::default(),
        }
    }

    pub(super) fn policy_for(&self, entity: EntityType) -> Policy {
        let found = self.policies.iter().find(|(of, _)| *of == entity);
        found.map_or(self.policy, |(_, policy)| *policy)
    }
}
