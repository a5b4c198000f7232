//! What a sample measured, and how a figure is read off it.

use serde::{Deserialize, Serialize};

use crate::load::Outcome;
use crate::load::idle::IdleOutcome;
use crate::proc::Usage;
use crate::system_calls::Means;

/// What the generator came back with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each name is its meaning")]
pub enum Measured {
    Load(Outcome),
    Idle(IdleOutcome),
}

impl Measured {
    /// How long it was measured.
    pub fn seconds(&self) -> f64 {
        match self {
            Self::Load(outcome) => outcome.seconds,
            Self::Idle(outcome) => outcome.seconds,
        }
    }

    /// What the server used.
    pub fn server(&self) -> Option<Usage> {
        match self {
            Self::Load(outcome) => outcome.server,
            Self::Idle(outcome) => outcome.server,
        }
    }

    /// Who counted the server's system calls, if anybody did.
    pub fn means(&self) -> Option<Means> {
        let probed = match self {
            Self::Load(outcome) => outcome.probed.as_ref(),
            Self::Idle(outcome) => outcome.probed.as_ref(),
        };
        probed?.means
    }

    /// A figure of a load; none of an idle one.
    pub fn load(&self, figure: Figure) -> Option<f64> {
        match self {
            Self::Load(outcome) => figure(outcome),
            Self::Idle(_) => None,
        }
    }
}

/// Reads one figure of what a load brought.
pub type Figure = fn(&Outcome) -> Option<f64>;
