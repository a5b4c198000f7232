//! What looking again before it sleeps costs the daemon, and brings it, from a request now and then
//! to more than it can answer.
//!
//! One connection, an open loop: so many requests a second, however long the answers take. At each
//! rate the daemon runs with several of its `--spin-us`, and beside it a loop that never sleeps.
//! Ten requests a second tell what waking up costs, some thousands how far apart requests may be
//! for the spin to catch the next one, and the last rate what a connection can carry at all.

use std::fmt;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};
use svg::Document;

use crate::load::{self, WARM_UP};
use crate::picture::curves::{Axis, Curve, Panel, curves};
use crate::probe::Watched;
use crate::server::Server;
use crate::suite::disturbance::{Disturbance, Nearest};
use crate::suite::machine::Machine;
use crate::suite::measured::{Figure, Measured};
use crate::suite::peer::{Peer, Place, core_mask};
use crate::suite::report::command_line;
use crate::suite::summary::{P50, P99, RATE, Sample, Spread, clean, compare, figures};
use crate::suite::{attended, least_disturbed, turns};
use crate::table::{Table, figure, rate};
use crate::workload::Kind;

/// Rates that are tried: powers of ten and three times those, in messages a second. The last is
/// more than one connection carries, and than the generator can send.
const RATES: [f64; 14] =
    [10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7];

/// Fewer messages than this have no p50 to speak of: low rates are measured for longer.
const FEWEST_MESSAGES: f64 = 30.0;

/// More messages than this say nothing new, and the generator has to remember those that are not
/// answered: high rates are measured for less long.
const MOST_MESSAGES: f64 = 1e7;

/// Of fewer messages than this a p99 is one request, or ten: chance.
const FEWEST_FOR_P99: f64 = 1000.0;

/// More than this share of what was due unanswered at the end, and the limit is passed: no higher
/// rate is tried.
const LEFT_BEHIND: f64 = 0.05;

/// Who takes part, in the order of the legend, and in which colour.
const SERVERS: [(Name, &str); 5] = [
    (Name::Spin("0"), "#3f7cac"),
    (Name::Spin("auto"), "#c8102e"),
    (Name::Spin("50"), "#e0a030"),
    (Name::Spin("200"), "#2a6f5f"),
    (Name::EpollSpin, "#9aa7b4"),
];

#[derive(Debug, Clone, Copy)]
enum Name {
    /// The daemon with this `--spin-us`.
    Spin(&'static str),
    /// The plain epoll loop that never sleeps.
    EpollSpin,
}

impl Name {
    /// What the daemon does when it is told nothing.
    const DEFAULT: Self = Self::Spin("auto");
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spin(us) => write!(f, "--spin-us {us}"),
            Self::EpollSpin => f.write_str("epoll-spin"),
        }
    }
}

/// What to measure, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Samples of each server at each rate, at least 1.
    pub rounds: usize,
    /// How long each is measured.
    pub duration: Duration,
    /// How often a sample is taken at most until it is undisturbed, at least 1.
    pub attempts: u32,
    /// Where the servers are, and where they run.
    pub place: Place,
}

/// All that was found out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// When.
    pub date: String,
    /// On what.
    pub machine: Machine,
    /// By which command.
    pub command: String,
    /// A server each.
    pub servers: Vec<Series>,
}

/// One server at all rates.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Series {
    /// Its name in the picture.
    pub name: String,
    /// In ascending order of the rate, up to the first that was too much: for the server or, far
    /// up, for the generator.
    pub points: Vec<Point>,
}

/// One server at one rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    /// Messages that were due, per second.
    pub rate: f64,
    /// A sample each.
    pub rounds: Vec<Sample>,
}

impl Point {
    /// Of the rounds that count.
    fn median(&self, figure: Figure) -> f64 {
        let values: Vec<f64> = figures(&self.rounds, figure).into_iter().flatten().collect();
        Spread::of(&values).map_or(0.0, |spread| spread.median)
    }

    /// `None` where a sample has too few messages.
    fn p99_us(&self) -> Option<f64> {
        let messages = self.median(|outcome| Some(outcome.messages as f64));
        (messages >= FEWEST_FOR_P99).then(|| self.median(P99))
    }

    /// Share of the server's core in percent.
    fn cpu_percent(&self) -> f64 {
        self.median(|outcome| Some(outcome.server?.cpu_s / outcome.seconds * 100.0))
    }

    fn keeps_up(&self) -> bool {
        let left_behind = self.median(|outcome| {
            let open = outcome.open_loop?;
            // One may just have left.
            Some(open.unanswered.saturating_sub(1) as f64 / (open.rate * outcome.seconds))
        });
        left_behind <= LEFT_BEHIND
    }
}

