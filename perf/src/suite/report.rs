//! The report: a header that lets anybody run the same again, a table for each workload, and the
//! verdicts. One text serves the terminal and the Markdown file.

use std::fmt;

use anyhow::Result;
use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use super::Options;
use super::machine::Machine;
use super::measured::Figure;
use super::peer::Peer;
use super::summary::{
    CALLS, CPU, FRONT_CALLS, FRONT_CPU, LAST_CALLS, LAST_CPU, OWN_CPU, P50, P99, RATE, RUNG, SAVED,
    Section, Spread,
};
use super::verdict::{Verdict, verdict};
use crate::load::WARM_UP;
use crate::table::{Table, figure, rate};
use crate::workload::{Kind, Shape};

/// Fewer rounds than this are a look, not a figure.
const FEWEST_ROUNDS: usize = 5;

/// Where, when and how the figures were taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is its meaning")]
pub struct Header {
    pub date: String,
    pub machine: Machine,
    pub command: String,
    pub servers: Vec<String>,
    pub rounds: usize,
    pub seconds: f64,
    pub server_core: usize,
    pub load_core: usize,
    /// This program was built with optimisation; otherwise the figures mean nothing.
    pub optimised: bool,
}

impl Header {
    /// Of a run with these options, here and now.
    ///
    /// # Errors
    /// When the path of this program is not known.
    pub fn new(options: &Options) -> Result<Self> {
        Ok(Self {
            date: Timestamp::now().round(Unit::Second)?.to_string(),
            machine: Machine::here(),
            command: command_line(),
            servers: servers(options)?,
            rounds: options.rounds,
            seconds: options.duration.as_secs_f64(),
            server_core: options.place.server_core,
            load_core: options.place.load_core,
            optimised: !cfg!(debug_assertions),
        })
    }
}

/// The commands of all that take part.
fn servers(options: &Options) -> Result<Vec<String>> {
    let mut commands = Vec::new();
    for &kind in &options.kinds {
        for peer in options.peers.iter().filter(|peer| peer.takes_part_in(kind)) {
            commands.push(peer.describe(kind, &options.place)?);
        }
    }
    commands.dedup();
    Ok(commands)
}

/// This process's command line, with the program's name alone.
pub fn command_line() -> String {
    let mut words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(program) = words.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_owned();
    }
    words.join(" ")
}

impl Header {
    /// A title, for a text and for a page.
    pub fn title(&self) -> String {
        format!("vmsgr-bench suite, {}", self.date)
    }

    /// All the rest, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.machine.to_string(), format!("commit: {}", self.machine.commit)];
        // A report that was merged has several.
        lines.extend(self.command.lines().map(|command| format!("command: `{command}`")));
        lines.extend(self.servers.iter().map(|server| format!("server: `{server}`")));
        lines.push(format!(
            "{} rounds, interleaved, {} s each after {} s; server on core {}, load on core {}",
            self.rounds,
            self.seconds,
            WARM_UP.as_secs_f64(),
            self.server_core,
            self.load_core
        ));
        if self.rounds < FEWEST_ROUNDS {
            lines.push(format!("fewer than {FEWEST_ROUNDS} rounds: a look, not a figure"));
        }
        if !self.optimised {
            lines.push("built without optimisation: the figures mean nothing".to_owned());
        }
        lines
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}\n", self.title())?;
        self.lines().iter().try_for_each(|line| writeln!(f, "- {line}"))
    }
}

/// Everything that was found out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// How it was found out.
    pub header: Header,
    /// A workload each.
    pub sections: Vec<Section>,
    /// What the daemon is meant to reach, and whether it did.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// A report with no workload yet.
    pub fn new(header: Header) -> Self {
        Self { header, sections: Vec::new(), verdicts: Vec::new() }
    }

    /// Adds a workload.
    pub fn add(&mut self, section: Section) -> &Section {
        self.verdicts.extend(verdict(&section));
        self.sections.push(section);
        &self.sections[self.sections.len() - 1]
    }

    /// The verdicts as a list, with a title when there are any.
    pub fn verdicts(&self) -> String {
        let lines = self.verdicts.iter().map(|verdict| format!("- {verdict}\n"));
        let list: String = lines.collect();
        if list.is_empty() { list } else { format!("## Verdicts\n\n{list}") }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.header)?;
        for section in &self.sections {
            writeln!(f, "{section}")?;
        }
        write!(f, "{}", self.verdicts())
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.title())?;
        write!(f, "{}", self.table())
    }
}

