//! One client of an OSD: a session, and what it asks for.

use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use nix::sys::epoll::{Epoll, EpollFlags};
use vmsgr_messenger::msgr2::{
    AuthNone, Config, Endpoint, EntityAddr, EntityAddrs, EntityType, Event, Policy, SessionId,
    Target,
};

use super::OsdOptions;
use super::operations::Operations;
use crate::latency::Latency;
use crate::msgr2_stream::{Msgr2Stream, end_of};

/// What the clients count together.
#[derive(Debug)]
pub struct Tally {
    pub latency: Latency,
    /// Operations that were answered, ever.
    pub completed: u64,
    /// Each answer is followed by a new operation: a closed loop, until it is over.
    pub refill: bool,
}

/// Operations that are handed to the endpoint at a time in an open loop, where any number may be
/// due.
const AHEAD: usize = 64;

/// An endpoint with one session, and its operations.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    stream: Msgr2Stream,
    session: SessionId,
    operations: Operations,
    /// Operations that are asked for when there is a session, in a closed loop.
    depth: usize,
    /// Operations that the endpoint has room for.
    ahead: usize,
    /// Messages pass.
    open: bool,
    /// Replies since the count was last cleared.
    pub replies: u64,
}

impl Client {
    /// Begins a session over a connected socket; its operations follow when it is there.
    pub fn new(
        socket: TcpStream,
        index: usize,
        options: &OsdOptions,
        data: Bytes,
        epoll: &Epoll,
    ) -> Result<Self> {
        let now = Instant::now();
        let mut config = Config::new(EntityType::CLIENT, EntityAddrs::default());
        config.nonce = std::process::id().wrapping_mul(1 << 12).wrapping_add(index as u32);
        let (depth, ahead) = match options.rate {
            Some(_) => (0, AHEAD),
            None => (options.depth, options.depth),
        };
        config.outbox_bytes = (2 * ahead).saturating_mul(options.size + 1024);
        let auth = AuthNone::new(EntityType::CLIENT, "bench", 0);
        let mut endpoint = Endpoint::new(config, Box::new(auth), now);
        let target = Target {
            address: EntityAddr::msgr2(options.address, 0),
            entity: Some(EntityType::OSD),
            policy: Policy::LOSSY_CLIENT,
            reopen: false,
        };
        let session =
            endpoint.connect(target, now).context("the address cannot be connected to")?;
        let id = endpoint.connected(session, now).context("the session wants no stream")?;
        let stream = Msgr2Stream::new(socket, id, index as u64, epoll)?;
        let operations = Operations::new(index, options, data);
        let (open, replies) = (false, 0);
        let mut client =
            Self { endpoint, stream, session, operations, depth, ahead, open, replies };
        client.flush(epoll)?;
        Ok(client)
    }

    /// Whether it has a session.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Operations that were asked for or are due, and are not answered.
    pub fn outstanding(&self) -> usize {
        self.operations.in_flight() + self.operations.due()
    }

    /// An operation is due at this time; it is asked for with the next flush.
    pub fn schedule(&mut self, due: Instant) {
        self.operations.schedule(due);
    }

    /// Forgets the operations that were not asked for yet.
    pub fn forget_due(&mut self) {
        self.operations.forget_due();
    }

    /// Takes what came: each reply is checked, counted, and in a closed loop followed by the next
    /// operation.
    pub fn receive(
        &mut self,
        ready: EpollFlags,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> Result<()> {
        let Self { endpoint, stream, operations, replies, .. } = self;
        let open = stream.receive(endpoint, ready, buffer, |endpoint, received| {
            let now = Instant::now();
            let took = operations.answered(&received, now)?;
            tally.latency.record(took, 1);
            tally.completed += 1;
            *replies += 1;
            endpoint.taken(received.session, 1, received.bytes() as u64, now);
            if tally.refill {
                operations.schedule(now);
            }
            Ok(())
        })?;
        self.look_at_events()?;
        ensure!(open, "closed by the server");
        Ok(())
    }

    fn look_at_events(&mut self) -> Result<()> {
        while let Some(event) = self.endpoint.poll_event() {
            if let Some(why) = end_of(&event) {
                bail!("the session is over: {why}");
            }
            if matches!(event, Event::Opened { .. }) {
                self.open = true;
                let now = Instant::now();
                (0..self.depth).for_each(|_| self.operations.schedule(now));
            }
        }
        Ok(())
    }

    /// Asks for what is due and writes what waits, as far as the kernel takes it.
    pub fn flush(&mut self, epoll: &Epoll) -> Result<()> {
        self.stream.flush(&mut self.endpoint, epoll)?;
        while self.open && self.operations.due() > 0 && !self.stream.is_blocked() {
            // Nothing waits in the endpoint, so there is room for as many.
            let now = Instant::now();
            for _ in 0..self.ahead {
                let Some(message) = self.operations.next() else { break };
                self.endpoint.send(self.session, message, now)?;
            }
            self.stream.flush(&mut self.endpoint, epoll)?;
        }
        Ok(())
    }
}
