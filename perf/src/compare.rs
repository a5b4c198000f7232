//! Two results of the suite against each other: what became faster or slower, and what is only
//! noise.
//!
//! Two runs are not interleaved, so what the machine did differently in between is in their ratio.
//! Two things help. The *bounds* are the least and the largest ratio that any two rounds of the two
//! runs have; when 1 lies between them, the runs overlap, and there is nothing to see. And *beside*
//! is the change relative to the reference of the same workload, that is, with the part taken out
//! that happened to the reference as well. One round has no bounds, and no verdict.

mod change;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::suite::measured::Figure;
use crate::suite::peer::Peer;
use crate::suite::report::{self, Header, Report};
use crate::suite::summary::{CPU, P50, P99, P99_9, RATE, Section, Spread};
use crate::table::{Table, figure, rate};
use crate::workload::Shape;
use change::Change;

/// A figure that is compared.
struct Column {
    name: &'static str,
    read: fn(&Section, Peer) -> Option<Spread>,
    /// The same of one sample, where it is taken beside the reference's.
    figure: Option<Figure>,
    more_is_better: bool,
    write: fn(f64) -> String,
}

macro_rules! column {
    ($name:literal, $figure:ident) => {
        Column {
            name: $name,
            read: |section, peer| section.spread(peer, $figure),
            figure: Some($figure),
            more_is_better: false,
            write: figure,
        }
    };
}

const CLOSED: &[Column] = &[
    Column { more_is_better: true, write: rate, ..column!("msgs/s", RATE) },
    column!("p99 us", P99),
    column!("CPU us/msg", CPU),
];

/// What is due is the same.
const OPEN: &[Column] = &[
    column!("p50 us", P50),
    column!("p99 us", P99),
    column!("p99.9 us", P99_9),
    column!("CPU us/msg", CPU),
];

const IDLE: &[Column] = &[Column {
    name: "idle ms/s",
    read: Section::idle_cpu_ms_per_s,
    figure: None,
    more_is_better: false,
    write: figure,
}];

fn columns(section: &Section) -> &'static [Column] {
    match section.shape() {
        Shape::Open { .. } => OPEN,
        Shape::Idle { .. } => IDLE,
        Shape::Closed { .. } | Shape::Churn { .. } | Shape::Osd { .. } => CLOSED,
    }
}

/// How a file begins that gzip has written.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads a results.json of the suite.
///
/// # Errors
/// When the file cannot be read, or is something else.
pub fn read(path: &Path) -> Result<Report> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.display();
    ensure!(!text.starts_with(&GZIP), "{name} is compressed: give <(zcat {name}) instead");
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is no results.json of this version", path.display()))
}

/// Of the columns whose names do not say it.
const HOW_TO_READ: &str = "bounds: the least and the largest ratio of any two rounds; where 1 lies \
                           between them, the change is noise. beside: the change with that of this \
                           server taken out";

/// The table of an old and a new result.
#[derive(Debug)]
pub struct Comparison<'a> {
    old: &'a Report,
    new: &'a Report,
}

impl<'a> Comparison<'a> {
    /// Of what both have; what only one has is named.
    pub fn new(old: &'a Report, new: &'a Report) -> Self {
        Self { old, new }
    }
}

/// The section of the same workload.
fn same<'a>(report: &'a Report, as_this: &Section) -> Option<&'a Section> {
    report.sections.iter().find(|section| section.is_of(as_this))
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# vmsgr-bench compare\n")?;
        for (name, header) in [("old", &self.old.header), ("new", &self.new.header)] {
            writeln!(f, "- {name}: {}", origin(header))?;
        }
        let [old, new] = [self.old, self.new].map(|report| report.header.machine.to_string());
        if old != new {
            writeln!(f, "- old {old}\n- new {new}")?;
            writeln!(f, "- the machines differ: trust only the ratios beside the reference")?;
        }
        writeln!(f, "- {HOW_TO_READ}")?;
        for new in &self.new.sections {
            writeln!(f, "\n## {}\n", new.title())?;
            match same(self.old, new) {
                Some(old) => write!(f, "{}", table(old, new))?,
                None => writeln!(f, "not in the old results")?,
            }
        }
        for old in self.old.sections.iter().filter(|old| same(self.new, old).is_none()) {
            writeln!(f, "\n## {}\n\nnot in the new results", old.title())?;
        }
        Ok(())
    }
}

fn origin(header: &Header) -> String {
    let machine = &header.machine;
    format!(
        "{}, commit {}, {} of {} s, Linux {}",
        header.date,
        machine.commit,
        report::rounds(header.rounds),
        header.seconds,
        machine.kernel
    )
}

