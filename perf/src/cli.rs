//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Serialize, Serializer};
use vmsgr_perf::suite::peer::Peer;
use vmsgr_perf::workload::{Kind, Workload};

const EXAMPLES: &str = "\
Examples:
  vmsgr-bench serve epoll --listen 127.0.0.1:7401 --core 0
  vmsgr-bench load 127.0.0.1:7401 --connections 64 --depth 16 --core 1 --pid $(pgrep -n vmsgr-bench)
  vmsgr-bench load 127.0.0.1:7400 --connections 16 --size 4096 --verify
  vmsgr-bench load 127.0.0.1:7400 --idle --connections 1000 --duration 10 --pid $(pidof vmsgrd)
  vmsgr-bench load 127.0.0.1:7400 --rate 20000 --connections 8
  vmsgr-bench osd 127.0.0.1:6800 --connections 4 --depth 32 --size 4096 --core 1
  vmsgr-bench osd 127.0.0.1:6800 --rate 20000 --connections 4
  vmsgr-bench suite --out figures
  vmsgr-bench suite --quick --only ping,fan --peers vmsgrd,epoll
  vmsgr-bench suite --kind relay --rounds 7 --out relay
  vmsgr-bench suite --only steady --rate 100000 --peers vmsgrd,epoll,tokio
  vmsgr-bench suite --kind app --app-core 0 --out app
  vmsgr-bench suite --kind msgr2 --out msgr2
  vmsgr-bench spin --out figures
  vmsgr-bench frames
  vmsgr-bench hand-over --core 0
  vmsgr-bench compare before/results.json after/results.json
  vmsgr-bench merge monday/results.json tuesday/results.json --out figures

Exit codes:
  0  done; figures and verdicts inform, and never make it fail
  1  failed or interrupted: nothing was measured, or not all of it
  2  bad command line, or what it names cannot be used: a core, a process, a program, a file";

/// Puts a load on an echo server and measures it, alone or beside others.
#[derive(Debug, Parser)]
#[command(name = "vmsgr-bench", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load one echo server and measure it
    #[command(after_help = "\
Examples:
  vmsgr-bench load 127.0.0.1:7400 --connections 64 --depth 16 --core 1 --pid $(pidof vmsgrd)
  vmsgr-bench load 127.0.0.1:7400 --rate 20000 --connections 8
  vmsgr-bench load 127.0.0.1:7400 --idle --connections 1000 --duration 10 --pid $(pidof vmsgrd)")]
    Load(Load),
    /// Load whoever answers operations of Ceph's OSDs, as msgr2 clients do, and measure it
    #[command(after_help = "\
Examples:
  vmsgr-bench serve osd-null --listen 127.0.0.1:6800 --core 0
  vmsgr-bench osd 127.0.0.1:6800 --depth 32 --size 4096 --core 1 --pid $(pgrep -n vmsgr-bench)
  vmsgr-bench osd 127.0.0.1:6800 --connections 16 --size 65536 --read-fraction 0.7 --json osd.json
  vmsgr-bench osd 127.0.0.1:6800 --rate 20000 --connections 4")]
    Osd(Osd),
    /// Measure servers side by side, under every workload
    #[command(after_help = "\
Examples:
  vmsgr-bench suite --out figures
  vmsgr-bench suite --quick --only ping,fan --peers vmsgrd,epoll
  vmsgr-bench suite --only steady --rate 100000 --peers vmsgrd,epoll,tokio
  vmsgr-bench suite --kind relay --only bulk --peers vmsgrd-relay,haproxy,splice-relay")]
    Suite(Suite),
    /// Set two results of the suite against each other
    #[command(after_help = "\
Example:
  vmsgr-bench compare before/results.json after/results.json")]
    Compare(Compare),
    /// Put several results of the suite together: a long run in pieces
    #[command(after_help = "\
Example:
  vmsgr-bench suite --kind echo --rounds 3 --out one; vmsgr-bench suite --kind echo --rounds 3 --out two
  vmsgr-bench merge one/results.json two/results.json --out figures")]
    Merge(Merge),
    /// Draw latency and CPU over request rates, for several spin windows of the daemon
    #[command(after_help = "\
Example:
  vmsgr-bench spin --out figures")]
    Spin(Spin),
    /// Make msgr2 frames and take them apart, beside crc32c and AES-128-GCM alone
    #[command(after_help = "\
