//! From samples to figures: medians, spreads and ratios.

use serde::{Deserialize, Serialize};

use super::disturbance::{Disturbance, Nearest};
use super::measured::{Figure, Measured};
use super::peer::{Absent, Peer};
use super::ratio::Ratio;
use crate::load::Outcome;
use crate::proc::Usage;
use crate::workload::{Kind, Shape, Workload};

/// With fewer undisturbed samples than this, the disturbed ones count as well.
const FEWEST_CLEAN: usize = 2;

/// One peer, once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// What was measured.
    pub measured: Measured,
    /// What else went on meanwhile.
    pub disturbance: Disturbance,
    /// Under slow: p99 in microseconds of the same connections just before, without those that do
    /// not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone_p99_us: Option<f64>,
    /// How many were taken for it; more than one when the first was disturbed.
    pub attempts: u32,
}

impl Sample {
    /// Nobody else used the cores, to speak of.
    pub fn is_clean(&self) -> bool {
        self.disturbance.is_negligible()
    }
}

/// Looks again how far the cores were from each other, now that all samples that were kept tell how
/// near they ever were.
pub fn compare<'a>(samples: impl IntoIterator<Item = &'a mut Sample>) {
    let mut samples: Vec<&mut Sample> = samples.into_iter().collect();
    let nearest = Nearest::default();
    samples.iter().for_each(|sample| nearest.see(&sample.measured));
    for sample in &mut samples {
        sample.disturbance.compare(&sample.measured, &nearest);
    }
}

/// A figure of each sample, `None` where the sample does not count.
///
/// Disturbed samples do not count, unless fewer than two are not: then all count.
pub fn figures<'a>(
    samples: impl IntoIterator<Item = &'a Sample>,
    figure: Figure,
) -> Vec<Option<f64>> {
    let samples: Vec<&Sample> = samples.into_iter().collect();
    let sift = clean(samples.iter().copied()) >= FEWEST_CLEAN;
    let counts = |sample: &&Sample| sample.is_clean() || !sift;
    samples.iter().map(|sample| sample.measured.load(figure).filter(|_| counts(sample))).collect()
}

/// How many of them are undisturbed.
pub fn clean<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> usize {
    samples.into_iter().filter(|sample| sample.is_clean()).count()
}

/// Messages per second.
pub const RATE: Figure = |outcome| Some(outcome.messages_per_s());
/// Microseconds of the server's CPU per message.
pub const CPU: Figure = Outcome::cpu_us_per_message;
/// The same of who stands before an application; none where the application has its own sockets.
pub const FRONT_CPU: Figure =
    |outcome| outcome.parts.get(1).and_then(|_| outcome.part_cpu_us_per_message(0));
/// The same of the last of the processes.
pub const LAST_CPU: Figure =
    |outcome| outcome.part_cpu_us_per_message(outcome.parts.len().checked_sub(1)?);
/// Microseconds of the generator's own CPU per message.
pub const OWN_CPU: Figure = |outcome| Some(outcome.own_cpu_us_per_message());
/// System calls per message, of all processes together.
pub const CALLS: Figure = |outcome| outcome.probed.as_ref()?.all_system_calls_per_message();
/// Those of them that found nothing.
pub const FOUND_NOTHING: Figure = |outcome| outcome.probed.as_ref()?.found_nothing_per_message();
/// System calls per message of who stands before an application.
pub const FRONT_CALLS: Figure = |outcome| {
    let probed = outcome.probed.as_ref().filter(|probed| probed.parts.len() > 1)?;
    probed.system_calls_per_message(0)
};
/// The same of the last of the processes.
pub const LAST_CALLS: Figure = |outcome| {
    let probed = outcome.probed.as_ref()?;
    probed.system_calls_per_message(probed.parts.len().checked_sub(1)?)
};
/// Doorbells rung per message by both sides.
pub const RUNG: Figure = |outcome| doorbells(outcome, |(rung, _)| rung);
/// Doorbells that did not have to be rung, per message, by both sides.
pub const SAVED: Figure = |outcome| doorbells(outcome, |(_, saved)| saved);

