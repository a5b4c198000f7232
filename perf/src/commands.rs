//! What the program does: a file for each command, or for those that do nearly the same.

pub mod hand_over;
pub mod load;
mod outcome;
pub mod serve;
pub mod spin;
pub mod suite;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use vmsgr_perf::cores;
use vmsgr_perf::probe::Watched;
use vmsgr_perf::proc::Snapshot;
use vmsgr_perf::standard_streams::say;
use vmsgr_perf::suite::peer::Place;

use crate::cli;

/// The one process that is looked at, if any is: it is there.
fn watched(pid: Option<u32>) -> Result<Vec<Watched>> {
    let Some(pid) = pid else { return Ok(Vec::new()) };
    Snapshot::of(pid).context("--pid")?;
    Ok(vec![Watched { pid, reports: None }])
}

/// The core of this option, if it is given, is one to run on.
fn usable(option: &'static str, core: Option<usize>) -> Result<()> {
    core.map_or(Ok(()), cores::check).context(option)
}

fn place(given: cli::Place) -> Result<Place> {
    Ok(Place {
        vmsgrd: given.vmsgrd.map_or_else(vmsgrd_beside_this, Ok)?,
        server_core: given.server_core,
        load_core: given.load_core,
    })
}

/// The daemon that was built together with this program.
fn vmsgrd_beside_this() -> Result<PathBuf> {
    let this = std::env::current_exe().context("the path of this program is not known")?;
    Ok(this.with_file_name("vmsgrd"))
}

fn warn_of_a_debug_build() {
    if cfg!(debug_assertions) {
        say("vmsgr-bench: built without optimisation, the figures will mean nothing");
    }
}

/// A flag that the first SIGINT or SIGTERM sets, so that servers are ended and files written in
/// order; the second one ends the process at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag clear, and then sets it.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
