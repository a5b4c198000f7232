//! What a server takes that is built in.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::{address, core_number, microseconds, resolved, ring};

#[derive(Debug, Args)]
pub struct Serve {
    pub server: Builtin,
    /// Where to listen, HOST:PORT; port 0 takes a free one. app-epoll also takes unix:PATH
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub listen: Listen,
    /// The server behind a relay, HOST:PORT
    #[arg(long, value_name = "ADDR", value_parser = address)]
    #[arg(required_if_eq_any([("server", "epoll-relay"), ("server", "splice-relay")]))]
    pub upstream: Option<SocketAddr>,
    /// Where the daemon takes applications, for app-shm [default: as vmsgrd has it]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Bytes of each ring of app-shm, and of each read of app-epoll: a power of two from 4096 to
    /// 16777216
    #[arg(long, value_name = "N", default_value_t = 64 * 1024, value_parser = ring)]
    #[arg(allow_negative_numbers = true)]
    pub ring_bytes: u32,
    /// For how long app-shm looks again before it sleeps, at most: 0 to 10000
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = microseconds)]
    #[arg(allow_negative_numbers = true)]
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
    /// The same beside a second thread, which sleeps: no process with two threads has calls as
    /// cheap
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