fn doorbells(outcome: &Outcome, which: fn((f64, f64)) -> f64) -> Option<f64> {
    let probed = outcome.probed.as_ref()?;
    let told = (0..probed.parts.len()).map(|place| probed.doorbells_per_message(place).map(which));
    told.sum()
}

/// Median latency in microseconds.
pub const P50: Figure = |outcome| Some(outcome.latency.p50_us);
/// 90th percentile of the latency in microseconds.
pub const P90: Figure = |outcome| Some(outcome.latency.p90_us);
/// 99th percentile of the latency in microseconds.
pub const P99: Figure = |outcome| Some(outcome.latency.p99_us);
/// 99.9th percentile of the latency in microseconds.
pub const P99_9: Figure = |outcome| Some(outcome.latency.p99_9_us);
/// The longest latency in microseconds.
pub const MAX: Figure = |outcome| Some(outcome.latency.max_us);

/// Context switches of the server per message.
pub const SWITCHES: Figure = |outcome| {
    outcome.switches_per_message().map(|(voluntary, involuntary)| voluntary + involuntary)
};
/// In an open loop: share of the messages due that were answered.
pub const ANSWERED: Figure = |outcome| Some(outcome.messages_per_s() / outcome.open_loop?.rate);

/// All samples of one workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Section {
    /// What the servers do.
    pub kind: Kind,
    /// What was sent.
    pub workload: Workload,
    /// Messages a second of an open loop, where it was not the usual rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Who answered, in the order of the samples in each round.
    pub peers: Vec<Peer>,
    /// Who could not.
    pub absent: Vec<Absent>,
    /// One sample of each peer; they were not taken in this order.
    pub rounds: Vec<Vec<Sample>>,
}

/// The middle and the ends of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each name is its meaning")]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Section {
    /// What was sent, in numbers.
    pub fn shape(&self) -> Shape {
        self.workload.shape_at(self.kind, self.rate)
    }

    /// It is of the same load on the same kind of servers as another.
    pub fn is_of(&self, other: &Self) -> bool {
        (self.kind, self.workload, self.shape()) == (other.kind, other.workload, other.shape())
    }

    /// The reference with the most messages per second; where all are sent the same, the one that
    /// answers soonest. None when none took part.
    pub fn reference(&self) -> Option<Peer> {
        if let Shape::Open { .. } = self.shape() {
            return self.promptest_reference();
        }
        self.references(RATE).max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(peer, _)| peer)
    }

    /// The reference with the least CPU per message.
    pub fn thriftiest_reference(&self) -> Option<Peer> {
        self.references(CPU).min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(peer, _)| peer)
    }

    pub(super) fn references(&self, figure: Figure) -> impl Iterator<Item = (Peer, f64)> {
        let references = self.peers.iter().copied().filter(|peer| peer.is_reference());
        references.filter_map(move |peer| Some((peer, self.spread(peer, figure)?.median)))
    }

    /// The spread of a figure over the rounds that count; none when the peer took no part or has no
    /// such figure.
    pub fn spread(&self, peer: Peer, figure: Figure) -> Option<Spread> {
        Spread::of(&self.figures(peer, figure).into_iter().flatten().collect::<Vec<_>>())
    }

    /// What the server used of a core while it idled, in milliseconds a second; none under a load.
    pub fn idle_cpu_ms_per_s(&self, peer: Peer) -> Option<Spread> {
        self.idle_per_second(peer, |usage| usage.cpu_s * 1e3)
    }

    /// A figure of what the server used while it idled, per second. Every sample counts: nothing is
    /// nothing, whatever else goes on.
    pub fn idle_per_second(&self, peer: Peer, figure: fn(&Usage) -> f64) -> Option<Spread> {
        let idle = |sample: &Sample| match &sample.measured {
            Measured::Idle(outcome) => Some(figure(&outcome.server?) / outcome.seconds),
            Measured::Load(_) => None,
        };
        Spread::of(&self.samples(peer).filter_map(idle).collect::<Vec<_>>())
    }

    /// The most system calls that the server made while it idled, in any round.
    pub fn idle_system_calls(&self, peer: Peer) -> Option<u64> {
        let calls = |sample: &Sample| match &sample.measured {
            Measured::Idle(outcome) => {
                let parts = &outcome.probed.as_ref()?.parts;
                parts.iter().map(|part| part.system_calls).sum::<Option<u64>>()
            }
            Measured::Load(_) => None,
        };
        self.samples(peer).filter_map(calls).max()
    }

    /// A peer's figure against another's.
    pub fn ratio(&self, peer: Peer, other: Peer, figure: Figure) -> Option<Ratio> {
        let of_medians = self.spread(peer, figure)?.median / self.spread(other, figure)?.median;
        let both = self.figures(peer, figure).into_iter().zip(self.figures(other, figure));
        let rounds: Vec<f64> = both.filter_map(|(a, b)| Some(a? / b?)).collect();
        Some(Ratio::new(of_medians, &rounds, self.rounds.len()))
    }

    /// p99 against that of the same connections alone, by round.
    pub fn of_alone(&self, peer: Peer) -> Option<Ratio> {
        let with = self.figures(peer, P99).into_iter().zip(self.samples(peer));
        let ratios: Vec<f64> =
            with.filter_map(|(p99, sample)| Some(p99? / sample.alone_p99_us?)).collect();
        Some(Ratio::new(Spread::of(&ratios)?.median, &ratios, self.rounds.len()))
    }

    /// How many of the peer's samples are undisturbed.
    pub fn clean(&self, peer: Peer) -> usize {
        clean(self.samples(peer))
    }

    /// The peer's samples, one a round.
    pub fn samples(&self, peer: Peer) -> impl Iterator<Item = &Sample> {
        let position = self.peers.iter().position(|&other| other == peer);
        self.rounds.iter().filter_map(move |round| round.get(position?))
    }

    /// The figure in every round, `None` where the round does not count.
    fn figures(&self, peer: Peer, figure: Figure) -> Vec<Option<f64>> {
        figures(self.samples(peer), figure)
    }
}

