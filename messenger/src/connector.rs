//! Making connections.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};

use mio::net::TcpStream;
use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::options::{ConnectOptions, Family, SocketOptions};

/// Begins connections; the loop reports how they turn out.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) options: ConnectOptions,
    socket: SocketOptions,
}

impl Connector {
    pub(crate) fn new(options: ConnectOptions, socket: SocketOptions) -> Self {
        Self { options, socket }
    }

    /// Begins to connect to `target`, without waiting.
    pub(crate) fn begin(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(target), kind, Some(Protocol::TCP))?;
        self.socket.apply(&socket)?;
        if let Some(mark) = self.options.mark {
            socket.set_mark(mark)?;
        }
        if let Some(source) = self.options.source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
            _ => Ok(TcpStream::from_std(StdStream::from(socket))),
        }
    }

    /// Whether the options allow to connect to `target`.
    pub(crate) fn allows(&self, target: SocketAddr) -> bool {
        let family = if target.is_ipv4() { Family::V4 } else { Family::V6 };
        let source = self.options.source.map(|source| source.is_ipv4());
        source.is_none_or(|v4| v4 == target.is_ipv4())
            && self.options.family.is_none_or(|wanted| wanted == family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_and_family_limit_the_targets() {
        let (v4, v6) = ("127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap());
        let connector = |source: Option<&str>, family| {
            let source = source.map(|text| text.parse().unwrap());
            let options = ConnectOptions { source, family, ..ConnectOptions::default() };
            Connector::new(options, SocketOptions::default())
        };
        let allowed = |connector: Connector| (connector.allows(v4), connector.allows(v6));
        assert_eq!(allowed(connector(None, None)), (true, true));
        assert_eq!(allowed(connector(Some("127.0.0.2"), None)), (true, false));
        assert_eq!(allowed(connector(Some("::1"), None)), (false, true));
        assert_eq!(allowed(connector(None, Some(Family::V6))), (false, true));
    }
}
