//! Everything that can be set, typed: what the rest of the daemon goes by.

use log::LevelFilter;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use vmsgr_messenger::shm::Rule;
use vmsgr_messenger::{Family, Placement, Service, ServiceName};
use vmsgr_reactor::{CoreMask, SpinPolicy};

/// Everything that can be set, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cores to run on, one loop each.
    pub core_mask: CoreMask,
    /// The listeners, at least one, no address twice (but for port 0).
    pub listen: Vec<ListenSettings>,
    /// Nobody asked for a listener or named a configuration file; `listen` is the default.
    pub listens_by_default: bool,
    /// Which core gets a connection.
    pub placement: Placement,
    /// How long a loop looks for more before it sleeps.
    pub spin: SpinPolicy,
    /// Connections accepted and open at the same time, over all listeners; a relayed connection
    /// counts once. At least 1.
    pub max_connections: usize,
    /// How long connections may drain after the first SIGTERM or SIGINT.
    pub drain_timeout: Duration,
    /// The least important message to log.
    pub log_level: LevelFilter,
    /// What every TCP socket gets.
    pub socket: SocketSettings,
    /// What concerns relayed connections.
    pub relay: RelaySettings,
    /// What concerns every connection.
    pub connection: ConnectionSettings,
    /// What concerns applications.
    pub applications: ApplicationSettings,
}

/// One listener.
#[derive(Debug, Clone)]
pub struct ListenSettings {
    /// Where; port 0 means any free one.
    pub address: SocketAddr,
    /// What its connections are given to, as written.
    pub name: ServiceName,
    /// What its connections are given to, resolved.
    pub service: Service,
    /// Connections that wait to be accepted, on each core. In `1..=65535`.
    pub backlog: u32,
}

/// What every TCP socket gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSettings {
    /// SO_KEEPALIVE and TCP_KEEPIDLE; whole seconds; `None`: off.
    pub keepalive: Option<Duration>,
    /// SO_SNDBUF; `None`: the kernel's choice.
    pub send_buffer_bytes: Option<usize>,
    /// SO_RCVBUF; `None`: the kernel's choice.
    pub receive_buffer_bytes: Option<usize>,
    /// The backlog of listeners that set none of their own. In `1..=65535`.
    pub backlog: u32,
}

/// What concerns relayed connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// How long an upstream may take to accept; at least 1 ms.
    pub connect_timeout: Duration,
    /// SO_MARK of the upstream sockets; `None`: not set.
    pub mark: Option<u32>,
    /// The address that upstream sockets are bound to; `None`: the kernel's choice.
    pub source: Option<IpAddr>,
    /// The family that upstream addresses are limited to; `None`: both.
    pub family: Option<Family>,
}

/// What concerns every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Time without a byte in either direction after which it is closed; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Pending bytes at which the producer is stopped; more than `low_water_bytes`, at most 1 GiB.
    pub high_water_bytes: usize,
    /// Pending bytes at which the producer goes on.
    pub low_water_bytes: usize,
}

/// What concerns applications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationSettings {
    /// Where they attach.
    pub socket: AttachSocket,
    /// Endpoints that are attached at the same time. At least 1.
    pub max_endpoints: usize,
    /// The largest segment that an endpoint may ask for. At least 1 MiB.
    pub max_segment_bytes: u64,
    /// What is held of messages for one application outside its segment. At least 1 MiB.
    pub max_held_bytes: u64,
    /// How long the connections of an application that is gone are kept at most, whatever it asked
    /// for. At most an hour.
    pub max_linger: Duration,
    /// Who may attach, and what for. At least one.
    pub allow: Vec<AllowSettings>,
}

/// Where applications attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachSocket {
    /// Nobody has said where: at the default path, if that can be used.
    Default,
    /// There, and nowhere else.
    At(PathBuf),
    /// Nowhere.
    None,
}

/// One entry of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowSettings {
    /// Whose applications.
    pub user: AllowedUser,
    /// Where they may listen.
    pub listen: Vec<Rule>,
    /// Where they may connect to.
    pub connect: Vec<Rule>,
}

/// Whose applications an entry of the policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedUser {
    /// Those of the user that the daemon runs as.
    Own,
    /// Everybody's.
    Any,
    /// Those of the user with this number.
    Uid(u32),
}
