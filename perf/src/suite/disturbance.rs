//! Whether somebody else used the cores while a sample was taken. Such a sample says more about
//! them.

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

/// What others took, as shares of the time.
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
}

impl Disturbance {
    /// With the share that was stolen, and what the sample itself tells.
    pub fn new(stolen: f64, kind: Kind, measured: &Measured) -> Self {
        let waited = measured.server().map_or(0.0, |usage| usage.waited_s) / measured.seconds();
        let server_waited = if kind.is_app() { 0.0 } else { waited };
        let generator_waited = match (measured, kind) {
            (Measured::Load(outcome), Kind::Echo | Kind::Msgr2) => outcome.generator.waited,
            (Measured::Load(outcome), Kind::App) => (outcome.generator.waited - WAKING).max(0.0),
            (Measured::Load(_), Kind::Relay | Kind::AppApart) => 0.0,
            // It only sleeps.
            (Measured::Idle(_), _) => 0.0,
        };
        Self { stolen, server_waited, generator_waited }
    }

    /// All of it together, to tell which of two samples had less.
    pub fn total(&self) -> f64 {
        self.stolen + self.server_waited + self.generator_waited
    }

    /// Little enough to be ignored.
    pub fn is_negligible(&self) -> bool {
        self.stolen <= STOLEN_LIMIT
            && self.server_waited <= WAITED_LIMIT
            && self.generator_waited <= WAITED_LIMIT
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
        let quiet = Disturbance { stolen: 0.005, server_waited: 0.007, generator_waited: 0.003 };
        assert!(quiet.is_negligible());
        assert!(!Disturbance { stolen: 0.02, ..quiet }.is_negligible());
        assert!(!Disturbance { server_waited: 0.3, ..quiet }.is_negligible());
        assert!(!Disturbance { generator_waited: 0.3, ..quiet }.is_negligible());
    }
}
