//! How an application comes: a segment for one that is new, or that of a namesake who has died.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use vmsgr_reactor::Doorbell;

use super::allowance::Allowance;
use super::attachment::{Attachment, Grant};
use super::entities::ASKED_WITHIN;
use super::pool::SlotPool;
use super::registry::APPLICATIONS;
use super::served::{Phase, Served};
use super::shared::Application;
use crate::ids::ApplicationId;
use crate::job::Event;
use crate::message::Message;
use crate::messenger::Messenger;
use crate::shm::geometry::Geometry;
use crate::shm::ring::{Pusher, Taker};
use crate::shm::segment::Segment;
use crate::shm::sync::Ordering;

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
    pub(super) fn succeed(&mut self, id: ApplicationId, successor: Attachment) {
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
    pub(super) fn grant(&mut self, id: ApplicationId) {
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
}
