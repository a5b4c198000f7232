//! The jobs of applications: taken from their rings, checked, and given to the cores.

use std::net::SocketAddr;
use std::sync::Arc;

use nix::errno::Errno;

use super::endpoints::Reserved;
use super::fault::Fault;
use super::served::{Listen, Listened};
use crate::bind::Bound;
use crate::ids::ApplicationId;
use crate::ids::JobId;
use crate::job::Event;
use crate::message::Message;
use crate::messenger::Messenger;
use crate::name::Service;
use crate::shm::geometry;
use crate::shm::job::{Asked, Notice, Request, Told};
use crate::shm::sync::full_fence;

/// Jobs of one application that are done before others have their turn.
const JOBS: usize = 64;

/// Listeners that one application may have.
pub(super) const LISTENERS: usize = 128;

impl Messenger {
    /// Does what applications ask for; whether anything was asked.
    pub(crate) fn do_jobs(&mut self) -> bool {
        if !self.may_post() {
            return false;
        }
        let registry = &mut self.registry.served;
        let asking =
            registry.iter_mut().filter_map(|(id, served)| served.has_jobs().then_some(*id));
        let asking: Vec<_> = asking.collect();
        for &id in &asking {
            self.do_jobs_of(id, JOBS);
        }
        !asking.is_empty()
    }

    /// Does what an application has asked for before it died: nobody waits for the answers, so none
    /// has to find room. What lay in the ring is all there is, even if somebody goes on pushing.
    pub(crate) fn do_last_jobs_of(&mut self, id: ApplicationId) {
        self.do_jobs_of(id, geometry::JOBS);
    }

    /// Does what one application has asked for, at most so many things.
    fn do_jobs_of(&mut self, id: ApplicationId, most: usize) {
        for _ in 0..most {
            let Some(served) = self.registry.served.get_mut(&id) else { return };
            if served.is_attached() && !served.may_answer() {
                return;
            }
            let words = match served.jobs.take(served.shared.segment.jobs()) {
                Ok(Some(words)) => words,
                Ok(None) => return,
                Err(lies) => return self.evict(id, &Fault::from(lies).to_string()),
            };
            let Some(request) = Request::from_words(words) else {
                return self.evict(id, &Fault::Job(words[0]).to_string());
            };
            served.heeded();
            self.do_job(id, request);
        }
    }

    fn do_job(&mut self, id: ApplicationId, request: Request) {
        let Request { job, kind } = request;
        let done = match kind {
            Asked::Listen { address, backlog } => self.listen_for(id, job, address, backlog),
            Asked::Connect { address } => self.connect_for(id, job, address),
            Asked::Unlisten => self.unlisten_for(id, job),
            Asked::Leave => {
                self.retire(id);
                Ok(())
            }
            Asked::Entity(entity) => self.be(id, job, entity),
            Asked::ListenAs { entity, address, backlog } => self
                .identity_of(id, entity)
                .and_then(|identity| self.listen_as(id, job, identity, address, backlog)),
            Asked::ConnectAs { entity, address, peer, patience } => self
                .identity_of(id, entity)
                .and_then(|identity| self.connect_as(id, job, identity, address, (peer, patience))),
            Asked::Cancel => {
                // Whichever core has it: behind what told it to make it.
                self.post_all(|| Message::Cancel { application: id, job });
                Ok(())
            }
        };
        if let Err(errno) = done {
            self.answer(id, job, Told::Failed { errno: errno as i32 });
        }
    }

    /// Whether an application may listen there; the user that it runs as.
    pub(super) fn may_listen(
        &self,
        id: ApplicationId,
        job: u64,
        address: SocketAddr,
    ) -> Result<u32, Errno> {
        let served = self.registry.served.get(&id).ok_or(Errno::ENOENT)?;
        if !served.permissions.may_listen(address) {
            return Err(Errno::EACCES);
        }
        if served.listens.contains_key(&job) {
            return Err(Errno::EEXIST);
        }
        if served.listens.len() >= LISTENERS {
            return Err(Errno::EMFILE);
        }
        Ok(served.uid)
    }

    fn listen_for(
        &mut self,
        id: ApplicationId,
        job: u64,
        address: SocketAddr,
        backlog: u32,
    ) -> Result<(), Errno> {
        let uid = self.may_listen(id, job, address)?;
        let there = self.listener_at(address);
        let there = there.and_then(|it| Some((it, self.registry.listened.get(&it)?)));
        let listener = match there {
            // Endpoints of one user share an address; each of them once.
            Some((listener, it)) if it.uid == uid && it.entity.is_none() => {
                if it.members.iter().any(|(member, _)| *member == id) {
                    return Err(Errno::EADDRINUSE);
                }
                listener
            }
            Some(_) => return Err(Errno::EADDRINUSE),
            None => self.bind_for(uid, address, backlog, |_| Service::Applications)?,
        };
        self.join_listener(id, job, listener);
        Ok(())
    }

    /// An application listens where a job of ours does: all cores are told.
    pub(super) fn join_listener(&mut self, id: ApplicationId, job: u64, listener: JobId) {
        if let Some(it) = self.registry.listened.get_mut(&listener) {
            it.members.push((id, job));
        }
        let unjoined = self.cores();
        if let Some(served) = self.registry.served.get_mut(&id) {
            served.listens.insert(job, Listen { listener, unjoined });
        }
        self.post_all(|| Message::Join { listener, application: id, job });
    }

