//! What a load takes: on an echo, or on an OSD.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Serialize, Serializer};

use super::values::{
    MANY, MAX_BYTES, address, core_number, operation, per_second, process_id, seconds, share,
    up_to, within,
};

/// How any load is measured.
#[derive(Debug, Args, Serialize)]
pub struct Measuring {
    /// How long to measure, after 0.3 s of warm-up, at most 86400
    #[arg(long, default_value = "5", value_name = "SECS", value_parser = seconds)]
    #[arg(allow_negative_numbers = true)]
    #[serde(serialize_with = "in_seconds")]
    pub duration: Duration,
    /// Process whose CPU time, context switches and system calls are counted: the server. The last
    /// for 0.3 s after the rest, as root by tracepoints, else by strace
    #[arg(long, value_parser = process_id, allow_negative_numbers = true)]
    pub pid: Option<u32>,
    /// Core to run on
    #[arg(long, value_name = "N", value_parser = core_number, allow_negative_numbers = true)]
    pub core: Option<usize>,
    /// Core of the server, another than --core: tells how far from each other the host of a virtual
    /// machine has put the two, before and after
    #[arg(long, value_name = "N", value_parser = core_number, allow_negative_numbers = true)]
    #[arg(requires = "core")]
    pub server_core: Option<usize>,
    /// Write what was measured to a file as well
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args, Serialize)]
pub struct Load {
    /// Where the server listens, HOST:PORT
    #[arg(value_parser = address)]
    pub addr: SocketAddr,
    /// Connections, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to::<MANY>)]
    #[arg(allow_negative_numbers = true)]
    pub connections: usize,
    /// Messages in flight on each connection, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to::<MANY>)]
    #[arg(allow_negative_numbers = true)]
    pub depth: usize,
    /// Bytes of a message, at most 1 GiB
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = up_to::<MAX_BYTES>)]
    #[arg(allow_negative_numbers = true)]
    pub size: usize,
    #[command(flatten)]
    #[serde(flatten)]
    pub measuring: Measuring,
    /// Send nothing: what does the server do for connections on which nobody speaks?
    #[arg(long)]
    #[arg(conflicts_with_all = ["depth", "size", "verify", "churn", "slow", "rate", "server_core"])]
    pub idle: bool,
    /// A new connection for every message, --connections of them at a time
    #[arg(long, conflicts_with_all = ["depth", "slow", "rate"])]
    pub churn: bool,
    /// Connections besides that send and do not read
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = within::<0, MANY>)]
    #[arg(allow_negative_numbers = true)]
    pub slow: usize,
    /// Send R messages a second, whatever comes back; latency counts from when each was due
    #[arg(long, value_name = "R", conflicts_with = "depth", value_parser = per_second)]
    #[arg(allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// Compare every byte that comes back with what was sent
    #[arg(long)]
    pub verify: bool,
}

#[derive(Debug, Args, Serialize)]
pub struct Osd {
    /// Where it listens, HOST:PORT
    #[arg(value_parser = address)]
    pub addr: SocketAddr,
    /// Clients, each with a connection and an object of its own, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to::<MANY>)]
    #[arg(allow_negative_numbers = true)]
    pub connections: usize,
    /// Operations in flight of each client, 1 to 1000000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to::<MANY>)]
    #[arg(allow_negative_numbers = true)]
    pub depth: usize,
    /// Bytes that an operation writes or reads, at most 4 MiB
    #[arg(long, default_value_t = 4096, value_name = "BYTES", value_parser = operation)]
    #[arg(allow_negative_numbers = true)]
    pub size: u32,
    #[command(flatten)]
    #[serde(flatten)]
    pub measuring: Measuring,
    /// Share of the operations that read instead of writing, from 0 to 1
    #[arg(long, default_value = "0", value_name = "F", value_parser = share)]
    #[arg(allow_negative_numbers = true)]
    pub read_fraction: f64,
    /// Ask for R operations a second, whatever comes back; latency counts from when each was due
    #[arg(long, value_name = "R", conflicts_with = "depth", value_parser = per_second)]
    #[arg(allow_negative_numbers = true)]
    pub rate: Option<f64>,
}

/// A duration in a load's file.
fn in_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;

    #[test]
    fn an_open_loop_has_no_depth() {
        for command in ["load", "osd"] {
            let line = ["vmsgr-bench", command, "127.0.0.1:1", "--rate", "10", "--depth", "2"];
            assert!(Cli::try_parse_from(line).is_err());
            assert!(Cli::try_parse_from(&line[..5]).is_ok());
        }
    }
}
