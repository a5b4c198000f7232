//! The report: a header that lets anybody run the same again, the workloads ([`tables`]), and the
//! verdicts. One text serves the terminal and the Markdown file.
//!
//! [`tables`]: super::tables

use std::fmt;

use anyhow::Result;
use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use super::Options;
use super::machine::Machine;
use super::summary::{Section, compare};
use super::verdict::{Verdict, verdict};
use crate::load::WARM_UP;

/// Fewer rounds than this are a look, not a figure.
const FEWEST_ROUNDS: usize = 5;

/// Who would be looked for among the servers, and why he is not there.
const NOT_AMONG_THEM: &str = "not among the servers: Seastar, for which there is no package";

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

/// In words.
pub fn rounds(count: usize) -> String {
    if count == 1 { "1 round".to_owned() } else { format!("{count} rounds") }
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

    /// Where the figures come from, in one line: for a picture that is shown alone.
    pub fn source(&self) -> String {
        let Machine { processor, cores, kernel, commit, .. } = &self.machine;
        format!(
            "{}; {processor}, {cores} cores, Linux {kernel}; commit {commit}; {} of {} s",
            self.date,
            rounds(self.rounds),
            self.seconds
        )
    }

    /// All the rest, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.machine.to_string(), format!("commit: {}", self.machine.commit)];
        // A report that was merged has several.
        lines.extend(self.command.lines().map(|command| format!("command: `{command}`")));
        lines.extend(self.servers.iter().map(|server| format!("server: `{server}`")));
        lines.push(NOT_AMONG_THEM.to_owned());
        lines.push(format!(
            "{}, interleaved in changing order, {} s each after {} s; server on core {}, load on \
             core {}",
            rounds(self.rounds),
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

    /// Adds a workload. All samples are looked at again, as the cores may just have been nearer than
    /// ever before.
    pub fn add(&mut self, section: Section) {
        self.sections.push(section);
        compare(self.sections.iter_mut().flat_map(|section| &mut section.rounds).flatten());
        self.verdicts = self.sections.iter().filter_map(verdict).collect();
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

#[cfg(test)]
pub(crate) mod tests {
    use super::super::measured::Measured;
    use super::super::peer::Peer;
    use super::super::summary::tests::sample;
    use super::*;
    use crate::workload::{Kind, Workload};

    /// Of one machine, one round each.
    pub fn report(sections: Vec<Section>) -> Report {
        let header = Header {
            date: "2026-01-01T00:00:00Z".into(),
            machine: Machine {
                processor: "one".into(),
                cores: 2,
                virtual_machine: true,
                memory_gib: 1.0,
                kernel: "6".into(),
                congestion_control: "cubic".into(),
                commit: "abc".into(),
            },
            command: "vmsgr-bench suite".into(),
            servers: Vec::new(),
            rounds: 1,
            seconds: 1.0,
            server_core: 0,
            load_core: 1,
            optimised: true,
        };
        let mut report = Report::new(header);
        for section in sections {
            report.add(section);
        }
        report
    }

    #[test]
    fn who_is_missing_among_the_servers_is_told_below_them() {
        let mut header = report(Vec::new()).header;
        header.servers = vec!["one".into(), "other".into()];
        let lines = header.lines();
        let last = lines.iter().position(|line| line == "server: `other`").unwrap();
        assert_eq!(lines[last + 1], NOT_AMONG_THEM);
        assert!(lines[last + 2].starts_with("1 round, interleaved"), "{lines:?}");
    }

    #[test]
    fn a_workload_during_which_the_cores_were_nearer_changes_what_was_said_of_those_before() {
        let at = |rate, nanoseconds| {
            let mut sample = sample(rate, 1.0, 0.0);
            let Measured::Load(outcome) = &mut sample.measured else { panic!() };
            outcome.round_trips_ns = vec![nanoseconds; 2];
            sample
        };
        let of = |workload, rounds: &[(u64, f64)]| Section {
            kind: Kind::Echo,
            workload,
            rate: None,
            peers: vec![Peer::Vmsgrd, Peer::Epoll],
            absent: Vec::new(),
            rounds: rounds.iter().map(|&(rate, ns)| vec![at(rate, ns), at(1000, ns)]).collect(),
        };
        let (near, far) = ((900, 90.0), (500, 400.0));
        let mut report = report(vec![of(Workload::Fan, &[near, near, near, far, far, far, far])]);
        let clean = |report: &Report| report.sections[0].clean(Peer::Vmsgrd);
        assert_eq!(clean(&report), 3);
        assert!(report.verdicts[0].finding.starts_with("0.900 "), "{}", report.verdicts[0]);
        report.add(of(Workload::Bulk, &[(1000, 25.0)]));
        assert_eq!(clean(&report), 0);
        let [fan, bulk] = &report.verdicts[..] else { panic!("{:?}", report.verdicts) };
        assert!(fan.finding.starts_with("0.500 ") && bulk.finding.starts_with("1.000 "), "{fan}");
    }

    #[test]
    fn a_picture_says_where_its_figures_come_from() {
        let source = report(Vec::new()).header.source();
        let wanted = "2026-01-01T00:00:00Z; one, 2 cores, Linux 6; commit abc; 1 round of 1 s";
        assert_eq!(source, wanted);
    }
}
