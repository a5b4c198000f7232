//! The messenger's part on each core: what the events of its loop mean.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use log::Level;
use mio::net::TcpStream;
use vmsgr_reactor::{ByteQueue, Core, End, Handler, Received, Token};

use crate::census::Census;
use crate::complaints::{Complaints, complain};
use crate::connection::{Connection, ConnectionId, Role};
use crate::connector::Connector;
use crate::job::{Event, JobId};
use crate::message::{Adopted, Message};
use crate::name::Service;
use crate::options::Options;
use crate::placement::Placer;

/// What a timer of a worker is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timer {
    /// The address that a connection tries has not answered.
    Attempt(Token),
    /// A connection has received nothing for long.
    Idle(Token),
    /// Connections have had their time to drain.
    Drain,
    /// Lingering connections may have come to their end.
    Linger,
}

/// How a connection is ended from our side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// As one whose bytes have all been sent.
    Close,
    /// As one of whose bytes some are lost.
    Reset,
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
    service: Service,
}

#[derive(Debug)]
pub(crate) struct Worker {
    /// Its place in the core mask, and in the mesh.
    pub(crate) index: usize,
    /// The messenger's place in the mesh.
    control: usize,
    pub(crate) options: Arc<Options>,
    pub(crate) connector: Connector,
    placer: Placer,
    pub(crate) census: Arc<Census>,
    /// Listeners that wait for a place below the connection limit.
    waiting: Vec<Token>,
    /// The serial of the last connection that this core named.
    serial: u64,
    pub(crate) jobs: HashMap<JobId, Begun>,
    /// Messages that their receiver was too far behind to take.
    unsent: VecDeque<(usize, Message)>,
    pub(crate) complaints: Complaints,
    pub(crate) draining: bool,
    /// Connections linger, and are looked at by a timer.
    pub(crate) lingers: bool,
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
            lingers: false,
        }
    }

    pub(crate) fn next_id(&mut self) -> ConnectionId {
        self.serial += 1;
        ConnectionId { core: self.index as u16, serial: self.serial }
    }

    pub(crate) fn pending(&self) -> ByteQueue {
        ByteQueue::new(self.options.connection.marks)
    }

    /// Tells the messenger something.
    pub(crate) fn tell(&mut self, core: &mut WorkerCore, event: Event) {
        self.post(core, self.control, Message::Tell(event));
    }

    /// Sends a message that must not be lost, however far behind its receiver is.
    fn post(&mut self, core: &mut WorkerCore, to: usize, message: Message) {
        if !self.unsent.is_empty() {
            self.unsent.push_back((to, message));
        } else if let Err(message) = core.post(to, message) {
            self.unsent.push_back((to, message));
        }
    }

    fn listen(
        &mut self,
        core: &mut WorkerCore,
        job: JobId,
        socket: mio::net::TcpListener,
        service: Service,
    ) {
        match core.listen(socket, Listener { service }) {
            Ok(token) => {
                self.jobs.insert(job, Begun::Listener(token));
                self.tell(core, Event::Listening { job, core: self.index });
            }
            Err(error) => self.tell(core, Event::Failed { job, error }),
        }
    }

    /// A connection that was accepted here or on another core has arrived where it stays.
    fn adopt(&mut self, core: &mut WorkerCore, adopted: Adopted) {
        let Adopted { socket, peer, service } = adopted;
        let id = self.next_id();
        match service {
            Service::Echo => self.serve(core, id, socket, peer, Role::Echo),
            Service::Discard => self.serve(core, id, socket, peer, Role::Discard),
            Service::Relay(targets) => self.begin_relay(core, id, socket, peer, targets),
            Service::RelayOriginalDst => match crate::original_dst::of(&socket) {
                Ok(target) => self.begin_relay(core, id, socket, peer, [target].into()),
                Err(error) => {
                    let line = format_args!("cannot be relayed: {error}");
                    complain!(
                        self.complaints,
                        core.now(),
                        Level::Warn,
                        "conn={id} peer={peer} {line}"
                    );
                    self.left(core);
                }
            },
        }
    }

    fn serve(
        &mut self,
        core: &mut WorkerCore,
        id: ConnectionId,
        socket: TcpStream,
        peer: SocketAddr,
        role: Role,
    ) {
        let state = Connection::accepted(id, peer, role);
        match core.add(socket, self.pending(), state) {
            Ok(token) => self.watch_idleness(core, token),
            Err(error) => self.could_not_add(core, id, peer, &error),
        }
    }

    pub(crate) fn could_not_add(
        &mut self,
        core: &mut WorkerCore,
        id: ConnectionId,
        peer: SocketAddr,
        error: &io::Error,
    ) {
        let now = core.now();
        complain!(
            self.complaints,
            now,
            Level::Error,
            "conn={id} peer={peer} cannot be watched: {error}"
        );
        self.left(core);
    }

    /// A connection that had a place has ended.
    pub(crate) fn left(&mut self, core: &mut WorkerCore) {
        let to_tell = self.census.leave(self.index);
        self.tell_of_place(core, to_tell);
        self.stop_if_drained(core);
    }

    fn tell_of_place(&mut self, core: &mut WorkerCore, cores: Vec<usize>) {
        for index in cores {
            if index == self.index {
                self.resume_waiting(core);
            } else {
                self.post(core, index, Message::Place);
            }
        }
    }

    fn resume_waiting(&mut self, core: &mut WorkerCore) {
        for listener in std::mem::take(&mut self.waiting) {
            core.resume_listener(listener);
        }
    }

    /// Starts the idle time-out of a connection; for a relayed one, of both its sides.
    pub(crate) fn watch_idleness(&mut self, core: &mut WorkerCore, token: Token) {
        let Some(delay) = self.options.connection.idle_time_out else { return };
        let timer = core.arm(delay, Timer::Idle(token));
        let other = core.state_mut(token).and_then(|state| {
            state.idle = Some(timer);
            state.role.other()
        });
        if let Some(other) = other.and_then(|other| core.state_mut(other)) {
            other.idle = Some(timer);
        }
    }

    fn close_idle(&mut self, core: &mut WorkerCore, token: Token) {
        let Some(state) = self.end(core, token, Ending::Close) else { return };
        let now = core.now();
        complain!(
            self.complaints,
            now,
            Level::Info,
            "conn={} peer={} closed: it was idle for too long",
            state.id,
            state.peer
        );
        if let Some(job) = state.job {
            self.end_job(core, job, Some(io::ErrorKind::TimedOut.into()));
        }
        self.left(core);
    }

    /// Ends a connection, both its sides if it is relayed, with its timers.
    pub(crate) fn end(
        &mut self,
        core: &mut WorkerCore,
        token: Token,
        ending: Ending,
    ) -> Option<Connection> {
        let close = match ending {
            Ending::Close => WorkerCore::close,
            Ending::Reset => WorkerCore::reset,
        };
        let state = close(core, token)?;
        forget_timers(core, &state);
        if let Some(other) = state.role.other().and_then(|other| close(core, other)) {
            forget_timers(core, &other);
        }
        Some(state)
    }

    pub(crate) fn end_job(&mut self, core: &mut WorkerCore, job: JobId, error: Option<io::Error>) {
        self.jobs.remove(&job);
        let event = match error {
            Some(error) => Event::Failed { job, error },
            None => Event::Closed(job),
        };
        self.tell(core, event);
    }

    /// Ends what a job began, as far as that happened on this core.
    fn close_job(&mut self, core: &mut WorkerCore, job: JobId) {
        let Some(begun) = self.jobs.get(&job) else { return };
        match *begun {
            Begun::Listener(token) => {
                core.close_listener(token);
                self.waiting.retain(|waiting| *waiting != token);
                self.end_job(core, job, None);
            }
            Begun::Stream(token) => {
                self.end(core, token, Ending::Close);
                self.end_job(core, job, None);
                self.left(core);
            }
        }
    }

    /// One side of what was one connection has failed, or both directions of it have ended.
    fn ended(&mut self, core: &mut WorkerCore, socket: &TcpStream, state: Connection, end: End) {
        let Connection { id, peer, .. } = state;
        if let End::Failed(error) = &end {
            let side = match state.role {
                Role::Upstream { .. } => "upstream",
                _ => "peer",
            };
            let local = socket.local_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string());
            let now = core.now();
            complain!(
                self.complaints,
                now,
                Level::Info,
                "conn={id} {side}={peer} local={local} ended: {error}"
            );
        }
        forget_timers(core, &state);
        let other = state.role.other().filter(|other| core.state(*other).is_some());
        let error = match (end, other) {
            // Its other side has ends of its own to come to, and counts on.
            (End::Finished, Some(_)) => return,
            (End::Finished, None) => None,
            (End::Failed(error), other) => {
                // I5: the bytes that are lost must not look like a proper end.
                other.and_then(|other| self.end(core, other, Ending::Reset));
                Some(error)
            }
        };
        if let Some(job) = state.job {
            self.end_job(core, job, error);
        }
        self.left(core);
    }
}