    /// One more core gives an application connections of a listener; with the last it is told.
    pub(crate) fn joined(&mut self, id: ApplicationId, job: u64) {
        let served = self.registry.served.get_mut(&id);
        let Some(listen) = served.and_then(|served| served.listens.get_mut(&job)) else { return };
        listen.unjoined = listen.unjoined.saturating_sub(1);
        let Listen { listener, unjoined } = *listen;
        if unjoined == 0
            && let Some(told) = self.registry.listened.get(&listener).map(Listened::told)
        {
            self.answer(id, job, told);
        }
    }

    /// Binds an address that no application listens at yet.
    pub(super) fn bind_for(
        &mut self,
        uid: u32,
        address: SocketAddr,
        backlog: u32,
        service: impl FnOnce(SocketAddr) -> Service,
    ) -> Result<JobId, Errno> {
        let mut options = self.options.socket.clone();
        if backlog > 0 {
            options.backlog = backlog.min(65_535) as i32;
        }
        let bound = Bound::bind(address, self.cores(), &options)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)))?;
        let address = bound.address();
        let service = service(address);
        let entity = match &service {
            Service::Entity(listener) => Some(listener.identity.number),
            _ => None,
        };
        let listener = self.listen(bound, service).map_err(|_| Errno::EINVAL)?;
        let members = Vec::new();
        let listened = Listened { address, uid, entity, members };
        self.registry.listened.insert(listener, listened);
        Ok(listener)
    }

    fn connect_for(
        &mut self,
        id: ApplicationId,
        job: u64,
        address: SocketAddr,
    ) -> Result<(), Errno> {
        let Some(served) = self.registry.served.get(&id) else { return Ok(()) };
        if !served.permissions.may_connect(address) {
            return Err(Errno::EACCES);
        }
        let application = Arc::clone(&served.shared);
        let core = self.place_anywhere();
        let slot = application.slots.reserve(core).ok_or(Errno::EMFILE)?;
        self.enter(core);
        let reserved = Reserved { application, slot, job };
        self.post(core, Message::ConnectFor(Box::new((reserved, address))));
        Ok(())
    }

    fn unlisten_for(&mut self, id: ApplicationId, job: u64) -> Result<(), Errno> {
        let listens = self.registry.served.get_mut(&id).map(|served| &mut served.listens);
        let listen = listens.and_then(|listens| listens.remove(&job)).ok_or(Errno::ENOENT)?;
        self.leave_listener(listen.listener, id, job);
        self.answer(id, job, Told::Unlistened);
        Ok(())
    }

    /// An application no longer listens somewhere; the last one closes the listener.
    pub(crate) fn leave_listener(&mut self, listener: JobId, id: ApplicationId, job: u64) {
        let Some(it) = self.registry.listened.get_mut(&listener) else { return };
        it.members.retain(|member| *member != (id, job));
        if it.members.is_empty() {
            self.registry.listened.remove(&listener);
            self.post_all(|| Message::Close(listener));
        } else {
            self.post_all(|| Message::Quit { listener, application: id, job });
        }
    }

    /// Takes an event of a listener of applications; gives back what is not of one.
    pub(crate) fn listener_event(&mut self, event: Event) -> Option<Event> {
        match event {
            // Of all this the owner does not know.
            Event::Listening { job, .. } if self.ours.contains_key(&job) => None,
            Event::Closed(job) if self.ours.contains_key(&job) => {
                self.ended_on_a_core(job);
                None
            }
            Event::Failed { job, error } if self.ours.contains_key(&job) => {
                // A core on which it has failed will not close it.
                self.ended_on_a_core(job);
                let errno = error.raw_os_error().unwrap_or(Errno::EIO as i32);
                self.listener_failed(job, errno);
                None
            }
            event => Some(event),
        }
    }

    /// A listener of ours is over on one more core.
    fn ended_on_a_core(&mut self, listener: JobId) {
        let Some(left) = self.ours.get_mut(&listener) else { return };
        *left -= 1;
        if *left == 0 {
            self.ours.remove(&listener);
        }
    }

    fn listener_failed(&mut self, listener: JobId, errno: i32) {
        let Some(it) = self.registry.listened.remove(&listener) else { return };
        for (id, job) in it.members {
            if let Some(served) = self.registry.served.get_mut(&id) {
                served.listens.remove(&job);
            }
            self.answer(id, job, Told::Failed { errno });
        }
        self.post_all(|| Message::Close(listener));
    }

    /// Tells an application that has come back where it listens.
    pub(crate) fn tell_of_listeners(&mut self, id: ApplicationId) {
        let Some(served) = self.registry.served.get(&id) else { return };
        for (job, Listen { listener, unjoined }) in served.listens.clone() {
            let Some(it) = self.registry.listened.get(&listener) else { continue };
            if unjoined == 0 {
                let told = it.told();
                self.answer(id, job, told);
            }
        }
    }

    pub(super) fn answer(&mut self, id: ApplicationId, job: u64, told: Told) {
        let Some(served) = self.registry.served.get_mut(&id) else { return };
        if !served.is_attached() {
            // It hears of its listeners when it comes back.
            return;
        }
        let ring = served.shared.segment.events();
        match served.events.push(ring, Notice { job, told }.to_words()) {
            Ok(true) => {
                full_fence();
                served.shared.rouse();
            }
            // No job is taken before there is room for its answer.
            Ok(false) => self.evict(id, &Fault::RingFull.to_string()),
            Err(lies) => self.evict(id, &Fault::from(lies).to_string()),
        }
    }
}
