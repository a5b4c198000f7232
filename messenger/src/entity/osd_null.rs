//! The service osd-null: an OSD that stores nothing, with sessions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::OUTBOX_BYTES;
use crate::msgr2::{
    AuthNone, Config, Endpoint, EntityAddrs, EntityType, Event, Keepalive, Message, OsdNull,
    Received, SendError, SessionId,
};

/// How the service osd-null answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OsdNullOptions {
    /// Bytes that every object seems to have, all of them zero.
    pub object_bytes: u64,
}

impl Default for OsdNullOptions {
    /// Objects of 4 MiB, as Ceph's own clients make them.
    fn default() -> Self {
        Self { object_bytes: 4 << 20 }
    }
}

/// Data of one message. It is checked, and forgotten.
const DATA_BYTES: u32 = 128 << 20;

#[derive(Debug)]
pub(crate) struct OsdNullServer {
    pub(super) options: OsdNullOptions,
    osd: OsdNull,
    /// The reply that a session had no room for. It is the only one, since then the session stops.
    refused: HashMap<SessionId, Message>,
}

impl OsdNullServer {
    pub(super) fn new(options: OsdNullOptions) -> Self {
        let osd = OsdNull::new(options.object_bytes);
        Self { options, osd, refused: HashMap::new() }
    }

    /// What it is to its clients. Those who are silent for half of `idle_time_out` are asked
    /// whether they are there, so that only those who are not seem idle.
    pub(super) fn endpoint(idle_time_out: Option<Duration>, now: Instant) -> Endpoint {
        // Without addresses: it is where its client has reached it.
        let mut config = Config::new(EntityType::OSD, EntityAddrs::default());
        config.outbox_bytes = OUTBOX_BYTES;
        config.limits.data_bytes = DATA_BYTES;
        config.forget_data = true;
        config.gid = Some(0);
        config.keepalive = idle_time_out.map(Keepalive::within);
        Endpoint::new(config, Box::new(AuthNone::new(EntityType::OSD, "0", 0)), now)
    }

    pub(super) fn received(
        &mut self,
        endpoint: &mut Endpoint,
        message: &Received<'_>,
        now: Instant,
    ) {
        let session = message.session;
        match self.osd.answer(&message.header, &message.front) {
            Ok(Some(reply)) => self.send(endpoint, session, reply, now),
            Ok(None) => {}
            Err(violation) => endpoint.refuse(session, violation),
        }
        endpoint.taken(session, 1, message.bytes() as u64, now);
    }

    pub(super) fn happened(&mut self, endpoint: &mut Endpoint, event: &Event, now: Instant) {
        match event {
            Event::Room(session) => {
                if let Some(reply) = self.refused.remove(session) {
                    self.send(endpoint, *session, reply, now);
                    if !self.refused.contains_key(session) {
                        endpoint.go_on(*session, now);
                    }
                }
            }
            Event::Ended { session, .. } => {
                self.refused.remove(session);
            }
            _ => {}
        }
    }

    fn send(&mut self, endpoint: &mut Endpoint, session: SessionId, reply: Message, now: Instant) {
        if let Err(SendError::Full(reply)) = endpoint.send(session, reply, now) {
            endpoint.stop(session);
            self.refused.insert(session, *reply);
        }
    }
}