/// Measures everything; the servers take turns within each round.
///
/// # Errors
/// When a server cannot be started or fails, when `stop` is set.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<Report> {
    let progress = ProgressBar::new((RATES.len() * SERVERS.len() * options.rounds) as u64)
        .with_style(ProgressStyle::with_template("{msg:<32} [{bar:40}] {pos}/{len}, {eta} left")?);
    let nearest = Nearest::default();
    let mut servers: Vec<Series> = SERVERS
        .iter()
        .map(|(name, _)| Series { name: name.to_string(), points: Vec::new() })
        .collect();
    for due in RATES {
        let running: Vec<usize> = (0..SERVERS.len()).filter(|&i| goes_on(&servers[i])).collect();
        for &index in &running {
            servers[index].points.push(Point { rate: due, rounds: Vec::new() });
        }
        for round in 0..options.rounds {
            for place in turns::order(running.len(), round) {
                let index = running[place];
                let name = SERVERS[index].0;
                progress.set_message(format!("{}/s {name}", rate(due)));
                let pause = options.duration / 2;
                let sample = least_disturbed(options.attempts, pause, &nearest, || {
                    sample(options, (name, due), stop, &nearest)
                })
                .with_context(|| format!("{name} at {}/s", rate(due)))?;
                let point = servers[index].points.last_mut();
                point.context("no point")?.rounds.push(sample);
                progress.inc(1);
            }
        }
    }
    progress.finish_and_clear();
    Report::new(servers)
}

fn goes_on(series: &Series) -> bool {
    series.points.last().is_none_or(Point::keeps_up)
}

fn sample(
    options: &Options,
    (name, due): (Name, f64),
    stop: &AtomicBool,
    nearest: &Nearest,
) -> Result<Sample> {
    let place = &options.place;
    let mut server = start(name, place)?;
    let duration = how_long(options.duration, due);
    let load = load::Options {
        address: server.address(),
        connections: 1,
        depth: 1,
        size: 64,
        duration,
        warm_up: WARM_UP.min(duration),
        verify: false,
        core: Some(place.load_core),
        server_core: Some(place.server_core),
        servers: vec![Watched { pid: server.pid(), reports: None }],
        probe: None,
        rate: Some(due),
        slow: 0,
    };
    let (outcome, stolen) = attended(place, || load::run(&load, stop))?;
    server.check()?;
    let measured = Measured::Load(outcome?);
    let disturbance = Disturbance::new(stolen, Kind::Echo, &measured, nearest);
    Ok(Sample { measured, disturbance, alone_p99_us: None, attempts: 1 })
}

/// How long a sample at a rate is, of one that should take `usual`.
fn how_long(usual: Duration, due: f64) -> Duration {
    let [least, most] = [FEWEST_MESSAGES, MOST_MESSAGES].map(|n| Duration::from_secs_f64(n / due));
    usual.clamp(least, most)
}

fn start(name: Name, place: &Place) -> Result<Server> {
    match name {
        Name::EpollSpin => Ok(Peer::EpollSpin.start(Kind::Echo, place)?.server),
        Name::Spin(us) => {
            let mut command = Command::new(&place.vmsgrd);
            command.args(["--core-mask", &core_mask(place.server_core), "--spin-us", us]);
            command.args(["-l", "127.0.0.1:0=echo"]);
            Server::start(command)
        }
    }
}

impl Report {
    /// Of this machine, now. All samples are looked at again, as the cores may have been nearer at
    /// last than at first.
    fn new(mut servers: Vec<Series>) -> Result<Self> {
        let points = servers.iter_mut().flat_map(|series| &mut series.points);
        compare(points.flat_map(|point| &mut point.rounds));
        Ok(Self {
            date: Timestamp::now().round(Unit::Second)?.to_string(),
            machine: Machine::here(),
            command: command_line(),
            servers,
        })
    }

