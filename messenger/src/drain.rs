//! Stopping without losing what is under way.
//!
//! Nothing more is accepted; each connection is served until it rests, and then ends. It rests when
//! nothing is pending on it and nothing that came is unread; a relayed one moreover when its client
//! is not waiting: the upstream has answered since the client spoke last, and neither side alone
//! has come to its end. Who does not rest before the deadline is cut off, with a reset.

use std::time::Duration;

use log::Level;
use vmsgr_reactor::Token;

use crate::complaints::complain;
use crate::connection::Role;
use crate::ending::Ending;
use crate::job::Event;
use crate::worker::{Begun, Timer, Worker, WorkerCore};

/// Connections that are looked at in one turn when a drain begins (I6).
const SLICE: usize = 256;

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
        self.undrained = core.streams();
        self.drain_more(core);
    }

    /// Looks at connections that have not been looked at since the drain began.
    pub(crate) fn drain_more(&mut self, core: &mut WorkerCore) {
        let left = self.undrained.len().saturating_sub(SLICE);
        for stream in self.undrained.split_off(left) {
            self.end_if_resting(core, stream);
        }
        if !self.undrained.is_empty() {
            core.arm(Duration::ZERO, Timer::DrainMore);
        }
        self.stop_if_drained(core);
    }

    /// While draining: ends a connection, both its sides if it is relayed, if it rests.
    pub(crate) fn end_if_resting(&mut self, core: &mut WorkerCore, stream: Token) {
        let Some(state) = core.state(stream) else { return };
        if let Role::Application(conduit) = &state.role {
            // It tells of what it consumes, which it otherwise need not.
            conduit.ask_for_consumption();
        }
        if !state.lingering
            && self.is_resting(core, stream)
            && !self.close_if_acknowledged(core, stream)
        {
            self.linger(core, stream);
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
        if self.draining && core.stream_count() == 0 {
            self.stop(core, 0);
        }
    }

    fn stop(&mut self, core: &mut WorkerCore, cut_off: usize) {
        if !std::mem::replace(&mut self.stopped, true) {
            let counters = Box::new(core.counters());
            let (tap, entities) = (self.tap_sums(), self.entities.sums());
            let index = self.index;
            self.tell(core, Event::Drained { core: index, cut_off, counters, tap, entities });
            core.stop();
        }
    }
}

impl Worker {
    /// Nothing is under way on a connection, as far as can be known.
    fn is_resting(&self, core: &WorkerCore, stream: Token) -> bool {
        let Some(state) = core.state(stream) else { return true };
        let (client, upstream) = match state.role {
            Role::Echo | Role::Discard | Role::Dial(_) | Role::Client { upstream: None } => {
                return core.is_idle(stream);
            }
            Role::Application(ref conduit) => return core.is_idle(stream) && conduit.is_consumed(),
            // Frames wait for as long as messages do.
            Role::Stream(ref wire) => {
                return core.is_idle(stream) && wire.is_consumed() && self.entities.rests(wire);
            }
            Role::Client { upstream: Some(upstream) } => (stream, upstream),
            Role::Upstream { client } => (client, stream),
        };
        core.is_idle(client)
            && core.is_idle(upstream)
            && core.has_ended(client) == core.has_ended(upstream)
            && core.last_read(client) <= core.last_read(upstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::Census;
    use crate::message::Adopted;
    use crate::name::Service;
    use crate::options::Options;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use vmsgr_reactor::{Budget, Loop, SpinPolicy, mesh};

    #[test]
    fn a_connection_that_comes_over_during_a_drain_does_not_hold_it_up() {
        let port = mesh(3).unwrap().remove(0);
        let census = Arc::new(Census::new(2, None));
        let worker = Worker::new(0, 2, Arc::new(Options::default()), Arc::clone(&census));
        let mut tested = Loop::new(worker, port, SpinPolicy::Auto, Budget::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let adopt = |tested: &mut Loop<Worker>| {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (socket, peer) = listener.accept().unwrap();
            socket.set_nonblocking(true).unwrap();
            assert!(census.reserve(0));
            census.enter(0);
            let socket = mio::net::TcpStream::from_std(socket);
            let (worker, core) = tested.handler();
            worker.adopt(core, Adopted { socket, peer, service: Service::Echo, reserved: None });
            client
        };
        let _first = adopt(&mut tested);
        let (worker, core) = tested.handler();
        worker.draining = true;
        assert_eq!(core.stream_count(), 1);
        // The other core accepted it before it heard of the drain.
        let _second = adopt(&mut tested);
        assert_eq!(tested.handler().1.stream_count(), 1);
        assert_eq!(census.of(0), 1);
    }
}
