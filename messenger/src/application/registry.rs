//! All applications, as the messenger's thread knows them: who is attached, who has died and may
//! come back, who listens where.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use vmsgr_reactor::Doorbell;

use super::allowance::Allowance;
use super::entities::ASKED_WITHIN;
use super::fault::Fault;
use super::pool::SlotPool;
use super::served::{Listened, Phase, Served};
use super::shared::Application;
use crate::ids::{ApplicationId, JobId};
use crate::job::Event;
use crate::message::Message;
use crate::messenger::Messenger;
use crate::shm::Permissions;
use crate::shm::geometry::Geometry;
use crate::shm::ring::{Pusher, Taker};
use crate::shm::segment::Segment;
use crate::shm::sync::{Ordering, full_fence};

/// Applications that are kept at a time, dead or alive: each has a segment.
pub(super) const APPLICATIONS: usize = if cfg!(test) { 16 } else { 1024 };

/// What an application asks for when it attaches, and what it may.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Its name; of one user's applications with the same name only one is attached at a time. An
    /// application without a name is closed when it dies.
    pub name: String,
    /// The user that it runs as.
    pub uid: u32,
    /// Its process, for the log.
    pub pid: i32,
    /// Connections that it may have at a time.
    pub slots: u32,
    /// Bytes of each connection's receive ring.
    pub receive_ring_bytes: u32,
    /// Bytes of each connection's send ring.
    pub send_ring_bytes: u32,
    /// How long its connections are kept when it dies.
    pub linger: Duration,
    /// Where it may listen and connect to.
    pub permissions: Permissions,
}

/// What an application that is attached gets.
#[derive(Debug)]
pub struct Grant {
    /// How often somebody has attached to its segment.
    pub epoch: u64,
    /// It has taken over what an earlier one of its name has left.
    pub resumed: bool,
    /// Loops that serve it.
    pub cores: u16,
    /// The size of its segment.
    pub segment_bytes: u64,
    /// For the application: the segment, its doorbell, the messenger's, and one of each core.
    pub descriptors: Vec<OwnedFd>,
    /// What the application rings for the messenger's thread: to be registered with its poll, and
    /// told of with [`Messenger::application_rang`].
    pub doorbell: Doorbell,
}

/// What the cores tell of applications.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The core serves it now.
    Attached { application: ApplicationId },
    /// The core cannot watch its doorbell.
    Unwatched { application: ApplicationId, error: io::Error },
    /// The core has repaired what it left.
    Departed { application: ApplicationId },
    /// The core gives it connections of the listener behind this job of its.
    Joined { application: ApplicationId, job: u64 },
    /// It has done something wrong.
    Fault { application: ApplicationId, fault: Fault },
    /// Its time is over: that to come back, or that to ask for the entities that it has taken over.
    TimeOver { application: ApplicationId },
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// Entities that there have been.
    pub(super) entities: u64,
    pub(crate) served: HashMap<ApplicationId, Served>,
    pub(crate) listened: HashMap<JobId, Listened>,
    /// The last name that was given.
    last: u64,
    /// What the messenger's owner is to be told.
    pub(crate) events: VecDeque<Event>,
}

impl Messenger {
    /// Attaches an application; [`Event::Granted`] or [`Event::Detached`] follows.
    ///
    /// # Errors
    /// With an errno and a reason that can be told to the application: one of this name is attached
    /// (EBUSY), a size is out of its range or not that of what would be taken over (EINVAL), or
    /// memory or descriptors have run out.
    pub fn attach(&mut self, wanted: Attachment) -> Result<ApplicationId, (Errno, String)> {
        let namesake = self.registry.served.iter_mut().find(|(_, served)| {
            !wanted.name.is_empty() && served.name == wanted.name && served.uid == wanted.uid
        });
        if let Some((&id, served)) = namesake {
            let is_attached = served.phase == Phase::Attached
                || served.phase == Phase::Attaching && !served.stillborn;
            if !is_attached && served.has_left_something() {
                served.fits(&wanted).map_err(|reason| (Errno::EINVAL, reason))?;
            }
            match served.phase {
                Phase::Departing if served.successor.is_none() => served.successor = Some(wanted),
                // The one that is being attached has died since.
                Phase::Attaching if served.stillborn && served.successor.is_none() => {
                    served.successor = Some(wanted);
                }
                Phase::Departed => self.succeed(id, wanted),
                _ => {
                    let reason =
                        format!("an application named '{}' is attached already", wanted.name);
                    return Err((Errno::EBUSY, reason));
                }
            }
            return Ok(id);
        }
        if self.registry.served.len() >= APPLICATIONS {
            let reason = format!("{APPLICATIONS} applications are kept, some of them dead");
            return Err((Errno::EUSERS, reason));
        }
        self.registry.last += 1;
        let id = ApplicationId(self.registry.last);
        self.attach_new(id, wanted).map(|()| id)
    }

