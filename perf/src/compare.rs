//! Two results of the suite against each other: what became faster or slower, and what is only
//! noise.
//!
//! Two runs are not interleaved, so what the machine did differently in between is in their ratio.
//! Two things help. The *bounds* are the least and the largest ratio that any two rounds of the two
//! runs have; when 1 lies between them, the runs overlap, and there is nothing to see. And *beside*
//! is the change relative to the reference of the same workload, that is, with the part taken out
//! that happened to the reference as well.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::suite::measured::Figure;
use crate::suite::peer::Peer;
use crate::suite::report::{Header, Report};
use crate::suite::summary::{CPU, P99, RATE, Section, Spread};
use crate::table::{Table, figure, rate};

/// A figure that is compared.
struct Column {
    name: &'static str,
    read: Figure,
    more_is_better: bool,
    write: fn(f64) -> String,
}

const COLUMNS: [Column; 3] = [
    Column { name: "msgs/s", read: RATE, more_is_better: true, write: rate },
    Column { name: "p99 us", read: P99, more_is_better: false, write: figure },
    Column { name: "CPU us/msg", read: CPU, more_is_better: false, write: figure },
];

/// Reads a results.json of the suite.
///
/// # Errors
/// When the file cannot be read, or is something else.
pub fn read(path: &Path) -> Result<Report> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is no results.json of this version", path.display()))
}

/// The table of an old and a new result.
#[derive(Debug)]
pub struct Comparison<'a> {
    old: &'a Report,
    new: &'a Report,
}

impl<'a> Comparison<'a> {
    /// Of what both have; the rest is named and not compared.
    pub fn new(old: &'a Report, new: &'a Report) -> Self {
        Self { old, new }
    }

    fn old_section(&self, new: &Section) -> Option<&Section> {
        let same = |old: &&Section| old.kind == new.kind && old.workload == new.workload;
        self.old.sections.iter().find(same)
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# vmsgr-bench compare\n")?;
        for (name, header) in [("old", &self.old.header), ("new", &self.new.header)] {
            writeln!(f, "- {name}: {}", origin(header))?;
        }
        if self.old.header.machine.to_string() != self.new.header.machine.to_string() {
            writeln!(f, "- the machines differ: trust only the ratios beside the reference")?;
        }
        for new in &self.new.sections {
            writeln!(f, "\n## {}\n", new.title())?;
            match self.old_section(new) {
                Some(old) => write!(f, "{}", table(old, new))?,
                None => writeln!(f, "not in the old results")?,
            }
        }
        Ok(())
    }
}

fn origin(header: &Header) -> String {
    let machine = &header.machine;
    format!(
        "{}, commit {}, {} rounds of {} s, Linux {}",
        header.date, machine.commit, header.rounds, header.seconds, machine.kernel
    )
}

fn table(old: &Section, new: &Section) -> Table {
    let reference = new.reference();
    let beside = reference.map_or("beside".to_owned(), |peer| format!("beside {}", peer.name()));
    let mut table =
        Table::new(["peer", "figure", "old", "new", "new/old", "bounds", &beside, "says"]);
    for &peer in &new.peers {
        for column in &COLUMNS {
            let spreads = old.spread(peer, column.read).zip(new.spread(peer, column.read));
            let Some((before, after)) = spreads else { continue };
            let change = Change::new(before, after);
            table.row(vec![
                peer.name().to_owned(),
                column.name.to_owned(),
                (column.write)(before.median),
                (column.write)(after.median),
                format!("{:.3}", change.ratio),
                format!("{:.3}-{:.3}", change.least, change.most),
                reference
                    .and_then(|reference| relative(old, new, peer, reference, column.read))
                    .map_or("-".to_owned(), |ratio| format!("{ratio:.3}")),
                change.verdict(column.more_is_better).to_owned(),
            ]);
        }
        let idle = old.idle_cpu_ms_per_s(peer).zip(new.idle_cpu_ms_per_s(peer));
        if let Some((before, after)) = idle {
            let mut row = vec![peer.name().to_owned(), "idle ms/s".to_owned()];
            row.extend([before.median, after.median].map(figure));
            // Nothing is the usual figure, and no ratio of it.
            row.extend(["-", "-", "-"].map(str::to_owned));
            row.push(Change::new(before, after).verdict(false).to_owned());
            table.row(row);
        }
    }
    table
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

/// A figure's way from one run to another.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Change {
    ratio: f64,
    least: f64,
    most: f64,
}

impl Change {
    fn new(old: Spread, new: Spread) -> Self {
        Self { ratio: new.median / old.median, least: new.min / old.max, most: new.max / old.min }
    }

    fn verdict(self, more_is_better: bool) -> &'static str {
        let overlap = self.least <= 1.0 && self.most >= 1.0;
        // Of nothing to nothing.
        if overlap || self.ratio.is_nan() {
            "noise"
        } else if (self.ratio > 1.0) == more_is_better {
            "better"
        } else {
            "WORSE"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::summary::tests::sample;
    use crate::workload::{Kind, Workload};

    fn spread(min: f64, median: f64, max: f64) -> Spread {
        Spread { median, min, max }
    }

    #[test]
    fn what_overlaps_is_noise() {
        let change = Change::new(spread(90.0, 100.0, 110.0), spread(105.0, 120.0, 130.0));
        assert_eq!(change.verdict(true), "noise");
        let change = Change::new(spread(90.0, 100.0, 110.0), spread(111.0, 120.0, 130.0));
        assert_eq!(change.verdict(true), "better");
        assert_eq!(change.verdict(false), "WORSE");
        assert!((change.ratio - 1.2).abs() < 1e-9);
        let (nothing, something) = (spread(0.0, 0.0, 0.0), spread(0.1, 0.2, 0.3));
        assert_eq!(Change::new(nothing, nothing).verdict(false), "noise");
        assert_eq!(Change::new(nothing, something).verdict(false), "WORSE");
        assert_eq!(Change::new(something, nothing).verdict(false), "better");
    }

    #[test]
    fn what_happened_to_the_reference_is_taken_out() {
        let section = |vmsgrd: u64, epoll: u64| Section {
            kind: Kind::Echo,
            workload: Workload::Fan,
            peers: vec![Peer::Vmsgrd, Peer::Epoll],
            absent: Vec::new(),
            rounds: vec![vec![sample(vmsgrd, 1.0, 0.0), sample(epoll, 1.0, 0.0)]],
        };
        let text = table(&section(100, 100), &section(60, 50)).to_string();
        let row = text.lines().find(|line| line.starts_with("| vmsgrd ")).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[3..9], ["100", "60", "0.600", "0.600-0.600", "1.200", "WORSE"]);
    }
}
