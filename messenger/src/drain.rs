//! Stopping without losing what is under way.
//!
//! Nothing more is accepted; each connection is served until the first moment at which nothing is
//! pending on it and nothing that came is unread, and is closed then. If the kernel still holds bytes
//! for the peer at that moment it lingers: our direction ends, what comes is read and forgotten, and
//! it is closed when the peer has all or has closed its side. (A socket that is closed while bytes
//! arrive is reset by the kernel, and what it still held for the peer is lost.) Who has not come to
//! an end at the deadline is cut off.

use std::time::Duration;

use log::Level;
use vmsgr_reactor::Token;

use crate::complaints::complain;
use crate::ending::Ending;
use crate::job::Event;
use crate::unacknowledged;
use crate::worker::{Begun, Timer, Worker, WorkerCore};

/// How often lingering connections are looked at.
const LINGER_CHECK: Duration = Duration::from_millis(20);

impl Worker {
    pub(crate) fn drain(&mut self, core: &mut WorkerCore, time: Duration) {
        if self.draining {
            return;
        }
        self.draining = true;
        for begun in self.jobs.values() {
            if let Begun::Listener(token) = begun {
                core.close_listener(*token);
            }
        }
        core.arm(time, Timer::Drain);
        core.watch_settled(true);
        for stream in core.streams() {
            self.close_if_idle(core, stream);
        }
        self.stop_if_drained(core);
    }

    /// While draining: closes a connection (a relayed one: both its sides) that rests.
    pub(crate) fn close_if_idle(&mut self, core: &mut WorkerCore, stream: Token) {
        let Some(state) = core.state(stream) else { return };
        let other = state.role.other();
        let idle = core.is_idle(stream) && other.is_none_or(|other| core.is_idle(other));
        if !idle || state.lingering || self.close_if_acknowledged(core, stream) {
            return;
        }
        for side in [Some(stream), other].into_iter().flatten() {
            if let Some(state) = core.state_mut(side) {
                state.lingering = true;
            }
            core.finish(side);
            core.set_reading(side, true);
        }
        if !std::mem::replace(&mut self.lingers, true) {
            core.arm(LINGER_CHECK, Timer::Linger);
        }
    }

    /// Closes a connection if the peers have all that was sent to them; whether it did.
    fn close_if_acknowledged(&mut self, core: &mut WorkerCore, stream: Token) -> bool {
        let has_all = |side| {
            core.socket(side).is_none_or(|socket| {
                // A socket that cannot be asked has nobody to wait for.
                unacknowledged::bytes(socket).unwrap_or(0) == 0
            })
        };
        let other = core.state(stream).and_then(|state| state.role.other());
        if !has_all(stream) || !other.is_none_or(has_all) {
            return false;
        }
        if let Some(state) = self.end(core, stream, Ending::Close) {
            if let Some(job) = state.job {
                self.end_job(core, job, None);
            }
            self.left(core);
        }
        true
    }

    /// Looks which lingering connections can be closed. That a peer has acknowledged everything
    /// makes no event, so while there are such connections they are looked at.
    pub(crate) fn check_lingering(&mut self, core: &mut WorkerCore) {
        self.lingers = false;
        for stream in core.streams() {
            let lingering = core.state(stream).is_some_and(|state| state.lingering);
            self.lingers |= lingering && !self.close_if_acknowledged(core, stream);
        }
        if self.lingers {
            core.arm(LINGER_CHECK, Timer::Linger);
        }
    }

    /// The deadline of the drain has come.
    pub(crate) fn cut_off(&mut self, core: &mut WorkerCore) {
        let mut cut_off = 0;
        for stream in core.streams() {
            let Some(state) = self.end(core, stream, Ending::Reset) else { continue };
            cut_off += 1;
            let now = core.now();
            complain!(
                self.complaints,
                now,
                Level::Warn,
                "conn={} peer={} cut off: it did not drain in time",
                state.id,
                state.peer
            );
        }
        self.stop(core, cut_off);
    }

    pub(crate) fn stop_if_drained(&mut self, core: &mut WorkerCore) {
        if self.draining && core.streams().is_empty() {
            self.stop(core, 0);
        }
    }

    fn stop(&mut self, core: &mut WorkerCore, cut_off: usize) {
        self.tell(core, Event::Drained { core: self.index, cut_off });
        core.stop();
    }
}