Example:
  vmsgr-bench frames --rounds 3")]
    Frames(Frames),
    /// Measure what the kernel takes for two processes that share a core, as a loop and an
    /// application may
    #[command(after_help = "\
Example:
  vmsgr-bench hand-over --core 0 --size 4096")]
    HandOver(HandOver),
    /// Be one of the servers that are compared
    #[command(after_help = "\
Examples:
  vmsgr-bench serve epoll --listen 127.0.0.1:7401 --core 1
  vmsgr-bench serve epoll-relay --listen 127.0.0.1:7402 --upstream 127.0.0.1:7401 --core 0
  vmsgr-bench serve app-shm --listen 127.0.0.1:7403 --socket /run/vmsgr/vmsgrd.sock
  vmsgr-bench serve osd-null --listen 127.0.0.1:6800 --core 0")]
    Serve(Serve),
}

/// Connections, messages in flight, rounds.
const MANY: usize = 1_000_000;

/// Messages a second: more than the generator can send.
const MOST_DUE: i64 = 10_000_000;

/// Of one message.
const MAX_BYTES: usize = 1 << 30;

#[derive(Debug, Args)]
pub struct Frames {
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 9, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub rounds: usize,
}

#[derive(Debug, Args)]
pub struct HandOver {
    /// Core that the two share
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = core_number, allow_negative_numbers = true)]
    pub core: usize,
    /// Bytes of a message that is copied from one ring to another, at most 4 MiB
    #[arg(long, default_value_t = 4096, value_name = "BYTES", value_parser = operation, allow_negative_numbers = true)]
    pub size: u32,
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 9, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub rounds: usize,
    /// Be the process that is woken: its input is the doorbell
    #[arg(long, hide = true)]
    pub sleeper: bool,
}

