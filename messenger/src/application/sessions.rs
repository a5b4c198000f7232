//! The sessions of one entity of an application, on the core where it lives.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use super::allowance::Share;
use super::identity::Identity;
use super::lane::Lane;
use super::lines::Turn;
use super::requests::LISTENERS;
use super::session::{Far, Session};
use super::strangers::Strangers;
use crate::msgr2::{Endpoint, MessageHeader, Received, Segment, SessionId};
use crate::shm::part::Notice;

/// What an application is to its msgr2 peers, and what it has with them.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) identity: Identity,
    pub(crate) lane: Rc<Lane>,
    all: HashMap<SessionId, Session>,
    /// The first message of a session that has no slot yet. It is the only one, since then the
    /// session stops.
    early: HashMap<SessionId, Early>,
    /// Those that were begun, and left without a word.
    pub(super) strangers: Strangers,
    /// It ends with its last session and stream.
    over: bool,
    /// Where it listens, with its numbers for that.
    listens: Vec<(SocketAddr, u64)>,
}

#[derive(Debug)]
struct Early {
    header: MessageHeader,
    parts: [Segment<'static>; 3],
    /// It counts for what its application has held.
    _share: Share,
}

impl Sessions {
    pub(crate) fn new(identity: Identity, lane: Rc<Lane>) -> Self {
        let (all, early, strangers) = Default::default();
        Self { identity, lane, all, early, strangers, over: false, listens: Vec::new() }
    }

    /// It listens there; false if that is known.
    pub(crate) fn listens(&mut self, address: SocketAddr, job: u64) -> bool {
        let news = !self.listens.contains(&(address, job));
        if news {
            self.listens.retain(|(known, _)| *known != address);
            // It may have ended any number of listeners since.
            if self.listens.len() >= LISTENERS {
                self.listens.remove(0);
            }
            self.listens.push((address, job));
        }
        news
    }

    /// The listen job behind what was accepted at this address.
    pub(crate) fn job_at(&self, local: Option<SocketAddr>) -> u64 {
        let at = |it: &&(SocketAddr, u64)| local.is_some_and(|local| local.port() == it.0.port());
        self.listens.iter().find(at).or(self.listens.last()).map_or(0, |(_, job)| *job)
    }

    /// It is over; those that have to end.
    pub(crate) fn end(&mut self) -> Vec<SessionId> {
        self.over = true;
        self.all.keys().copied().collect()
    }

    /// Nobody will have it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over || self.lane.is_retiring()
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.all.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.early.remove(&id);
        self.strangers.remove(id);
        self.all.remove(&id)
    }

    /// A session has got its slot. What came before it is for it.
    pub(crate) fn insert(
        &mut self,
        endpoint: &mut Endpoint,
        id: SessionId,
        session: Session,
        now: Instant,
    ) {
        self.all.insert(id, session);
        if let Some(Early { header, parts, .. }) = self.early.remove(&id) {
            let [front, middle, data] = parts;
            endpoint.go_on(id, now);
            let message = Received { session: id, header, front, middle, data, forgotten: 0 };
            self.received(endpoint, message, now);
        }
    }

    pub(crate) fn received(
        &mut self,
        endpoint: &mut Endpoint,
        message: Received<'_>,
        now: Instant,
    ) {
        let id = message.session;
        if let Some(session) = self.all.get_mut(&id) {
            if let Err(fault) = session.deliver(&mut Far { endpoint, id, now }, message) {
                self.lane.fail(fault);
            }
        } else {
            // That it was opened is heeded after this.
            endpoint.stop(id);
            let mut share = Share::new(self.lane.portion.tally.clone());
            share.set(message.bytes());
            let Received { header, front, middle, data, .. } = message;
            let owned = |part: Segment<'_>| Segment::Owned(part.into_owned());
            let parts = [front, middle, data].map(owned);
            self.early.insert(id, Early { header, parts, _share: share });
        }
    }

    /// Tells the application what has happened to a session.
    pub(crate) fn tell(&mut self, id: SessionId, notice: Notice) {
        if let Some(session) = self.all.get_mut(&id)
            && let Err(fault) = session.tell(notice)
        {
            self.lane.fail(fault);
        }
    }

    /// Looks at a session of which there is something new; true if it is to be cut off.
    pub(crate) fn look(&mut self, far: &mut Far<'_>, turn: Turn) -> bool {
        let Some(session) = self.all.get_mut(&far.id) else { return false };
        match session.look(far, turn) {
            Ok(cut_off) => cut_off,
            Err(fault) => {
                self.lane.fail(fault);
                // Nobody evicts an application that is gone already.
                self.lane.is_retiring()
            }
        }
    }

    /// Nothing is under way in any of them, as far as is known. They tell what is consumed, which
    /// they otherwise need not.
    pub(crate) fn rest(&self) -> bool {
        self.all.values().for_each(|session| session.conduit.ask_for_consumption());
        self.all.values().all(Session::rests)
    }
}
