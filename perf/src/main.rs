//! `vmsgr-bench`: see the library's documentation for what is behind each subcommand.

mod cli;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use vmsgr_perf::compare::peer::Peer;
use vmsgr_perf::load::idle::{self, IdleOptions, IdleOutcome};
use vmsgr_perf::load::{self, Outcome, WARM_UP};
use vmsgr_perf::peers::{self, epoll, tokio_echo};
use vmsgr_perf::table::{Table, figure, rate};
use vmsgr_perf::workload::Workload;
use vmsgr_perf::{compare, cores};

use cli::{Builtin, Cli, Command, Compare, Load, Serve};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Load(arguments) => load(&arguments),
        Command::Compare(arguments) => compare(arguments),
        Command::Serve(arguments) => serve(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmsgr-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(arguments: &Load) -> Result<()> {
    cores::raise_descriptor_limit()?;
    let stop = stop_on_signals()?;
    if arguments.idle {
        let options = IdleOptions {
            address: arguments.addr,
            connections: arguments.connections,
            duration: arguments.duration,
            warm_up: WARM_UP,
            core: arguments.core,
            server: arguments.pid,
        };
        let outcome = idle::run(&options, &stop)?;
        print!("{}", idle_table(&outcome));
        return save(arguments.json.as_deref(), &outcome);
    }
    let options = load::Options {
        address: arguments.addr,
        connections: arguments.connections,
        depth: arguments.depth,
        size: arguments.size,
        duration: arguments.duration,
        warm_up: WARM_UP,
        verify: arguments.verify,
        core: arguments.core,
        server: arguments.pid,
    };
    let outcome = load::run(&options, &stop)?;
    print!("{}", load_table(&outcome));
    save(arguments.json.as_deref(), &outcome)
}

fn compare(arguments: Compare) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("vmsgr-bench: built without optimisation, the figures will mean nothing");
    }
    cores::raise_descriptor_limit()?;
    let stop = stop_on_signals()?;
    let all_if_empty = |peers: Vec<Peer>| {
        if peers.is_empty() { Peer::value_variants().to_vec() } else { peers }
    };
    let options = compare::Options {
        rounds: arguments.rounds,
        duration: arguments.seconds,
        workloads: if arguments.only.is_empty() {
            Workload::value_variants().to_vec()
        } else {
            arguments.only
        },
        peers: all_if_empty(arguments.peers),
        vmsgrd: arguments.vmsgrd.map_or_else(vmsgrd_beside_this, Ok)?,
        server_core: arguments.server_core,
        load_core: arguments.load_core,
    };
    let report = compare::run(&options, &stop)?;
    print!("{}", report.verdicts());
    if let Some(path) = &arguments.markdown {
        write(path, &report.to_string())?;
    }
    save(arguments.json.as_deref(), &report)
}

fn serve(arguments: &Serve) -> Result<()> {
    cores::raise_descriptor_limit()?;
    if let Some(core) = arguments.core {
        cores::pin(core)?;
    }
    let listener = peers::listen(arguments.listen)?;
    peers::announce(&listener)?;
    match arguments.server {
        Builtin::Epoll => epoll::serve(&listener, epoll::Wait::Sleep),
        Builtin::EpollSpin => epoll::serve(&listener, epoll::Wait::Spin),
        Builtin::Tokio => tokio_echo::serve(listener),
    }
    .context("the server stopped")
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

/// The daemon that was built together with this program.
fn vmsgrd_beside_this() -> Result<PathBuf> {
    let this = std::env::current_exe().context("the path of this program is not known")?;
    Ok(this.with_file_name("vmsgrd"))
}

fn load_table(outcome: &Outcome) -> String {
    let latency = &outcome.latency;
    let mut table =
        Table::new(["msgs/s", "MB/s", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us"]);
    let mut cells = vec![rate(outcome.messages_per_s()), figure(outcome.megabytes_per_s())];
    cells.extend(
        [latency.p50_us, latency.p90_us, latency.p99_us, latency.p99_9_us, latency.max_us]
            .map(figure),
    );
    table.row(cells);
    let mut text = table.to_string();
    if let (Some(cpu), Some((voluntary, involuntary))) =
        (outcome.cpu_us_per_message(), outcome.switches_per_message())
    {
        text += &format!(
            "server, per message: {} us CPU, {voluntary:.4} voluntary and {involuntary:.4} \
             involuntary context switches\n",
            figure(cpu)
        );
    }
    text += &format!(
        "generator: {:.0}% busy, waited for its core {:.1}% of the time, \
             found {} connections ready per wait\n",
        outcome.generator.busy * 100.0,
        outcome.generator.waited * 100.0,
        figure(outcome.generator.ready_per_wait)
    );
    if outcome.silent_connections > 0 {
        text += &format!("{} connections got no reply at all\n", outcome.silent_connections);
    }
    text
}

fn idle_table(outcome: &IdleOutcome) -> String {
    let mut text =
        format!("{} connections, nothing sent for {:.3} s\n", outcome.connections, outcome.seconds);
    if let Some(usage) = outcome.server {
        text += &format!(
            "server: {:.6} s CPU, {} voluntary and {} involuntary context switches\n",
            usage.cpu_s, usage.voluntary_switches, usage.involuntary_switches
        );
    }
    text
}

fn save(path: Option<&Path>, outcome: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    write(path, &(serde_json::to_string_pretty(outcome)? + "\n"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