#[derive(Debug, Args, Serialize)]
pub struct Load {
    /// Where the server listens, HOST:PORT
    #[arg(value_parser = address)]
    pub addr: SocketAddr,
    /// Connections, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub connections: usize,
    /// Messages in flight on each connection, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub depth: usize,
    /// Bytes of a message, at most 1 GiB
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = up_to::<MAX_BYTES>, allow_negative_numbers = true)]
    pub size: usize,
    /// How long to measure, after 0.3 s of warm-up, at most 86400
    #[arg(long, default_value = "5", value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    #[serde(serialize_with = "in_seconds")]
    pub duration: Duration,
    /// Send nothing: what does the server do for connections on which nobody speaks?
    #[arg(long, conflicts_with_all = ["depth", "size", "verify", "churn", "slow", "rate"])]
    pub idle: bool,
    /// A new connection for every message, --connections of them at a time
    #[arg(long, conflicts_with_all = ["depth", "slow", "rate"])]
    pub churn: bool,
    /// Connections besides that send and do not read
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = within::<0, MANY>, allow_negative_numbers = true)]
    pub slow: usize,
    /// Send R messages a second, whatever comes back; latency counts from when each was due
    #[arg(long, value_name = "R", conflicts_with = "depth", value_parser = per_second, allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// Process whose CPU time, context switches and system calls are counted: the server. The last
    /// for 0.3 s after the rest, as root by tracepoints, else by strace
    #[arg(long, value_parser = process_id, allow_negative_numbers = true)]
    pub pid: Option<u32>,
    /// Compare every byte that comes back with what was sent
    #[arg(long)]
    pub verify: bool,
    /// Core to run on
    #[arg(long, value_name = "N", value_parser = core_number, allow_negative_numbers = true)]
    pub core: Option<usize>,
    /// Write what was measured to a file as well
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args, Serialize)]
pub struct Osd {
    /// Where it listens, HOST:PORT
    #[arg(value_parser = address)]
    pub addr: SocketAddr,
    /// Clients, each with a connection and an object of its own, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub connections: usize,
    /// Operations in flight of each client, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub depth: usize,
    /// Bytes that an operation writes or reads, at most 4 MiB
    #[arg(long, default_value_t = 4096, value_name = "BYTES", value_parser = operation, allow_negative_numbers = true)]
    pub size: u32,
    /// How long to measure, after 0.3 s of warm-up, at most 86400
    #[arg(long, default_value = "5", value_name = "SECS", value_parser = seconds, allow_negative_numbers = true)]
    #[serde(serialize_with = "in_seconds")]
    pub duration: Duration,
    /// Share of the operations that read instead of writing, from 0 to 1
    #[arg(long, default_value = "0", value_name = "F", value_parser = share, allow_negative_numbers = true)]
    pub read_fraction: f64,
    /// Ask for R operations a second, whatever comes back; latency counts from when each was due
    #[arg(long, value_name = "R", conflicts_with = "depth", value_parser = per_second, allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// Process whose CPU time, context switches and system calls are counted: the server. The last
    /// for 0.3 s after the rest, as root by tracepoints, else by strace
    #[arg(long, value_parser = process_id, allow_negative_numbers = true)]
    pub pid: Option<u32>,
    /// Core to run on
    #[arg(long, value_name = "N", value_parser = core_number, allow_negative_numbers = true)]
    pub core: Option<usize>,
    /// Write what was measured to a file as well
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Suite {
    /// Samples of each server under each workload
    #[arg(long, default_value_t = 5, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub rounds: usize,
    /// How long each sample is measured, after 0.3 s of warm-up
    #[arg(long, default_value = "2", value_parser = seconds, allow_negative_numbers = true)]
    pub seconds: Duration,
    /// How long servers are left alone under idle, which is measured once
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub idle_seconds: Duration,
    /// A look: one round of one second
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "idle_seconds"])]
    pub quick: bool,
    /// How often a sample is taken at most until nothing disturbs it: on a machine that others
    /// use, fewer make the run end
    #[arg(long, default_value_t = 5, value_parser = attempts, allow_negative_numbers = true)]
    pub attempts: u32,
    /// Messages a second that are due under steady, 1 to 10000000 [default: 50000 of an
    /// echo, 20000 of the others]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=MOST_DUE), allow_negative_numbers = true)]
    pub rate: Option<u32>,
    /// What the servers do
    #[arg(long, default_value = "all")]
    pub kind: Kinds,
    /// Core of the application behind a daemon or proxy: that of the servers or that of the load
    /// generator [default: each in turn]
    #[arg(long, value_name = "N", value_parser = core_number, allow_negative_numbers = true)]
    pub app_core: Option<usize>,
    /// Workloads, separated by commas [default: all]
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',')]
    pub only: Vec<Workload>,
    /// Servers, separated by commas, in the order of each round [default: all but epoll-beside and
    /// splice-relay]
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    pub peers: Vec<Peer>,
    #[command(flatten)]
    pub place: Place,
    /// Write results.json, results.md, pictures and index.html into a folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Where servers are, and where they run.
#[derive(Debug, Args)]
pub struct Place {
    /// The daemon's binary [default: vmsgrd in the folder of this program]
    #[arg(long, value_name = "PATH")]
    pub vmsgrd: Option<PathBuf>,
    /// Core of the servers
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = core_number, allow_negative_numbers = true)]
    pub server_core: usize,
    /// Core of the load generator
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = core_number, allow_negative_numbers = true)]
    pub load_core: usize,
}

/// Which kinds of servers.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kinds {
    Echo,
    Relay,
    App,
    Msgr2,
    All,
}

impl Suite {
    /// The kinds that were asked for.
    pub fn kinds(&self) -> Result<Vec<Kind>> {
        let Place { server_core, load_core, .. } = self.place;
        let applications = match self.app_core {
            None => vec![Kind::App, Kind::AppApart],
            Some(core) if core == server_core => vec![Kind::App],
            Some(core) if core == load_core => vec![Kind::AppApart],
            Some(core) => bail!("--app-core {core} is neither --server-core nor --load-core"),
        };
        Ok(match self.kind {
            Kinds::Echo => vec![Kind::Echo],
            Kinds::Relay => vec![Kind::Relay],
            Kinds::App => applications,
            Kinds::Msgr2 => vec![Kind::Msgr2],
            Kinds::All => [vec![Kind::Echo, Kind::Relay], applications, vec![Kind::Msgr2]].concat(),
        })
    }
}

