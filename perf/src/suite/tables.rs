//! A table for each workload, with a row for each peer.

use std::fmt;

use super::measured::Figure;
use super::peer::Peer;
use super::summary::{
    CALLS, CPU, FOUND_NOTHING, FRONT_CALLS, FRONT_CPU, LAST_CALLS, LAST_CPU, MAX, OWN_CPU, P50,
    P90, P99, P99_9, RATE, RUNG, SAVED, SWITCHES, Section, Spread,
};
use crate::system_calls::Means;
use crate::table::{Table, figure, rate};
use crate::workload::{Kind, Shape};

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.title())?;
        write!(f, "{}", self.table())?;
        match self.counted_by() {
            Some(means) => writeln!(f, "\nSystem calls were counted by {means}."),
            None => Ok(()),
        }
    }
}

impl Section {
    /// The workload in words.
    pub fn title(&self) -> String {
        let title = format!("{}{}: {}", self.kind.prefix(), self.workload.name(), self.shape());
        match self.shape() {
            Shape::Idle { .. } => format!("{title} for {} s", figure(self.longest_s())),
            _ => title,
        }
    }

    /// The longest of the samples, in seconds.
    fn longest_s(&self) -> f64 {
        let samples = self.rounds.iter().flatten();
        samples.map(|sample| sample.measured.seconds()).fold(0.0, f64::max)
    }

    /// Who counted the system calls, and what that does to their number; none where nobody did.
    fn counted_by(&self) -> Option<&'static str> {
        let mut all: Vec<Means> =
            self.rounds.iter().flatten().filter_map(|sample| sample.measured.means()).collect();
        all.sort_unstable();
        all.dedup();
        Some(match all[..] {
            [] => return None,
            [Means::Tracepoint] => "the kernel's tracepoints",
            [Means::Strace] => {
                "strace, which slows the servers and interrupts who sleeps; \
                 tracepoints need root and a readable /sys/kernel/tracing"
            }
            [..] => "the kernel's tracepoints, in some samples by strace, which slows the servers",
        })
    }

    /// The figures; a row for each peer, and for each that is absent the reason.
    pub fn table(&self) -> Table {
        let mut table = match self.shape() {
            Shape::Open { .. } => open_table(self),
            Shape::Closed { .. } | Shape::Churn { .. } | Shape::Osd { .. } => load_table(self),
            Shape::Idle { .. } => idle_table(self),
        };
        for absent in &self.absent {
            table.note(absent.peer.name(), &absent.reason);
        }
        table
    }
}

fn load_table(section: &Section) -> Table {
    let against = against(section);
    let what = match section.shape() {
        Shape::Churn { .. } => "conns/s (min-max)",
        Shape::Osd { .. } => "ops/s (min-max)",
        _ => "msgs/s (min-max)",
    };
    let mut header = [
        "peer",
        what,
        &format!("/ {against}"),
        "by round",
        "p50 us",
        "p99 us",
        cpu(section.kind),
        &format!("/ {against}"),
        "by round",
    ]
    .map(str::to_owned)
    .to_vec();
    let more = columns(section.kind);
    header.extend(more.iter().map(|(name, _)| (*name).to_owned()));
    header.push(format!("switches/{}", section.kind.unit()));
    header.extend(["ready/wait", "silent", "clean"].map(str::to_owned));
    let mut table = Table::new(header);
    for &peer in &section.peers {
        let [rate_of_medians, rate_of_rounds] = ratios(section, peer, RATE);
        let [cpu_of_medians, cpu_of_rounds] = ratios(section, peer, CPU);
        let mut cells = vec![
            peer.name().to_owned(),
            section.spread(peer, RATE).map_or("-".to_owned(), rates),
            rate_of_medians,
            rate_of_rounds,
            median(section, peer, P50),
            median(section, peer, P99),
            median(section, peer, CPU),
            cpu_of_medians,
            cpu_of_rounds,
        ];
        cells.extend(more.iter().map(|&(_, of)| median(section, peer, of)));
        cells.extend([
            switches(section, peer),
            median(section, peer, |outcome| Some(outcome.generator.ready_per_wait)),
            median(section, peer, |outcome| Some(outcome.silent_connections as f64)),
            clean(section, peer),
        ]);
        table.row(cells);
    }
    table
}

/// The figures of an open loop; a row for each peer.
fn open_table(section: &Section) -> Table {
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

/// What is told of some kinds only: the parts of what is behind the address.
fn columns(kind: Kind) -> &'static [(&'static str, Figure)] {
    match kind {
        Kind::Echo | Kind::Relay => &[("calls/msg", CALLS), ("in vain/msg", FOUND_NOTHING)],
        Kind::Msgr2 => {
            &[("load CPU us/op", OWN_CPU), ("calls/op", CALLS), ("in vain/op", FOUND_NOTHING)]
        }
        Kind::App | Kind::AppApart => &[
            ("front CPU", FRONT_CPU),
            ("app CPU", LAST_CPU),
            ("front calls/msg", FRONT_CALLS),
            ("app calls/msg", LAST_CALLS),
            ("in vain/msg", FOUND_NOTHING),
            ("rung/msg", RUNG),
            ("saved/msg", SAVED),
        ],
    }
}

