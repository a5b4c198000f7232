//! One server under a load.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::anyhow;
use serde::Serialize;
use vmsgr_perf::cores;
use vmsgr_perf::load::churn::{self, ChurnOptions};
use vmsgr_perf::load::idle::{self, IdleOptions};
use vmsgr_perf::load::osd::{self, OsdOptions};
use vmsgr_perf::load::{self, Outcome, WARM_UP};
use vmsgr_perf::probe::Watched;

use super::outcome::{distance, idle_table, load_table};
use super::{stop_on_signals, usable, watched};
use crate::cli::{Load, Measuring, Osd};
use crate::failure::Failure::{self, Usage};
use crate::failure::under_load;
use crate::output::print;
use crate::progress::progress;
use crate::saved;

/// Finds out before the load begins what would spoil it; the flag that signals set, and who is
/// looked at.
fn begin(measuring: &Measuring) -> Result<(Arc<AtomicBool>, Vec<Watched>), Failure> {
    cores::raise_descriptor_limit()?;
    let stop = stop_on_signals()?;
    saved::prepare(measuring.json.as_deref()).map_err(Usage)?;
    usable("--core", measuring.core).map_err(Usage)?;
    usable("--server-core", measuring.server_core).map_err(Usage)?;
    if let (Some(core), true) = (measuring.core, measuring.core == measuring.server_core) {
        return Err(Usage(anyhow!("--server-core: is --core, too: {core} is as near as can be")));
    }
    let servers = watched(measuring.pid).map_err(Usage)?;
    Ok((stop, servers))
}

/// Tells what came of it, in these words for what was sent, and keeps it where that is asked for.
fn tell(
    outcome: &Outcome,
    words: (&str, &str),
    measuring: &Measuring,
    arguments: &impl Serialize,
) -> Result<(), Failure> {
    print(&load_table(outcome, words))?;
    if let Some(core) = measuring.server_core {
        print(&distance(core, &outcome.round_trips_ns))?;
    }
    Ok(saved::save(measuring.json.as_deref(), arguments, outcome)?)
}

/// Loads an echo server.
pub fn load(arguments: &Load) -> Result<(), Failure> {
    let Measuring { duration, core, server_core, pid, json } = &arguments.measuring;
    let (stop, servers) = begin(&arguments.measuring)?;
    let failed = |error| under_load(error, arguments.addr, ("echo", "epoll"));
    let units = (!arguments.idle).then_some("msgs");
    let progress = progress(*duration, arguments.connections, arguments.addr, units)?;
    let probe = pid.map(|_| load::PROBED);
    if arguments.idle {
        let options = IdleOptions {
            address: arguments.addr,
            connections: arguments.connections,
            duration: *duration,
            warm_up: WARM_UP,
            core: *core,
            servers,
        };
        let outcome = idle::run(&options, &stop).map_err(failed)?;
        progress.finish_and_clear();
        print(&idle_table(&outcome))?;
        return Ok(saved::save(json.as_deref(), arguments, &outcome)?);
    }
    let outcome = if arguments.churn {
        let options = ChurnOptions {
            address: arguments.addr,
            at_once: arguments.connections,
            size: arguments.size,
            duration: *duration,
            warm_up: WARM_UP,
            verify: arguments.verify,
            core: *core,
            server_core: *server_core,
            servers,
            probe,
        };
        churn::run(&options, &stop)
    } else {
        let options = load::Options {
            address: arguments.addr,
            connections: arguments.connections,
            depth: arguments.depth,
            size: arguments.size,
            duration: *duration,
            warm_up: WARM_UP,
            verify: arguments.verify,
            core: *core,
            server_core: *server_core,
            servers,
            probe,
            rate: arguments.rate,
            slow: arguments.slow,
        };
        load::run(&options, &stop)
    };
    let outcome = outcome.map_err(failed)?;
    progress.finish_and_clear();
    tell(&outcome, ("msgs", "message"), &arguments.measuring, arguments)
}

/// Loads whoever answers operations of OSDs.
pub fn osd(arguments: &Osd) -> Result<(), Failure> {
    let Measuring { duration, core, server_core, pid, .. } = &arguments.measuring;
    let (stop, servers) = begin(&arguments.measuring)?;
    let failed = |error| under_load(error, arguments.addr, ("osd-null", "osd-null"));
    let progress = progress(*duration, arguments.connections, arguments.addr, Some("ops"))?;
    let options = OsdOptions {
        address: arguments.addr,
        connections: arguments.connections,
        depth: arguments.depth,
        rate: arguments.rate,
        size: arguments.size as usize,
        read_fraction: arguments.read_fraction,
        duration: *duration,
        warm_up: WARM_UP,
        core: *core,
        server_core: *server_core,
        servers,
        probe: pid.map(|_| load::PROBED),
    };
    let outcome = osd::run(&options, &stop).map_err(failed)?;
    progress.finish_and_clear();
    tell(&outcome, ("ops", "operation"), &arguments.measuring, arguments)
}
