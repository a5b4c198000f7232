//! Servers side by side, and what is done with the results.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use vmsgr_perf::suite::peer::Peer;
use vmsgr_perf::suite::report::Report;
use vmsgr_perf::workload::{Kind, Workload};
use vmsgr_perf::{compare, cores, suite};

use super::{place, stop_on_signals, warn_of_a_debug_build};
use crate::cli::{Compare, Merge, Suite};
use crate::failure::Failure::{self, Usage};
use crate::output::{create, print, save, write};

/// Measures servers side by side.
pub fn suite(arguments: Suite) -> Result<(), Failure> {
    warn_of_a_debug_build();
    cores::raise_descriptor_limit()?;
    let stop = stop_on_signals()?;
    let look = Duration::from_secs(1);
    let (rounds, duration, idle) = match arguments.quick {
        true => (1, look, look),
        false => (arguments.rounds, arguments.seconds, arguments.idle_seconds),
    };
    let kinds = arguments.kinds().map_err(Usage)?;
    takes_part(&arguments.peers, &kinds).map_err(Usage)?;
    let workloads = match arguments.only.is_empty() {
        true => Workload::value_variants().to_vec(),
        false => arguments.only,
    };
    let steady = workloads.contains(&Workload::Steady)
        && kinds.iter().any(|kind| kind.workloads().contains(&Workload::Steady));
    if arguments.rate.is_some() && !steady {
        return Err(Usage(anyhow!("--rate is that of steady, which is not measured")));
    }
    let usual = || Peer::value_variants().iter().copied().filter(|peer| peer.is_usual()).collect();
    let options = suite::Options {
        rounds,
        duration,
        idle,
        attempts: arguments.attempts,
        rate: arguments.rate,
        kinds,
        workloads,
        peers: if arguments.peers.is_empty() { usual() } else { arguments.peers },
        place: place(arguments.place)?,
    };
    let plans = suite::plan(&options).map_err(Usage)?;
    if let Some(folder) = &arguments.out {
        create(folder).map_err(Usage)?;
    }
    let report = suite::run(&options, &plans, &stop, |text| print(text))?;
    print(&report.verdicts())?;
    Ok(arguments.out.map_or(Ok(()), |folder| keep(&report, &folder))?)
}

/// Nobody who was asked for may be left out without a word.
fn takes_part(peers: &[Peer], kinds: &[Kind]) -> Result<()> {
    let of_kinds = |peer: Peer| kinds.iter().any(|&kind| peer.takes_part_in(kind));
    let Some(peer) = peers.iter().find(|&&peer| !of_kinds(peer)) else { return Ok(()) };
    let all = Peer::value_variants().iter().filter(|&&peer| of_kinds(peer));
    let all: Vec<&str> = all.map(|peer| peer.name()).collect();
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    Err(anyhow!(
        "{} takes no part in --kind {}; these do: {}",
        peer.name(),
        kinds.join(", "),
        all.join(", ")
    ))
}

/// Everything that the suite writes.
fn keep(report: &Report, folder: &Path) -> Result<()> {
    write(&folder.join("results.md"), &report.to_string())?;
    save(&folder.join("results.json"), report)?;
    suite::page::write(report, folder)
}

/// Puts results together.
pub fn merge(arguments: &Merge) -> Result<(), Failure> {
    let pieces = arguments.pieces.iter().map(|path| compare::read(path));
    let pieces = pieces.collect::<Result<_>>().map_err(Usage)?;
    let report = suite::merge::merge(pieces).map_err(Usage)?;
    create(&arguments.out).map_err(Usage)?;
    print(&report)?;
    Ok(keep(&report, &arguments.out)?)
}

/// Sets two results against each other.
pub fn compare(arguments: &Compare) -> Result<(), Failure> {
    let [old, new] = [&arguments.old, &arguments.new].map(|path| compare::read(path));
    let (old, new) = (old.map_err(Usage)?, new.map_err(Usage)?);
    Ok(print(&compare::Comparison::new(&old, &new))?)
}