#[derive(Debug, Args)]
pub struct Spin {
    /// Samples of each server at each rate
    #[arg(long, default_value_t = 3, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub rounds: usize,
    /// How long each sample is measured, after 0.3 s of warm-up
    #[arg(long, default_value = "2", value_parser = seconds, allow_negative_numbers = true)]
    pub seconds: Duration,
    /// How often a sample is taken at most until nothing disturbs it
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100), allow_negative_numbers = true)]
    pub attempts: u32,
    #[command(flatten)]
    pub place: Place,
    /// Folder for spin.json and spin.svg
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct Compare {
    /// results.json of the run before
    #[arg(value_name = "OLD.json")]
    pub old: PathBuf,
    /// results.json of the run after
    #[arg(value_name = "NEW.json")]
    pub new: PathBuf,
}

#[derive(Debug, Args)]
pub struct Merge {
    /// results.json of each piece
    #[arg(value_name = "RESULTS.json", required = true)]
    pub pieces: Vec<PathBuf>,
    /// Folder for results.json, results.md, pictures and index.html
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct Serve {
    pub server: Builtin,
    /// Where to listen, HOST:PORT; port 0 takes a free one. app-epoll also takes unix:PATH
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub listen: Listen,
    /// The server behind a relay, HOST:PORT
    #[arg(long, value_name = "ADDR", value_parser = address, required_if_eq_any([("server", "epoll-relay"), ("server", "splice-relay")]))]
    pub upstream: Option<SocketAddr>,
    /// Where the daemon takes applications, for app-shm [default: as vmsgrd has it]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Bytes of each ring of app-shm, and of each read of app-epoll: a power of two from 4096 to
    /// 16777216
    #[arg(long, value_name = "N", default_value_t = 64 * 1024, value_parser = ring, allow_negative_numbers = true)]
    pub ring_bytes: u32,
    /// For how long app-shm looks again before it sleeps, at most: 0 to 10000
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = microseconds, allow_negative_numbers = true)]
    pub spin_us: u64,
    /// Core to run on
    #[arg(long, value_name = "N", value_parser = core_number, allow_negative_numbers = true)]
    pub core: Option<usize>,
}

/// The servers that are built in.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Builtin {
    /// A plain epoll loop
    Epoll,
    /// The same, never sleeping
    EpollSpin,
    /// The same beside a second thread, which sleeps: no process with two threads has calls as cheap
    EpollBeside,
    /// tokio, current_thread
    Tokio,
    /// monoio on epoll
    MonoioEpoll,
    /// monoio on io_uring
    MonoioUring,
    /// monoio on io_uring with DEFER_TASKRUN and SINGLE_ISSUER
    MonoioUringDefer,
    /// Two loops per connection that sleep 1 us when they find nothing
    SleepPoll,
    /// A plain epoll loop that relays to --upstream
    EpollRelay,
    /// The same, which moves the bytes by splice(2)
    SpliceRelay,
    /// The echo as an application with sockets of its own: a plain epoll loop
    AppEpoll,
    /// The echo as an application of vmsgrd, over shared memory
    AppShm,
    /// An OSD that stores nothing, on a plain epoll loop
    OsdNull,
}

/// Where a built-in server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Network(SocketAddr),
    Unix(PathBuf),
}

fn listen(text: &str) -> Result<Listen, String> {
    match text.strip_prefix("unix:") {
        Some(path) => Ok(Listen::Unix(path.into())),
        None => resolved(text, 0).map(Listen::Network),
    }
}

impl Builtin {
    /// What it does with the bytes.
    pub fn service(self) -> &'static str {
        match self {
            Self::EpollRelay | Self::SpliceRelay => "relay",
            Self::OsdNull => "osd-null",
            _ => "echo",
        }
    }
}

/// Where somebody listens.
fn address(text: &str) -> Result<SocketAddr, String> {
    resolved(text, 1)
}

/// An address of which the port has this value at least: only who listens can ask for any port.
fn resolved(text: &str, least: u16) -> Result<SocketAddr, String> {
    let form = format!("write HOST:PORT, with a port from {least} to 65535");
    if text.contains("://") {
        return Err(format!("a URL is no address; {form}"));
    }
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none_or(|port| port < least) {
        return Err(form);
    }
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "it has no address".to_owned())
}

/// At least one: what is counted is made room for.
fn up_to<const MOST: usize>(text: &str) -> Result<usize, String> {
    within::<1, MOST>(text)
}

