//! The address to ask, as a person writes it or as Ceph prints it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// Where monitors listen, if nobody says otherwise.
const MONITOR_PORT: u16 = 3300;

/// `HOST[:PORT]`, also as `v2:HOST:PORT/NONCE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    /// Which of the processes that had this address one after another; monitors have 0.
    pub nonce: Option<u32>,
}

impl Target {
    /// The addresses of the host; may ask a name server, and block for seconds.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = (&self.host[..], self.port).to_socket_addrs()?.collect();
        match addresses.is_empty() {
            true => Err(io::Error::other("the name has no address")),
            false => Ok(addresses),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not HOST, HOST:PORT or v2:HOST:PORT/NONCE");
        let address = text.strip_prefix("v2:").unwrap_or(text);
        let (address, nonce) = match address.split_once('/') {
            Some((address, nonce)) => (address, Some(nonce.parse().map_err(|_| wrong())?)),
            None => (address, None),
        };
        let (host, port) = match address.rsplit_once(':') {
            // An IPv6 address without a port, with its brackets.
            _ if address.ends_with(']') => (address, MONITOR_PORT),
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (address, MONITOR_PORT),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || port == 0 || (bare.is_none() && host.contains(':')) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port, nonce })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_and_ceph_write_them() {
        for (text, shown, nonce) in [
            ("mon1", "mon1:3300", None),
            ("10.0.0.1:6800", "10.0.0.1:6800", None),
            ("v2:10.0.0.1:6801/4711", "10.0.0.1:6801", Some(4711)),
            ("[::1]", "[::1]:3300", None),
            ("v2:[::1]:6800/0", "[::1]:6800", Some(0)),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.to_string(), target.nonce), (shown.to_owned(), nonce), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", ":1", "h:", "h:0", "h:65536", "h:1/", "h:1/x", "::1", "[]:1", "v2:"] {
            assert!(text.parse::<Target>().unwrap_err().contains("HOST:PORT"), "{text}");
        }
    }
}
