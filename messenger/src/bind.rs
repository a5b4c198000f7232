//! Listening sockets: one for every core, all on the same address.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::options::SocketOptions;

/// An address that is listened on, with a socket for each core. The kernel spreads what connects
/// over them (SO_REUSEPORT).
#[derive(Debug)]
pub struct Bound {
    address: SocketAddr,
    pub(crate) sockets: Vec<TcpListener>,
}

impl Bound {
    /// Binds `address` for `cores` cores; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is not this machine's, is in use (also by another messenger, which SO_REUSEPORT
    /// alone would let pass, each getting half of the connections), or may not be bound.
    pub fn bind(address: SocketAddr, cores: usize, options: &SocketOptions) -> io::Result<Self> {
        if address.port() != 0 {
            // Without SO_REUSEPORT, so that it fails if anybody else listens there.
            let probe = open(address)?;
            probe.bind(&address.into())?;
        }
        let mut this = Self { address, sockets: Vec::with_capacity(cores) };
        for _ in 0..cores {
            let socket = open(address)?;
            socket.set_reuse_port(true)?;
            options.apply(&socket)?;
            socket.bind(&this.address.into())?;
            socket.listen(options.backlog)?;
            let socket = TcpListener::from_std(socket.into());
            this.address = socket.local_addr()?;
            this.sockets.push(socket);
        }
        Ok(this)
    }

    /// The address, with the port that was really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    // Connections of an earlier process in TIME_WAIT are no reason to refuse.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // [::] and 0.0.0.0 are two addresses, whatever the system's default is.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_share_the_port_that_the_first_one_got() {
        let any = "127.0.0.1:0".parse().unwrap();
        let bound = Bound::bind(any, 3, &SocketOptions::default()).unwrap();
        assert_ne!(bound.address().port(), 0);
        for socket in &bound.sockets {
            assert_eq!(socket.local_addr().unwrap(), bound.address());
        }
    }

    #[test]
    fn an_address_in_use_is_refused_even_by_another_of_our_own() {
        let any = "127.0.0.1:0".parse().unwrap();
        let bound = Bound::bind(any, 1, &SocketOptions::default()).unwrap();
        let error = Bound::bind(bound.address(), 1, &SocketOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
