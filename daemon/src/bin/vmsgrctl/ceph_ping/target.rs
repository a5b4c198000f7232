//! The address to ask, as a person writes it or as Ceph prints it.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use thiserror::Error;

/// Where monitors listen, if nobody says otherwise.
const MONITOR_PORT: u16 = 3300;

/// `HOST[:PORT]`, also as `v2:HOST:PORT/NONCE`, or the one of a list of addresses that has `v2:`.
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

/// Why this is no address, with what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Mistake {
    #[error(
        "write HOST, HOST:PORT, v2:HOST:PORT/NONCE, or all addresses of one daemon as mon_host has \
         them: [v2:HOST:PORT/NONCE,v1:HOST:PORT/NONCE]"
    )]
    Form,
    #[error("a URL is no address; write HOST:PORT, or v2:HOST:PORT/0 as Ceph has it")]
    Url,
    #[error("an IPv6 address is written in brackets: [::1], [::1]:3300 or v2:[::1]:3300/0")]
    Brackets,
    #[error("a port is 1 to 65535; without one it is {MONITOR_PORT}")]
    Port,
    #[error("a nonce is a number from 0 to {}", u32::MAX)]
    Nonce,
    #[error(
        "v1 is the legacy protocol, which is not spoken here; write the daemon's v2 address, on \
         which monitors have port {MONITOR_PORT}"
    )]
    Legacy,
    #[error("these are several daemons; write one of them")]
    Several,
}

impl FromStr for Target {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        if text.contains("://") {
            return Err(Mistake::Url);
        }
        if text.starts_with("[v1:") || text.starts_with("[v2:") {
            return of_list(text);
        }
        match text.contains([',', ' ']) {
            true => Err(Mistake::Several),
            false => of_address(text),
        }
    }
}

/// Of all addresses of a daemon the one that this protocol is spoken at.
fn of_list(text: &str) -> Result<Target, Mistake> {
    // Not the bracket at the end of an IPv6 address, behind which something else follows.
    if text.contains("],[") || text.contains("] [") {
        return Err(Mistake::Several);
    }
    let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let addresses: Vec<_> = list.ok_or(Mistake::Form)?.split(',').collect();
    let speaks = |address: &&&str| address.starts_with("v2:");
    let others = |address: &str| address.starts_with("v2:") || address.starts_with("v1:");
    if !addresses.iter().all(|address| others(address)) {
        return Err(Mistake::Form);
    }
    of_address(addresses.iter().find(speaks).ok_or(Mistake::Legacy)?)
}

fn of_address(text: &str) -> Result<Target, Mistake> {
    if text.starts_with("v1:") {
        return Err(Mistake::Legacy);
    }
    let address = text.strip_prefix("v2:").unwrap_or(text);
    let (address, nonce) = match address.split_once('/') {
        Some((address, nonce)) => (address, Some(nonce.parse().map_err(|_| Mistake::Nonce)?)),
        None => (address, None),
    };
    if address.parse::<Ipv6Addr>().is_ok() {
        return Err(Mistake::Brackets);
    }
    let (host, port) = match address.rsplit_once(':') {
        // An IPv6 address without a port, with its brackets.
        _ if address.ends_with(']') => (address, None),
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bare {
        // A zone may follow, which is looked up with it.
        Some(bare) if bare.contains(':') => bare,
        None if !host.is_empty() && !host.contains([':', '[', ']']) => host,
        _ => return Err(Mistake::Form),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(Mistake::Port)?,
        None => MONITOR_PORT,
    };
    Ok(Target { host: host.to_owned(), port, nonce })
}

impl fmt::Display for Target {
    /// As it is read, with the nonce as Ceph writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nonce.is_some() {
            f.write_str("v2:")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port)?,
            false => write!(f, "{}:{}", self.host, self.port)?,
        }
        self.nonce.map_or(Ok(()), |nonce| write!(f, "/{nonce}"))
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
            ("v2:10.0.0.1:6801", "10.0.0.1:6801", None),
            ("v2:10.0.0.1:6801/4711", "v2:10.0.0.1:6801/4711", Some(4711)),
            ("10.0.0.1:6801/4294967295", "v2:10.0.0.1:6801/4294967295", Some(u32::MAX)),
            ("[::1]", "[::1]:3300", None),
            ("v2:[::1]:6800/0", "v2:[::1]:6800/0", Some(0)),
            ("[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]", "v2:10.0.0.1:3300/0", Some(0)),
            ("[v1:10.0.0.1:6801/7,v2:10.0.0.1:6802/7]", "v2:10.0.0.1:6802/7", Some(7)),
            ("[v2:[::1]:3300/0,v1:[::1]:6789/0]", "v2:[::1]:3300/0", Some(0)),
            ("[v2:[::1]:3300/5,v2:10.0.0.1:3300/5]", "v2:[::1]:3300/5", Some(5)),
            ("[v2:10.0.0.1,v1:10.0.0.1]", "10.0.0.1:3300", None),
            ("[v2:[::1]]", "[::1]:3300", None),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.to_string(), target.nonce), (shown.to_owned(), nonce), "{text}");
            assert_eq!(shown.parse(), Ok(target), "what is shown is read again");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_says_why() {
        use Mistake::*;
        for (mistake, texts) in [
            (Form, &["", ":1", "[]:1", "v2:", "[10.0.0.1]", "any:10.0.0.1:0/7", "[v2:h:1/0"][..]),
            (Form, &["[v2:h:1/0]:3300", "[v2:h:1/0,]", "[v2:h:1/0,any:h:0/7]", "a]:1"]),
            (Url, &["http://h:1", "https://h", "msgr2://[::1]:3300/0"]),
            (Brackets, &["::1", "fe80::1", "v2:::1/0", "[v2:fe80::1:3300/0]"]),
            (Port, &["h:", "h:0", "h:65536", "h:99999", "[::1]:x", "v2:h:99999/1"]),
            (Nonce, &["h:1/", "h:1/x", "v2:h:1/4294967296", "h:1/-1"]),
            (Legacy, &["v1:10.0.0.1:6789/0", "[v1:10.0.0.1:6789/0]"]),
            (Several, &["10.0.0.1,10.0.0.2", "a b", "[v2:a:1/0],[v2:b:1/0]"]),
        ] {
            for text in texts {
                assert_eq!(text.parse::<Target>(), Err(mistake), "{text}");
            }
        }
        for (mistake, hint) in [
            (Form, "[v2:HOST:PORT/NONCE,v1:HOST:PORT/NONCE]"),
            (Url, "HOST:PORT, or v2:HOST:PORT/0"),
            (Brackets, "[::1]:3300"),
            (Port, "1 to 65535"),
            (Nonce, "0 to 4294967295"),
            (Legacy, "legacy"),
            (Several, "one of them"),
        ] {
            assert!(mistake.to_string().contains(hint), "{mistake}");
        }
    }
}
