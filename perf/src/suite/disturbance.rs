//! Whether somebody else used the cores while a sample was taken. Such a sample says more about
//! them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::measured::Measured;
use crate::proc;
use crate::workload::Kind;

/// More stolen time than this, of either core, and a sample is disturbed.
const STOLEN_LIMIT: f64 = 0.01;

/// More time spent runnable and waiting for the core than this, and a sample is disturbed. A quiet
/// machine stays below 0.01, one other busy process on the core makes it 0.3 to 0.5.
const WAITED_LIMIT: f64 = 0.02;

/// So much of the generator's waiting is nobody's fault where two processes before it wake each
/// other: each of its many sleeps ends with a moment between being woken and being on the core, and
/// the kernel's own work for others is done there.
const WAKING: f64 = 0.1;

/// Farther from each other than so many times the shortest distance, and a sample is disturbed.
/// On one machine it was 54 to 144 ns while they were neighbours, and 355 to 484 ns while they were
/// not.
const APART_LIMIT: f64 = 3.0;

/// What others took, as shares of the time, and where the host put the cores meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Disturbance {
    /// Taken by the hypervisor, from the core that suffered more.
    pub stolen: f64,
    /// Taken by other processes of this machine from the server; zero where it shares its core with
    /// its application.
    pub server_waited: f64,
    /// Taken by other processes of this machine from the generator; zero where the server behind a
    /// relay, or an application, shares its core, and waiting is no disturbance.
    pub generator_waited: f64,
    /// How many times as [far](crate::distance) from each other the two cores were, before or after
    /// it, as when they were nearest; 0 where nobody looked, or nobody answered, as where somebody
    /// else has the other core all the time, which tells by itself.
    #[serde(default)]
    pub apart: f64,
}

/// How near two cores were at the nearest, in nanoseconds there and back, as far as it was seen.
#[derive(Debug, Default)]
pub struct Nearest(Cell<Option<f64>>);

impl Nearest {
    /// Takes into account how near they were before and after a sample.
    pub fn see(&self, measured: &Measured) {
        if let Measured::Load(outcome) = measured {
            self.see_all(&outcome.round_trips_ns);
        }
    }

    fn see_all(&self, round_trips_ns: &[f64]) {
        let nearest = self.0.get().into_iter().chain(round_trips_ns.iter().copied());
        self.0.set(nearest.reduce(f64::min));
    }

    /// How many times as far the farthest of these is; 0 if there are none.
    fn apart(&self, round_trips_ns: &[f64]) -> f64 {
        self.see_all(round_trips_ns);
        let farthest = round_trips_ns.iter().copied().fold(0.0, f64::max);
        self.0.get().map_or(0.0, |nearest| farthest / nearest)
    }
}

impl Disturbance {
    /// With the share that was stolen, and what the sample itself tells.
    pub fn new(stolen: f64, kind: Kind, measured: &Measured, nearest: &Nearest) -> Self {
        let waited = measured.server().map_or(0.0, |usage| usage.waited_s) / measured.seconds();
        let server_waited = if kind.is_app() { 0.0 } else { waited };
        let generator_waited = match (measured, kind) {
            (Measured::Load(outcome), Kind::Echo | Kind::Msgr2) => outcome.generator.waited,
            (Measured::Load(outcome), Kind::App) => (outcome.generator.waited - WAKING).max(0.0),
            (Measured::Load(_), Kind::Relay | Kind::AppApart) => 0.0,
            // It only sleeps.
            (Measured::Idle(_), _) => 0.0,
        };
        let mut disturbance = Self { stolen, server_waited, generator_waited, apart: 0.0 };
        disturbance.compare(measured, nearest);
        disturbance
    }

    /// Looks again how far the cores were from each other, now that they may have been nearer.
    pub fn compare(&mut self, measured: &Measured, nearest: &Nearest) {
        if let Measured::Load(outcome) = measured {
            self.apart = nearest.apart(&outcome.round_trips_ns);
        }
    }

    /// All of it together, to tell which of two samples had less. Cores that are apart count for
    /// more than all that can be taken.
    pub fn total(&self) -> f64 {
        let apart = if self.is_apart() { self.apart } else { 0.0 };
        self.stolen + self.server_waited + self.generator_waited + apart
    }

    fn is_apart(&self) -> bool {
        self.apart > APART_LIMIT
    }

    /// Little enough to be ignored.
    pub fn is_negligible(&self) -> bool {
        self.stolen <= STOLEN_LIMIT
            && self.server_waited <= WAITED_LIMIT
            && self.generator_waited <= WAITED_LIMIT
            && !self.is_apart()
    }
}

/// Reads the stolen time of two cores, before and after.
#[derive(Debug)]
pub struct Watch {
    cores: [usize; 2],
    before: [Duration; 2],
    started: Instant,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When /proc/stat does not know a core.
    pub fn start(cores: [usize; 2]) -> Result<Self> {
        Ok(Self { cores, before: stolen(cores)?, started: Instant::now() })
    }

    /// Share of the time since then that was stolen, from the core that suffered more.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn stolen(&self) -> Result<f64> {
        let after = stolen(self.cores)?;
        let most = (0..2).map(|i| after[i].saturating_sub(self.before[i])).max();
        Ok(most.unwrap_or_default().as_secs_f64() / self.started.elapsed().as_secs_f64())
    }
}

fn stolen(cores: [usize; 2]) -> Result<[Duration; 2]> {
    Ok([proc::stolen(cores[0])?, proc::stolen(cores[1])?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let quiet = Disturbance {
            stolen: 0.005,
            server_waited: 0.007,
            generator_waited: 0.003,
            apart: 1.5,
        };
        assert!(quiet.is_negligible());
        assert!(!Disturbance { apart: 9.0, ..quiet }.is_negligible());
        assert!(Disturbance { apart: 9.0, ..quiet }.total() > quiet.total());
        assert!(!Disturbance { stolen: 0.02, ..quiet }.is_negligible());
        assert!(!Disturbance { server_waited: 0.3, ..quiet }.is_negligible());
        assert!(!Disturbance { generator_waited: 0.3, ..quiet }.is_negligible());
    }

    #[test]
    fn far_is_what_was_nearer_before() {
        let nearest = Nearest::default();
        assert_eq!(nearest.apart(&[]), 0.0);
        // Nothing else was seen yet.
        assert_eq!(nearest.apart(&[400.0, 400.0]), 1.0);
        assert_eq!(nearest.apart(&[100.0, 50.0]), 2.0);
        assert_eq!(nearest.apart(&[50.0, 400.0]), 8.0);
        assert_eq!(nearest.apart(&[]), 0.0);
    }
}
