//! Who gets the messages of an entity.

use std::time::Instant;

use super::osd_null::OsdNullServer;
use crate::application::Sessions;
use crate::msgr2::{Endpoint, Event, Received};

/// Who gets the messages of an entity, and the events of its sessions.
#[derive(Debug)]
pub(crate) enum Owner {
    /// They are answered at once.
    OsdNull(OsdNullServer),
    /// They go to an application. The worker tells it of events, since they take and give slots.
    Application(Box<Sessions>),
    /// They are kept for a test to look at.
    #[cfg(test)]
    Kept(Kept),
}

/// What a test looks at.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Kept {
    pub(super) messages: Vec<crate::msgr2::MessageHeader>,
    pub(super) events: Vec<Event>,
    /// With so many there is no room for more.
    pub(super) most: usize,
}

#[cfg(test)]
impl Default for Kept {
    fn default() -> Self {
        Self { messages: Vec::new(), events: Vec::new(), most: usize::MAX }
    }
}

#[cfg(test)]
impl Kept {
    fn received(&mut self, endpoint: &mut Endpoint, message: &Received<'_>, now: Instant) {
        self.messages.push(message.header);
        if self.messages.len() >= self.most {
            endpoint.stop(message.session);
        }
        endpoint.taken(message.session, 1, message.bytes() as u64, now);
    }
}

impl Owner {
    /// A message has come. [`Endpoint::taken`] is called once it needs no more room here; and if
    /// there is none at all, [`Endpoint::stop`], and [`Endpoint::go_on`] later.
    pub(super) fn received(
        &mut self,
        endpoint: &mut Endpoint,
        message: Received<'_>,
        now: Instant,
    ) {
        match self {
            Self::OsdNull(server) => server.received(endpoint, &message, now),
            Self::Application(sessions) => sessions.received(endpoint, message, now),
            #[cfg(test)]
            Self::Kept(kept) => kept.received(endpoint, &message, now),
        }
    }

    /// Something has happened to a session: it was opened or reset, has lost its stream or ended,
    /// or has room for messages again.
    pub(super) fn happened(&mut self, endpoint: &mut Endpoint, event: &Event, now: Instant) {
        match self {
            Self::OsdNull(server) => server.happened(endpoint, event, now),
            Self::Application(_) => {}
            #[cfg(test)]
            Self::Kept(kept) => kept.events.push(event.clone()),
        }
    }
}
