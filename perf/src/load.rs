//! The closed-loop load generator: one thread, one epoll, every connection with a fixed number of
//! messages in flight.
//!
//! A message is so many bytes, and is answered when as many bytes came back. Each reply is followed
//! at once by a new message, so the server is never asked faster than it answers, and what is
//! measured is how fast it goes round. Replies that arrive together are answered together, in one
//! write.

mod connection;
mod flight;
mod generator;
pub mod idle;
mod pattern;

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cores;
use crate::latency::Percentiles;
use crate::proc::{Snapshot, Usage};
use generator::Generator;

/// How long a server is loaded before it is measured, where nobody says otherwise.
pub const WARM_UP: Duration = Duration::from_millis(300);

/// How long a server may take to accept, and how long it may go without completing anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the generator looks at the clock.
const TICK: Duration = Duration::from_millis(20);

/// The load to put on a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server listens.
    pub address: SocketAddr,
    /// Connections, at least 1.
    pub connections: usize,
    /// Messages in flight on each connection, at least 1.
    pub depth: usize,
    /// Bytes of a message, at least 1.
    pub size: usize,
    /// How long to measure.
    pub duration: Duration,
    /// How long to load the server before that.
    pub warm_up: Duration,
    /// Compare every byte that comes back with what was sent.
    pub verify: bool,
    /// Core to pin the calling thread to.
    pub core: Option<usize>,
    /// Process whose CPU time and context switches are counted.
    pub server: Option<u32>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Messages that came back while it was measured.
    pub messages: u64,
    /// How long it was measured.
    pub seconds: f64,
    /// From the write of a message to the read that completed its reply.
    pub latency: Percentiles,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// Connections that got no reply at all while it was measured.
    pub silent_connections: usize,
    /// What the generator itself did.
    pub generator: Effort,
    /// What the server used; present when a process was named.
    pub server: Option<Usage>,
}

/// How hard the generator had to work: whether it was the server that was measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Effort {
    /// Share of the time that the generator's thread was on its core.
    pub busy: f64,
    /// Share of the time that it could have run, but had to wait for its core.
    pub waited: f64,
    /// Connections that were ready per wait, on average. When it comes near the number of
    /// connections, the messages queue at the generator and not at the server, and it is the
    /// generator that was measured.
    pub ready_per_wait: f64,
}

impl Outcome {
    /// Messages answered per second.
    pub fn messages_per_s(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// Megabytes (10^6) echoed per second, counted once.
    pub fn megabytes_per_s(&self) -> f64 {
        self.messages_per_s() * self.message_bytes as f64 / 1e6
    }

    /// Microseconds of the server's CPU per message.
    pub fn cpu_us_per_message(&self) -> Option<f64> {
        self.server.map(|usage| usage.cpu_s * 1e6 / self.messages.max(1) as f64)
    }

    /// Context switches of the server per message: (voluntary, involuntary).
    pub fn switches_per_message(&self) -> Option<(f64, f64)> {
        let per_message = |count: u64| count as f64 / self.messages.max(1) as f64;
        self.server.map(|usage| {
            (per_message(usage.voluntary_switches), per_message(usage.involuntary_switches))
        })
    }
}

/// Connects, warms up, measures, and waits for what is still in flight.
///
/// # Errors
/// When a connection cannot be made, fails, is closed, or (verifying) answers something else than
/// it was sent; when no message completes for five seconds; when `stop` is set.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<Outcome> {
    if let Some(core) = options.core {
        cores::pin(core)?;
    }
    let mut generator = Generator::connect(options, stop)?;
    generator.turn_until(Instant::now() + options.warm_up)?;

    generator.clear();
    let before = Moment::now(options.server)?;
    generator.turn_until(before.at + options.duration)?;
    let after = Moment::now(options.server)?;

    let elapsed = after.at - before.at;
    let own = after.own.since(&before.own);
    let outcome = Outcome {
        messages: generator.replies().sum(),
        seconds: elapsed.as_secs_f64(),
        latency: generator.latency(),
        message_bytes: options.size,
        silent_connections: generator.replies().filter(|&replies| replies == 0).count(),
        generator: Effort {
            busy: own.cpu_s / elapsed.as_secs_f64(),
            waited: own.waited_s / elapsed.as_secs_f64(),
            ready_per_wait: generator.ready_per_wait(),
        },
        server: after.server.zip(before.server).map(|(after, before)| after.since(&before)),
    };
    generator.drain()?;
    Ok(outcome)
}

/// Connects to `address` within the generator's patience; the error names the connection.
fn connect(address: SocketAddr, index: usize) -> Result<TcpStream> {
    TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("connection {index} to {address}"))
}

/// One end of the measured window.
struct Moment {
    at: Instant,
    own: Snapshot,
    server: Option<Snapshot>,
}

impl Moment {
    fn now(server: Option<u32>) -> Result<Self> {
        let server = server.map(Snapshot::of).transpose()?;
        Ok(Self { at: Instant::now(), own: Snapshot::of_this_thread()?, server })
    }
}
