//! The load generator: one thread, one epoll, many connections.
//!
//! A message is so many bytes, and is answered when as many bytes came back. In a closed loop every
//! connection has a fixed number of messages in flight: each reply is followed at once by a new
//! message, so the server is never asked faster than it answers, and what is measured is how fast
//! it goes round. Replies that arrive together are answered together, in one write. In an open loop
//! messages are sent at a fixed rate, and what is measured is how late the answers are.

pub mod churn;
mod connection;
mod flight;
mod generator;
pub mod idle;
pub mod live;
pub mod osd;
mod pace;
mod pattern;
mod slow;
mod window;

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cores;
use crate::latency::Percentiles;
use crate::probe::{Probe, Probed, Watched};
use crate::proc::Usage;
use generator::Generator;
use window::{Looks, Window};

/// How long a server is loaded before it is measured, where nobody says otherwise.
pub const WARM_UP: Duration = Duration::from_millis(300);

/// How long servers are looked at after they were measured, where nobody says otherwise.
pub const PROBED: Duration = Duration::from_millis(300);

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
    /// Messages in flight on each connection, at least 1. Without meaning in an open loop.
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
    /// Core that the servers are pinned to; if both are known, how far they are from each other is
    /// measured, too.
    pub server_core: Option<usize>,
    /// Processes whose CPU time and context switches are counted: the server, or those that are it
    /// together, from front to back.
    pub servers: Vec<Watched>,
    /// How long to go on after that, for what cannot be counted without slowing the servers down.
    pub probe: Option<Duration>,
    /// Messages a second over all connections, above 0: an open loop. Without it, a closed one.
    pub rate: Option<f64>,
    /// Connections besides that send and do not read.
    pub slow: usize,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Messages that came back while it was measured.
    pub messages: u64,
    /// How long it was measured.
    pub seconds: f64,
    /// From the write of a message (in an open loop: from the time it was due) to the read that
    /// completed its reply.
    pub latency: Percentiles,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// Connections that got no reply at all while it was measured.
    pub silent_connections: usize,
    /// What the generator itself did.
    pub generator: Effort,
    /// What the server used, all its processes together; present when one was named.
    pub server: Option<Usage>,
    /// What each of the processes used.
    #[serde(default)]
    pub parts: Vec<Usage>,
    /// [How far](crate::distance) the servers' core was from the generator's: there and back in
    /// nanoseconds, before and after it was measured, where somebody answered.
    #[serde(default)]
    pub round_trips_ns: Vec<f64>,
    /// What was counted after that.
    #[serde(default)]
    pub probed: Option<Probed>,
    /// In an open loop only.
    pub open_loop: Option<OpenLoop>,
}

/// What was asked for in an open loop, and what was still missing at its end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct OpenLoop {
    /// Messages a second that were due.
    pub rate: f64,
    /// Messages that were due and not answered when the time was up. More than a few: the server
    /// did not keep up, and the latency says how long the run was.
    pub unanswered: u64,
}

/// How hard the generator had to work: whether it was the server that was measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
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

    /// Microseconds of the generator's own CPU per message.
    pub fn own_cpu_us_per_message(&self) -> f64 {
        self.generator.busy * self.seconds * 1e6 / self.messages.max(1) as f64
    }

    /// Microseconds of the CPU per message that the process at `place` has used.
    pub fn part_cpu_us_per_message(&self, place: usize) -> Option<f64> {
        Some(self.parts.get(place)?.cpu_s * 1e6 / self.messages.max(1) as f64)
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
    let mut looks = Looks::new(options.core, options.server_core);
    looks.warm_up(options.warm_up, |until| generator.turn_until(until))?;
    generator.clear();
    let window = Window::open(&options.servers, looks)?;
    generator.turn_until(window.started() + options.duration)?;
    let messages = generator.replies().sum();
    let mut outcome =
        window.close(messages, generator.latency(), options.size, generator.ready_per_wait())?;
    outcome.silent_connections = generator.replies().filter(|&replies| replies == 0).count();
    outcome.open_loop =
        options.rate.map(|rate| OpenLoop { rate, unanswered: generator.outstanding() });
    if let Some(duration) = options.probe {
        let probe = Probe::begin(&options.servers)?;
        // The server has answered all that was under way while who counts came; of what is under
        // way at the end the calls are counted, so the answers are, too.
        let answered = if options.rate.is_none() { generator.outstanding() } else { 0 };
        let before = generator.replies().sum::<u64>() + answered;
        generator.turn_until(Instant::now() + duration)?;
        generator.drain()?;
        outcome.probed = Some(probe.end(generator.replies().sum::<u64>() - before)?);
    }
    generator.drain()?;
    Ok(outcome)
}

/// Connects to `address` within the generator's patience; the error names the connection.
fn connect(address: SocketAddr, index: usize) -> Result<TcpStream> {
    TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("connection {index} to {address}"))
}
