//! The messenger's part on each core: what the events of its loop mean.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mio::net::TcpStream;
use vmsgr_reactor::{ByteQueue, Core, End, Handler, Received, Token};

use crate::application::bells::{Bells, processor};
use crate::application::heard::Heard;
use crate::application::{ApplicationId, Endpoints, Lane, Reserved};
use crate::census::Census;
use crate::complaints::Complaints;
use crate::connection::{Connection, Role};
use crate::connector::Connector;
use crate::entity::{Entities, EntityId};
use crate::ids::{ConnectionId, JobId};
use crate::job::Event;
use crate::message::Message;
use crate::name::Service;
use crate::options::Options;
use crate::placement::Placer;
use crate::tap::Tap;
use crate::waiting::Waiting;

/// What a timer of a worker is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timer {
    /// The address that a connection tries has not answered.
    Attempt(Token),
    /// A connection has received nothing for long.
    Idle(Token),
    /// Connections have had their time to drain.
    Drain,
    /// More connections are to be looked at since a drain has begun.
    DrainMore,
    /// Lingering connections may have come to their end.
    Linger,
    /// A connection that its application has closed has had its time to reach its peer.
    Lingered(Token),
    /// Something is due at an entity.
    Entity(EntityId),
    /// The time of an application's present phase is over.
    Application(ApplicationId),
}

/// What a job began on this core.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begun {
    Listener(Token),
    Stream(Token),
}

/// A listener, as the loop keeps it beside its socket.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) service: Service,
    /// The applications that share its connections.
    pub(crate) endpoints: Endpoints,
}

#[derive(Debug)]
pub(crate) struct Worker {
    /// Its place in the core mask, and in the mesh.
    pub(crate) index: usize,
    /// The messenger's place in the mesh.
    control: usize,
    pub(crate) options: Arc<Options>,
    pub(crate) connector: Connector,
    pub(crate) placer: Placer,
    pub(crate) census: Arc<Census>,
    /// Listeners that wait for a place below the connection limit.
    pub(crate) waiting: Vec<Token>,
    /// The serial of the last connection that this core named.
    serial: u64,
    pub(crate) jobs: HashMap<JobId, Begun>,
    /// Messages that their receiver was too far behind to take.
    unsent: VecDeque<(usize, Message)>,
    pub(crate) complaints: Complaints,
    pub(crate) draining: bool,
    /// Connections that have not been looked at since the drain began.
    pub(crate) undrained: Vec<Token>,
    /// It has drained, and has said so.
    pub(crate) stopped: bool,
    /// Connections that linger, and are looked at by a timer; some may have ended since.
    pub(crate) lingering: Vec<Token>,
    /// The ways to the applications.
    pub(crate) lanes: Vec<Rc<Lane>>,
    pub(crate) bells: Bells,
    /// The slot for the connection that is being accepted.
    pub(crate) reserved: Option<Reserved>,
    /// What the taps of its connections add up to, if there is a listener with one.
    pub(crate) tap: Option<Tap>,
    pub(crate) entities: Entities,
    /// Sessions that were lost.
    pub(crate) lost: u64,
    /// Turns that were taken.
    pub(crate) turns: u64,
}

pub(crate) type WorkerCore = Core<Worker>;

impl Worker {
    pub(crate) fn new(
        index: usize,
        cores: usize,
        options: Arc<Options>,
        census: Arc<Census>,
    ) -> Self {
        Self {
            index,
            control: cores,
            connector: Connector::new(options.connect.clone(), options.socket.clone()),
            placer: Placer::new(options.placement, index, cores),
            options,
            census,
            waiting: Vec::new(),
            serial: 0,
            jobs: HashMap::new(),
            unsent: VecDeque::new(),
            complaints: Complaints::default(),
            draining: false,
            undrained: Vec::new(),
            stopped: false,
            lingering: Vec::new(),
            lanes: Vec::new(),
            bells: Bells::default(),
            reserved: None,
            tap: None,
            entities: Entities::default(),
            lost: 0,
            turns: 0,
        }
    }

    pub(crate) fn next_id(&mut self) -> ConnectionId {
        self.serial += 1;
        ConnectionId { core: self.index as u16, serial: self.serial }
    }

    pub(crate) fn pending(&self) -> Waiting {
        Waiting::Queue(ByteQueue::new(self.options.connection.marks))
    }

    /// Tells the messenger something.
    pub(crate) fn tell(&mut self, core: &mut WorkerCore, event: Event) {
        self.post(core, self.control, Message::Tell(event));
    }

    /// Tells the messenger something about an application.
    pub(crate) fn say(&mut self, core: &mut WorkerCore, heard: Heard) {
        self.post(core, self.control, Message::Hear(Box::new(heard)));
    }

    /// Sends a message that must not be lost, however far behind its receiver is.
    pub(crate) fn post(&mut self, core: &mut WorkerCore, to: usize, message: Message) {
        if !self.unsent.is_empty() {
            self.unsent.push_back((to, message));
        } else if let Err(message) = core.post(to, message) {
            self.unsent.push_back((to, message));
        }
    }
}

impl Handler for Worker {
    type Socket = TcpStream;
    type Pending = Waiting;
    type Stream = Connection;
    type Listener = Listener;
    type Timer = Timer;
    type Message = Message;

    fn admit(&mut self, core: &mut WorkerCore, listener: Token) -> bool {
        self.reserve_place(core, listener)
    }

    fn accepted(
        &mut self,
        core: &mut WorkerCore,
        listener: Token,
        socket: TcpStream,
        peer: SocketAddr,
    ) {
        self.place(core, listener, socket, peer);
    }