fn within<const LEAST: usize, const MOST: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (LEAST..=MOST).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from {LEAST} to {MOST}")),
    }
}

/// Bytes of an operation, or of a message that is copied.
fn operation(text: &str) -> Result<u32, String> {
    within::<1, { 4 << 20 }>(text).map(|bytes| bytes as u32)
}

fn attempts(text: &str) -> Result<u32, String> {
    within::<1, 100>(text).map(|attempts| attempts as u32)
}

fn microseconds(text: &str) -> Result<u64, String> {
    within::<0, 10_000>(text).map(|microseconds| microseconds as u64)
}

/// As applications may ask for.
fn ring(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && (4096..=16 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("must be a power of two from 4096 to 16777216".to_owned()),
    }
}

/// Which there are is looked at later.
fn core_number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "must be the number of one core, such as 0".to_owned())
}

/// Whether it is there is looked at later.
fn process_id(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "must be the number of one process, as pgrep prints it".to_owned())
}

/// More than nothing, at most a day.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("must be a number of seconds above 0, at most 86400".to_owned()),
    }
}

/// A duration in a load's file.
fn in_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// More than nothing.
fn per_second(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(rate),
        _ => Err("must be a number above 0, at most 1e9".to_owned()),
    }
}

/// A part of the whole.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_are_checked() {
        assert_eq!(address("127.0.0.1:7400").unwrap().port(), 7400);
        assert_eq!(resolved("127.0.0.1:0", 0).unwrap().port(), 0);
        for bad in ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "http://127.0.0.1:7400", ":", ""]
        {
            assert!(address(bad).unwrap_err().ends_with("with a port from 1 to 65535"), "{bad}");
        }
        assert!(resolved("127.0.0.1:99999", 0).unwrap_err().ends_with("from 0 to 65535"));
        assert_eq!(up_to::<1000>("1000"), Ok(1000));
        for bad in ["0", "-1", "1001", "99999999999999999999", "1k"] {
            assert_eq!(up_to::<1000>(bad), Err("must be a whole number from 1 to 1000".to_owned()));
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "nan", "inf", "1e9", "2s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!([share("0"), share("0.7"), share("1")], [Ok(0.0), Ok(0.7), Ok(1.0)]);
        assert!(share("1.1").is_err() && share("-0.1").is_err() && share("nan").is_err());
    }

    #[test]
    fn a_number_out_of_range_is_told_the_range_and_not_taken_for_an_option() {
        for (command, option, bad, range) in [
            ("load", "--duration", "-1", "at most 86400"),
            ("load", "--depth", "99999999999", "from 1 to 1000000"),
            ("load", "--connections", "-3", "from 1 to 1000000"),
            ("load", "--size", "99999999999999", "from 1 to 1073741824"),
            ("load", "--rate", "-5", "at most 1e9"),
            ("osd", "--depth", "99999999999", "from 1 to 1000000"),
            ("osd", "--read-fraction", "-0.1", "from 0 to 1"),
            ("load", "--slow", "-1", "from 0 to 1000000"),
            ("load", "--pid", "-1", "the number of one process"),
            ("load", "--pid", "7 8", "the number of one process"),
            ("load", "--core", "x", "the number of one core"),
            ("osd", "--size", "0", "from 1 to 4194304"),
        ] {
            let error = Cli::try_parse_from(["vmsgr-bench", command, "127.0.0.1:1", option, bad]);
            let error = error.unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains(range), "{error}");
        }
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let line = ["vmsgr-bench", "suite", "--only", "ping,idle", "--peers", "epoll-spin,tokio"];
        let Command::Suite(suite) = Cli::parse_from(line).command else { panic!() };
        assert_eq!(suite.only, [Workload::Ping, Workload::Idle]);
        assert_eq!(suite.peers, [Peer::EpollSpin, Peer::Tokio]);
        assert_eq!(suite.kinds().unwrap(), Kind::value_variants());
    }

    #[test]
    fn an_open_loop_has_no_depth() {
        for command in ["load", "osd"] {
            let line = ["vmsgr-bench", command, "127.0.0.1:1", "--rate", "10", "--depth", "2"];
            assert!(Cli::try_parse_from(line).is_err());
            assert!(Cli::try_parse_from(&line[..5]).is_ok());
        }
    }
}
