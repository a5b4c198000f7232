//! The messenger as a whole: its cores, and the jobs that it gives them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use vmsgr_reactor::{CoreMask, Counters, Doorbell, Port, Threads, mesh};

use crate::application::registry::Registry;
use crate::bind::Bound;
use crate::census::Census;
use crate::ids::JobId;
use crate::job::{Event, Job};
use crate::message::Message;
use crate::name::Service;
use crate::options::Options;
use crate::placement::Placer;
use crate::worker::Worker;

/// A job that cannot be given to any core.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// A listen job with sockets for another number of cores.
    #[error("the address is bound for {bound} cores, but {cores} run")]
    Cores {
        /// Sockets in the job.
        bound: usize,
        /// Cores that run.
        cores: usize,
    },
    /// A connect job without an address.
    #[error("no address to connect to")]
    NoTarget,
    /// A connect job for a service that needs an accepted client.
    #[error("a relay begins with a connection that is accepted, not with one that is made")]
    RelayConnects,
    /// A connect job for a service that waits for clients.
    #[error("osd-null answers those who connect to it")]
    OsdNullConnects,
    /// A connect job for applications, which ask for connections themselves.
    #[error("applications ask for their connections themselves")]
    ApplicationConnects,
}

/// Messages to cores that have fallen behind, with which no more jobs of applications are taken.
const UNSENT: usize = 4096;

/// Runs the loops, gives them jobs and hears what becomes of those.
///
/// It is the last member of the loops' mesh and lives on a thread of its own choosing, which
/// sleeps in a poll with its [doorbell](Self::doorbell):
///
/// 1. [`take`](Self::take) events until there are none, act on them;
/// 2. [`publish`](Self::publish) what that asked for;
/// 3. [`fall_asleep`](Self::fall_asleep); if it may, wait in the poll; [`woke_up`](Self::woke_up).
#[derive(Debug)]
pub struct Messenger {
    port: Port<Message>,
    threads: Threads,
    census: Arc<Census>,
    placer: Placer,
    /// Messages that a core was too far behind to take.
    unsent: VecDeque<(usize, Message)>,
    cores: usize,
    /// The number of the last job.
    jobs: u64,
    /// Of its own part of the mesh.
    counters: Counters,
    pub(crate) options: Arc<Options>,
    pub(crate) registry: Registry,
    /// Listen jobs that applications have asked for, and cores on which they are not over.
    pub(crate) ours: HashMap<JobId, usize>,
}

impl Messenger {
    /// Starts a loop on every core of the mask.
    ///
    /// # Errors
    /// The kernel gives no more descriptors or threads.
    pub fn start(mask: &CoreMask, options: Options) -> io::Result<Self> {
        let cores = mask.cores().len();
        let mut ports = mesh(cores + 1)?;
        let port = ports.pop().expect("one port for each core, and ours");
        let options = Arc::new(options);
        let census = Arc::new(Census::new(cores, options.max_connections));
        let placer = Placer::new(options.placement, 0, cores);
        let (spin, budget, counted) = (options.spin, options.budget, Arc::clone(&census));
        let kept = Arc::clone(&options);
        let make =
            move |index| Worker::new(index, cores, Arc::clone(&options), Arc::clone(&counted));
        let threads = Threads::start(mask.cores(), ports, &port.waker(), spin, budget, make)?;
        Ok(Self {
            port,
            threads,
            census,
            placer,
            unsent: VecDeque::new(),
            cores,
            jobs: 0,
            counters: Counters::default(),
            options: kept,
            registry: Registry::default(),
            ours: HashMap::new(),
        })
    }

    /// Gives a job to the cores, which hear of it with the next [`publish`](Self::publish).
    pub fn submit(&mut self, job: Job) -> Result<JobId, JobError> {
        let id = JobId(self.jobs + 1);
        match job {
            Job::Listen { bound, service } => {
                let sockets = bound.sockets;
                if sockets.len() != self.cores {
                    return Err(JobError::Cores { bound: sockets.len(), cores: self.cores });
                }
                for (core, socket) in sockets.into_iter().enumerate() {
                    self.post(core, Message::Listen(Box::new((id, socket, service.clone()))));
                }
            }
            Job::Connect { targets, service } => {
                if targets.is_empty() {
                    return Err(JobError::NoTarget);
                }
                if matches!(service, Service::Applications | Service::Entity(_)) {
                    return Err(JobError::ApplicationConnects);
                }
                if matches!(service, Service::OsdNull(_)) {
                    return Err(JobError::OsdNullConnects);
                }
                if matches!(service.untapped(), Service::Relay(_) | Service::RelayOriginalDst) {
                    return Err(JobError::RelayConnects);
                }
                let core = self.place_anywhere();
                self.enter(core);
                self.post(core, Message::Connect(Box::new((id, targets, service))));
            }
            Job::Close(job) => {
                self.post_all(|| Message::Close(job));
                return Ok(job);
            }
        }
        self.jobs += 1;
        Ok(id)
    }

