//! Servers side by side: every workload on every peer, interleaved, so that what the machine does
//! to one it does to all.
//!
//! A round is one sample of each peer, in [turns]. Each sample has a fresh server process, pinned to
//! one core, and the generator on another. Medians and ratios are made by [`summary`], tables by
//! [`tables`], pictures by [`pictures`], and the page that shows all of it by [`page`].

pub mod disturbance;
pub mod machine;
pub mod measured;
pub mod merge;
pub mod page;
pub mod peer;
pub mod pictures;
pub mod ratio;
pub mod report;
pub mod steady;
pub mod summary;
pub mod tables;
pub mod turns;
pub mod verdict;

use std::fmt::Display;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cores;
use crate::load::churn::{self, ChurnOptions};
use crate::load::idle::{self, IdleOptions};
use crate::load::osd::{self, OsdOptions};
use crate::load::{self, PROBED, WARM_UP};
use crate::workload::{Kind, Shape, Workload};
use disturbance::{Disturbance, Nearest, Watch};
use measured::Measured;
use peer::{Absent, Peer, Place, Running};
use report::{Header, Report};
use summary::{Sample, Section};

/// What to compare, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Samples of each peer under each workload, at least 1.
    pub rounds: usize,
    /// How long each sample is measured.
    pub duration: Duration,
    /// How long they are left alone under idle.
    pub idle: Duration,
    /// How often a sample is taken at most until it is undisturbed, at least 1.
    pub attempts: u32,
    /// Messages a second of an open loop, where it is not to be the usual rate.
    pub rate: Option<u32>,
    /// Kinds of servers, in this order.
    pub kinds: Vec<Kind>,
    /// Workloads, in this order; those that say nothing about a kind are left out there.
    pub workloads: Vec<Workload>,
    /// Peers, in this order in the tables; who comes after whom is for [`turns`] to say.
    pub peers: Vec<Peer>,
    /// Where the servers are, and where they run.
    pub place: Place,
}

/// Who of one kind takes part, and in what.
#[derive(Debug)]
pub struct Plan {
    kind: Kind,
    workloads: Vec<Workload>,
    peers: Vec<Peer>,
    absent: Vec<Absent>,
}

/// What there is to do, without what nobody or nothing is left for.
///
/// # Errors
/// When a core or a binary is not there, or nobody can be compared under any workload.
pub fn plan(options: &Options) -> Result<Vec<Plan>> {
    options.place.check_cores()?;
    let takes_part = |p: &&Peer| options.kinds.iter().any(|&kind| p.takes_part_in(kind));
    if options.peers.iter().filter(takes_part).any(|peer| peer.is_vmsgrd()) {
        options.place.check_vmsgrd("name another with --vmsgrd, or leave it out with --peers")?;
    }
    let plans: Vec<Plan> =
        options.kinds.iter().filter_map(|&kind| of_kind(options, kind)).collect();
    ensure!(!plans.is_empty(), "none of these peers is measured under any of these workloads");
    Ok(plans)
}

fn of_kind(options: &Options, kind: Kind) -> Option<Plan> {
    let peers = options.peers.iter().copied().filter(|peer| peer.takes_part_in(kind));
    let all: Vec<(Peer, Option<Absent>)> = peers.map(|peer| (peer, peer.absence())).collect();
    let fits = |workload: &&Workload| kind.workloads().contains(workload);
    let workloads: Vec<Workload> = options.workloads.iter().filter(fits).copied().collect();
    let useful = !all.is_empty() && !workloads.is_empty();
    useful.then(|| Plan {
        kind,
        workloads,
        peers: all.iter().filter(|(_, gone)| gone.is_none()).map(|(peer, _)| *peer).collect(),
        absent: all.into_iter().filter_map(|(_, gone)| gone).collect(),
    })
}

