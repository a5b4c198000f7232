//! The last moments of a connection that we end: its peer still has to get what the kernel holds.
//!
//! A socket that is closed while bytes arrive is reset by the kernel, and what it still held for
//! the peer is lost. So a connection lingers until its peer has all: our direction ends, and what
//! comes is read and forgotten.

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
        let looked_at = !self.lingering.is_empty();
        for side in [Some(stream), other].into_iter().flatten() {
            let Some(state) = core.state_mut(side) else { continue };
            if !mem::replace(&mut state.lingering, true) {
                // Both sides of a relay: each may outlive the other.
                self.lingering.push(side);
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
        if !looked_at && !self.lingering.is_empty() {
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
        self.dismiss(core, stream, Ending::Reset);
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
        // Meanwhile the list is not empty, so that whoever joins it arms no second timer.
        let mut looked_at = 0;
        while let Some(&stream) = self.lingering.get(looked_at) {
            if core.state(stream).is_some() && !self.close_if_acknowledged(core, stream) {
                looked_at += 1;
            } else {
                self.lingering.swap_remove(looked_at);
            }
        }
        if !self.lingering.is_empty() {
            core.arm(CHECK, Timer::Linger);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::Census;
    use crate::message::Adopted;
    use crate::name::Service;
    use crate::options::Options;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use vmsgr_reactor::{Budget, Loop, SpinPolicy, mesh};

    #[test]
    fn only_those_that_linger_are_looked_at_and_each_until_it_has_ended() {
        let port = mesh(2).unwrap().remove(0);
        let census = Arc::new(Census::new(1, None));
        let worker = Worker::new(0, 1, Arc::new(Options::default()), Arc::clone(&census));
        let mut tested = Loop::new(worker, port, SpinPolicy::Auto, Budget::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peers = Vec::new();
        for _ in 0..4 {
            let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut socket, address) = listener.accept().unwrap();
            // More than the peer has room for while it does not read.
            socket.set_nonblocking(true).unwrap();
            while socket.write(&[0; 1 << 16]).is_ok() {}
            assert!(census.reserve(0));
            census.enter(0);
            let socket = mio::net::TcpStream::from_std(socket);
            let (worker, core) = tested.handler();
            let (service, reserved) = (Service::Discard, None);
            worker.adopt(core, Adopted { socket, peer: address, service, reserved });
            peers.push(peer);
        }
        let (worker, core) = tested.handler();
        let streams = core.streams();
        for stream in [1, 3, 1] {
            worker.linger(core, streams[stream]);
        }
        assert_eq!(worker.lingering, [streams[1], streams[3]], "each once");
        worker.check_lingering(core);
        assert_eq!(worker.lingering.len(), 2, "their peers have not got everything");
        // One ends by itself.
        assert!(worker.end(core, streams[1], Ending::Reset).is_some());
        worker.check_lingering(core);
        assert_eq!(worker.lingering, [streams[3]]);
        worker.cut_lingering(core, streams[3]);
        worker.check_lingering(core);
        assert!(worker.lingering.is_empty());
        assert_eq!(core.stream_count(), 2, "the others are left alone");
    }
}