    /// Listens for applications.
    pub(crate) fn listen(&mut self, bound: Bound, service: Service) -> Result<JobId, JobError> {
        let job = self.submit(Job::Listen { bound, service })?;
        self.ours.insert(job, self.cores);
        Ok(job)
    }

    /// The core for a connection that is to be made.
    pub(crate) fn place_anywhere(&mut self) -> usize {
        self.placer.place_anywhere(&self.census)
    }

    /// A connection is to be made on `core`.
    pub(crate) fn enter(&self, core: usize) {
        self.census.enter_anyway(core);
    }

    /// Asks every core for its counters; each answers with [`Event::Report`].
    pub fn report(&mut self) {
        self.post_all(|| Message::Report);
    }

    /// Stops accepting, and gives the connections `time` to send what is pending; each core
    /// answers with [`Event::Drained`] and then ends.
    pub fn drain(&mut self, time: Duration) {
        self.post_all(|| Message::Drain(time));
    }

    /// How many loops there are.
    pub fn cores(&self) -> usize {
        self.cores
    }

    /// Cores keep up with what they are told: more may be asked of them.
    pub(crate) fn may_post(&self) -> bool {
        self.unsent.len() < UNSENT
    }

    pub(crate) fn post_all(&mut self, message: impl Fn() -> Message) {
        (0..self.cores).for_each(|core| self.post(core, message()));
    }

    pub(crate) fn post(&mut self, core: usize, message: Message) {
        self.unsent.push_back((core, message));
    }

    /// Sends the cores what was asked of them since the last time.
    pub fn publish(&mut self) {
        for (core, message) in std::mem::take(&mut self.unsent) {
            if let Err(message) = self.port.post(core, message) {
                self.unsent.push_back((core, message));
            }
        }
        self.port.publish(&mut self.counters);
    }

    /// One thing that a core tells.
    pub fn take(&mut self) -> Option<Event> {
        while self.port.relieved().is_some() {
            self.publish();
        }
        let mut asked = false;
        loop {
            if let Some(event) = self.registry.events.pop_front() {
                return Some(event);
            }
            match self.port.take() {
                Some((_, Message::Tell(event))) => {
                    if let Some(event) = self.listener_event(event) {
                        return Some(event);
                    }
                }
                Some((_, Message::Hear(heard))) => self.heard(*heard),
                Some(_) => unreachable!("cores only tell the messenger"),
                None => {
                    // Once: applications that ask without end keep nobody from anything else.
                    let did = !std::mem::replace(&mut asked, true) && self.do_jobs();
                    if !did && self.registry.events.is_empty() {
                        break;
                    }
                }
            }
        }
        self.port.made_room(&mut self.counters);
        self.threads.exited().map(|(core, exit)| Event::Exited { core, exit })
    }

    /// What wakes the messenger's thread, to be registered with its poll.
    pub fn doorbell(&self) -> &Doorbell {
        self.port.doorbell()
    }

    /// Declares that the messenger's thread is going to sleep; false if there is something to take
    /// after all.
    pub fn fall_asleep(&mut self) -> bool {
        if !self.registry.events.is_empty() || !self.port.fall_asleep() {
            return false;
        }
        let may_sleep = self.registry.declare_sleep(self.may_post());
        if !may_sleep {
            self.port.woke_up();
        }
        may_sleep
    }

    /// The messenger's thread is awake.
    pub fn woke_up(&self) {
        self.port.woke_up();
        self.registry.cancel_sleep();
    }

    /// Waits until all loops have ended, which they do after [`drain`](Self::drain).
    pub fn join(self) {
        self.threads.join();
    }
}
