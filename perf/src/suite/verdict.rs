//! What the daemon is meant to reach, and whether it did. It informs: a timed result never fails a
//! run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::measured::Figure;
use super::peer::Peer;
use super::ratio::{Doubt, Judgement, Ratio};
use super::summary::{ANSWERED, CPU, P50, P99, P99_9, RATE, Sample, Section};
use crate::system_calls::Means;
use crate::workload::{Kind, Workload};

/// Least share of the fastest reference's messages per second.
const RATE_AIM: f64 = 0.98;
/// Largest multiple of the thriftiest reference's CPU per message.
const CPU_AIM: f64 = 1.02;
/// Least share of the never-sleeping loop's messages per second, at ping.
const SPIN_AIM: f64 = 0.9;
/// Largest multiple of its CPU per message: a core for the least share of its messages.
const SPIN_CPU_AIM: f64 = CPU_AIM / SPIN_AIM;
/// Largest multiple of fan's p99 under slow.
const SLOW_AIM: f64 = 1.1;
/// Least multiple of HAProxy's messages per second of its core's time.
const RELAY_AIM: f64 = 1.2;
/// Largest multiple of another's p99: no worse, and 5% are noise.
const P99_AIM: f64 = 1.05;

/// Least multiple of the messages per second that the application has behind HAProxy.
const APP_PROXY_AIM: f64 = 2.0;
/// Least share of what it has with sockets of its own.
const APP_FLOOR_AIM: f64 = 0.95;
/// The same at bulk.
const APP_BULK_AIM: f64 = 0.9;

/// One aim, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What the servers do.
    pub kind: Kind,
    /// Under which load.
    pub workload: Workload,
    /// The figures, and the aim.
    pub finding: String,
    /// Whether the aim was reached; none where there is no aim, only a figure to look at.
    pub met: Option<bool>,
    /// If more rounds may say otherwise, why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "no aim",
        };
        let doubt = self.doubt.map_or(String::new(), |doubt| format!(", {doubt}"));
        write!(f, "{}{}: {}: {word}{doubt}", self.kind.prefix(), self.workload.name(), self.finding)
    }
}

/// The daemon against its aims under one workload; none when it, or whom it is measured by, took no
/// part.
pub fn verdict(section: &Section) -> Option<Verdict> {
    let (finding, judged) = match (section.workload, section.kind) {
        (Workload::Idle, _) => at_rest(section)?,
        (Workload::Slow, _) => against_alone(section)?,
        (Workload::Steady, _) => in_time(section)?,
        (_, Kind::Echo) => echo(section)?,
        (_, Kind::Relay) => relay(section)?,
        (_, Kind::App | Kind::AppApart) => application(section)?,
        (_, Kind::Msgr2) => osd(section)?,
    };
    Some(Verdict {
        kind: section.kind,
        workload: section.workload,
        finding,
        met: judged.map(|judged| judged.met),
        doubt: judged.and_then(|judged| judged.doubt),
    })
}

type Finding = (String, Option<Judgement>);

fn echo(section: &Section) -> Option<Finding> {
    match section.workload {
        Workload::Ping => against_spin(section),
        Workload::Churn => against_epoll(section),
        _ => against_references(section),
    }
}

/// The daemon beside the protocol alone.
fn osd(section: &Section) -> Option<Finding> {
    let of = |figure| ratio(section, Peer::OsdNull, figure);
    let (rate, cpu, p99) = (of(RATE)?, of(CPU)?, of(P99)?);
    let finding =
        format!("{rate} of osd-null's ops/s, {cpu} of its CPU per operation, {p99} of its p99");
    Some((finding, None))
}

fn ratio(section: &Section, other: Peer, figure: Figure) -> Option<Ratio> {
    let daemon = *section.peers.iter().find(|peer| peer.is_vmsgrd())?;
    section.ratio(daemon, other, figure)
}

