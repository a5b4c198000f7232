//! What can be chosen about sockets and connections.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};
use vmsgr_reactor::{Budget, Marks, SpinPolicy};

use crate::placement::Placement;

/// All that a [`Messenger`](crate::Messenger) is started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Which core a connection goes to.
    pub placement: Placement,
    /// How long an idle loop looks again before it sleeps.
    pub spin: SpinPolicy,
    /// Bounds of one turn.
    pub budget: Budget,
    /// Connections that all listeners together serve at a time; more stay in the backlog. `None`:
    /// as many as there are descriptors. A relayed connection counts once.
    pub max_connections: Option<usize>,
    /// Every socket.
    pub socket: SocketOptions,
    /// Connections that are made, by relays and by jobs.
    pub connect: ConnectOptions,
    /// Every connection.
    pub connection: ConnectionOptions,
    /// Every application.
    pub applications: ApplicationOptions,
}

/// Options of applications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationOptions {
    /// Bytes of messages that are held for one application outside its segment, about: see
    /// docs/OPERATIONS.md. With more, what it commits stays in its rings.
    pub held_bytes: u64,
}

impl Default for ApplicationOptions {
    fn default() -> Self {
        Self { held_bytes: 256 << 20 }
    }
}

/// Options of the kernel's sockets. TCP_NODELAY is always on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// Idle time after which the kernel probes whether the peer still lives (SO_KEEPALIVE,
    /// TCP_KEEPIDLE); `None`: never.
    pub keepalive: Option<Duration>,
    /// SO_SNDBUF in bytes; `None`: the kernel's autotuning.
    pub send_buffer_bytes: Option<usize>,
    /// SO_RCVBUF in bytes; `None`: the kernel's autotuning.
    pub receive_buffer_bytes: Option<usize>,
    /// Connections that wait to be accepted, per core; the kernel's net.core.somaxconn is a bound.
    pub backlog: i32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { keepalive: None, send_buffer_bytes: None, receive_buffer_bytes: None, backlog: 1024 }
    }
}

impl SocketOptions {
    /// Sets them. Accepted sockets inherit those of their listener: no system call for each.
    pub(crate) fn apply(&self, socket: &Socket) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        if let Some(idle) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
        }
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        Ok(())
    }
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How connections are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// How long one address may take to answer.
    pub time_out: Duration,
    /// SO_MARK of the socket (needs CAP_NET_ADMIN), so that firewall rules can tell it from others.
    pub mark: Option<u32>,
    /// The address that connections come from; limits the targets to those of its family.
    pub source: Option<IpAddr>,
    /// Limits the targets to one family.
    pub family: Option<Family>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { time_out: Duration::from_secs(5), mark: None, source: None, family: None }
    }
}

/// Options of connections as the messenger sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// How long a connection may move no byte in any direction; `None`: for ever.
    pub idle_time_out: Option<Duration>,
    /// Bytes of pending data at which its producer is stopped, and at which it goes on.
    pub marks: Marks,
}
