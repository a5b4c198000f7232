//! The command line.

mod load;
mod serve;
mod suite;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use load::{Load, Measuring, Osd};
pub use serve::{Builtin, Listen, Serve};
pub use suite::{Place, Spin, Suite};

use values::{MANY, core_number, operation, up_to};

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
  vmsgr-bench load 127.0.0.1:7400 --size 4096 --depth 4 --core 1 --server-core 0
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
Examples:
  vmsgr-bench suite --kind echo --rounds 3 --out one
  vmsgr-bench suite --kind echo --rounds 3 --out two
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
pub struct Frames {
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 9, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub rounds: usize,
}

#[derive(Debug, Args)]
pub struct HandOver {
    /// Core that the two share
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = core_number)]
    #[arg(allow_negative_numbers = true)]
    pub core: usize,
    /// Bytes of a message that is copied from one ring to another, at most 4 MiB
    #[arg(long, default_value_t = 4096, value_name = "BYTES", value_parser = operation)]
    #[arg(allow_negative_numbers = true)]
    pub size: u32,
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 9, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub rounds: usize,
    /// Be the process that is woken: its input is the doorbell
    #[arg(long, hide = true)]
    pub sleeper: bool,
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
}
