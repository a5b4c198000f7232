//! `vmsgr-bench`: see the library's documentation for what is behind each subcommand.

mod cli;
mod failure;
// As vmsgrd has it.
#[path = "../../daemon/src/generate/mod.rs"]
mod generate;
mod manual;
mod progress;
mod saved;
// As vmsgrd has it.
#[path = "../../daemon/src/standard_output.rs"]
mod standard_output;
// As vmsgrd has it.
#[path = "../../daemon/src/unbound.rs"]
mod unbound;

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use progress::progress;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use vmsgr_perf::load::churn::{self, ChurnOptions};
use vmsgr_perf::load::idle::{self, IdleOptions, IdleOutcome};
use vmsgr_perf::load::osd::{self, OsdOptions};
use vmsgr_perf::load::{self, Outcome, WARM_UP};
use vmsgr_perf::peers::{
    self, app_shm, epoll, epoll_relay, monoio_echo, osd_null, sleep_poll, splice_relay, tokio_echo,
};
use vmsgr_perf::probe::{Probed, Watched};
use vmsgr_perf::proc::Snapshot;
use vmsgr_perf::suite::peer::{Peer, Place};
use vmsgr_perf::suite::report::Report;
use vmsgr_perf::system_calls::Means;
use vmsgr_perf::table::{Table, figure, rate};
use vmsgr_perf::workload::{Kind, Workload};
use vmsgr_perf::{compare, cores, frames, hand_over, spin, suite};

use failure::Failure::Usage;
use failure::{Failure, listening, under_load};

use cli::{Builtin, Cli, Command, Compare, HandOver, Listen, Load, Merge, Osd, Serve, Spin, Suite};

