//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use vmsgr_perf::compare::peer::Peer;
use vmsgr_perf::workload::Workload;

const EXAMPLES: &str = "\
Examples:
  vmsgr-bench serve epoll --listen 127.0.0.1:7401 --core 0
  vmsgr-bench load 127.0.0.1:7401 --connections 64 --depth 16 --core 1 --pid $(pgrep -n vmsgr-bench)
  vmsgr-bench load 127.0.0.1:7400 --connections 16 --size 4096 --verify
  vmsgr-bench load 127.0.0.1:7400 --idle --connections 1000 --duration 10 --pid $(pidof vmsgrd)
  vmsgr-bench compare
  vmsgr-bench compare --only ping,fan --peers vmsgrd,epoll --rounds 7 --markdown figures.md";

/// Puts a load on an echo server and measures it, alone or beside others.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load one echo server and measure it
    Load(Load),
    /// Measure several echo servers side by side
    Compare(Compare),
    /// Be one of the servers that are compared
    Serve(Serve),
}

#[derive(Debug, Args)]
pub struct Load {
    /// Where the server listens, HOST:PORT
    #[arg(value_parser = address)]
    pub addr: SocketAddr,
    /// Connections
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub connections: usize,
    /// Messages in flight on each connection
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub depth: usize,
    /// Bytes of a message
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = at_least_one)]
    pub size: usize,
    /// How long to measure, after 0.3 s of warm-up
    #[arg(long, default_value = "5", value_name = "SECS", value_parser = seconds)]
    pub duration: Duration,
    /// Send nothing: what does the server do for connections on which nobody speaks?
    #[arg(long, conflicts_with_all = ["depth", "size", "verify"])]
    pub idle: bool,
    /// Process whose CPU time and context switches are counted: the server
    #[arg(long)]
    pub pid: Option<u32>,
    /// Compare every byte that comes back with what was sent
    #[arg(long)]
    pub verify: bool,
    /// Core to run on
    #[arg(long)]
    pub core: Option<usize>,
    /// Write what was measured to a file as well
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Compare {
    /// Samples of each server under each workload
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    pub rounds: usize,
    /// How long each sample is measured, after 0.3 s of warm-up
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub seconds: Duration,
    /// Workloads, separated by commas [default: all]
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',')]
    pub only: Vec<Workload>,
    /// Servers, separated by commas, in the order of each round [default: all]
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    pub peers: Vec<Peer>,
    /// The daemon's binary [default: vmsgrd in the folder of this program]
    #[arg(long, value_name = "PATH")]
    pub vmsgrd: Option<PathBuf>,
    /// Core of the servers
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub server_core: usize,
    /// Core of the load generator
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub load_core: usize,
    /// Write every sample to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the tables to a file
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Serve {
    pub server: Builtin,
    /// Where to listen, HOST:PORT; port 0 takes a free one
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub listen: SocketAddr,
    /// Core to run on
    #[arg(long)]
    pub core: Option<usize>,
}

/// The servers that are built in.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Builtin {
    /// A plain epoll loop
    Epoll,
    /// The same, never sleeping
    EpollSpin,
    /// tokio, current_thread
    Tokio,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "no address found".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// More than nothing, at most a day.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("must be a number of seconds above 0, at most 86400".to_owned()),
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
        assert!(address("127.0.0.1").is_err());
        assert_eq!(at_least_one("1000"), Ok(1000));
        assert!(at_least_one("0").is_err() && at_least_one("-1").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "nan", "inf", "1e9", "2s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let line = ["vmsgr-bench", "compare", "--only", "ping,idle", "--peers", "epoll-spin,tokio"];
        let Command::Compare(compare) = Cli::parse_from(line).command else { panic!() };
        assert_eq!(compare.only, [Workload::Ping, Workload::Idle]);
        assert_eq!(compare.peers, [Peer::EpollSpin, Peer::Tokio]);
    }
}
