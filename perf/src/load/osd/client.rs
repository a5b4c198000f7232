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
    /// Each answer is followed by a new operation: until it is over.
    pub refill: bool,
}

/// An endpoint with one session, and its operations.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    stream: Msgr2Stream,
    session: SessionId,
    operations: Operations,
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
        // Whatever may be in flight has room there.
        config.outbox_bytes = (2 * options.depth).saturating_mul(options.size + 1024);
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
        let mut client = Self { endpoint, stream, session, operations, open: false, replies: 0 };
        client.flush(epoll)?;
        Ok(client)
    }

    /// Whether it has a session.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Operations that were asked for and are not answered.
    pub fn in_flight(&self) -> usize {
        self.operations.in_flight()
    }

    /// Takes what came: each reply is checked, counted, and followed by the next operation.
    pub fn receive(
        &mut self,
        ready: EpollFlags,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> Result<()> {
        let Self { endpoint, stream, operations, replies, .. } = self;
        let open = stream.receive(endpoint, ready, buffer, |endpoint, received| {
            let now = Instant::now();
            let (place, took) = operations.answered(&received, now)?;
            tally.latency.record(took, 1);
            tally.completed += 1;
            *replies += 1;
            endpoint.taken(received.session, 1, received.bytes() as u64, now);
            if tally.refill {
                endpoint.send(received.session, operations.next(place, now), now)?;
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
                for place in 0..self.operations.depth() {
                    let message = self.operations.next(place, now);
                    self.endpoint.send(self.session, message, now)?;
                }
            }
        }
        Ok(())
    }

    /// Writes what waits.
    pub fn flush(&mut self, epoll: &Epoll) -> Result<()> {
        self.stream.flush(&mut self.endpoint, epoll)
    }
}