fn main() -> ExitCode {
    let cli: Cli = match generate::read(std::env::args_os(), &manual::MANUAL) {
        Ok(generate::Asked::Run(cli)) => cli,
        Ok(generate::Asked::Print(text)) => return standard_output::answer("vmsgr-bench", &text),
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        Command::Load(arguments) => load(&arguments),
        Command::Osd(arguments) => osd(&arguments),
        Command::Suite(arguments) => suite(arguments),
        Command::Spin(arguments) => spin(arguments),
        Command::Compare(arguments) => compare(&arguments),
        Command::Merge(arguments) => merge(&arguments),
        Command::Frames(arguments) => print(&frames::run(arguments.rounds)),
        Command::HandOver(arguments) => hand_over(&arguments),
        Command::Serve(arguments) => serve(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.told(),
    }
}

fn load(arguments: &Load) -> Result<(), Failure> {
    cores::raise_descriptor_limit()?;
    let stop = stop_on_signals()?;
    let failed = |error| under_load(error, arguments.addr, ("echo", "epoll"));
    saved::prepare(arguments.json.as_deref()).map_err(Usage)?;
    usable(arguments.core).map_err(Usage)?;
    let servers = watched(arguments.pid).map_err(Usage)?;
    let units = (!arguments.idle).then_some("msgs");
    let progress = progress(arguments.duration, arguments.connections, arguments.addr, units)?;
    let probe = arguments.pid.map(|_| load::PROBED);
    if arguments.idle {
        let options = IdleOptions {
            address: arguments.addr,
            connections: arguments.connections,
            duration: arguments.duration,
            warm_up: WARM_UP,
            core: arguments.core,
            servers,
        };
        let outcome = idle::run(&options, &stop).map_err(failed)?;
        progress.finish_and_clear();
        print(&idle_table(&outcome))?;
        return Ok(saved::save(arguments.json.as_deref(), arguments, &outcome)?);
    }
    let outcome = if arguments.churn {
        let options = ChurnOptions {
            address: arguments.addr,
            at_once: arguments.connections,
            size: arguments.size,
            duration: arguments.duration,
            warm_up: WARM_UP,
            verify: arguments.verify,
            core: arguments.core,
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
            duration: arguments.duration,
            warm_up: WARM_UP,
            verify: arguments.verify,
            core: arguments.core,
            servers,
            probe,
            rate: arguments.rate,
            slow: arguments.slow,
        };
        load::run(&options, &stop)
    };
    let outcome = outcome.map_err(failed)?;
    progress.finish_and_clear();
    print(&load_table(&outcome, ("msgs", "message")))?;
    Ok(saved::save(arguments.json.as_deref(), arguments, &outcome)?)
}

fn osd(arguments: &Osd) -> Result<(), Failure> {
    cores::raise_descriptor_limit()?;
    let stop = stop_on_signals()?;
    let failed = |error| under_load(error, arguments.addr, ("osd-null", "osd-null"));
    saved::prepare(arguments.json.as_deref()).map_err(Usage)?;
    usable(arguments.core).map_err(Usage)?;
    let servers = watched(arguments.pid).map_err(Usage)?;
    let progress =
        progress(arguments.duration, arguments.connections, arguments.addr, Some("ops"))?;
    let options = OsdOptions {
        address: arguments.addr,
        connections: arguments.connections,
        depth: arguments.depth,
        rate: arguments.rate,
        size: arguments.size as usize,
        read_fraction: arguments.read_fraction,
        duration: arguments.duration,
        warm_up: WARM_UP,
        core: arguments.core,
        servers,
        probe: arguments.pid.map(|_| load::PROBED),
    };
    let outcome = osd::run(&options, &stop).map_err(failed)?;
    progress.finish_and_clear();
    print(&load_table(&outcome, ("ops", "operation")))?;
    Ok(saved::save(arguments.json.as_deref(), arguments, &outcome)?)
}

fn hand_over(arguments: &HandOver) -> Result<(), Failure> {
    usable(Some(arguments.core)).map_err(Usage)?;
    if arguments.sleeper {
        return Ok(hand_over::sleep(arguments.core)?);
    }
    print(&hand_over::run(arguments.core, arguments.size as usize, arguments.rounds)?)
}

/// The one process that is looked at, if any is: it is there.
fn watched(pid: Option<u32>) -> Result<Vec<Watched>> {
    let Some(pid) = pid else { return Ok(Vec::new()) };
    Snapshot::of(pid).context("--pid")?;
    Ok(vec![Watched { pid, reports: None }])
}

/// The core of `--core`, if it is given, is one to run on.
fn usable(core: Option<usize>) -> Result<()> {
    core.map_or(Ok(()), cores::check).context("--core")
}

fn suite(arguments: Suite) -> Result<(), Failure> {
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
    let workloads = all_if_empty(arguments.only, Workload::value_variants());
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
    let report = suite::run(&options, &plans, &stop, |text| written(text))?;
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

fn merge(arguments: &Merge) -> Result<(), Failure> {
    let pieces = arguments.pieces.iter().map(|path| compare::read(path));
    let pieces = pieces.collect::<Result<_>>().map_err(Usage)?;
    let report = suite::merge::merge(pieces).map_err(Usage)?;
    create(&arguments.out).map_err(Usage)?;
    print(&report)?;
    Ok(keep(&report, &arguments.out)?)
}

fn spin(arguments: Spin) -> Result<(), Failure> {
    warn_of_a_debug_build();
    let stop = stop_on_signals()?;
    let options = spin::Options {
        rounds: arguments.rounds,
        duration: arguments.seconds,
        attempts: arguments.attempts,
        place: place(arguments.place)?,
    };
    options.place.check_cores().map_err(Usage)?;
    options.place.check_vmsgrd("or name another with --vmsgrd").map_err(Usage)?;
    // Before the minutes that it takes, not after.
    create(&arguments.out).map_err(Usage)?;
    let report = spin::run(&options, &stop)?;
    print(&report)?;
    write(&arguments.out.join("spin.svg"), &report.picture().to_string())?;
    Ok(save(&arguments.out.join("spin.json"), &report)?)
}

fn compare(arguments: &Compare) -> Result<(), Failure> {
    let [old, new] = [&arguments.old, &arguments.new].map(|path| compare::read(path));
    print(&compare::Comparison::new(&old.map_err(Usage)?, &new.map_err(Usage)?))
}

fn all_if_empty<T: Copy>(given: Vec<T>, all: &[T]) -> Vec<T> {
    if given.is_empty() { all.to_vec() } else { given }
}

fn place(given: cli::Place) -> Result<Place> {
    Ok(Place {
        vmsgrd: given.vmsgrd.map_or_else(vmsgrd_beside_this, Ok)?,
        server_core: given.server_core,
        load_core: given.load_core,
    })
}

fn warn_of_a_debug_build() {
    if cfg!(debug_assertions) {
        eprintln!("vmsgr-bench: built without optimisation, the figures will mean nothing");
    }
}

fn serve(arguments: &Serve) -> Result<(), Failure> {
    cores::raise_descriptor_limit()?;
    usable(arguments.core).map_err(Usage)?;
    if let Some(core) = arguments.core {
        cores::pin(core)?;
    }
    let listen = match &arguments.listen {
        Listen::Network(address) => *address,
        Listen::Unix(path) => return serve_unix(arguments, path),
    };
    if let Builtin::AppShm = arguments.server {
        return Ok(serve_app_shm(arguments, listen)?);
    }
    let listener = peers::listen(listen).map_err(|error| listening(error, listen))?;
    peers::announce(&listener, arguments.server.service())?;
    let buffer = arguments.ring_bytes as usize;
    let served = match arguments.server {
        Builtin::Epoll => epoll::serve(&listener, epoll::Wait::Sleep, epoll::BUFFER_BYTES),
        Builtin::EpollBeside => epoll::serve_beside_a_thread(&listener),
        Builtin::EpollSpin => epoll::serve(&listener, epoll::Wait::Spin, epoll::BUFFER_BYTES),
        Builtin::Tokio => tokio_echo::serve(listener),
        Builtin::MonoioEpoll => monoio_echo::serve(listener, monoio_echo::Driver::Epoll),
        Builtin::MonoioUring => monoio_echo::serve(listener, monoio_echo::Driver::Uring),
        Builtin::MonoioUringDefer => monoio_echo::serve(listener, monoio_echo::Driver::UringDefer),
        Builtin::SleepPoll => sleep_poll::serve(listener),
        Builtin::EpollRelay => {
            let upstream = arguments.upstream.context("no --upstream")?;
            epoll_relay::serve(&listener, upstream)
        }
        Builtin::SpliceRelay => {
            let upstream = arguments.upstream.context("no --upstream")?;
            splice_relay::serve(&listener, upstream)
        }
        Builtin::AppEpoll => epoll::serve(&listener, epoll::Wait::Sleep, buffer),
        Builtin::OsdNull => return Ok(osd_null::serve(&listener).context("the server stopped")?),
        Builtin::AppShm => unreachable!("it has no listener"),
    };
    Ok(served.context("the server stopped")?)
}

fn serve_unix(arguments: &Serve, path: &Path) -> Result<(), Failure> {
    if !matches!(arguments.server, Builtin::AppEpoll) {
        return Err(Usage(anyhow!(
            "--listen: only app-epoll listens on a Unix socket; write HOST:PORT"
        )));
    }
    let listener = peers::listen_unix(path)?;
    peers::announce_at(&format!("unix:{}", path.display()), arguments.server.service())?;
    let buffer = arguments.ring_bytes as usize;
    Ok(epoll::serve(&listener, epoll::Wait::Sleep, buffer).context("the server stopped")?)
}

fn serve_app_shm(arguments: &Serve, listen: SocketAddr) -> Result<()> {
    let report = Arc::new(AtomicBool::new(false));
    flag::register(SIGUSR1, Arc::clone(&report))?;
    let options = app_shm::Options {
        listen,
        socket: arguments.socket.clone(),
        ring_bytes: arguments.ring_bytes,
        spin: Duration::from_micros(arguments.spin_us),
    };
    app_shm::serve(&options, &report)
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

/// What a load brought, of what has this name in a column's head and in full.
fn load_table(outcome: &Outcome, (units, unit): (&str, &str)) -> String {
    let latency = &outcome.latency;
    let mut table = Table::new([
        &format!("{units}/s"),
        "MB/s",
        "p50 us",
        "p90 us",
        "p99 us",
        "p99.9 us",
        "max us",
    ]);
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
            "server, per {unit}: {} us CPU, {voluntary:.4} voluntary and {involuntary:.4} \
             involuntary context switches\n",
            figure(cpu)
        );
    }
    if let Some(probed) = &outcome.probed {
        text +=
            &system_calls(probed, probed.all_system_calls_per_message(), &format!("per {unit}"));
    }
    text += &format!(
        "generator, per {unit}: {} us CPU; {:.0}% busy, waited for its core {:.1}% of the time, \
             found {} connections ready per wait\n",
        figure(outcome.own_cpu_us_per_message()),
        outcome.generator.busy * 100.0,
        outcome.generator.waited * 100.0,
        figure(outcome.generator.ready_per_wait)
    );
    if let Some(open) = outcome.open_loop {
        text += &format!(
            "open loop: {} {units}/s were due, {} unanswered at the end\n",
            rate(open.rate),
            open.unanswered
        );
    }
    if outcome.silent_connections > 0 {
        text += &format!("{} connections got no reply at all\n", outcome.silent_connections);
    }
    text
}

/// How many system calls there were, or why that is not known.
fn system_calls(probed: &Probed, count: Option<f64>, of: &str) -> String {
    if let Some(why) = &probed.missing {
        return format!("server, system calls: not counted: {why}\n");
    }
    let means = match probed.means {
        Some(Means::Strace) => "; by strace, which slows the server down: fewer than without",
        _ => "",
    };
    count.map_or(String::new(), |count| format!("server, system calls {of}: {count:.4}{means}\n"))
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
    if let Some(probed) = &outcome.probed {
        let all = probed.parts.iter().map(|part| part.system_calls).sum::<Option<u64>>();
        text += &system_calls(probed, all.map(|count| count as f64), "in all");
    }
    text
}

fn print(text: &impl Display) -> Result<(), Failure> {
    written(text).map_err(Failure::Failed)
}

fn written(text: &(impl Display + ?Sized)) -> Result<()> {
    standard_output::print(text).context("standard output")
}

fn save(path: &Path, report: &impl Serialize) -> Result<()> {
    write(path, &(serde_json::to_string_pretty(report)? + "\n"))
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