impl Spread {
    /// Of `values`, in any order; none when there are none. The median of an even number is between
    /// the middle two.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        } else {
            sorted[middle]
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::latency::Latency;
    use crate::load::Effort;

    /// A sample of one second with this many messages and so much of the server's CPU.
    pub fn sample(messages: u64, cpu_us: f64, waited: f64) -> Sample {
        let cpu_s = cpu_us * messages as f64 / 1e6;
        Sample {
            measured: Measured::Load(Outcome {
                messages,
                seconds: 1.0,
                latency: Latency::new().percentiles(),
                message_bytes: 64,
                silent_connections: 0,
                generator: Effort { busy: 0.5, waited: 0.0, ready_per_wait: 1.0 },
                server: Some(Usage { cpu_s, ..Usage::default() }),
                parts: vec![Usage { cpu_s, ..Usage::default() }],
                probed: None,
                round_trips_ns: Vec::new(),
                open_loop: None,
            }),
            disturbance: Disturbance { server_waited: waited, ..Disturbance::default() },
            alone_p99_us: None,
            attempts: 1,
        }
    }

    fn section(rounds: &[[(u64, f64); 3]]) -> Section {
        Section {
            kind: Kind::Echo,
            workload: Workload::Fan,
            rate: None,
            absent: Vec::new(),
            peers: vec![Peer::Vmsgrd, Peer::Epoll, Peer::Tokio],
            rounds: rounds
                .iter()
                .map(|round| {
                    round.iter().map(|&(rate, waited)| sample(rate, 2.0, waited)).collect()
                })
                .collect(),
        }
    }

