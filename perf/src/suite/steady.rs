//! Open loops: who kept up with what was due, and how late the answers were.
//!
//! All are sent the same, so there is no throughput to compare. What is compared is the latency,
//! which counts from when each message was due, and the CPU time that it took.

use super::peer::Peer;
use super::summary::{ANSWERED, P99, Section};

/// Whoever answers less than this share of what is due does not keep up: its latency says how long
/// it was asked for, and not how fast it is.
const KEPT_UP: f64 = 0.98;

impl Section {
    /// Whether the peer answered what was due, by the median of its rounds; none in a closed loop.
    pub fn kept_up(&self, peer: Peer) -> Option<bool> {
        Some(self.spread(peer, ANSWERED)?.median >= KEPT_UP)
    }

    /// In how many rounds it did.
    pub fn rounds_kept_up(&self, peer: Peer) -> usize {
        let answered = self.samples(peer).filter_map(|sample| sample.measured.load(ANSWERED));
        answered.filter(|&share| share >= KEPT_UP).count()
    }

    /// The reference with the least p99, of those that kept up.
    pub(super) fn promptest_reference(&self) -> Option<Peer> {
        let kept_up = self.references(P99).filter(|(peer, _)| self.kept_up(*peer) == Some(true));
        kept_up.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(peer, _)| peer)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::measured::Measured;
    use super::super::summary::Sample;
    use super::super::summary::tests::sample;
    use super::*;
    use crate::load::OpenLoop;
    use crate::workload::{Kind, Workload};

    /// A second in which so many messages of 50,000 were answered.
    fn open(messages: u64, p99_us: f64) -> Sample {
        let mut sample = sample(messages, 10.0, 0.0);
        let Measured::Load(outcome) = &mut sample.measured else { panic!() };
        outcome.open_loop = Some(OpenLoop { rate: 50_000.0, unanswered: 50_000 - messages });
        outcome.latency.p99_us = p99_us;
        sample
    }

    /// A reference that keeps up beside the daemon, and one that does not.
    pub fn section() -> Section {
        let round = vec![open(50_000, 80.0), open(49_500, 100.0), open(40_000, 20.0)];
        Section {
            kind: Kind::Echo,
            workload: Workload::Steady,
            rate: None,
            peers: vec![Peer::Vmsgrd, Peer::Epoll, Peer::Tokio],
            absent: Vec::new(),
            rounds: vec![round.clone(), round],
        }
    }

    #[test]
    fn who_falls_behind_is_nobodys_measure() {
        let section = section();
        let kept_up = section.peers.iter().map(|&peer| section.kept_up(peer).unwrap());
        assert_eq!(kept_up.collect::<Vec<_>>(), [true, true, false]);
        let rounds = section.peers.iter().map(|&peer| section.rounds_kept_up(peer));
        assert_eq!(rounds.collect::<Vec<_>>(), [2, 2, 0]);
        assert_eq!(section.reference(), Some(Peer::Epoll));
    }

    #[test]
    fn a_closed_loop_has_nothing_to_keep_up_with() {
        let section = Section {
            kind: Kind::Echo,
            workload: Workload::Fan,
            rate: None,
            peers: vec![Peer::Epoll],
            absent: Vec::new(),
            rounds: vec![vec![sample(10, 1.0, 0.0)]],
        };
        assert_eq!(section.kept_up(Peer::Epoll), None);
    }
}
