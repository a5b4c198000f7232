//! A second look at servers that were just measured: what is counted here costs them time, so it is
//! counted while they are not measured.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::server::{Doorbells, Reports};
use crate::system_calls::{Count, Means};

/// A process that is looked at.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its process id.
    pub pid: u32,
    /// Where it tells its counters, if it does.
    pub reports: Option<Reports>,
}

/// What the processes did for some messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probed {
    /// Messages that were answered meanwhile; 0 where there are none.
    pub messages: u64,
    /// A process each, in the order of the measured ones.
    pub parts: Vec<Part>,
    /// Who counted the system calls; none where nobody could.
    pub means: Option<Means>,
    /// Why they were not counted.
    pub missing: Option<String>,
}

/// What one process did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// System calls of all its threads.
    pub system_calls: Option<u64>,
    /// Those of them that found nothing.
    #[serde(default)]
    pub found_nothing: Option<u64>,
    /// Doorbells, where the process tells.
    pub doorbells: Option<Doorbells>,
}

/// A look that has begun.
#[derive(Debug)]
pub struct Probe<'a> {
    watched: &'a [Watched],
    doorbells: Vec<Option<Doorbells>>,
    counts: Result<Vec<Count>>,
}

impl<'a> Probe<'a> {
    /// Begins to look at these.
    ///
    /// # Errors
    /// When one that tells its counters does not.
    pub fn begin(watched: &'a [Watched]) -> Result<Self> {
        let doorbells = doorbells(watched)?;
        let counts = watched.iter().map(|watched| Count::begin(watched.pid)).collect();
        Ok(Self { watched, doorbells, counts })
    }

    /// Ends it, after so many messages.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn end(self, messages: u64) -> Result<Probed> {
        let mut parts = vec![Part::default(); self.watched.len()];
        let (mut means, mut missing) = (None, None);
        let counts = self.counts.and_then(|counts| {
            means = counts.first().map(Count::means);
            counts.into_iter().map(Count::end).collect::<Result<Vec<_>>>()
        });
        match counts {
            Ok(counts) => {
                for (part, counted) in parts.iter_mut().zip(counts) {
                    part.system_calls = Some(counted.calls);
                    part.found_nothing = counted.found_nothing;
                }
            }
            Err(error) => missing = Some(format!("{error:#}")),
        }
        let after = doorbells(self.watched)?;
        for ((part, before), after) in parts.iter_mut().zip(self.doorbells).zip(after) {
            part.doorbells = before.zip(after).map(|(before, after)| after.since(before));
        }
        Ok(Probed { messages, parts, means, missing })
    }
}

fn doorbells(watched: &[Watched]) -> Result<Vec<Option<Doorbells>>> {
    let told = |watched: &Watched| watched.reports.as_ref().map(Reports::doorbells).transpose();
    watched.iter().map(told).collect()
}

impl Probed {
    /// System calls per message of the process at `place`.
    pub fn system_calls_per_message(&self, place: usize) -> Option<f64> {
        self.per_message(self.parts.get(place)?.system_calls?)
    }

    /// System calls per message of all together.
    pub fn all_system_calls_per_message(&self) -> Option<f64> {
        let all = self.parts.iter().map(|part| part.system_calls).sum::<Option<u64>>();
        self.per_message(all?)
    }

    /// Those of all together that found nothing, per message.
    pub fn found_nothing_per_message(&self) -> Option<f64> {
        let all = self.parts.iter().map(|part| part.found_nothing).sum::<Option<u64>>();
        self.per_message(all?)
    }

    /// (rung, saved) per message by the process at `place`.
    pub fn doorbells_per_message(&self, place: usize) -> Option<(f64, f64)> {
        let doorbells = self.parts.get(place)?.doorbells?;
        Some((self.per_message(doorbells.rung)?, self.per_message(doorbells.saved)?))
    }

    fn per_message(&self, count: u64) -> Option<f64> {
        (self.messages > 0).then(|| count as f64 / self.messages as f64)
    }
}