fn forget_timers(core: &mut WorkerCore, connection: &Connection) {
    let attempt = connection.attempt.as_ref().and_then(|attempt| attempt.time_out);
    for timer in [attempt, connection.idle].into_iter().flatten() {
        core.cancel(timer);
    }
}

impl Handler for Worker {
    type Socket = TcpStream;
    type Pending = ByteQueue;
    type Stream = Connection;
    type Listener = Listener;
    type Timer = Timer;
    type Message = Message;

    fn admit(&mut self, _core: &mut WorkerCore, listener: Token) -> bool {
        let admitted = self.census.reserve(self.index);
        if !admitted {
            self.waiting.push(listener);
        }
        admitted
    }

    fn accepted(
        &mut self,
        core: &mut WorkerCore,
        listener: Token,
        socket: TcpStream,
        peer: SocketAddr,
    ) {
        let service = match core.listener_state(listener) {
            Some(listener) => listener.service.clone(),
            None => return self.not_accepted(core, listener, None),
        };
        let place = self.placer.place(&self.census);
        self.census.enter(place);
        let adopted = Adopted { socket, peer, service };
        if place == self.index {
            return self.adopt(core, adopted);
        }
        match core.post(place, Message::Adopt(Box::new(adopted))) {
            Ok(()) => core.counters_mut().handed_over += 1,
            // That core is far behind already: better it stays here.
            Err(Message::Adopt(adopted)) => {
                self.census.moved(place, self.index);
                self.adopt(core, *adopted);
            }
            Err(_) => unreachable!("post gives back what it was given"),
        }
    }