/// Runs everything that is planned; tells `say` what is measured, and each workload's table when it
/// is complete.
///
/// # Errors
/// When a server cannot be started or fails under load, when `stop` is set; what `say` gives.
pub fn run(
    options: &Options,
    plans: &[Plan],
    stop: &AtomicBool,
    say: impl Fn(&dyn Display) -> Result<()>,
) -> Result<Report> {
    let header = Header::new(options)?;
    say(&format_args!("{header}\n"))?;
    let of_plan = |plan: &Plan| {
        let rounds = plan.workloads.iter().map(|&workload| rounds(options, plan.kind, workload));
        rounds.sum::<usize>() * plan.peers.len()
    };
    let samples: usize = plans.iter().map(of_plan).sum();
    let progress = ProgressBar::new(samples as u64)
        .with_style(ProgressStyle::with_template("{msg:<32} [{bar:40}] {pos}/{len}, {eta} left")?);
    let run = Run { options, stop, nearest: Nearest::default() };
    let mut report = Report::new(header);
    for plan in plans {
        for &workload in &plan.workloads {
            report.add(section(&run, plan, workload, &progress)?);
            let section = &report.sections[report.sections.len() - 1];
            progress.suspend(|| say(&format_args!("{section}\n")))?;
        }
    }
    progress.finish_and_clear();
    Ok(report)
}

/// What all samples have in common.
struct Run<'a> {
    options: &'a Options,
    stop: &'a AtomicBool,
    nearest: Nearest,
}

fn section(
    run: &Run<'_>,
    plan: &Plan,
    workload: Workload,
    progress: &ProgressBar,
) -> Result<Section> {
    let options = run.options;
    let count = rounds(options, plan.kind, workload);
    let mut rounds = Vec::with_capacity(count);
    for number in 1..=count {
        let mut round: Vec<Option<Sample>> = plan.peers.iter().map(|_| None).collect();
        for place in turns::order(plan.peers.len(), number - 1) {
            let peer = plan.peers[place];
            let (name, peer_name) = (workload.name(), peer.name());
            let kind = plan.kind.prefix();
            progress.set_message(format!("{kind}{name} {number}/{count} {peer_name}"));
            let sample = sample(run, workload, (plan.kind, peer))
                .with_context(|| format!("{peer_name} under {name}"))?;
            round[place] = Some(sample);
            progress.inc(1);
        }
        rounds.push(round.into_iter().flatten().collect::<Vec<Sample>>());
    }
    let shape = workload.shape(plan.kind);
    Ok(Section {
        kind: plan.kind,
        workload,
        rate: options.rate.filter(|_| matches!(shape, Shape::Open { .. })),
        peers: plan.peers.clone(),
        absent: plan.absent.clone(),
        rounds,
    })
}

/// Idle is measured once, and for longer: what does nothing does it every time.
fn rounds(options: &Options, kind: Kind, workload: Workload) -> usize {
    if workload.shape(kind).is_idle() { 1 } else { options.rounds }
}

fn sample(run: &Run<'_>, workload: Workload, peer: (Kind, Peer)) -> Result<Sample> {
    let options = run.options;
    // Nothing is nothing, whatever else goes on.
    let attempts = if workload.shape(peer.0).is_idle() { 1 } else { options.attempts };
    least_disturbed(attempts, options.duration / 2, &run.nearest, || {
        attempt_sample(run, workload, peer)
    })
}

/// One sample; taken again while the machine is busy with something else, after a `pause`, and in
/// the end the least disturbed one.
pub(crate) fn least_disturbed(
    attempts: u32,
    pause: Duration,
    nearest: &Nearest,
    mut attempt: impl FnMut() -> Result<Sample>,
) -> Result<Sample> {
    let mut best = attempt()?;
    while !best.is_clean() && best.attempts < attempts {
        // Whoever disturbed it may be done by then.
        thread::sleep(pause);
        let attempts = best.attempts + 1;
        let next = attempt()?;
        best.disturbance.compare(&best.measured, nearest);
        if next.disturbance.total() < best.disturbance.total() {
            best = next;
        }
        best.attempts = attempts;
    }
    Ok(best)
}

fn attempt_sample(run: &Run<'_>, workload: Workload, (kind, peer): (Kind, Peer)) -> Result<Sample> {
    let (options, stop) = (run.options, run.stop);
    let mut server = peer.start(kind, &options.place)?;
    let (measured, stolen) =
        attended(&options.place, || measure(options, workload, (kind, &server), stop))?;
    // When the server died, that is the reason, and not the reset that the generator saw.
    server.check()?;
    let (measured, alone_p99_us) = measured?;
    let disturbance = Disturbance::new(stolen, kind, &measured, &run.nearest);
    Ok(Sample { measured, disturbance, alone_p99_us, attempts: 1 })
}