    #[test]
    fn spreads() {
        let spread = |values: &[f64]| Spread::of(values).map(|s| (s.median, s.min, s.max));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some((3.0, 3.0, 3.0)));
        assert_eq!(spread(&[9.0, 1.0, 4.0]), Some((4.0, 1.0, 9.0)));
        assert_eq!(spread(&[9.0, 1.0, 4.0, 2.0]), Some((3.0, 1.0, 9.0)));
    }

    #[test]
    fn ratios_within_rounds_see_through_a_machine_that_slows_down() {
        let section = section(&[
            [(110, 0.0), (100, 0.0), (90, 0.0)],
            [(55, 0.0), (50, 0.0), (45, 0.0)],
            [(22, 0.0), (20, 0.0), (18, 0.0)],
        ]);
        assert_eq!(section.reference(), Some(Peer::Epoll));
        let ratio = section.ratio(Peer::Vmsgrd, Peer::Epoll, RATE).unwrap();
        assert!((ratio.of_medians - 1.1).abs() < 1e-9 && (ratio.of_rounds - 1.1).abs() < 1e-9);
        let cpu = section.ratio(Peer::Vmsgrd, Peer::Tokio, CPU).unwrap();
        assert!((cpu.of_rounds - 1.0).abs() < 1e-9);
        assert_eq!(section.ratio(Peer::Vmsgrd, Peer::EpollSpin, RATE), None);
    }

    #[test]
    fn a_sample_is_far_if_a_later_one_was_nearer() {
        let mut section = section(&[[(50, 0.0); 3], [(50, 0.0); 3], [(100, 0.0); 3]]);
        let nearest = Nearest::default();
        for (round, nanoseconds) in section.rounds.iter_mut().zip([400.0, 410.0, 60.0]) {
            for sample in round {
                if let Measured::Load(outcome) = &mut sample.measured {
                    outcome.round_trips_ns = vec![nanoseconds, 55.0 + nanoseconds];
                }
                sample.disturbance = Disturbance::new(0.0, Kind::Echo, &sample.measured, &nearest);
            }
        }
        assert_eq!(section.clean(Peer::Epoll), 3);
        compare(section.rounds.iter_mut().flatten());
        assert_eq!(section.clean(Peer::Epoll), 1);
        assert!(section.rounds[2].iter().all(Sample::is_clean));
    }

    #[test]
    fn one_or_two_rounds_are_not_enough_for_a_ratio() {
        let mut section = section(&[
            [(300, 0.0), (100, 0.0), (1, 0.0)],
            [(100, 0.0), (100, 0.5), (1, 0.0)],
            [(100, 0.5), (100, 0.0), (1, 0.0)],
            [(100, 0.0), (100, 0.0), (1, 0.5)],
        ]);
        let of_rounds = |section: &Section| {
            section.ratio(Peer::Vmsgrd, Peer::Epoll, RATE).expect("both have samples").of_rounds
        };
        assert_eq!(of_rounds(&section), 1.0, "the medians: two rounds have 3 and 1");
        section.rounds[1] = vec![sample(400, 2.0, 0.0), sample(100, 2.0, 0.0)];
        assert_eq!(of_rounds(&section), 3.0, "the three that are clean");
    }

    #[test]
    fn disturbed_samples_are_left_out_while_enough_remain() {
        let mut section = section(&[
            [(100, 0.0), (80, 0.0), (0, 0.0)],
            [(100, 0.0), (8, 0.5), (0, 0.0)],
            [(100, 0.0), (80, 0.0), (0, 0.0)],
        ]);
        assert_eq!(section.clean(Peer::Epoll), 2);
        assert_eq!(section.spread(Peer::Epoll, RATE).unwrap().min, 80.0);
        assert_eq!(section.ratio(Peer::Vmsgrd, Peer::Epoll, RATE).unwrap().of_rounds, 1.25);
        section.rounds[0][1] = sample(8, 2.0, 0.5);
        assert_eq!(section.clean(Peer::Epoll), 1);
        assert_eq!(section.spread(Peer::Epoll, RATE).unwrap().median, 8.0);
    }

    #[test]
    fn without_a_round_in_common_the_medians_decide() {
        let section = section(&[
            [(110, 0.0), (1, 0.5), (0, 0.0)],
            [(110, 0.0), (1, 0.5), (0, 0.0)],
            [(1, 0.5), (100, 0.0), (0, 0.0)],
            [(1, 0.5), (100, 0.0), (0, 0.0)],
        ]);
        let ratio = section.ratio(Peer::Vmsgrd, Peer::Epoll, RATE).unwrap();
        assert!((ratio.of_rounds - 1.1).abs() < 1e-9, "{ratio:?}");
    }
}
