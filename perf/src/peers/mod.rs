//! The servers vmsgr is measured against: each as somebody who knows the tool would write it.
//!
//! They share what is not being compared (the listening socket, the two lines on stdout that
//! `vmsgrd` prints as well) and nothing else. A new peer is a file here, or any program that prints
//! the same two lines.

pub mod app_shm;
pub mod epoll;
pub mod epoll_relay;
pub mod monoio_echo;
pub mod osd_null;
pub mod plain_relay;
pub mod sleep_poll;
pub mod splice_relay;
pub mod tokio_echo;

use std::fmt::Display;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// Length of the accept queue: a thousand connections arrive faster than a busy core takes them.
const BACKLOG: i32 = 4096;

/// Binds `address` and listens, without blocking.
///
/// # Errors
/// When the address cannot be bound; the error names it.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok::<_, std::io::Error>(TcpListener::from(socket))
    };
    bind().with_context(|| format!("cannot listen on {address}"))
}

/// Binds a path that is not there yet and listens, without blocking.
///
/// # Errors
/// When it cannot be bound; the error names it.
pub fn listen_unix(path: &Path) -> Result<UnixListener> {
    let bind = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        Ok::<_, std::io::Error>(UnixListener::from(std::os::fd::OwnedFd::from(socket)))
    };
    bind().with_context(|| format!("cannot listen on {}", path.display()))
}

/// Says on stdout, in the words of `vmsgrd`, where the server listens, what for, and that it is
/// ready.
///
/// # Errors
/// When stdout is closed.
pub fn announce(listener: &TcpListener, service: &str) -> Result<()> {
    announce_at(&listener.local_addr()?, service)
}

/// As [`announce`], for who has no listener, or one that is at no address of the network.
///
/// # Errors
/// When stdout is closed.
pub fn announce_at(address: &dyn Display, service: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening {address} {service}")?;
    writeln!(stdout, "ready")?;
    stdout.flush()?;
    Ok(())
}