    /// Makes a segment for an application that takes nothing over.
    fn attach_new(&mut self, id: ApplicationId, wanted: Attachment) -> Result<(), (Errno, String)> {
        let failed = |error: io::Error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(Errno::ENOMEM as i32));
            (errno, format!("no segment can be made: {error}"))
        };
        let Attachment { slots, receive_ring_bytes, send_ring_bytes, .. } = wanted;
        let cores = self.cores();
        let geometry = Geometry::new(cores as u32, slots, receive_ring_bytes, send_ring_bytes)
            .ok_or_else(|| (Errno::EINVAL, "a size is out of its range".to_owned()))?;
        let (segment, memory) = Segment::create(geometry).map_err(failed)?;
        let doorbell = Doorbell::new().map_err(failed)?;
        let slots = SlotPool::new(slots, cores);
        let allowance = Allowance::new(self.options.applications.held_bytes, cores);
        let shared = Arc::new(Application { id, segment, slots, allowance, doorbell });
        let served = Served {
            shared,
            memory,
            name: wanted.name,
            uid: wanted.uid,
            pid: wanted.pid,
            linger: wanted.linger,
            permissions: wanted.permissions,
            phase: Phase::Departed,
            unconfirmed: 0,
            epoch: 0,
            granted: None,
            successor: None,
            stillborn: false,
            events: Pusher::default(),
            jobs: Taker::default(),
            entities: Vec::new(),
            listens: HashMap::new(),
            rung: false,
            vain: 0,
        };
        self.registry.served.insert(id, served);
        self.begin_attach(id).map_err(|error| {
            self.registry.served.remove(&id);
            failed(error)
        })
    }

    /// An application comes that has the name of one that has died.
    fn succeed(&mut self, id: ApplicationId, successor: Attachment) {
        let Some(served) = self.registry.served.get(&id) else { return };
        let Err(reason) = served.fits(&successor) else { return self.take_over(id, successor) };
        let attached = if served.has_left_something() {
            Err(reason)
        } else {
            // Nothing is lost with it, so it gets what it asks for. The cores are done with the old
            // segment before they hear of the new one.
            self.retire(id);
            self.attach_new(id, successor).map_err(|(_, reason)| reason)
        };
        if let Err(reason) = attached {
            self.registry.events.push_back(Event::Detached { application: id, reason });
        }
    }

    /// Its segment goes to a successor, with all that is in it.
    fn take_over(&mut self, id: ApplicationId, successor: Attachment) {
        if let Some(served) = self.registry.served.get_mut(&id) {
            served.pid = successor.pid;
            served.linger = successor.linger;
            served.permissions = successor.permissions;
        }
        if let Err(error) = self.begin_attach(id) {
            let reason = format!("no descriptor is left: {error}");
            self.registry.events.push_back(Event::Detached { application: id, reason });
        }
    }

    fn begin_attach(&mut self, id: ApplicationId) -> io::Result<()> {
        let cores = self.cores();
        let Some(served) = self.registry.served.get_mut(&id) else { return Ok(()) };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let rung = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        epoll.add(&served.shared.doorbell, rung)?;
        let control = Doorbell::new()?;
        let mut descriptors = vec![served.memory.try_clone()?, epoll.0, control.share()?];
        let mut doorbells = Vec::with_capacity(cores);
        for _ in 0..cores {
            let doorbell = Doorbell::new()?;
            descriptors.push(doorbell.share()?);
            doorbells.push(doorbell);
        }
        served.phase = Phase::Attaching;
        served.unconfirmed = cores;
        served.epoch += 1;
        served.granted = Some((descriptors, control));
        served.shared.segment.reset_control();
        served.shared.segment.epoch().store(served.epoch, Ordering::Relaxed);
        (served.events, served.jobs) = Default::default();
        let shared = Arc::clone(&served.shared);
        for (core, doorbell) in doorbells.into_iter().enumerate() {
            self.post(core, Message::Attach(Box::new((Arc::clone(&shared), doorbell))));
        }
        Ok(())
    }

    /// All cores serve it: it gets what it needs to begin.
    fn grant(&mut self, id: ApplicationId) {
        let cores = self.cores() as u16;
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        served.phase = Phase::Attached;
        if std::mem::take(&mut served.stillborn) {
            return self.depart(id);
        }
        let Some((descriptors, doorbell)) = served.granted.take() else { return };
        let grant = Grant {
            epoch: served.epoch,
            resumed: served.epoch > 1,
            cores,
            segment_bytes: served.shared.segment.geometry().segment_bytes() as u64,
            descriptors,
            doorbell,
        };
        self.registry.events.push_back(Event::Granted { application: id, grant: Box::new(grant) });
        if !served.entities.is_empty() {
            self.post(0, Message::Time(id, ASKED_WITHIN));
        }
        self.tell_of_listeners(id);
    }

    /// An application has died, or has gone.
    pub fn depart(&mut self, id: ApplicationId) {
        let cores = self.cores();
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        match served.phase {
            // It goes when all cores have confirmed that it has come.
            Phase::Attaching => {
                served.stillborn = true;
                served.successor = None;
            }
            Phase::Attached => {
                served.phase = Phase::Departing;
                self.do_last_jobs_of(id);
                let Some(served) = self.registry.served.get_mut(&id) else { return };
                if served.name.is_empty() || served.linger.is_zero() {
                    if served.successor.is_some() {
                        let reason = "the one before it was being attached: try again".to_owned();
                        let event = Event::Detached { application: id, reason };
                        self.registry.events.push_back(event);
                    }
                    return self.retire(id);
                }
                served.unconfirmed = cores;
                self.post_all(|| Message::Depart(id));
            }
            // The one that waited to come after it has died, too.
            Phase::Departing => served.successor = None,
            Phase::Departed => {}
        }
    }

    /// An application is gone for good.
    pub(crate) fn retire(&mut self, id: ApplicationId) {
        if self.forget(id).is_some() {
            self.post_all(|| Message::Retire(id));
        }
    }

    /// An application has done something wrong.
    pub(crate) fn evict(&mut self, id: ApplicationId, reason: &str) {
        if self.forget(id).is_none() {
            return;
        }
        self.post_all(|| Message::Evict(id));
        let reason = reason.to_owned();
        self.registry.events.push_back(Event::Detached { application: id, reason });
    }

    fn forget(&mut self, id: ApplicationId) -> Option<Served> {
        let served = self.registry.served.remove(&id)?;
        for (&job, listen) in &served.listens {
            self.leave_listener(listen.listener, id, job);
        }
        Some(served)
    }

    /// A doorbell of an application has rung; see [`Grant::doorbell`].
    pub fn application_rang(&mut self, id: ApplicationId) {
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        if std::mem::replace(&mut served.rung, true) {
            self.count_vain(id);
        }
    }

    fn count_vain(&mut self, id: ApplicationId) {
        const VAIN: u32 = 10_000;
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        served.vain += 1;
        if served.vain >= VAIN {
            let fault = Fault::Vain(served.vain);
            self.evict(id, &fault.to_string());
        }
    }

    /// Acts on what a core tells of an application.
    pub(crate) fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Attached { application } => self.confirmed(application, Phase::Attaching),
            Heard::Departed { application } => self.confirmed(application, Phase::Departing),
            Heard::Unwatched { application, error } => {
                self.evict(application, &format!("its doorbell cannot be watched: {error}"));
            }
            Heard::Joined { application, job } => self.joined(application, job),
            Heard::Fault { application, fault } => self.evict(application, &fault.to_string()),
            Heard::TimeOver { application } => self.time_over(application),
        }
    }

    /// The time of an application's present phase is over. What a core says of an earlier one comes
    /// before it confirms the next, and so finds it in between.
    fn time_over(&mut self, id: ApplicationId) {
        let Some(served) = self.registry.served.get(&id) else { return };
        match served.phase {
            Phase::Attached => self.end_unasked(id),
            Phase::Departed => {
                log::info!("{} did not come back: its connections are closed", served.label());
                self.retire(id);
            }
            Phase::Attaching | Phase::Departing => {}
        }
    }

    fn confirmed(&mut self, id: ApplicationId, phase: Phase) {
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        if served.phase != phase {
            return;
        }
        served.unconfirmed -= 1;
        if served.unconfirmed > 0 {
            return;
        }
        if phase == Phase::Attaching {
            return self.grant(id);
        }
        served.phase = Phase::Departed;
        let (linger, successor) = (served.linger, served.successor.take());
        // Also if one comes at once, which ends it: it may fail to.
        self.post(0, Message::Time(id, linger));
        if let Some(successor) = successor {
            self.succeed(id, successor);
        }
    }

    /// Declares to the applications that the messenger's thread is going to sleep; false if one of
    /// them has a job after all, and then it is awake.
    pub(crate) fn declare_sleep(&mut self) -> bool {
        if self.registry.served.is_empty() {
            return true;
        }
        for served in self.registry.served.values().filter(|served| served.is_attached()) {
            served.shared.segment.control().daemon.0.declare();
        }
        full_fence();
        // Cores that have fallen behind wake it when they have caught up.
        let may_sleep =
            !self.may_post() || !self.registry.served.values_mut().any(Served::has_jobs);
        if !may_sleep {
            self.cancel_sleep();
        }
        may_sleep
    }

    /// The messenger's thread is awake.
    pub(crate) fn cancel_sleep(&self) {
        for served in self.registry.served.values() {
            served.shared.segment.control().daemon.0.cancel();
        }
    }

    /// For tests: the end of the application of this name is confirmed by all cores.
    #[cfg(test)]
    pub(crate) fn is_departed(&self, name: &str) -> bool {
        let mut served = self.registry.served.values().filter(|served| served.name == name);
        served.any(|served| served.phase == Phase::Departed)
    }

    /// For tests: nothing could be taken over from the application of this name.
    #[cfg(test)]
    pub(crate) fn has_left_nothing(&self, name: &str) -> bool {
        let mut served = self.registry.served.values().filter(|served| served.name == name);
        !served.any(|served| served.has_left_something())
    }
}
