//! The time that is measured: what is read at both its ends, and how far the cores were from each
//! other before and after it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Effort, Outcome};
use crate::distance;
use crate::latency::Percentiles;
use crate::probe::Watched;
use crate::proc::{Snapshot, Usage};

/// How long a server is loaded between a look, which uses its core for a moment, and when it is
/// measured: who was answered late meanwhile is not among what counts.
const SETTLE: Duration = Duration::from_millis(50);

/// Looks how far the servers' core is from ours, where both are known and not the same.
pub(super) struct Looks {
    from_ours: Option<usize>,
    round_trips_ns: Vec<f64>,
}

impl Looks {
    pub(super) fn new(ours: Option<usize>, servers: Option<usize>) -> Self {
        let from_ours = ours.and(servers).filter(|_| ours != servers);
        Self { from_ours, round_trips_ns: Vec::new() }
    }

    /// Loads the server for so long and, after a look, a little longer.
    pub(super) fn warm_up(
        &mut self,
        how_long: Duration,
        mut turn_until: impl FnMut(Instant) -> Result<()>,
    ) -> Result<()> {
        turn_until(Instant::now() + how_long)?;
        self.look()?;
        turn_until(Instant::now() + SETTLE.min(how_long))
    }

    fn look(&mut self) -> Result<()> {
        if let Some(core) = self.from_ours {
            self.round_trips_ns.extend(distance::round_trip_ns(core)?);
        }
        Ok(())
    }
}

/// The time that is measured, from when it was opened.
pub(super) struct Window<'a> {
    servers: &'a [Watched],
    before: Moment,
    looks: Looks,
}

impl<'a> Window<'a> {
    pub(super) fn open(servers: &'a [Watched], looks: Looks) -> Result<Self> {
        Ok(Self { servers, before: Moment::now(servers)?, looks })
    }

    pub(super) fn started(&self) -> Instant {
        self.before.at
    }

    /// Closes it now, with what the generator counted meanwhile.
    pub(super) fn close(
        mut self,
        messages: u64,
        latency: Percentiles,
        message_bytes: usize,
        ready_per_wait: f64,
    ) -> Result<Outcome> {
        let (before, after) = (self.before, Moment::now(self.servers)?);
        self.looks.look()?;
        let seconds = (after.at - before.at).as_secs_f64();
        let own = after.own.since(&before.own);
        let parts = used(&after.servers, &before.servers);
        Ok(Outcome {
            messages,
            seconds,
            latency,
            message_bytes,
            silent_connections: 0,
            generator: Effort {
                busy: own.cpu_s / seconds,
                waited: own.waited_s / seconds,
                ready_per_wait,
            },
            server: together(&parts),
            parts,
            round_trips_ns: self.looks.round_trips_ns,
            probed: None,
            open_loop: None,
        })
    }
}

/// One end of the measured window.
struct Moment {
    at: Instant,
    own: Snapshot,
    servers: Vec<Snapshot>,
}

impl Moment {
    fn now(servers: &[Watched]) -> Result<Self> {
        Ok(Self {
            servers: snapshots(servers)?,
            at: Instant::now(),
            own: Snapshot::of_this_thread()?,
        })
    }
}

pub(super) fn snapshots(servers: &[Watched]) -> Result<Vec<Snapshot>> {
    servers.iter().map(|watched| Snapshot::of(watched.pid)).collect()
}

/// What each process used in between.
pub(super) fn used(after: &[Snapshot], before: &[Snapshot]) -> Vec<Usage> {
    after.iter().zip(before).map(|(after, before)| after.since(before)).collect()
}

/// What all of them used; none where there are none.
pub(super) fn together(parts: &[Usage]) -> Option<Usage> {
    parts.iter().copied().reduce(Usage::and)
}