impl Section {
    /// The workload in words.
    pub fn title(&self) -> String {
        format!("{}{}: {}", self.kind.prefix(), self.workload.name(), self.workload.shape())
    }

    /// The figures; a row for each peer, and for each that is absent the reason.
    pub fn table(&self) -> Table {
        let mut table = match self.workload.shape() {
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
    let reference = section.reference();
    let against = reference.map_or("ratio", Peer::name);
    let what = match section.workload.shape() {
        Shape::Churn { .. } => "conns/s (min-max)",
        Shape::Osd { .. } => "ops/s (min-max)",
        _ => "msgs/s (min-max)",
    };
    let cpu = match section.kind {
        Kind::Echo => "CPU us/msg",
        Kind::Relay => "relay CPU us/msg",
        Kind::App | Kind::AppApart => "both CPU us/msg",
        Kind::Msgr2 => "CPU us/op",
    };
    let mut header = [
        "peer",
        what,
        &format!("/ {against}"),
        "by round",
        "p50 us",
        "p99 us",
        cpu,
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
        let median = |of| section.spread(peer, of).map(|spread| spread.median);
        let text = |x: Option<f64>| x.map_or("-".to_owned(), figure);
        let ratios = |of| match reference.and_then(|other| section.ratio(peer, other, of)) {
            Some(ratio) => [format!("{:.3}", ratio.of_medians), format!("{:.3}", ratio.of_rounds)],
            None => ["-".to_owned(), "-".to_owned()],
        };
        let [rate_of_medians, rate_of_rounds] = ratios(RATE);
        let [cpu_of_medians, cpu_of_rounds] = ratios(CPU);
        let switches = |outcome: &crate::load::Outcome| {
            outcome.switches_per_message().map(|(voluntary, involuntary)| voluntary + involuntary)
        };
        let mut cells = vec![
            peer.name().to_owned(),
            section.spread(peer, RATE).map_or("-".to_owned(), rates),
            rate_of_medians,
            rate_of_rounds,
            text(median(P50)),
            text(median(P99)),
            text(median(CPU)),
            cpu_of_medians,
            cpu_of_rounds,
        ];
        cells.extend(more.iter().map(|&(_, of)| text(median(of))));
        cells.extend([
            median(switches).map_or("-".to_owned(), |x| format!("{x:.4}")),
            text(median(|outcome| Some(outcome.generator.ready_per_wait))),
            median(|outcome| Some(outcome.silent_connections as f64))
                .map_or("-".to_owned(), |count| format!("{count:.0}")),
            clean(section, peer),
        ]);
        table.row(cells);
    }
    table
}

/// What is told of some kinds only: the parts of what is behind the address.
fn columns(kind: Kind) -> &'static [(&'static str, Figure)] {
    match kind {
        Kind::Echo | Kind::Relay => &[("calls/msg", CALLS)],
        Kind::Msgr2 => &[("load CPU us/op", OWN_CPU), ("calls/op", CALLS)],
        Kind::App | Kind::AppApart => &[
            ("front CPU", FRONT_CPU),
            ("app CPU", LAST_CPU),
            ("front calls/msg", FRONT_CALLS),
            ("app calls/msg", LAST_CALLS),
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

fn rates(spread: Spread) -> String {
    format!("{} ({}-{})", rate(spread.median), rate(spread.min), rate(spread.max))
}

fn clean(section: &Section, peer: Peer) -> String {
    format!("{}/{}", section.clean(peer), section.rounds.len())
}

#[cfg(test)]
mod tests {
    use super::super::peer::Absent;
    use super::super::summary::tests::sample;
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn a_section_reads_as_a_table() {
        let section = Section {
            kind: Kind::Echo,
            workload: Workload::Fan,
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
        assert_eq!(cells[14], "1/1");
        let last: Vec<&str> = text.lines().rev().take(2).collect();
        assert!(last[1].ends_with(" 0/1 |"), "{text}");
        let cells: Vec<&str> = last[0].split('|').map(str::trim).collect();
        assert_eq!(cells[1..4], ["monoio-uring", "not available: EPERM", "-"]);
    }
}
