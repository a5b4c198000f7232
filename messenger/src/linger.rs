//! The last moments of a connection that we end: its peer still has to get what the kernel holds.
//!
//! A socket that is closed while bytes arrive is reset by the kernel, and what it still held for the
//! peer is lost. So a connection lingers until its peer has all: our direction ends, and what comes
//! is read and forgotten.

use std::mem;
use std::time::Duration;

use vmsgr_reactor::Token;

use crate::connection::Role;
use crate::ending::Ending;
use crate::unacknowledged;
use crate::worker::{Timer, Worker, WorkerCore};

/// How often lingering connections are looked at.
const CHECK: Duration = Duration::from_millis(20);

/// How long a connection that its application has closed may linger, as the kernel bounds orphans.
const LONGEST: Duration = Duration::from_secs(60);

impl Worker {
    /// Ends our directions of a connection, and closes it once its peers have all or have ended
    /// theirs.
    pub(crate) fn linger(&mut self, core: &mut WorkerCore, stream: Token) {
        let other = core.state(stream).and_then(|state| state.role.other());
        for side in [Some(stream), other].into_iter().flatten() {
            if let Some(state) = core.state_mut(side) {
                state.lingering = true;
                if matches!(state.role, Role::Stream(_))
                    && let Role::Stream(wire) = mem::replace(&mut state.role, Role::Discard)
                {
                    // It must not send any more.
                    self.unwire(core, &wire);
                }
            }
            core.finish(side);
            core.set_reading(side, true);
        }
        if !mem::replace(&mut self.lingers, true) {
            core.arm(CHECK, Timer::Linger);
        }
    }

    /// Gives a lingering connection a bounded time, when nothing else bounds it.
    pub(crate) fn bound_linger(&mut self, core: &mut WorkerCore, stream: Token) {
        let timer = core.arm(LONGEST, Timer::Lingered(stream));
        // In the place of the idle time-out: it goes with the connection, too.
        if let Some(idle) = core.state_mut(stream).and_then(|state| state.idle.replace(timer)) {
            core.cancel(idle);
        }
    }

    /// A connection has lingered for as long as it may.
    pub(crate) fn cut_lingering(&mut self, core: &mut WorkerCore, stream: Token) {
        if self.end(core, stream, Ending::Reset).is_some() {
            self.left(core);
        }
    }

    /// Closes a connection if the peers have all that was sent to them; whether it did.
    pub(crate) fn close_if_acknowledged(&mut self, core: &mut WorkerCore, stream: Token) -> bool {
        let has_all = |side| {
            core.socket(side).is_none_or(|socket| {
                // A socket that cannot be asked has nobody to wait for.
                unacknowledged::bytes(socket).unwrap_or(0) == 0
            })
        };
        let other = core.state(stream).and_then(|state| state.role.other());
        let sent = |side| core.pending_bytes(side) == 0 && has_all(side);
        if !sent(stream) || !other.is_none_or(sent) {
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
            core.arm(CHECK, Timer::Linger);
        }
    }
}
