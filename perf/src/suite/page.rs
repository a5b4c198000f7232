//! The pictures of a report, and the page that shows everything at once.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use svg::Document;

use super::measured::Figure;
use super::peer::Peer;
use super::report::Report;
use super::summary::{CPU, FRONT_CPU, RATE, Section};
use crate::load::Outcome;
use crate::picture::grid::{Mark, Panel, Row, grid};
use crate::table::{escape, figure, rate};
use crate::workload::{Kind, Shape};

/// p50, p90, p99, p99.9 and the longest.
const PERCENTILES: [Figure; 5] = [
    |outcome: &Outcome| Some(outcome.latency.p50_us),
    |outcome: &Outcome| Some(outcome.latency.p90_us),
    |outcome: &Outcome| Some(outcome.latency.p99_us),
    |outcome: &Outcome| Some(outcome.latency.p99_9_us),
    |outcome: &Outcome| Some(outcome.latency.max_us),
];

const STYLE: &str = "\
body { font: 15px/1.5 Helvetica, Arial, 'DejaVu Sans', sans-serif; color: #222; margin: 2em auto;
  max-width: 1420px; padding: 0 1em; }
svg { max-width: 100%; height: auto; display: block; margin: 1em 0; }
table { border-collapse: collapse; margin: 0.5em 0 2em; font-size: 13px; }
th, td { padding: 0.15em 0.7em; text-align: right; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
code { background: #f3f3f3; padding: 0 0.2em; }
.scroll { overflow-x: auto; }
";

/// A picture and the name of its file, without the folder.
type Picture = (String, Document);

/// Writes the pictures and `index.html`, which contains them, into an existing folder.
///
/// # Errors
/// When a file cannot be written.
pub fn write(report: &Report, folder: &Path) -> Result<()> {
    let pictures = pictures(report);
    let save = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    for (name, picture) in &pictures {
        save(name, &picture.to_string())?;
    }
    save("index.html", &page(report, &pictures))
}

/// Three pictures for each kind of servers.
fn pictures(report: &Report) -> Vec<Picture> {
    let mut pictures = Vec::new();
    for &kind in Kind::value_variants() {
        let of_kind = |section: &&Section| section.kind == kind;
        let sections: Vec<&Section> = report.sections.iter().filter(of_kind).collect();
        if sections.is_empty() {
            continue;
        }
        let name = kind.name();
        let loaded: Vec<&Section> = sections.iter().copied().filter(|s| !is_idle(s)).collect();
        if !loaded.is_empty() {
            pictures.push((format!("{name}-throughput.svg"), throughput(kind, &loaded)));
            pictures.push((format!("{name}-latency.svg"), latency(kind, &loaded)));
        }
        pictures.push((format!("{name}-cpu.svg"), cpu(kind, &sections)));
    }
    pictures
}

/// What the servers do, where the name does not say it.
fn what(kind: Kind) -> String {
    let says_it = matches!(kind, Kind::Echo | Kind::Relay);
    if says_it { String::new() } else { format!("{}. ", kind.words()) }
}

/// What is counted, in full.
fn counted(kind: Kind) -> &'static str {
    if kind == Kind::Msgr2 { "operation" } else { "message" }
}

fn is_idle(section: &Section) -> bool {
    matches!(section.workload.shape(), Shape::Idle { .. })
}

fn throughput(kind: Kind, sections: &[&Section]) -> Document {
    let mark = |section: &Section, peer| bar(section.spread(peer, RATE), rate);
    grid(
        &format!("{}: {}s per second", kind.name(), counted(kind)),
        &format!(
            "{}Longer is better. The bar is the median of the rounds, the line goes from the least to \
             the most. Every panel has its own scale. churn: connections per second. * disturbed \
             in every round.",
            what(kind)
        ),
        &panels(sections, mark),
    )
}

fn latency(kind: Kind, sections: &[&Section]) -> Document {
    let mark = |section: &Section, peer| {
        let values = PERCENTILES.map(|figure| section.spread(peer, figure).map(|s| s.median));
        if values.contains(&None) {
            return Mark::Note("-".into());
        }
        Mark::Percentiles(values.map(Option::unwrap_or_default))
    };
    grid(
        &format!("{}: latency", kind.name()),
        &format!(
            "{}Left is better, logarithmic. Filled: p50; then p90 (small), p99 (ring), p99.9 (small \
             ring), the longest (stroke). In figures: p50 / p99. Closed loop: with many in flight \
             it is the length of the queue.",
            what(kind)
        ),
        &panels(sections, mark),
    )
}

fn cpu(kind: Kind, sections: &[&Section]) -> Document {
    let mark = |section: &Section, peer| {
        if is_idle(section) {
            return bar(section.idle_cpu_ms_per_s(peer), |x| format!("{} ms/s", figure(x)));
        }
        let bar = bar(section.spread(peer, CPU), |x| format!("{} us", figure(x)));
        match section.spread(peer, FRONT_CPU) {
            Some(front) => Mark::Parts(front.median, Box::new(bar)),
            None => bar,
        }
    };
    let of = if kind.is_app() { "both sides" } else { "the server" };
    let parts =
        if kind.is_app() { "Full: who has the sockets; light: the application. " } else { "" };
    grid(
        &format!("{}: CPU time of {of} per {}", kind.name(), counted(kind)),
        &format!(
            "{}Shorter is better. {parts}User and system time. idle: per second, with nothing to do.",
            what(kind)
        ),
        &panels(sections, mark),
    )
}

fn bar(spread: Option<super::summary::Spread>, words: impl Fn(f64) -> String) -> Mark {
    spread.map_or(Mark::Note("-".into()), |spread| Mark::Bar {
        median: spread.median,
        min: spread.min,
        max: spread.max,
        text: words(spread.median),
    })
}

fn panels(sections: &[&Section], mark: impl Fn(&Section, Peer) -> Mark) -> Vec<Panel> {
    let row = |peer: Peer, mark| Row {
        label: peer.name().to_owned(),
        colour: colour(peer),
        strong: peer.is_vmsgrd(),
        mark,
    };
    let panel = |section: &&Section| {
        let present = section.peers.iter().map(|&peer| {
            let mut row = row(peer, mark(section, peer));
            if section.clean(peer) == 0 {
                row.label += " *";
            }
            row
        });
        let absent = section.absent.iter();
        let absent = absent.map(|absent| row(absent.peer, Mark::Note(absent.reason.clone())));
        Panel {
            title: section.workload.name().to_owned(),
            subtitle: section.workload.shape().to_string(),
            rows: present.chain(absent).collect(),
        }
    };
    sections.iter().map(panel).collect()
}

/// The daemon stands out; relatives look related.
fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::Vmsgrd | Peer::VmsgrdRelay | Peer::AppShm | Peer::VmsgrdOsd => "#c8102e",
        Peer::Epoll | Peer::EpollRelay | Peer::AppEpoll | Peer::OsdNull => "#5b6c7d",
        Peer::EpollSpin => "#9aa7b4",
        Peer::Tokio => "#3f7cac",
        Peer::MonoioEpoll => "#7fb7be",
        Peer::MonoioUring => "#4f9d8f",
        Peer::MonoioUringDefer => "#2a6f5f",
        Peer::SleepPoll => "#e0a030",
        Peer::Haproxy | Peer::AppHaproxy => "#3f7cac",
    }
}

