//! Which core a new connection goes to.

use std::fmt;
use std::str::FromStr;

/// How connections are spread over the cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// The accepting core keeps a connection unless another core has clearly fewer.
    #[default]
    Balanced,
    /// The accepting core keeps every connection: the kernel's SO_REUSEPORT hash decides.
    Reuseport,
    /// Each accepting core deals its connections out to all cores in turn.
    RoundRobin,
}

/// The text names no placement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no placement '{0}'; placements are balanced, reuseport, round-robin")]
pub struct PlacementError(String);

impl FromStr for Placement {
    type Err = PlacementError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "balanced" => Ok(Self::Balanced),
            "reuseport" => Ok(Self::Reuseport),
            "round-robin" => Ok(Self::RoundRobin),
            _ => Err(PlacementError(text.to_owned())),
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Balanced => "balanced",
            Self::Reuseport => "reuseport",
            Self::RoundRobin => "round-robin",
        })
    }
}
