//! An application as the messenger's thread knows it: who it is, how far it has come or gone, what
//! it is to msgr2 peers and where it listens.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use vmsgr_reactor::Doorbell;

use super::attachment::Attachment;
use super::identity::Identity;
use super::shared::Application;
use crate::ids::{ApplicationId, JobId};
use crate::shm::Permissions;
use crate::shm::job::Told;
use crate::shm::ring::{Pusher, Taker};

/// How far an application has come, or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Cores have not confirmed that they serve it.
    Attaching,
    Attached,
    /// It has died, and cores have not confirmed that they repaired what it left.
    Departing,
    /// It has died, and may come back.
    Departed,
}

/// One application.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) shared: Arc<Application>,
    pub(super) memory: OwnedFd,
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(super) pid: i32,
    pub(super) linger: Duration,
    pub(crate) permissions: Permissions,
    pub(super) phase: Phase,
    /// Cores that have not confirmed the phase.
    pub(super) unconfirmed: usize,
    pub(super) epoch: u64,
    /// What it will be given when all cores have confirmed.
    pub(super) granted: Option<(Vec<OwnedFd>, Doorbell)>,
    /// One of its name that waits for the cores to be done with this one.
    pub(super) successor: Option<Attachment>,
    /// It died while it was being attached.
    pub(super) stillborn: bool,
    pub(crate) events: Pusher,
    pub(crate) jobs: Taker,
    /// What it is to msgr2 peers.
    pub(crate) entities: Vec<Known>,
    /// Its listen jobs.
    pub(crate) listens: HashMap<u64, Listen>,
    pub(super) rung: bool,
    pub(crate) vain: u32,
}

impl Served {
    /// How often somebody has attached to it.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.phase == Phase::Attached
    }

    /// A job waits, and there is room to answer it.
    pub(crate) fn has_jobs(&mut self) -> bool {
        self.phase == Phase::Attached
            && self.jobs.has_some(self.shared.segment.jobs())
            && self.may_answer()
    }

    /// One more answer finds room in the event ring.
    pub(crate) fn may_answer(&mut self) -> bool {
        // A cursor that lies shows when the answer is pushed.
        let room = self.events.room(self.shared.segment.events());
        // Each listen job that was not answered yet has a place there.
        let unanswered = self.listens.values().filter(|listen| listen.unjoined > 0).count();
        room.is_err() || room.is_ok_and(|room| room > unanswered)
    }

    /// A job came that means something.
    pub(crate) fn heeded(&mut self) {
        self.rung = false;
        self.vain = 0;
    }

    /// Somebody who takes its name takes over a connection or a listener.
    pub(super) fn has_left_something(&self) -> bool {
        self.shared.slots.taken() > 0 || !self.listens.is_empty()
    }

    /// Whether a successor asks for the sizes of its segment, which stay as they are; if not, what
    /// that one can do.
    pub(super) fn fits(&self, successor: &Attachment) -> Result<(), String> {
        let has = self.shared.segment.geometry();
        let has = (has.slots, has.receive_ring_bytes, has.send_ring_bytes);
        let Attachment { slots, receive_ring_bytes, send_ring_bytes, .. } = *successor;
        let asked = (slots, receive_ring_bytes, send_ring_bytes);
        if has == asked {
            return Ok(());
        }
        let sizes = |(slots, receive, send)| {
            format!("{slots} slots with rings of {receive} and {send} bytes")
        };
        Err(format!(
            "'{}' was left with {}, not {}: ask for the same, or take another name",
            self.name,
            sizes(has),
            sizes(asked)
        ))
    }

    /// For the log.
    pub(crate) fn label(&self) -> String {
        let name = if self.name.is_empty() { "(no name)" } else { &self.name };
        format!("application={} name={name} uid={} pid={}", self.shared.id, self.uid, self.pid)
    }
}

/// An entity of an application, and its numbers.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) identity: Identity,
    /// Those that the application and its predecessors have for it; the last ones.
    pub(crate) numbers: VecDeque<u64>,
    /// The epoch of the application that has asked for it last.
    pub(crate) asked: u64,
}

/// A listen job of one application.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listen {
    /// Ours behind it.
    pub(crate) listener: JobId,
    /// Cores that do not give it connections yet.
    pub(crate) unjoined: usize,
}

/// A listener of applications.
#[derive(Debug)]
pub(crate) struct Listened {
    /// As bound.
    pub(crate) address: SocketAddr,
    pub(crate) uid: u32,
    /// The number of the entity that has it for itself, if it is one's.
    pub(crate) entity: Option<u64>,
    /// Who listens there, with their numbers for it.
    pub(crate) members: Vec<(ApplicationId, u64)>,
}

impl Listened {
    /// What its members are told of it.
    pub(crate) fn told(&self) -> Told {
        let address = self.address;
        match self.entity {
            Some(_) => Told::ListeningAs { address },
            None => Told::Listening { address },
        }
    }
}
