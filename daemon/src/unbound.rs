//! What to do about an address that cannot be listened on: the way out that the kernel's error
//! leaves out.
//!
//! All programs of the workspace that listen have it from here.

use nix::errno::Errno;
use std::io;
use std::net::SocketAddr;

/// The error of binding `address`, and what to do about it, in one line.
pub fn explained(error: &io::Error, address: SocketAddr) -> String {
    match way_out(error, address) {
        Some(way_out) => format!("{error}; {way_out}"),
        None => error.to_string(),
    }
}

fn way_out(error: &io::Error, address: SocketAddr) -> Option<String> {
    let port = address.port();
    let every = if address.is_ipv4() { "0.0.0.0" } else { "[::]" };
    Some(match Errno::from_raw(error.raw_os_error()?) {
        Errno::EADDRINUSE => format!(
            "name another port, or 0 for any free one; who has this one: ss -ltnp 'sport = :{port}'"
        ),
        Errno::EACCES if port < 1024 => format!(
            "ports below 1024 are for who has the capability CAP_NET_BIND_SERVICE; give it to this \
             process, or name a port from 1024 instead of {port}"
        ),
        Errno::EADDRNOTAVAIL => format!(
            "name an address of this machine (ip addr shows them), or {every} for all of them"
        ),
        Errno::EINVAL if needs_a_zone(address) => format!(
            "a link-local address needs the number of its interface (ip link shows it): \
             [{}%2]:{port}",
            address.ip()
        ),
        Errno::EAFNOSUPPORT if address.is_ipv6() => {
            "this machine has no IPv6; name an IPv4 address".to_owned()
        }
        _ => return None,
    })
}

fn needs_a_zone(address: SocketAddr) -> bool {
    let SocketAddr::V6(address) = address else { return false };
    address.ip().is_unicast_link_local() && address.scope_id() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_is_said_once_on_one_line() {
        for (errno, address, part) in [
            (Errno::EADDRINUSE, "127.0.0.1:7400", "0 for any free one; who has this one: ss -ltnp"),
            (Errno::EADDRINUSE, "127.0.0.1:7400", "'sport = :7400'"),
            (Errno::EACCES, "127.0.0.1:80", "CAP_NET_BIND_SERVICE"),
            (Errno::EACCES, "127.0.0.1:80", "a port from 1024 instead of 80"),
            (
                Errno::EADDRNOTAVAIL,
                "192.0.2.1:80",
                "of this machine (ip addr shows them), or 0.0.0",
            ),
            (Errno::EADDRNOTAVAIL, "[2001:db8::1]:80", "or [::] for all of them"),
            (Errno::EINVAL, "[fe80::1]:80", "[fe80::1%2]:80"),
            (Errno::EAFNOSUPPORT, "[::1]:80", "has no IPv6"),
        ] {
            let error = io::Error::from(errno);
            let text = explained(&error, address.parse().unwrap());
            assert!(text.starts_with(&format!("{error}; ")) && text.contains(part), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn an_error_without_a_way_out_stays_as_it_is() {
        for (errno, address) in [
            (Errno::EINVAL, "[fe80::1%2]:80"),
            (Errno::EINVAL, "127.0.0.1:80"),
            (Errno::ENOBUFS, "127.0.0.1:80"),
            (Errno::EACCES, "127.0.0.1:7400"),
            (Errno::EAFNOSUPPORT, "127.0.0.1:80"),
        ] {
            let error = io::Error::from(errno);
            assert_eq!(explained(&error, address.parse().unwrap()), error.to_string());
        }
        let other = io::Error::other("broken");
        assert_eq!(explained(&other, "127.0.0.1:80".parse().unwrap()), "broken");
    }
}
