//! Stopping without losing what is under way.
//!
//! Nothing more is accepted; each connection is served until the first moment at which nothing is
//! pending on it and nothing that came is unread, and is closed then. Who has not come to that
//! moment at the deadline is cut off.

use std::time::Duration;

use log::Level;
use vmsgr_reactor::Token;

use crate::complaints::complain;
use crate::job::Event;
use crate::worker::{Begun, Ending, Timer, Worker, WorkerCore};

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
        if !core.is_idle(stream) || other.is_some_and(|other| !core.is_idle(other)) {
            return;
        }
        let Some(state) = self.end(core, stream, Ending::Close) else { return };
        if let Some(job) = state.job {
            self.end_job(core, job, None);
        }
        self.left(core);
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
