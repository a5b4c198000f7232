//! Which core a new connection goes to.

use std::fmt;
use std::str::FromStr;

use crate::census::Census;

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

/// Places the connections that one core accepts.
#[derive(Debug)]
pub(crate) struct Placer {
    placement: Placement,
    core: usize,
    cores: usize,
    /// Whose turn it is in a round-robin.
    next: usize,
}

impl Placer {
    pub(crate) fn new(placement: Placement, core: usize, cores: usize) -> Self {
        Self { placement, core, cores, next: core }
    }

    /// The core for a connection that no core has accepted.
    pub(crate) fn place_anywhere(&mut self, census: &Census) -> usize {
        match self.placement {
            Placement::RoundRobin => self.next_core(),
            Placement::Balanced | Placement::Reuseport => census.least().0,
        }
    }

    fn next_core(&mut self) -> usize {
        let core = self.next;
        self.next = (self.next + 1) % self.cores;
        core
    }

    /// The core for a connection that this core has accepted.
    pub(crate) fn place(&mut self, census: &Census) -> usize {
        match self.placement {
            Placement::Reuseport => self.core,
            Placement::RoundRobin => self.next_core(),
            Placement::Balanced => {
                let own = census.of(self.core);
                let (core, least) = census.least();
                // Few connections are spread evenly to the last; among many, a small difference is
                // not worth handing a socket to another core.
                if least + own / 16 < own { core } else { self.core }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(placement: Placement, accepting: &[usize]) -> Vec<usize> {
        let census = Census::new(2, None);
        let mut placers = [0, 1].map(|core| Placer::new(placement, core, 2));
        for &core in accepting {
            assert!(census.reserve(core));
            census.enter(placers[core].place(&census));
        }
        vec![census.of(0), census.of(1)]
    }

    #[test]
    fn ten_connections_split_evenly_however_the_kernel_deals_them() {
        assert_eq!(place(Placement::Balanced, &[0; 10]), [5, 5]);
        assert_eq!(place(Placement::Balanced, &[1, 1, 1, 1, 1, 1, 1, 0, 0, 1]), [5, 5]);
    }

    #[test]
    fn many_connections_may_differ_a_little() {
        let mut accepting = vec![0; 500];
        accepting.extend([1; 460]);
        let split = place(Placement::Balanced, &accepting);
        assert_eq!(split[0] + split[1], 960);
        assert!(split[0].abs_diff(split[1]) <= 960 / 16, "{split:?}");
    }

    #[test]
    fn the_others_do_as_they_say() {
        assert_eq!(place(Placement::Reuseport, &[0; 10]), [10, 0]);
        assert_eq!(place(Placement::RoundRobin, &[0; 10]), [5, 5]);
        assert_eq!("round-robin".parse(), Ok(Placement::RoundRobin));
        assert!("robin".parse::<Placement>().unwrap_err().to_string().contains("balanced"));
    }
}
