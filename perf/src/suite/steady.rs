//! Open loops: who kept up with what was due, and how late the answers were.
//!
//! All are sent the same, so there is no throughput to compare. What is compared is the latency,
//! which counts from when each message was due, and the CPU time that it took.

use super::peer::Peer;
use super::summary::{ANSWERED, CPU, MAX, P50, P90, P99, P99_9, RATE, Section};
use super::tables::{against, clean, columns, cpu, median, rates, ratios, switches};
use crate::table::Table;

/// Whoever answers less than this share of what is due does not keep up: its latency says how long
/// it was asked for, and not how fast it is.
const KEPT_UP: f64 = 0.98;

impl Section {
    /// Whether the peer answered what was due, by the median of its rounds; none in a closed loop.
    pub fn kept_up(&self, peer: Peer) -> Option<bool> {
        Some(self.spread(peer, ANSWERED)?.median >= KEPT_UP)
    }

    /// In how many rounds it did.
    fn rounds_kept_up(&self, peer: Peer) -> usize {
        let answered = self.samples(peer).filter_map(|sample| sample.measured.load(ANSWERED));
        answered.filter(|&share| share >= KEPT_UP).count()
    }

    /// The reference with the least p99, of those that kept up.
    pub(super) fn promptest_reference(&self) -> Option<Peer> {
        let kept_up = self.references(P99).filter(|(peer, _)| self.kept_up(*peer) == Some(true));
        kept_up.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(peer, _)| peer)
    }
}

/// The figures of an open loop; a row for each peer.
pub(super) fn table(section: &Section) -> Table {
    let against = format!("/ {}", against(section));
    let more = columns(section.kind);
    let mut header =
        vec!["peer", "msgs/s (min-max)", "kept up", "p50 us", "p90 us", "p99 us", &against];
    header.extend(["by round", "p99.9 us", "max us", cpu(section.kind), &against, "by round"]);
    header.extend(more.iter().map(|(name, _)| *name));
    header.extend(["switches/msg", "clean"]);
    let mut table = Table::new(header);
    for &peer in &section.peers {
        let median = |of| median(section, peer, of);
        let kept_up = format!(
            "{}{}/{}",
            if section.kept_up(peer) == Some(false) { "NO " } else { "" },
            section.rounds_kept_up(peer),
            section.rounds.len()
        );
        let mut cells = vec![
            peer.name().to_owned(),
            section.spread(peer, RATE).map_or("-".to_owned(), rates),
            kept_up,
            median(P50),
            median(P90),
            median(P99),
        ];
        cells.extend(ratios(section, peer, P99));
        cells.extend([P99_9, MAX, CPU].map(median));
        cells.extend(ratios(section, peer, CPU));
        cells.extend(more.iter().map(|&(_, of)| median(of)));
        cells.extend([switches(section, peer), clean(section, peer)]);
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn who_falls_behind_is_told_and_is_nobodys_measure() {
        let round = vec![open(50_000, 80.0), open(49_500, 100.0), open(40_000, 20.0)];
        let section = Section {
            kind: Kind::Echo,
            workload: Workload::Steady,
            rate: None,
            peers: vec![Peer::Vmsgrd, Peer::Epoll, Peer::Tokio],
            absent: Vec::new(),
            rounds: vec![round.clone(), round],
        };
        let kept_up = section.peers.iter().map(|&peer| section.kept_up(peer).unwrap());
        assert_eq!(kept_up.collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(section.reference(), Some(Peer::Epoll));
        let text = section.to_string();
        let cells = |peer: &str| -> Vec<String> {
            let row = text.lines().find(|line| line.starts_with(&format!("| {peer} "))).unwrap();
            row.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        assert!(text.starts_with("## steady: 64 connections, 64 B, open loop: 50000 msgs/s"));
        assert_eq!(cells("peer")[6..9], ["p99 us", "/ epoll", "by round"]);
        assert_eq!(cells("vmsgrd")[2..4], ["50.0k (50.0k-50.0k)", "2/2"]);
        assert_eq!(cells("vmsgrd")[6..9], ["80.0", "0.800", "0.800"]);
        assert_eq!(cells("tokio")[2..4], ["40.0k (40.0k-40.0k)", "NO 0/2"]);
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
