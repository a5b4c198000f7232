//! How connections end: by their peers, by a fault, by being idle, or by a job.

use std::fmt;
use std::io;

use log::Level;
use mio::net::TcpStream;
use nix::errno::Errno;
use vmsgr_reactor::{End, Token};

use crate::complaints::complain;
use crate::connection::{Connection, Role};
use crate::ids::JobId;
use crate::job::Event;
use crate::unacknowledged;
use crate::worker::{Begun, Timer, Worker, WorkerCore};

/// How a connection is ended from our side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// With a proper end, unless bytes are pending: those are lost, and that must show (I5).
    Close,
    /// The same, of one that has been idle for too long.
    Idle,
    /// The same, of one that nobody waits for any more before it is there.
    Cancelled,
    /// As one of whose bytes some are lost.
    Reset,
}

impl Ending {
    /// What an application is told.
    fn errno(self) -> Errno {
        match self {
            Self::Close => Errno::from_raw(0),
            Self::Idle => Errno::ETIMEDOUT,
            Self::Cancelled => Errno::ECANCELED,
            Self::Reset => Errno::ECONNABORTED,
        }
    }
}

impl Worker {
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

    /// A connection has received nothing for long. If its peers have got nothing either it is
    /// closed.
    pub(crate) fn close_idle(&mut self, core: &mut WorkerCore, token: Token) {
        let Some(state) = core.state(token) else { return };
        let (before, other) = (state.delivered, state.role.other());
        let delivered = delivered(core, token) + other.map_or(0, |other| delivered(core, other));
        if delivered != before {
            if let Some(state) = core.state_mut(token) {
                state.delivered = delivered;
            }
            return self.watch_idleness(core, token);
        }
        let Some(state) = self.end(core, token, Ending::Idle) else { return };
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
        let other = core.state(token)?.role.other();
        let pending = |side| core.pending_bytes(side) > 0;
        let close = match ending {
            Ending::Reset => WorkerCore::reset,
            _ if pending(token) || other.is_some_and(pending) => WorkerCore::reset,
            _ => WorkerCore::close,
        };
        let mut state = close(core, token)?;
        forget_timers(core, &state);
        let role = std::mem::replace(&mut state.role, Role::Discard);
        self.role_is_over(core, role, ending.errno() as i32);
        if let Some(other) = other.and_then(|other| close(core, other)) {
            forget_timers(core, &other);
        }
        Some(state)
    }

    /// Ends a connection that has a place, which is free then; nothing happens if it has ended.
    pub(crate) fn dismiss(&mut self, core: &mut WorkerCore, token: Token, ending: Ending) {
        if self.end(core, token, ending).is_some() {
            self.left(core);
        }
    }

    /// What a job began has ended: the job is told.
    pub(crate) fn end_job(&mut self, core: &mut WorkerCore, job: JobId, error: Option<io::Error>) {
        self.jobs.remove(&job);
        let event = match error {
            Some(error) => Event::Failed { job, error },
            None => Event::Closed(job),
        };
        self.tell(core, event);
    }

    /// Ends what a job began, as far as that happened on this core.
    pub(crate) fn close_job(&mut self, core: &mut WorkerCore, job: JobId) {
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
    pub(crate) fn ended(
        &mut self,
        core: &mut WorkerCore,
        socket: &TcpStream,
        state: Connection,
        end: End,
    ) {
        let Connection { id, peer, .. } = state;
        if let End::Failed(error) = &end {
            let side = match state.role {
                Role::Upstream { .. } => "upstream",
                _ => "peer",
            };
            let local = Local(socket);
            let now = core.now();
            complain!(
                self.complaints,
                now,
                Level::Info,
                "conn={id} {side}={peer} local={local} ended: {error}"
            );
        }
        forget_timers(core, &state);
        let errno = match &end {
            End::Failed(error) => error.raw_os_error().unwrap_or(Errno::EIO as i32),
            End::Finished => 0,
        };
        let other = state.role.other().filter(|other| core.state(*other).is_some());
        let error = match (end, other) {
            // Its other side has ends of its own to come to.
            (End::Finished, Some(other)) => return self.watch_idleness(core, other),
            (End::Finished, None) => None,
            (End::Failed(error), other) => {
                // I5: the bytes that are lost must not look like a proper end.
                other.and_then(|other| self.end(core, other, Ending::Reset));
                Some(error)
            }
        };
        self.role_is_over(core, state.role, errno);
        if let Some(job) = state.job {
            self.end_job(core, job, error);
        }
        self.left(core);
    }

    /// Tells who used the bytes of a connection that it is over; `errno` is why.
    fn role_is_over(&mut self, core: &mut WorkerCore, role: Role, errno: i32) {
        match role {
            Role::Application(conduit) => self.over(core, *conduit, errno as u16),
            Role::Stream(wire) => self.unwire(core, &wire),
            Role::Dial(dial) => self.not_dialed(core, dial, errno),
            Role::Echo | Role::Discard | Role::Client { .. } | Role::Upstream { .. } => {}
        }
    }

    /// A connection that had a place has ended.
    pub(crate) fn left(&mut self, core: &mut WorkerCore) {
        let to_tell = self.census.leave(self.index);
        self.tell_of_place(core, to_tell);
        self.stop_if_drained(core);
    }
}

/// Bytes that the peer of a stream has got. A peer that reads slowly may take a while to make room
/// for so much that the socket takes more, but it is getting on.
fn delivered(core: &WorkerCore, stream: Token) -> u64 {
    let held = core.socket(stream).and_then(|socket| unacknowledged::bytes(socket).ok());
    core.sent(stream).saturating_sub(held.unwrap_or(0) as u64)
}

fn forget_timers(core: &mut WorkerCore, connection: &Connection) {
    let attempt = connection.attempt.as_ref().and_then(|attempt| attempt.time_out);
    for timer in [attempt, connection.idle].into_iter().flatten() {
        core.cancel(timer);
    }
}

/// The local address of a socket, asked for only if it is shown.
struct Local<'a>(&'a TcpStream);

impl fmt::Display for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.local_addr() {
            Ok(address) => address.fmt(f),
            Err(_) => f.write_str("?"),
        }
    }
}
