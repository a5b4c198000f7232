//! Servers side by side: every workload on every peer, interleaved, so that what the machine does
//! to one it does to all.
//!
//! A round is one sample of each peer, in turn. Each sample has a fresh server process, pinned to
//! one core, and the generator on another. Medians and ratios are made by [`summary`], tables by
//! [`report`].

mod disturbance;
mod machine;
pub mod peer;
pub mod report;
pub mod summary;
mod verdict;

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cores;
use crate::load::idle::{self, IdleOptions};
use crate::load::{self, WARM_UP};
use crate::server::{Server, describe};
use crate::workload::{Shape, Workload};
use disturbance::{Disturbance, Watch};
use peer::Peer;
use report::{Header, Report};
use summary::{Measured, Sample};

/// How often a sample is taken at most until it is undisturbed.
const ATTEMPTS: u32 = 5;

/// What to compare, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Samples of each peer under each workload, at least 1.
    pub rounds: usize,
    /// How long each sample is measured.
    pub duration: Duration,
    /// Workloads, in this order.
    pub workloads: Vec<Workload>,
    /// Peers, in this order within each round.
    pub peers: Vec<Peer>,
    /// The daemon's binary.
    pub vmsgrd: PathBuf,
    /// Core of the server.
    pub server_core: usize,
    /// Core of the generator.
    pub load_core: usize,
}

/// Runs the whole comparison; prints each workload's table on stdout when it is complete.
///
/// # Errors
/// When a core or a binary is not there, when a server cannot be started or fails under load, when
/// `stop` is set.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<Report> {
    check(options)?;
    let header = Header::new(options)?;
    println!("{header}");
    let samples = options.rounds * options.peers.len() * options.workloads.len();
    let progress = ProgressBar::new(samples as u64)
        .with_style(ProgressStyle::with_template("{msg:<24} [{bar:40}] {pos}/{len}, {eta} left")?);
    let mut report = Report::new(header);
    for &workload in &options.workloads {
        let mut rounds = Vec::with_capacity(options.rounds);
        for number in 1..=options.rounds {
            let mut round = Vec::with_capacity(options.peers.len());
            for &peer in &options.peers {
                progress.set_message(format!(
                    "{} {number}/{} {}",
                    workload.name(),
                    options.rounds,
                    peer.name()
                ));
                let sample = sample(options, workload, peer, stop)
                    .with_context(|| format!("{} under {}", peer.name(), workload.name()))?;
                round.push(sample);
                progress.inc(1);
            }
            rounds.push(round);
        }
        let section = report.add(workload, &options.peers, rounds);
        progress.suspend(|| println!("{section}"));
    }
    progress.finish_and_clear();
    Ok(report)
}

fn check(options: &Options) -> Result<()> {
    cores::check(options.server_core).context("--server-core")?;
    cores::check(options.load_core).context("--load-core")?;
    ensure!(
        options.server_core != options.load_core,
        "--server-core and --load-core are both {}: generator and server would measure each other",
        options.load_core
    );
    if options.peers.contains(&Peer::Vmsgrd) {
        ensure!(
            options.vmsgrd.is_file(),
            "{} is not there; build it with `cargo build --release --workspace`, name \
             another with --vmsgrd, or leave it out with --peers",
            options.vmsgrd.display()
        );
    }
    Ok(())
}

/// The commands that start the peers, as the report shows them.
fn commands(options: &Options) -> Result<Vec<String>> {
    options.peers.iter().map(|&peer| Ok(describe(&command(options, peer)?))).collect()
}

fn command(options: &Options, peer: Peer) -> Result<Command> {
    peer.command(&options.vmsgrd, options.server_core)
}

/// One sample; taken again while the machine is busy with something else, and in the end the least
/// disturbed one.
fn sample(options: &Options, workload: Workload, peer: Peer, stop: &AtomicBool) -> Result<Sample> {
    let mut best = attempt_sample(options, workload, peer, stop)?;
    while !best.is_clean() && best.attempts < ATTEMPTS {
        // Whoever disturbed it may be done by then.
        thread::sleep(options.duration / 2);
        let attempts = best.attempts + 1;
        let next = attempt_sample(options, workload, peer, stop)?;
        if next.disturbance.total() < best.disturbance.total() {
            best = next;
        }
        best.attempts = attempts;
    }
    Ok(best)
}

fn attempt_sample(
    options: &Options,
    workload: Workload,
    peer: Peer,
    stop: &AtomicBool,
) -> Result<Sample> {
    let mut server = Server::start(command(options, peer)?)?;
    let watch = Watch::start([options.server_core, options.load_core])?;
    // On a thread of its own, because it is pinned and servers that are started later would inherit
    // that.
    let measured = thread::scope(|scope| {
        let (options, server) = (options, &server);
        scope.spawn(move || measure(options, workload, server, stop)).join()
    });
    let stolen = watch.stolen()?;
    // When the server died, that is the reason, and not the reset that the generator saw.
    server.check()?;
    let measured = measured.map_err(|_| anyhow!("the generator panicked"))??;
    let disturbance = Disturbance::new(stolen, &measured);
    Ok(Sample { measured, disturbance, attempts: 1 })
}

fn measure(
    options: &Options,
    workload: Workload,
    server: &Server,
    stop: &AtomicBool,
) -> Result<Measured> {
    let (address, pid) = (server.address(), Some(server.pid()));
    let core = Some(options.load_core);
    Ok(match workload.shape() {
        Shape::Closed { connections, depth, size } => Measured::Load(load::run(
            &load::Options {
                address,
                connections,
                depth,
                size,
                duration: options.duration,
                warm_up: WARM_UP,
                verify: false,
                core,
                server: pid,
            },
            stop,
        )?),
        Shape::Idle { connections } => Measured::Idle(idle::run(
            &IdleOptions {
                address,
                connections,
                duration: options.duration,
                warm_up: WARM_UP,
                core,
                server: pid,
            },
            stop,
        )?),
    })
}
