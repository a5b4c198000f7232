//! The pictures of a report: for each kind of servers its throughput, its latency and its CPU time,
//! with a panel for each workload.

use clap::ValueEnum;
use svg::Document;

use super::peer::Peer;
use super::report::{Header, Report};
use super::summary::{ANSWERED, CPU, FRONT_CPU, MAX, P50, P90, P99, P99_9, RATE, Section, Spread};
use crate::picture::grid::{Mark, Panel, Row, grid};
use crate::table::{figure, rate};
use crate::workload::{Kind, Shape};

/// A picture and the name of its file, without the folder.
pub type Picture = (String, Document);

/// How bars are read.
const BARS: &str = "The bar is the median of the rounds, the line goes from the least to the most. \
     Every panel has its own scale.";

/// At most three pictures for each kind of servers.
pub fn pictures(report: &Report) -> Vec<Picture> {
    let mut pictures = Vec::new();
    for &kind in Kind::value_variants() {
        let of_kind = |section: &&Section| section.kind == kind;
        let all: Vec<&Section> = report.sections.iter().filter(of_kind).collect();
        let only = |wanted: fn(&Section) -> bool| {
            all.iter().copied().filter(|section| wanted(section)).collect::<Vec<_>>()
        };
        // Nobody is faster where all are sent the same.
        let raced = only(|section| !is_idle(section) && !is_open(section));
        let answered = only(|section| !is_idle(section));
        let mut add = |name: &str, sections: &[&Section], draw: Draw| {
            if !sections.is_empty() {
                let picture = draw(&report.header, kind, sections);
                pictures.push((format!("{}-{name}.svg", kind.name()), picture));
            }
        };
        add("throughput", &raced, throughput);
        add("latency", &answered, latency);
        add("cpu", &all, cpu);
    }
    pictures
}

type Draw = fn(&Header, Kind, &[&Section]) -> Document;

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
    section.shape().is_idle()
}

fn is_open(section: &Section) -> bool {
    matches!(section.shape(), Shape::Open { .. })
}

fn is_churn(section: &Section) -> bool {
    matches!(section.shape(), Shape::Churn { .. })
}

/// What is true of some workloads only, where one of these is one of them.
fn note(sections: &[&Section], of: fn(&Section) -> bool, words: &str) -> String {
    if sections.iter().any(|section| of(section)) { format!(" {words}") } else { String::new() }
}

/// What the marks mean that stand behind a name.
fn marks(sections: &[&Section]) -> String {
    note(sections, |section| section.peers.iter().any(|&peer| disturbed(section, peer)), STAR)
}

const STAR: &str = "* disturbed in every round.";

fn disturbed(section: &Section, peer: Peer) -> bool {
    section.clean(peer) == 0
}

fn throughput(header: &Header, kind: Kind, sections: &[&Section]) -> Document {
    let mark = |section: &Section, peer| bar(section.spread(peer, RATE), rate);
    let churn = note(sections, is_churn, "churn: connections per second.");
    grid(
        &format!("{}: {}s per second", kind.name(), counted(kind)),
        &[
            format!("{}Longer is better.{churn}{}", what(kind), marks(sections)),
            BARS.to_owned(),
            header.source(),
        ],
        &panels(sections, mark),
    )
}

fn latency(header: &Header, kind: Kind, sections: &[&Section]) -> Document {
    let mark = |section: &Section, peer| {
        if section.kept_up(peer) == Some(false) {
            let share = section.spread(peer, ANSWERED).map_or(0.0, |spread| spread.median);
            return Mark::Note(format!("did not keep up: answered {:.0}%", share * 100.0));
        }
        let values = [P50, P90, P99, P99_9, MAX].map(|of| section.spread(peer, of));
        if values.contains(&None) {
            return Mark::Note("-".into());
        }
        Mark::Percentiles(values.map(|spread| spread.map_or(0.0, |spread| spread.median)))
    };
    let open = "Open loop: from when each message was due.";
    grid(
        &format!("{}: latency", kind.name()),
        &[
            format!(
                "{}Left is better, logarithmic, medians of the rounds. Filled: p50; then p90 \
                 (small), p99 (ring), p99.9 (small ring), the longest (stroke). In figures: p50 / \
                 p99.",
                what(kind)
            ),
            format!(
                "Closed loop: with many in flight it is the length of the queue.{}{}{}",
                note(sections, is_churn, "churn: from the connect."),
                note(sections, is_open, open),
                marks(sections)
            ),
            header.source(),
        ],
        &panels(sections, mark),
    )
}

fn cpu(header: &Header, kind: Kind, sections: &[&Section]) -> Document {
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
        if kind.is_app() { " Full: who has the sockets; light: the application." } else { "" };
    grid(
        &format!("{}: CPU time of {of} per {}", kind.name(), counted(kind)),
        &[
            format!(
                "{}Shorter is better.{parts} User and system time.{}{}{}",
                what(kind),
                note(sections, is_churn, "churn: per connection."),
                note(sections, is_idle, "idle: per second, with nothing to do."),
                marks(sections)
            ),
            BARS.to_owned(),
            header.source(),
        ],
        &panels(sections, mark),
    )
}

fn bar(spread: Option<Spread>, words: impl Fn(f64) -> String) -> Mark {
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
            if disturbed(section, peer) {
                row.label += " *";
            }
            row
        });
        let absent = section.absent.iter();
        let absent = absent.map(|absent| row(absent.peer, Mark::Note(absent.reason.clone())));
        Panel {
            title: section.workload.name().to_owned(),
            subtitle: section.shape().to_string(),
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
        Peer::EpollBeside | Peer::SpliceRelay => "#8a6fae",
        Peer::Tokio => "#3f7cac",
        Peer::MonoioEpoll => "#7fb7be",
        Peer::MonoioUring => "#4f9d8f",
        Peer::MonoioUringDefer => "#2a6f5f",
        Peer::SleepPoll => "#e0a030",
        Peer::Haproxy | Peer::AppHaproxy => "#3f7cac",
    }
}