fn against_references(section: &Section) -> Option<Finding> {
    let (fastest, thriftiest) = (section.reference()?, section.thriftiest_reference()?);
    let rate = ratio(section, fastest, RATE)?;
    let cpu = ratio(section, thriftiest, CPU)?;
    let finding = format!(
        "{rate} of {}'s msgs/s, {cpu} of {}'s CPU per message (aims: >= {RATE_AIM}, <= \
         {CPU_AIM}{})",
        fastest.name(),
        thriftiest.name(),
        without_spin(section)
    );
    Some((finding, Some(rate.at_least(RATE_AIM).and(cpu.at_most(CPU_AIM)))))
}

/// Why the best is looked for among the others.
fn without_spin(section: &Section) -> &'static str {
    if section.peers.contains(&Peer::EpollSpin) {
        "; epoll-spin is no measure here: it takes a whole core even when idle"
    } else {
        ""
    }
}

/// As fast as who never sleeps, at no more of the CPU per message.
fn against_spin(section: &Section) -> Option<Finding> {
    let of = |figure| ratio(section, Peer::EpollSpin, figure);
    let (rate, cpu) = (of(RATE)?, of(CPU)?);
    let finding = format!(
        "{rate} of epoll-spin's msgs/s, {cpu} of its CPU per message (aims: >= {SPIN_AIM}, \
         <= {SPIN_CPU_AIM:.3})"
    );
    Some((finding, Some(rate.at_least(SPIN_AIM).and(cpu.at_most(SPIN_CPU_AIM)))))
}

fn against_epoll(section: &Section) -> Option<Finding> {
    let of = |figure| ratio(section, Peer::Epoll, figure);
    let (rate, cpu, p99) = (of(RATE)?, of(CPU)?, of(P99)?);
    let finding = format!(
        "{rate} of epoll's connections/s, {cpu} of its CPU per connection, {p99} of its \
         p99 (aims: >= {RATE_AIM}, <= {CPU_AIM}, <= {P99_AIM})"
    );
    Some((
        finding,
        Some(rate.at_least(RATE_AIM).and(cpu.at_most(CPU_AIM)).and(p99.at_most(P99_AIM))),
    ))
}

/// The well-behaved, with the others beside them and, a moment before, without.
fn against_alone(section: &Section) -> Option<Finding> {
    let daemon = *section.peers.iter().find(|peer| peer.is_vmsgrd())?;
    let ratio = section.of_alone(daemon)?;
    let mut finding = format!("{ratio} of the p99 without those that do not read");
    let beside = section.peers.iter().filter(|peer| **peer != daemon);
    for peer in beside {
        if let Some(other) = section.of_alone(*peer) {
            finding += &format!(", {} {other}", peer.name());
        }
    }
    Some((format!("{finding} (aim: <= {SLOW_AIM})"), Some(ratio.at_most(SLOW_AIM))))
}

/// An open loop: there is nothing to reach but keeping up.
fn in_time(section: &Section) -> Option<Finding> {
    let daemon = *section.peers.iter().find(|peer| peer.is_vmsgrd())?;
    if !section.kept_up(daemon)? {
        let share = section.spread(daemon, ANSWERED)?.median;
        return Some((
            format!("answered {share:.3} of what was due (aim: all)"),
            Some(Judgement::certain(false)),
        ));
    }
    let (promptest, thriftiest) = (section.reference()?, section.thriftiest_reference()?);
    let of = |figure| ratio(section, promptest, figure);
    let finding = format!(
        "kept up; {} of {name}'s p50, {} of its p99, {} of its p99.9, {} of {}'s CPU \
         per message",
        of(P50)?,
        of(P99)?,
        of(P99_9)?,
        ratio(section, thriftiest, CPU)?,
        thriftiest.name(),
        name = promptest.name(),
    );
    Some((finding, None))
}