fn idle_table(section: &Section) -> Table {
    let mut table = Table::new([
        "peer",
        "CPU ms/s (min-max)",
        "switches/s (min-max)",
        "system calls (most)",
        "clean",
    ]);
    for &peer in &section.peers {
        let text = |spread: Option<Spread>| {
            spread.map_or("-".to_owned(), |spread| {
                let [median, min, max] = [spread.median, spread.min, spread.max].map(figure);
                format!("{median} ({min}-{max})")
            })
        };
        let switches = section.idle_per_second(peer, |usage| {
            (usage.voluntary_switches + usage.involuntary_switches) as f64
        });
        table.row(vec![
            peer.name().to_owned(),
            text(section.idle_cpu_ms_per_s(peer)),
            text(switches),
            section.idle_system_calls(peer).map_or("-".to_owned(), |calls| calls.to_string()),
            clean(section, peer),
        ]);
    }
    table
}

/// Whose figures the ratios are to.
fn against(section: &Section) -> &'static str {
    section.reference().map_or("ratio", Peer::name)
}

/// Whose CPU time it is.
fn cpu(kind: Kind) -> &'static str {
    match kind {
        Kind::Echo => "CPU us/msg",
        Kind::Relay => "relay CPU us/msg",
        Kind::App | Kind::AppApart => "both CPU us/msg",
        Kind::Msgr2 => "CPU us/op",
    }
}

fn median(section: &Section, peer: Peer, of: Figure) -> String {
    section.spread(peer, of).map_or("-".to_owned(), |spread| figure(spread.median))
}

/// To the reference: of the medians, and by round.
fn ratios(section: &Section, peer: Peer, of: Figure) -> [String; 2] {
    match section.reference().and_then(|other| section.ratio(peer, other, of)) {
        Some(ratio) => [ratio.of_medians, ratio.of_rounds].map(|ratio| format!("{ratio:.3}")),
        None => ["-".to_owned(), "-".to_owned()],
    }
}

fn switches(section: &Section, peer: Peer) -> String {
    let spread = section.spread(peer, SWITCHES);
    spread.map_or("-".to_owned(), |spread| format!("{:.4}", spread.median))
}

fn rates(spread: Spread) -> String {
    format!("{} ({}-{})", rate(spread.median), rate(spread.min), rate(spread.max))
}

fn clean(section: &Section, peer: Peer) -> String {
    format!("{}/{}", section.clean(peer), section.rounds.len())
}

#[cfg(test)]
mod tests {
    use super::super::measured::Measured;
    use super::super::peer::Absent;
    use super::super::steady;
    use super::super::summary::tests::sample;
    use super::*;
    use crate::probe::Probed;
    use crate::workload::Workload;

    #[test]
    fn a_section_reads_as_a_table() {
        let section = Section {
            kind: Kind::Echo,
            workload: Workload::Fan,
            rate: None,
            peers: vec![Peer::Vmsgrd, Peer::Epoll],
            absent: vec![Absent { peer: Peer::MonoioUring, reason: "not available: EPERM".into() }],
            rounds: vec![vec![sample(99_000, 9.5, 0.0), sample(100_000, 10.0, 0.3)]],
        };
        let text = section.to_string();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("## fan: 64 connections, 1 in flight on each, 64 B"));
        let row = lines.find(|line| line.starts_with("| vmsgrd")).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2..5], ["99.0k (99.0k-99.0k)", "0.990", "0.990"]);
        assert_eq!(cells[7..10], ["9.50", "0.950", "0.950"]);
        assert_eq!(cells[10], "-");
        assert_eq!(cells[15], "1/1");
        let last: Vec<&str> = text.lines().rev().take(2).collect();
        assert!(last[1].ends_with(" 0/1 |"), "{text}");
        let cells: Vec<&str> = last[0].split('|').map(str::trim).collect();
        assert_eq!(cells[1..4], ["monoio-uring", "not available: EPERM", "-"]);
    }

    #[test]
    fn who_counted_system_calls_is_told() {
        let told = |means: &[Option<Means>]| {
            let sample = |means: &Option<Means>| {
                let mut sample = sample(100_000, 10.0, 0.0);
                let Measured::Load(outcome) = &mut sample.measured else { panic!() };
                let (means, missing) = (*means, None);
                outcome.probed = Some(Probed { messages: 1, parts: vec![], means, missing });
                vec![sample]
            };
            let section = Section {
                kind: Kind::Echo,
                workload: Workload::Fan,
                rate: None,
                peers: vec![Peer::Epoll],
                absent: vec![],
                rounds: means.iter().map(sample).collect(),
            };
            section.to_string().lines().next_back().unwrap_or_default().to_owned()
        };
        let [kernel, strace] = [Means::Tracepoint, Means::Strace].map(Some);
        assert!(told(&[None]).starts_with("| epoll"));
        let by_the_kernel = "System calls were counted by the kernel's tracepoints.";
        assert_eq!(told(&[kernel, None, kernel]), by_the_kernel);
        assert!(told(&[strace, strace]).contains("by strace, which slows the servers and"));
        assert!(told(&[strace, kernel]).contains("in some samples by strace"));
    }

    #[test]
    fn who_falls_behind_is_told() {
        let text = steady::tests::section().to_string();
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
}
