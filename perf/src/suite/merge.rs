//! Several runs of the suite as one report: a long run in pieces, between which others may use the
//! machine.
//!
//! Rounds of the same workload are put behind each other; ratios are still taken within a round, so
//! what changed between the pieces does not matter to them.

use anyhow::{Context, Result, ensure};

use super::report::Report;
use super::summary::Section;

/// Puts the reports together, in their order.
///
/// # Errors
/// When there are none, when they come from different machines, and when a workload was run on
/// different servers.
pub fn merge(reports: Vec<Report>) -> Result<Report> {
    let mut reports = reports.into_iter();
    let first = reports.next().context("nothing to merge")?;
    let mut header = first.header;
    let mut sections = first.sections;
    for report in reports {
        let (old, new) = (&mut header, report.header);
        ensure!(
            old.machine.to_string() == new.machine.to_string(),
            "not the same machine: {} ({}), {} ({})",
            old.machine,
            old.date,
            new.machine,
            new.date
        );
        add_line(&mut old.command, &new.command);
        if !old.machine.commit.split(", ").any(|commit| commit == new.machine.commit) {
            old.machine.commit += &format!(", {}", new.machine.commit);
        }
        for server in new.servers {
            if !old.servers.contains(&server) {
                old.servers.push(server);
            }
        }
        old.seconds = old.seconds.min(new.seconds);
        old.optimised &= new.optimised;
        for section in report.sections {
            add(&mut sections, section)?;
        }
    }
    header.rounds = rounds(&sections);
    let mut merged = Report::new(header);
    sections.sort_by_key(|section| section.kind);
    for section in sections {
        merged.add(section);
    }
    Ok(merged)
}

/// The fewest of any workload; idle is measured once.
fn rounds(sections: &[Section]) -> usize {
    let of = |idle| {
        let some = sections.iter().filter(move |section| section.shape().is_idle() == idle);
        some.map(|section| section.rounds.len()).min()
    };
    of(false).or(of(true)).unwrap_or(0)
}

/// Unless it is there.
fn add_line(text: &mut String, line: &str) {
    if !text.lines().any(|other| other == line) {
        text.push('\n');
        text.push_str(line);
    }
}

fn add(sections: &mut Vec<Section>, new: Section) -> Result<()> {
    let same = |old: &&mut Section| old.is_of(&new);
    let Some(old) = sections.iter_mut().find(same) else {
        sections.push(new);
        return Ok(());
    };
    let title = new.title();
    ensure!(old.peers == new.peers, "not the same servers in every piece: {title}");
    old.rounds.extend(new.rounds);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::peer::Peer;
    use super::super::summary::tests::sample;
    use super::*;
    use crate::workload::{Kind, Workload};

    fn report(command: &str, workload: Workload, peers: &[Peer], rate: u64) -> Report {
        let section = Section {
            kind: Kind::Echo,
            workload,
            rate: None,
            peers: peers.to_vec(),
            absent: Vec::new(),
            rounds: vec![peers.iter().map(|_| sample(rate, 1.0, 0.0)).collect()],
        };
        let mut report = super::super::report::tests::report(vec![section]);
        report.header.command = command.into();
        report.header.servers = peers.iter().map(|peer| peer.name().to_owned()).collect();
        report
    }

    #[test]
    fn rounds_of_a_workload_come_together() {
        let peers = [Peer::Vmsgrd, Peer::Epoll];
        let merged = merge(vec![
            report("one", Workload::Fan, &peers, 10),
            report("two", Workload::Fan, &peers, 30),
            report("three", Workload::Bulk, &peers[..1], 5),
        ])
        .unwrap();
        assert_eq!(merged.sections.len(), 2);
        let fan = &merged.sections[0];
        let spread = fan.spread(Peer::Vmsgrd, super::super::summary::RATE).unwrap();
        assert_eq!((fan.rounds.len(), spread.min, spread.max), (2, 10.0, 30.0));
        assert_eq!(merged.header.rounds, 1);
        let twice = |workload| report("one", workload, &peers, 10);
        let pieces = [Workload::Fan, Workload::Fan, Workload::Idle].map(twice);
        assert_eq!(merge(pieces.to_vec()).unwrap().header.rounds, 2);
        let pieces = [Workload::Idle, Workload::Idle].map(twice);
        assert_eq!(merge(pieces.to_vec()).unwrap().header.rounds, 2);
        assert_eq!(merged.header.servers, ["vmsgrd", "epoll"]);
        assert_eq!(merged.header.command.lines().collect::<Vec<_>>(), ["one", "two", "three"]);
        assert!(merged.verdicts.iter().any(|verdict| verdict.workload == Workload::Fan));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let one = report("one", Workload::Fan, &[Peer::Vmsgrd, Peer::Epoll], 10);
        let other = report("two", Workload::Fan, &[Peer::Vmsgrd, Peer::Tokio], 10);
        let error = merge(vec![one.clone(), other]).unwrap_err().to_string();
        assert!(error.contains("not the same servers"), "{error}");
        let mut elsewhere = one.clone();
        elsewhere.header.machine.processor = "another".into();
        let error = merge(vec![one, elsewhere]).unwrap_err().to_string();
        assert!(error.contains("not the same machine"), "{error}");
        assert!(merge(Vec::new()).is_err());
    }
}