fn relay(section: &Section) -> Option<Finding> {
    let rate = ratio(section, Peer::Haproxy, RATE)?;
    // Messages per second of a core's time: the generator and the upstream have only one core.
    let per_core = ratio(section, Peer::Haproxy, CPU)?.inverse();
    let p99 = ratio(section, Peer::Haproxy, P99)?;
    let finding =
        format!("{per_core} of haproxy's msgs/s per core, {rate} of its msgs/s, {p99} of its p99");
    let no_worse = p99.at_most(P99_AIM);
    Some(match section.workload {
        Workload::Fan | Workload::Pipeline => (
            format!("{finding} (aims: per core >= {RELAY_AIM}, p99 <= {P99_AIM})"),
            Some(per_core.at_least(RELAY_AIM).and(no_worse)),
        ),
        Workload::Bulk => (
            format!("{finding} (aims: msgs/s >= {RATE_AIM}, p99 <= {P99_AIM})"),
            Some(rate.at_least(RATE_AIM).and(no_worse)),
        ),
        _ => (finding, None),
    })
}

/// The application over shared memory: twice as fast as behind a proxy, and as good as with sockets
/// of its own. Where it is beside the generator, one core has more to do than the other has, and
/// there is no aim.
fn application(section: &Section) -> Option<Finding> {
    use Workload::{Bulk, Fan, Op4k, Ping, Pipeline};
    let workload = section.workload;
    let floor = ratio(section, Peer::AppEpoll, RATE);
    let proxy = |figure| ratio(section, Peer::AppHaproxy, figure);
    let proxied = proxy(RATE).zip(proxy(P50)).zip(proxy(P99));
    let mut words = Vec::new();
    words.extend(floor.map(|floor| format!("{floor} of app-epoll's msgs/s")));
    words.extend(proxied.map(|((rate, p50), p99)| {
        format!("{rate} of app-haproxy's, {p50} of its p50, {p99} of its p99")
    }));
    let (least, twice) = match workload {
        _ if section.kind == Kind::AppApart => (None, false),
        Ping => (None, true),
        Fan | Pipeline | Op4k => (Some(APP_FLOOR_AIM), true),
        Bulk => (Some(APP_BULK_AIM), false),
        _ => (None, false),
    };
    let mut aims = Vec::new();
    let mut judged = Judgement::certain(true);
    if let Some((least, floor)) = least.zip(floor) {
        aims.push(format!("app-epoll >= {least}"));
        judged = judged.and(floor.at_least(least));
    }
    if let Some(((rate, p50), p99)) = proxied.filter(|_| twice) {
        aims.push(format!("app-haproxy >= {APP_PROXY_AIM}, p50 and p99 < 1"));
        let no_later = p50.below(1.0).and(p99.below(1.0));
        judged = judged.and(rate.at_least(APP_PROXY_AIM)).and(no_later);
    }
    if words.is_empty() {
        return None;
    }
    if aims.is_empty() {
        return Some((words.join(", "), None));
    }
    Some((format!("{} (aims: {})", words.join(", "), aims.join("; ")), Some(judged)))
}

/// Nothing at all, in any round: idle is no matter of medians.
fn at_rest(section: &Section) -> Option<Finding> {
    let daemon = *section.peers.iter().find(|peer| peer.is_vmsgrd())?;
    let usages: Vec<_> =
        section.samples(daemon).filter_map(|sample| sample.measured.server()).collect();
    let cpu_s = usages.iter().map(|usage| usage.cpu_s).reduce(f64::max)?;
    let switches =
        usages.iter().map(|usage| usage.voluntary_switches + usage.involuntary_switches).max()?;
    let calls = calls_at_rest(section, daemon);
    let counted = match calls {
        Some(calls) => format!(", and {calls} system calls in as long again"),
        None => ", system calls not counted".to_owned(),
    };
    Some((
        format!(
            "at most {:.3} ms of CPU and {switches} context switches a round{counted} (aim: 0)",
            cpu_s * 1e3
        ),
        Some(Judgement::certain(cpu_s == 0.0 && switches == 0 && calls.unwrap_or(0) == 0)),
    ))
}