/// One file with everything in it; it needs nothing from anywhere else.
fn page(report: &Report, pictures: &[Picture]) -> String {
    let title = escape(&report.header.title());
    let item = |line: &String| format!("<li>{}</li>\n", with_code(&escape(line)));
    let lines: String = report.header.lines().iter().map(item).collect();
    let verdict = |verdict: &super::verdict::Verdict| item(&verdict.to_string());
    let verdicts: String = report.verdicts.iter().map(verdict).collect();
    let figure = |(name, picture): &Picture| format!("<!-- {name} -->\n{picture}\n");
    let pictures: String = pictures.iter().map(figure).collect();
    let table = |section: &Section| {
        let title = escape(&section.title());
        format!("<h3>{title}</h3>\n<div class=\"scroll\">\n{}</div>\n", section.table().html())
    };
    let tables: String = report.sections.iter().map(table).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <ul>\n{lines}</ul>\n<h2>Verdicts</h2>\n<ul>\n{verdicts}</ul>\n<h2>Pictures</h2>\n\
         {pictures}<h2>Tables</h2>\n{tables}</body>\n</html>\n"
    )
}

/// What stands between backquotes, as code.
fn with_code(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    pieces
        .map(|(number, piece)| match number % 2 {
            0 => piece.to_owned(),
            _ => format!("<code>{piece}</code>"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_marked() {
        assert_eq!(with_code("server: `a b`"), "server: <code>a b</code>");
        assert_eq!(with_code("plain"), "plain");
    }
}
