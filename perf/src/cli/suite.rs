//! What the suite takes, and what spin takes, which measures side by side as well.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use vmsgr_perf::suite::peer::Peer;
use vmsgr_perf::workload::{Kind, Workload};

use super::values::{MANY, attempts, core_number, due, seconds, up_to};

#[derive(Debug, Args)]
pub struct Suite {
    /// Samples of each server under each workload
    #[arg(long, default_value_t = 5, value_parser = up_to::<MANY>, allow_negative_numbers = true)]
    pub rounds: usize,
    /// How long each sample is measured, after 0.3 s of warm-up
    #[arg(long, default_value = "2", value_parser = seconds, allow_negative_numbers = true)]
    pub seconds: Duration,
    /// How long servers are left alone under idle, which is measured once
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    #[arg(allow_negative_numbers = true)]
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
    #[arg(long, value_name = "R", value_parser = due, allow_negative_numbers = true)]
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
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = core_number)]
    #[arg(allow_negative_numbers = true)]
    pub server_core: usize,
    /// Core of the load generator
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = core_number)]
    #[arg(allow_negative_numbers = true)]
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
    #[arg(long, default_value_t = 4, value_parser = attempts, allow_negative_numbers = true)]
    pub attempts: u32,
    #[command(flatten)]
    pub place: Place,
    /// Folder for spin.json and spin.svg
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn lists_are_separated_by_commas() {
        let line = ["vmsgr-bench", "suite", "--only", "ping,idle", "--peers", "epoll-spin,tokio"];
        let Command::Suite(suite) = Cli::parse_from(line).command else { panic!() };
        assert_eq!(suite.only, [Workload::Ping, Workload::Idle]);
        assert_eq!(suite.peers, [Peer::EpollSpin, Peer::Tokio]);
        assert_eq!(suite.kinds().unwrap(), Kind::value_variants());
    }

    #[test]
    fn a_count_out_of_range_is_told_the_range() {
        for (command, option, bad, range) in [
            ("suite", "--attempts", "0", "from 1 to 100"),
            ("spin", "--attempts", "101", "from 1 to 100"),
            ("suite", "--rate", "-1", "from 1 to 10000000"),
        ] {
            let error = Cli::try_parse_from(["vmsgr-bench", command, option, bad]).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(bad) && error.contains(range), "{error}");
        }
    }
}
