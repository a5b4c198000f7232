//! Where a connection was going before a firewall rule redirected it here.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use socket2::SockRef;

/// The address that the client meant (SO_ORIGINAL_DST, kept by the kernel's connection tracking).
///
/// # Errors
/// Nothing redirected the connection: relaying it would lead back here.
pub(crate) fn of(socket: &TcpStream) -> io::Result<SocketAddr> {
    let local = socket.local_addr()?;
    let sock = SockRef::from(socket);
    let original = match local {
        SocketAddr::V4(_) => sock.original_dst_v4(),
        SocketAddr::V6(_) => sock.original_dst_v6(),
    };
    let not_redirected = || io::Error::other("no firewall rule has redirected it here");
    match original.ok().and_then(|address| address.as_socket()) {
        Some(target) if target != local => Ok(target),
        _ => Err(not_redirected()),
    }
}