    /// p50, p99 and CPU over the rate.
    pub fn picture(&self) -> Document {
        let panel = |title: &str, axis, figure: fn(&Point) -> Option<f64>| Panel {
            title: title.to_owned(),
            axis,
            curves: self
                .servers
                .iter()
                .zip(SERVERS)
                .map(|(series, (_, colour))| Curve {
                    label: series.name.clone(),
                    colour,
                    strong: series.name == Name::DEFAULT.to_string(),
                    points: series
                        .points
                        .iter()
                        .filter_map(|point| Some((point.rate, figure(point)?)))
                        .collect(),
                })
                .collect(),
        };
        let machine = &self.machine;
        curves(
            "What spinning costs and brings",
            &[
                format!(
                    "vmsgrd's echo, one connection, open loop, 64 B, medians of the rounds; a \
                     curve ends where the server, or the generator, no longer keeps up; p99 of \
                     samples with {FEWEST_FOR_P99} messages or more."
                ),
                format!(
                    "{}; {}, {} cores, Linux {}; commit {}",
                    self.date, machine.processor, machine.cores, machine.kernel, machine.commit
                ),
            ],
            "requests per second",
            &[
                panel("p50 latency", Axis::Time, |point| Some(point.median(P50))),
                panel("p99 latency", Axis::Time, Point::p99_us),
                panel("server CPU, of one core", Axis::Percent, |point| Some(point.cpu_percent())),
            ],
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# vmsgr-bench spin, {}\n", self.date)?;
        writeln!(f, "- {}", self.machine)?;
        writeln!(f, "- commit: {}", self.machine.commit)?;
        writeln!(f, "- command: `{}`\n", self.command)?;
        let mut table = Table::new([
            "server", "due/s", "msgs/s", "p50 us", "p99 us", "CPU %", "keeps up", "clean",
        ]);
        for series in &self.servers {
            for point in &series.points {
                table.row(vec![
                    series.name.clone(),
                    rate(point.rate),
                    rate(point.median(RATE)),
                    figure(point.median(P50)),
                    point.p99_us().map_or("-".to_owned(), figure),
                    figure(point.cpu_percent()),
                    if point.keeps_up() { "yes" } else { "no" }.to_owned(),
                    format!("{}/{}", clean(&point.rounds), point.rounds.len()),
                ]);
            }
        }
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{OpenLoop, Outcome};
    use crate::suite::summary::tests::sample as taken;

    fn point(rate: f64, unanswered: u64) -> Point {
        let mut sample = taken(1000, 2.0, 0.0);
        outcome(&mut sample).open_loop = Some(OpenLoop { rate, unanswered });
        Point { rate, rounds: vec![sample] }
    }

    fn outcome(sample: &mut Sample) -> &mut Outcome {
        let Measured::Load(outcome) = &mut sample.measured else { panic!() };
        outcome
    }

    #[test]
    fn a_server_that_fell_behind_is_asked_for_no_more() {
        let series = |points| Series { name: "--spin-us 0".into(), points };
        assert!(goes_on(&series(vec![])));
        assert!(goes_on(&series(vec![point(10.0, 1)])));
        assert!(goes_on(&series(vec![point(1000.0, 50)])));
        assert!(!goes_on(&series(vec![point(1000.0, 1), point(3000.0, 1000)])));
    }

    #[test]
    fn samples_have_neither_too_few_messages_nor_too_many() {
        let usual = Duration::from_secs(2);
        assert_eq!(how_long(usual, 10.0), Duration::from_secs(3));
        assert_eq!(how_long(usual, 1e6), usual);
        let fastest = how_long(usual, RATES[RATES.len() - 1]);
        assert!(fastest < usual / 4 && fastest > usual / 8, "{fastest:?}");
    }

    #[test]
    fn p99_is_shown_where_there_are_enough_messages_for_it() {
        let of = |messages| {
            let mut point = point(1000.0, 0);
            outcome(&mut point.rounds[0]).messages = messages;
            point
        };
        assert_eq!(of(999).p99_us(), None);
        assert_eq!(of(1000).p99_us(), of(1000).rounds[0].measured.load(P99));
        let series = Series { name: "--spin-us 0".into(), points: vec![of(999), of(1000)] };
        let report = Report::new(vec![series]).unwrap();
        // Of two points, p50 and CPU have both, p99 has one.
        assert_eq!(report.picture().to_string().matches("<circle").count(), 5);
        assert!(report.to_string().contains("| - |") || report.to_string().contains("  - |"));
    }

    #[test]
    fn every_server_is_in_the_picture() {
        let servers = SERVERS.map(|(name, _)| Series {
            name: name.to_string(),
            points: vec![point(10.0, 0), point(1000.0, 0)],
        });
        let report = Report::new(servers.to_vec()).unwrap();
        let svg = report.picture().to_string();
        for (name, colour) in SERVERS {
            assert!(svg.contains(&name.to_string()) && svg.contains(colour), "{name} in\n{svg}");
        }
        assert_eq!(report.to_string().matches("| --spin-us auto |").count(), 2, "{report}");
    }

    #[test]
    fn a_disturbed_sample_does_not_count_beside_others() {
        let mut point = point(1000.0, 0);
        point.rounds = [(1000, 0.0), (10, 0.5), (3000, 0.0), (20, 0.5), (30, 0.5)]
            .map(|(messages, waited)| taken(messages, 2.0, waited))
            .into();
        assert_eq!(point.median(RATE), 2000.0);
        point.rounds.remove(0);
        assert_eq!(point.median(RATE), 25.0, "one is too few");
    }

    #[test]
    fn a_sample_is_far_if_one_at_another_rate_was_nearer() {
        let at = |due, nanoseconds| {
            let mut point = point(due, 0);
            outcome(&mut point.rounds[0]).round_trips_ns = vec![nanoseconds; 2];
            point
        };
        let points = vec![at(10.0, 400.0), at(30.0, 90.0)];
        let report = Report::new(vec![Series { name: "--spin-us 0".into(), points }]).unwrap();
        let cleans = report.servers[0].points.iter().map(|point| clean(&point.rounds));
        assert_eq!(cleans.collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn cpu_is_a_share_of_a_core() {
        // 1000 messages in a second, 2 us each.
        assert!((point(1000.0, 0).cpu_percent() - 0.2).abs() < 1e-9);
    }
}
