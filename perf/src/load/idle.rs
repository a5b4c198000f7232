//! Connections on which nobody speaks: what does the server do for them? It should do nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use serde::{Deserialize, Serialize};

use super::window::{snapshots, together, used};
use super::{TICK, connect};
use crate::cores;
use crate::probe::{Probe, Probed, Watched};
use crate::proc::Usage;

/// What to hold open, for how long.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "as in load::Options")]
pub struct IdleOptions {
    pub address: SocketAddr,
    pub connections: usize,
    pub duration: Duration,
    pub warm_up: Duration,
    pub core: Option<usize>,
    pub servers: Vec<Watched>,
}

/// What the server did while nobody spoke.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdleOutcome {
    /// Connections that were open all the time.
    pub connections: usize,
    /// How long it was watched.
    pub seconds: f64,
    /// What it used meanwhile, all its processes together; present when one was named.
    pub server: Option<Usage>,
    /// What each of the processes used.
    #[serde(default)]
    pub parts: Vec<Usage>,
    /// System calls, counted after that for as long again.
    #[serde(default)]
    pub probed: Option<Probed>,
}

/// Opens the connections, lets the warm-up pass, and watches the server for the duration.
///
/// # Errors
/// When a connection cannot be made or does not stay open, when the server says something, when
/// `stop` is set.
pub fn run(options: &IdleOptions, stop: &AtomicBool) -> Result<IdleOutcome> {
    if let Some(core) = options.core {
        cores::pin(core)?;
    }
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut streams = Vec::with_capacity(options.connections);
    for index in 0..options.connections {
        let stream = connect(options.address, index)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        streams.push(stream);
    }
    rest(&epoll, options.warm_up, stop)?;
    // Not asked for its counters: to tell them is something to do.
    let silent = |watched: &Watched| Watched { pid: watched.pid, reports: None };
    let servers: Vec<Watched> = options.servers.iter().map(silent).collect();
    let (before, started) = (snapshots(&servers)?, Instant::now());
    rest(&epoll, options.duration, stop)?;
    let (after, elapsed) = (snapshots(&servers)?, started.elapsed());
    // After that, since strace wakes those whom it begins to watch.
    let probe = Probe::begin(&servers)?;
    rest(&epoll, options.duration, stop)?;
    let probed = (!servers.is_empty()).then(|| probe.end(0)).transpose()?;
    let parts = used(&after, &before);
    Ok(IdleOutcome {
        connections: streams.len(),
        seconds: elapsed.as_secs_f64(),
        server: together(&parts),
        parts,
        probed,
    })
}

/// Waits for `duration`; anything that happens on a connection meanwhile is an error.
fn rest(epoll: &Epoll, duration: Duration, stop: &AtomicBool) -> Result<()> {
    let deadline = Instant::now() + duration;
    let mut events = [EpollEvent::empty()];
    loop {
        ensure!(!stop.load(Ordering::Relaxed), "interrupted");
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        // Rounded up to a whole millisecond, so that the last wait does not return early, over and
        // over.
        let wait = left.min(TICK).as_millis() as u16 + 1;
        match epoll.wait(&mut events, wait) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => bail!(
                "connection {} did not stay idle: the server closed it or sent something",
                events[0].data()
            ),
            Err(error) => bail!("epoll_wait: {error}"),
        }
    }
}