/// The most in any round; none where nobody but strace could count them, which itself wakes whom it
/// watches.
fn calls_at_rest(section: &Section, daemon: Peer) -> Option<u64> {
    let by_the_kernel = |sample: &Sample| sample.measured.means() == Some(Means::Tracepoint);
    let all = section.samples(daemon).all(by_the_kernel);
    section.idle_system_calls(daemon).filter(|_| all)
}

#[cfg(test)]
mod tests {
    use super::super::disturbance::Disturbance;
    use super::super::measured::Measured;
    use super::super::summary::tests::sample;
    use super::*;
    use crate::load::idle::IdleOutcome;
    use crate::probe::{Part, Probed};
    use crate::proc::Usage;

    fn section(workload: Workload, peers: &[(Peer, u64, f64)]) -> Section {
        let round = peers.iter().map(|&(_, rate, cpu)| sample(rate, cpu, 0.0)).collect();
        let relay = peers[0].0.takes_part_in(Kind::Relay);
        let kind = if relay { Kind::Relay } else { Kind::Echo };
        Section {
            kind,
            workload,
            rate: None,
            absent: Vec::new(),
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
        assert_eq!(met(980, 9.1), Some(true));
        assert_eq!(met(970, 9.1), Some(false));
        assert_eq!(met(980, 9.3), Some(false));
    }

    #[test]
    fn a_verdict_says_whether_as_many_rounds_again_may_say_otherwise() {
        let of = |rates: [u64; 6]| {
            let mut section =
                section(Workload::Fan, &[(Peer::Vmsgrd, 1, 1.0), (Peer::Epoll, 1, 1.0)]);
            section.rounds =
                rates.map(|rate| vec![sample(rate, 1.0, 0.0), sample(1000, 1.0, 0.0)]).into();
            verdict(&section).unwrap().to_string()
        };
        let text = of([900, 940, 960, 970, 1000, 1010]);
        let start =
            "fan: 0.965 (0.900-1.010) of epoll's msgs/s, 1.000 (1.000-1.000) of epoll's CPU";
        assert!(text.starts_with(start) && text.ends_with("): MISSED, within noise"), "{text}");
        let text = of([970, 990, 990, 990, 1000, 1010]);
        assert!(text.ends_with("): met, within noise"), "{text}");
        assert!(of([990; 6]).ends_with("): met") && of([970; 6]).ends_with("): MISSED"));
    }

    #[test]
    fn what_is_turned_round_and_what_was_taken_alone_have_bounds_as_well() {
        let p99s = |section: &mut Section, p99s_us: [f64; 2]| {
            for (sample, p99_us) in
                section.rounds.iter_mut().flatten().zip(p99s_us.into_iter().cycle())
            {
                let Measured::Load(outcome) = &mut sample.measured else { panic!() };
                outcome.latency.p99_us = p99_us;
                sample.alone_p99_us = Some(100.0);
            }
        };
        let relays = [(Peer::VmsgrdRelay, 100, 1.0), (Peer::Haproxy, 100, 1.0)];
        let mut relay = section(Workload::Fan, &relays);
        relay.rounds = [9.0, 9.5, 10.0, 10.0, 10.5, 11.0]
            .map(|cpu| vec![sample(100, cpu, 0.0), sample(100, 12.0, 0.0)])
            .into();
        p99s(&mut relay, [100.0; 2]);
        let text = verdict(&relay).unwrap().to_string();
        assert!(text.starts_with("relay fan: 1.200 (1.091-1.333) of haproxy's"), "{text}");
        assert!(text.ends_with("): met, within noise"), "{text}");

        let servers = [(Peer::Vmsgrd, 100, 1.0), (Peer::Epoll, 100, 1.0)];
        let mut slow = section(Workload::Slow, &servers);
        slow.rounds = vec![slow.rounds[0].clone(); 6];
        p99s(&mut slow, [111.0, 120.0]);
        let text = verdict(&slow).unwrap().to_string();
        assert!(text.starts_with("slow: 1.110 (1.110-1.110) of the p99"), "{text}");
        assert!(
            text.contains("epoll 1.200 (1.200-1.200)") && text.ends_with("): MISSED"),
            "{text}"
        );
    }

    #[test]
    fn older_results_do_not_say_how_sure_a_verdict_is() {
        let text = r#"{"kind": "echo", "workload": "fan", "finding": "1.000", "met": true}"#;
        assert_eq!(serde_json::from_str::<Verdict>(text).unwrap().to_string(), "fan: 1.000: met");
    }

    #[test]
    fn ping_is_measured_by_the_loop_that_never_sleeps() {
        let peers = [(Peer::Vmsgrd, 89, 1.0), (Peer::Epoll, 30, 1.0), (Peer::EpollSpin, 100, 1.0)];
        let text = verdict(&section(Workload::Ping, &peers)).unwrap().to_string();
        let wanted = "ping: 0.890 of epoll-spin's msgs/s, 1.000 of its CPU per message (aims: >= \
                      0.9, <= 1.133): MISSED, of few rounds";
        assert_eq!(text, wanted);
        let met = |rate, cpu| {
            let peers = [(Peer::Vmsgrd, rate, cpu), (Peer::EpollSpin, 100, 1.0)];
            verdict(&section(Workload::Ping, &peers)).unwrap().met
        };
        assert_eq!(
            [met(91, 1.1), met(91, 1.2), met(89, 1.1)].map(Option::unwrap),
            [true, false, false]
        );
    }

    #[test]
    fn who_never_sleeps_is_no_measure_elsewhere_and_it_is_said_why() {
        let peers =
            [(Peer::Vmsgrd, 100, 1.0), (Peer::Epoll, 100, 1.0), (Peer::EpollSpin, 200, 0.5)];
        let fan = |peers| verdict(&section(Workload::Fan, peers)).unwrap();
        assert_eq!(fan(&peers).met, Some(true));
        assert!(fan(&peers).finding.contains("a whole core even when idle"), "{}", fan(&peers));
        assert!(!fan(&peers[..2]).finding.contains("epoll-spin"), "{}", fan(&peers[..2]));
    }

    #[test]
    fn churn_is_measured_by_rate_cpu_and_p99() {
        let met = |rate, cpu, p99_us| {
            let peers = [(Peer::Vmsgrd, rate, cpu), (Peer::Epoll, 100, 1.0)];
            let mut section = section(Workload::Churn, &peers);
            for (sample, p99_us) in section.rounds[0].iter_mut().zip([p99_us, 100.0]) {
                let Measured::Load(outcome) = &mut sample.measured else { panic!() };
                outcome.latency.p99_us = p99_us;
            }
            verdict(&section).unwrap().met.unwrap()
        };
        assert!(met(99, 1.01, 104.0));
        assert!(!met(97, 1.01, 104.0) && !met(99, 1.03, 104.0) && !met(99, 1.01, 106.0));
    }

    #[test]
    fn a_relay_is_measured_by_the_messages_of_a_core() {
        let met = |workload, cpu| {
            let peers = [(Peer::VmsgrdRelay, 100, cpu), (Peer::Haproxy, 100, 12.0)];
            let mut section = section(workload, &peers);
            for sample in &mut section.rounds[0] {
                let Measured::Load(outcome) = &mut sample.measured else { panic!() };
                outcome.latency.p99_us = 7.0;
            }
            verdict(&section).unwrap().met
        };
        assert_eq!(met(Workload::Fan, 9.9), Some(true));
        assert_eq!(met(Workload::Fan, 10.1), Some(false));
        assert_eq!(met(Workload::Op4k, 9.9), None);
    }

    #[test]
    fn slow_is_measured_by_the_same_connections_alone() {
        let slow = |p99_us, alone_p99_us| {
            let peers = [(Peer::Vmsgrd, 100, 1.0), (Peer::Epoll, 100, 1.0)];
            let mut section = section(Workload::Slow, &peers);
            for sample in &mut section.rounds[0] {
                let Measured::Load(outcome) = &mut sample.measured else { panic!() };
                outcome.latency.p99_us = p99_us;
                sample.alone_p99_us = alone_p99_us;
            }
            verdict(&section)
        };
        let met = |p99| slow(p99, Some(100.0)).unwrap().met;
        assert_eq!(met(109.0), Some(true));
        assert_eq!(met(111.0), Some(false));
        assert_eq!(slow(1.0, None), None);
    }

    #[test]
    fn an_application_is_measured_by_its_floor_and_by_the_proxy() {
        let met = |rates: [u64; 3], kind| {
            let peers = [Peer::AppEpoll, Peer::AppHaproxy, Peer::AppShm];
            let peers: Vec<_> = peers.into_iter().zip(rates).map(|(p, r)| (p, r, 1.0)).collect();
            let mut section = Section { kind, ..section(Workload::Fan, &peers) };
            for (sample, rate) in section.rounds[0].iter_mut().zip(rates) {
                let Measured::Load(outcome) = &mut sample.measured else { panic!() };
                (outcome.latency.p50_us, outcome.latency.p99_us) =
                    (1e6 / rate as f64, 2e6 / rate as f64);
            }
            verdict(&section).unwrap().met
        };
        assert_eq!(met([100, 40, 96], Kind::App), Some(true));
        assert_eq!(met([100, 40, 94], Kind::App), Some(false));
        assert_eq!(met([100, 50, 99], Kind::App), Some(false));
        assert_eq!(met([100, 50, 10], Kind::AppApart), None);
        let alone =
            Section { kind: Kind::App, ..section(Workload::Fan, &[(Peer::AppShm, 1, 1.0)]) };
        assert_eq!(verdict(&alone), None);
    }

    #[test]
    fn absent_peers_give_no_verdict() {
        let peers = [(Peer::Vmsgrd, 10, 1.0), (Peer::Epoll, 100, 1.0)];
        assert_eq!(verdict(&section(Workload::Fan, &peers[1..])), None);
        assert_eq!(verdict(&section(Workload::Fan, &peers[..1])), None);
    }

    #[test]
    fn one_wakeup_or_call_in_one_round_is_not_idle() {
        let verdict_of = |rounds: &[(u64, Means, u64)]| {
            let rest = |&(voluntary_switches, means, system_calls): &(u64, Means, u64)| {
                let server = Some(Usage { voluntary_switches, ..Usage::default() });
                let idle = IdleOutcome {
                    connections: 1000,
                    seconds: 1.0,
                    server,
                    parts: Vec::new(),
                    probed: Some(Probed {
                        messages: 0,
                        parts: vec![Part { system_calls: Some(system_calls), ..Part::default() }],
                        means: Some(means),
                        missing: None,
                    }),
                };
                vec![Sample {
                    measured: Measured::Idle(idle),
                    disturbance: Disturbance::default(),
                    alone_p99_us: None,
                    attempts: 1,
                }]
            };
            let rounds = rounds.iter().map(rest).collect();
            let section = Section { rounds, ..section(Workload::Idle, &[(Peer::Vmsgrd, 0, 0.0)]) };
            verdict(&section).unwrap()
        };
        let (kernel, nothing) = (Means::Tracepoint, (0, Means::Tracepoint, 0));
        assert_eq!(verdict_of(&[nothing; 3]).met, Some(true));
        assert_eq!(verdict_of(&[nothing, (1, kernel, 0), nothing]).met, Some(false));
        assert_eq!(verdict_of(&[nothing, (0, kernel, 1), nothing]).met, Some(false));
        // strace wakes whom it watches.
        let watched = verdict_of(&[(0, Means::Strace, 1)]);
        assert_eq!(watched.met, Some(true));
        assert!(watched.finding.contains("system calls not counted"), "{watched}");
    }
}