    fn not_accepted(&mut self, core: &mut WorkerCore, listener: Token, error: Option<&io::Error>) {
        self.give_place_back(core, listener, error);
    }

    fn connected(&mut self, core: &mut WorkerCore, stream: Token) {
        self.established(core, stream);
    }

    fn readable(&mut self, core: &mut WorkerCore, stream: Token) {
        let Some(state) = core.state(stream) else { return };
        let idle = state.idle.filter(|_| !state.lingering);
        let to = match state.role {
            _ if state.lingering => None,
            Role::Echo => Some(stream),
            Role::Discard => None,
            Role::Client { upstream: Some(upstream) } => Some(upstream),
            Role::Client { upstream: None } | Role::Dial(_) => return,
            Role::Upstream { client } => Some(client),
            Role::Application(_) => return self.readable_for_application(core, stream, idle),
            Role::Stream(_) => return self.readable_for_entity(core, stream, idle),
        };
        let received = match to {
            Some(to) if state.tap.is_some() => self.transfer_tapped(core, stream, to),
            Some(to) => core.transfer(stream, to),
            None => core.read(stream, |_| ()),
        };
        match received {
            // The peer's end is passed on, behind all that is pending.
            Received::End => core.finish(to.unwrap_or(stream)),
            Received::Bytes(_) => {
                if let (Some(timer), Some(delay)) = (idle, self.options.connection.idle_time_out) {
                    core.rearm(timer, delay);
                }
            }
            Received::Nothing => {}
        }
    }

    fn closed(&mut self, core: &mut WorkerCore, socket: TcpStream, state: Connection, end: End) {
        if state.attempt.is_some() {
            let error = match end {
                End::Failed(error) => error,
                End::Finished => io::ErrorKind::NotConnected.into(),
            };
            drop(socket);
            self.attempt_failed(core, state, error);
        } else {
            self.ended(core, &socket, state, end);
        }
    }

    fn settled(&mut self, core: &mut WorkerCore, stream: Token) {
        self.end_if_resting(core, stream);
    }

    fn timer(&mut self, core: &mut WorkerCore, timer: Timer) {
        match timer {
            Timer::Attempt(token) => self.attempt_timed_out(core, token),
            Timer::Idle(token) => self.close_idle(core, token),
            Timer::Drain => self.cut_off(core),
            Timer::DrainMore => self.drain_more(core),
            Timer::Linger => self.check_lingering(core),
            Timer::Lingered(token) => self.cut_lingering(core, token),
            Timer::Entity(entity) => self.entity_due(core, entity),
            Timer::Application(application) => self.time_over(core, application),
        }
    }

    fn message(&mut self, core: &mut WorkerCore, _from: usize, message: Message) {
        match message {
            Message::Listen(job) => self.listen(core, job.0, job.1, job.2),
            Message::Connect(job) => self.connect(core, job.0, job.1, &job.2),
            Message::Close(job) => self.close_job(core, job),
            Message::Adopt(adopted) => self.adopt(core, *adopted),
            Message::Place => self.resume_waiting(core),
            Message::Report => {
                let counters = Box::new(core.counters());
                let (tap, entities) = (self.tap_sums(), self.entities.sums());
                self.tell(core, Event::Report { core: self.index, counters, tap, entities });
            }
            Message::Drain(time) => self.drain(core, time),
            Message::Attach(attached) => self.attach(core, attached.0, attached.1),
            Message::Depart(application) => self.depart(core, application),
            Message::Time(application, time) => self.begin_time(core, application, time),
            Message::Inherit { listener, heir } => self.inherit(core, listener, heir),
            Message::EndEntity(identity) => self.end_entity(core, &identity),
            Message::Retire(application) => self.retire(core, application),
            Message::Evict(application) => self.evict(core, application),
            Message::Join { listener, application, job } => {
                self.join(core, listener, application, job);
            }
            Message::Quit { listener, application, job } => {
                self.quit(core, listener, application, job);
            }
            Message::ConnectAs(wanted) => self.connect_as(core, *wanted),
            Message::Cancel { application, job } => self.cancel_connect(core, application, job),
            Message::ConnectFor(wanted) => self.connect_for(core, wanted.0, wanted.1),
            Message::Tell(_) | Message::Hear(_) => unreachable!("only the messenger is told"),
        }
    }

    fn rung(&mut self, _core: &mut WorkerCore, tag: usize) {
        self.application_rang(tag);
    }

    fn gather(&mut self, core: &mut WorkerCore) -> usize {
        self.take_more(core) + self.take_numbers(core) + self.heed_entities(core)
    }

    fn has_work(&self) -> bool {
        self.has_numbers() || self.has_more() || self.entities.has_events()
    }

    fn publish(&mut self, core: &mut WorkerCore) {
        let here = if self.lanes.is_empty() { None } else { processor() };
        self.tell_applications(core, here);
        self.settle_portions(core);
    }

    fn withholds(&self) -> bool {
        self.bells.withhold()
    }

    fn publish_withheld(&mut self, core: &mut WorkerCore) {
        self.tell_applications(core, None);
    }

    fn gives_way(&self) -> bool {
        !self.lanes.is_empty()
    }

    fn fall_asleep(&mut self) -> bool {
        self.declare_sleep()
    }

    fn woke_up(&mut self) {
        self.cancel_sleep();
    }

    fn relieved(&mut self, core: &mut WorkerCore, _peer: usize) {
        while let Some((to, message)) = self.unsent.pop_front() {
            if let Err(message) = core.post(to, message) {
                return self.unsent.push_front((to, message));
            }
        }
    }
}