/// What comes of a generator, on a thread of its own, because it is pinned and servers that are
/// started later would inherit that; and the share of the cores that was stolen meanwhile.
pub(crate) fn attended<T: Send>(
    place: &Place,
    generator: impl FnOnce() -> Result<T> + Send,
) -> Result<(Result<T>, f64)> {
    let watch = Watch::start([place.server_core, place.load_core])?;
    let outcome = thread::scope(|scope| scope.spawn(generator).join());
    let stolen = watch.stolen()?;
    Ok((outcome.unwrap_or_else(|_| Err(anyhow!("the generator panicked"))), stolen))
}

/// Also the p99 of the well-behaved alone, in microseconds, if others are to be beside them.
fn measure(
    options: &Options,
    workload: Workload,
    (kind, running): (Kind, &Running),
    stop: &AtomicBool,
) -> Result<(Measured, Option<f64>)> {
    let (address, servers) = (running.address(), running.watched());
    let core = Some(options.place.load_core);
    let server_core = Some(options.place.server_core);
    let (duration, warm_up) = (options.duration, WARM_UP);
    // Not worth more than what is measured.
    let probe = Some(PROBED.min(options.duration));
    let closed = |connections, depth, size| load::Options {
        address,
        connections,
        depth,
        size,
        duration,
        warm_up,
        verify: false,
        core,
        server_core,
        servers: servers.clone(),
        probe,
        rate: None,
        slow: 0,
    };
    let mut alone_p99_us = None;
    let measured = match workload.shape_at(kind, options.rate) {
        Shape::Closed { connections, depth, size, slow } => {
            let mut options = closed(connections, depth, size);
            if slow > 0 {
                // On the same server and a moment before: p99 moves by more from run to run than
                // what it is looked at for.
                alone_p99_us = Some(load::run(&options, stop)?.latency.p99_us);
                options.slow = slow;
            }
            Measured::Load(load::run(&options, stop)?)
        }
        Shape::Open { connections, size, rate } => {
            if kind.shares_the_generators_core() {
                // In an open loop the generator never sleeps.
                cores::give_way()?;
            }
            let options =
                load::Options { rate: Some(f64::from(rate)), ..closed(connections, 1, size) };
            Measured::Load(load::run(&options, stop)?)
        }
        Shape::Churn { at_once, size } => {
            let options = ChurnOptions {
                address,
                at_once,
                size,
                duration,
                warm_up,
                verify: false,
                core,
                server_core,
                servers,
                probe,
            };
            Measured::Load(churn::run(&options, stop)?)
        }
        Shape::Idle { connections } => {
            let duration = options.idle;
            let options = IdleOptions { address, connections, duration, warm_up, core, servers };
            Measured::Idle(idle::run(&options, stop)?)
        }
        Shape::Osd { depth, size } => {
            let options = OsdOptions {
                address,
                connections: 1,
                depth,
                rate: None,
                size,
                read_fraction: 0.0,
                duration,
                warm_up,
                core,
                server_core,
                servers,
                probe,
            };
            Measured::Load(osd::run(&options, stop)?)
        }
    };
    Ok((measured, alone_p99_us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use summary::tests::sample;

    #[test]
    fn a_disturbed_sample_is_taken_again_and_the_least_disturbed_one_kept() {
        let kept = |attempts, waited: &[f64]| {
            let mut left = waited.iter();
            let attempt = || Ok(sample(1000, 1.0, *left.next().context("no more")?));
            let nearest = Nearest::default();
            let kept = least_disturbed(attempts, Duration::ZERO, &nearest, attempt).unwrap();
            (kept.disturbance.server_waited, kept.attempts, left.len())
        };
        assert_eq!(kept(3, &[0.5, 0.3, 0.4, 0.0]), (0.3, 3, 1));
        assert_eq!(kept(3, &[0.5, 0.0, 0.0]), (0.0, 2, 1));
        assert_eq!(kept(1, &[0.5, 0.0]), (0.5, 1, 1));
    }
}
