//! What the daemon is meant to reach, and whether it did. It informs: a timed result never fails a
//! run.

use std::fmt;

use serde::Serialize;

use super::peer::Peer;
use super::summary::{CPU, Figure, RATE, Section};
use crate::workload::Workload;

/// Least share of the reference's messages per second.
const RATE_AIM: f64 = 0.97;
/// Largest multiple of the reference's CPU per message.
const CPU_AIM: f64 = 1.03;
/// Least share of the never-sleeping loop's messages per second, at ping.
const SPIN_AIM: f64 = 0.9;

/// One aim, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Under which load.
    pub workload: Workload,
    /// The figures, and the aim.
    pub finding: String,
    /// Whether the aim was reached; none where there is no aim, only a figure to look at.
    pub met: Option<bool>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "no aim",
        };
        write!(f, "{}: {}: {word}", self.workload.name(), self.finding)
    }
}

/// The daemon against its aims under one workload; none when it, or whom it is measured by, took no
/// part.
pub fn verdict(section: &Section) -> Option<Verdict> {
    let (finding, met) = match section.workload {
        Workload::Ping => against_spin(section)?,
        Workload::Idle => at_rest(section)?,
        Workload::Bulk => (against_reference(section)?.0, None),
        Workload::Fan | Workload::Pipeline | Workload::Op4k | Workload::Crowd => {
            let (finding, met) = against_reference(section)?;
            let aims = format!("{finding} (aims: >= {RATE_AIM}, <= {CPU_AIM})");
            (aims, Some(met))
        }
    };
    Some(Verdict { workload: section.workload, finding, met })
}

/// The median of the ratios within each round, which is what verdicts go by.
fn ratio(section: &Section, other: Peer, figure: Figure) -> Option<f64> {
    section.ratio(Peer::Vmsgrd, other, figure).map(|ratio| ratio.of_rounds)
}

fn against_reference(section: &Section) -> Option<(String, bool)> {
    let reference = section.reference()?;
    let rate = ratio(section, reference, RATE)?;
    let cpu = ratio(section, reference, CPU)?;
    let name = reference.name();
    Some((
        format!("{rate:.3} of {name}'s msgs/s, {cpu:.3} of its CPU per message"),
        rate >= RATE_AIM && cpu <= CPU_AIM,
    ))
}

fn against_spin(section: &Section) -> Option<(String, Option<bool>)> {
    let rate = ratio(section, Peer::EpollSpin, RATE)?;
    Some((format!("{rate:.3} of epoll-spin's msgs/s (aim: >= {SPIN_AIM})"), Some(rate >= SPIN_AIM)))
}

/// Nothing at all, in any round: idle is no matter of medians.
fn at_rest(section: &Section) -> Option<(String, Option<bool>)> {
    let usages: Vec<_> =
        section.samples(Peer::Vmsgrd).filter_map(|sample| sample.measured.server()).collect();
    let cpu_s = usages.iter().map(|usage| usage.cpu_s).reduce(f64::max)?;
    let switches =
        usages.iter().map(|usage| usage.voluntary_switches + usage.involuntary_switches).max()?;
    Some((
        format!(
            "at most {:.3} ms of CPU and {switches} context switches a round (aim: 0)",
            cpu_s * 1e3
        ),
        Some(cpu_s == 0.0 && switches == 0),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::disturbance::Disturbance;
    use super::super::summary::tests::sample;
    use super::super::summary::{Measured, Sample};
    use super::*;
    use crate::load::idle::IdleOutcome;
    use crate::proc::Usage;

    fn section(workload: Workload, peers: &[(Peer, u64, f64)]) -> Section {
        let round = peers.iter().map(|&(_, rate, cpu)| sample(rate, cpu, 0.0)).collect();
        Section {
            workload,
            peers: peers.iter().map(|&(peer, ..)| peer).collect(),
            rounds: vec![round],
        }
    }

    #[test]
    fn both_rate_and_cpu_must_be_reached() {
        let met = |rate, cpu| {
            let peers =
                [(Peer::Vmsgrd, rate, cpu), (Peer::Epoll, 900, 9.0), (Peer::Tokio, 1000, 10.0)];
            verdict(&section(Workload::Fan, &peers)).unwrap().met
        };
        assert_eq!(met(980, 10.2), Some(true));
        assert_eq!(met(960, 10.2), Some(false));
        assert_eq!(met(980, 10.4), Some(false));
    }

    #[test]
    fn ping_is_measured_by_the_loop_that_never_sleeps() {
        let peers = [(Peer::Vmsgrd, 89, 1.0), (Peer::Epoll, 30, 1.0), (Peer::EpollSpin, 100, 1.0)];
        let text = verdict(&section(Workload::Ping, &peers)).unwrap().to_string();
        assert_eq!(text, "ping: 0.890 of epoll-spin's msgs/s (aim: >= 0.9): MISSED");
    }

    #[test]
    fn bulk_is_only_shown_and_absent_peers_give_no_verdict() {
        let peers = [(Peer::Vmsgrd, 10, 1.0), (Peer::Epoll, 100, 1.0)];
        assert_eq!(verdict(&section(Workload::Bulk, &peers)).unwrap().met, None);
        assert_eq!(verdict(&section(Workload::Fan, &peers[1..])), None);
        assert_eq!(verdict(&section(Workload::Fan, &peers[..1])), None);
    }

    #[test]
    fn one_wakeup_in_one_round_is_not_idle() {
        let met = |switches: &[u64]| {
            let rest = |&voluntary_switches: &u64| {
                let server = Some(Usage { voluntary_switches, ..Usage::default() });
                let idle = IdleOutcome { connections: 1000, seconds: 1.0, server };
                vec![Sample {
                    measured: Measured::Idle(idle),
                    disturbance: Disturbance::default(),
                    attempts: 1,
                }]
            };
            let rounds = switches.iter().map(rest).collect();
            let section = Section { workload: Workload::Idle, peers: vec![Peer::Vmsgrd], rounds };
            verdict(&section).unwrap().met
        };
        assert_eq!(met(&[0, 0, 0]), Some(true));
        assert_eq!(met(&[0, 1, 0]), Some(false));
    }
}