    fn not_accepted(&mut self, core: &mut WorkerCore, listener: Token, error: Option<&io::Error>) {
        let to_tell = self.census.unreserve();
        self.tell_of_place(core, to_tell);
        if let Some(error) = error {
            let now = core.now();
            let local = core.listener_socket(listener).and_then(|socket| socket.local_addr().ok());
            let local = local.map_or_else(|| "?".to_owned(), |local| local.to_string());
            complain!(
                self.complaints,
                now,
                Level::Warn,
                "listener={local} cannot accept for now: {error}"
            );
        }
    }

    fn connected(&mut self, core: &mut WorkerCore, stream: Token) {
        self.established(core, stream);
    }

    fn readable(&mut self, core: &mut WorkerCore, stream: Token) {
        let Some(state) = core.state(stream) else { return };
        let idle = state.idle;
        let to = match state.role {
            _ if state.lingering => None,
            Role::Echo => Some(stream),
            Role::Discard => None,
            Role::Client { upstream: Some(upstream) } => Some(upstream),
            Role::Client { upstream: None } => return,
            Role::Upstream { client } => Some(client),
        };
        let received = match to {
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
        self.close_if_idle(core, stream);
    }

    fn timer(&mut self, core: &mut WorkerCore, timer: Timer) {
        match timer {
            Timer::Attempt(token) => self.attempt_timed_out(core, token),
            Timer::Idle(token) => self.close_idle(core, token),
            Timer::Drain => self.cut_off(core),
            Timer::Linger => self.check_lingering(core),
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
                self.tell(core, Event::Report { core: self.index, counters });
            }
            Message::Drain(time) => self.drain(core, time),
            Message::Tell(_) => unreachable!("only the messenger is told"),
        }
    }

    fn relieved(&mut self, core: &mut WorkerCore, _peer: usize) {
        for (to, message) in std::mem::take(&mut self.unsent) {
            self.post(core, to, message);
        }
    }
}