fn table(old: &Section, new: &Section) -> Table {
    let [of_new, of_old] = [(new, old), (old, new)]
        .map(|(one, other)| one.reference().filter(|peer| other.peers.contains(peer)));
    let reference = of_new.or(of_old);
    let beside = reference.map_or("beside".to_owned(), |peer| format!("beside {}", peer.name()));
    let mut table =
        Table::new(["peer", "figure", "old", "new", "new/old", "bounds", &beside, "says"]);
    let gone = old.peers.iter().filter(|peer| !new.peers.contains(peer));
    for &peer in new.peers.iter().chain(gone) {
        let missing = |section: &Section| !section.peers.contains(&peer);
        if let Some((section, name)) =
            [(old, "old"), (new, "new")].into_iter().find(|(section, _)| missing(section))
        {
            table.note(peer.name(), &why_missing(section, peer, name));
            continue;
        }
        for column in columns(new) {
            let [before, after] = [old, new].map(|section| (column.read)(section, peer));
            if before.is_none() && after.is_none() {
                continue;
            }
            let change = before
                .zip(after)
                .map(|(old_one, new_one)| Change::new(old_one, new_one, rounds(old, new)));
            let median = |spread: Option<Spread>| {
                spread.map_or("-".to_owned(), |spread| (column.write)(spread.median))
            };
            let ratio = change.map(|change| change.ratio).filter(|ratio| ratio.is_finite());
            let bounds = change.and_then(|change| change.bounds);
            let bounds = bounds.filter(|(least, most)| least.is_finite() && most.is_finite());
            let says = match (change, before) {
                (Some(change), _) => change.verdict(column.more_is_better),
                (None, Some(_)) => "not in new",
                (None, None) => "not in old",
            };
            table.row(vec![
                peer.name().to_owned(),
                column.name.to_owned(),
                median(before),
                median(after),
                ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}")),
                bounds.map_or("-".to_owned(), |(least, most)| format!("{least:.3}-{most:.3}")),
                reference
                    .and_then(|reference| relative(old, new, peer, reference, column.figure?))
                    .map_or("-".to_owned(), |ratio| format!("{ratio:.3}")),
                says.to_owned(),
            ]);
        }
    }
    table
}

/// The fewer of both.
fn rounds(old: &Section, new: &Section) -> usize {
    old.rounds.len().min(new.rounds.len())
}

fn why_missing(section: &Section, peer: Peer, name: &str) -> String {
    match section.absent.iter().find(|absent| absent.peer == peer) {
        Some(absent) => format!("{name}: {}", absent.reason),
        None => format!("not in the {name} results"),
    }
}

/// By how much `peer` changed more than `reference` did.
fn relative(
    old: &Section,
    new: &Section,
    peer: Peer,
    reference: Peer,
    read: Figure,
) -> Option<f64> {
    let [before, after] = [old, new].map(|section| section.ratio(peer, reference, read));
    Some(after?.of_rounds / before?.of_rounds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::peer::Absent;
    use crate::suite::report::tests::report;
    use crate::suite::summary::tests::sample;
    use crate::workload::{Kind, Workload};

    fn section(workload: Workload, peers: &[Peer], rounds: &[&[u64]]) -> Section {
        let round = |rates: &&[u64]| rates.iter().map(|&rate| sample(rate, 1.0, 0.0)).collect();
        Section {
            kind: Kind::Echo,
            workload,
            rate: None,
            peers: peers.to_vec(),
            absent: Vec::new(),
            rounds: rounds.iter().map(round).collect(),
        }
    }

    fn cells(text: &str, peer: &str) -> Vec<String> {
        let row = text.lines().find(|line| line.starts_with(&format!("| {peer} "))).unwrap();
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    }

    #[test]
    fn what_happened_to_the_reference_is_taken_out() {
        let peers = [Peer::Vmsgrd, Peer::Epoll];
        let fan = |round: &[u64]| section(Workload::Fan, &peers, &[round, round]);
        let text = table(&fan(&[100, 100]), &fan(&[60, 50])).to_string();
        let row = cells(&text, "vmsgrd");
        assert_eq!(row[3..9], ["100", "60", "0.600", "0.600-0.600", "1.200", "WORSE"]);
    }

    #[test]
    fn one_round_of_either_is_no_verdict() {
        let fan = |rounds: &[&[u64]]| section(Workload::Fan, &[Peer::Epoll], rounds);
        let text = table(&fan(&[&[100], &[101]]), &fan(&[&[60]])).to_string();
        assert_eq!(cells(&text, "epoll")[3..9], ["100", "60", "0.597", "-", "1.000", "one round"]);
    }

    #[test]
    fn another_machine_is_a_warning_and_another_rate_another_load() {
        let mut steady = section(Workload::Steady, &[Peer::Epoll], &[&[1]]);
        let old = report(vec![steady.clone()]);
        steady.rate = Some(7);
        let mut new = report(vec![steady]);
        let text = Comparison::new(&old, &new).to_string();
        assert!(!text.contains("machine"), "{text}");
        assert!(text.contains("7 msgs/s are due\n\nnot in the old results"), "{text}");
        assert!(text.contains("50000 msgs/s are due\n\nnot in the new results"), "{text}");
        new.header.machine.processor = "another".into();
        let text = Comparison::new(&old, &new).to_string();
        for line in ["- old machine: one,", "- new machine: another,", "- the machines differ"] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn what_only_one_has_is_named() {
        let old_peers = [Peer::Epoll, Peer::Tokio, Peer::MonoioUring];
        let old = [
            section(Workload::Fan, &old_peers, &[&[1, 1, 1]]),
            section(Workload::Bulk, &old_peers[..1], &[&[1]]),
        ];
        let mut fan = section(Workload::Fan, &[Peer::Vmsgrd, Peer::Epoll], &[&[1, 1]]);
        fan.absent = vec![Absent { peer: Peer::MonoioUring, reason: "not available".into() }];
        let new = [fan, section(Workload::Ping, &old_peers[..1], &[&[1]])];
        let [old, new] = [old, new].map(|sections| report(sections.to_vec()));
        let text = Comparison::new(&old, &new).to_string();
        assert_eq!(cells(&text, "vmsgrd")[2], "not in the old results");
        assert_eq!(cells(&text, "tokio")[2], "not in the new results");
        assert_eq!(cells(&text, "monoio-uring")[2], "new: not available");
        let after = |title: &str| text.split(title).nth(1).unwrap().lines().nth(2).unwrap();
        assert_eq!(after("## ping:"), "not in the old results");
        assert_eq!(after("## bulk:"), "not in the new results");
    }
}
