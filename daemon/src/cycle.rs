//! Relays that lead back to themselves: each connection would make one more, until none is left.

use crate::refusal::Refusal;
use crate::settings::{RelaySettings, Settings};
use nix::ifaddrs::getifaddrs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use vmsgr_messenger::{Family, Service};

/// A listener that relays.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Relay {
    /// Where it listens.
    address: SocketAddr,
    /// The addresses that it may connect to.
    upstreams: Vec<SocketAddr>,
}

/// Refuses settings with a relay that leads back to itself, directly or through others;
/// `addresses` are those of the listeners, in their order.
pub fn refuse(
    settings: &Settings,
    addresses: impl Iterator<Item = SocketAddr>,
) -> Result<(), Refusal> {
    let relays: Vec<_> = settings
        .listen
        .iter()
        .zip(addresses)
        .filter_map(|(listen, address)| match listen.service.untapped() {
            Service::Relay(upstreams) => {
                let allowed = |upstream: &&SocketAddr| allows(&settings.relay, upstream);
                let upstreams = upstreams.iter().filter(allowed).copied().collect();
                Some((Relay { address, upstreams }, &listen.name))
            }
            // Relays only what a firewall rule has redirected to it.
            Service::RelayOriginalDst
            | Service::Echo
            | Service::Discard
            | Service::OsdNull(_)
            | Service::Tapped(_)
            | Service::Applications
            | Service::Entity(_) => None,
        })
        .collect();
    let (relays, names): (Vec<_>, Vec<_>) = relays.into_iter().unzip();
    let Some(cycle) = find(&relays, is_local) else { return Ok(()) };
    let way: Vec<_> = cycle.iter().map(|&relay| relays[relay].address.to_string()).collect();
    let through = match &way[1..] {
        [] => String::new(),
        others => format!(", through {}", others.join(", ")),
    };
    let reason = format_args!(
        "{} leads back to this listener{through}: a connection would be relayed in a circle for \
         ever; name an upstream that is no relay of this daemon",
        names[cycle[0]]
    );
    Err(Refusal::new(format_args!("listen {}", way[0]), reason))
}

/// Whether a relay connects to `upstream`, as far as source and family limit that.
fn allows(relay: &RelaySettings, upstream: &SocketAddr) -> bool {
    let is_of = |family| (family == Family::V4) == upstream.is_ipv4();
    relay.family.is_none_or(is_of)
        && relay.source.is_none_or(|source| source.is_ipv4() == upstream.is_ipv4())
}

/// Relays of which each leads to the next and the last to the first. `is_local` says whether an
/// address is this machine's.
fn find(relays: &[Relay], is_local: impl Fn(IpAddr) -> bool) -> Option<Vec<usize>> {
    let leads_to = |from: &Relay, to: &Relay| {
        from.upstreams.iter().any(|&upstream| reaches(upstream, to.address, &is_local))
    };
    let next: Vec<Vec<usize>> = relays
        .iter()
        .map(|from| (0..relays.len()).filter(|&to| leads_to(from, &relays[to])).collect())
        .collect();
    (0..relays.len()).find_map(|start| way_back(&next, start))
}

/// The shortest way from `start` that leads back to it.
fn way_back(next: &[Vec<usize>], start: usize) -> Option<Vec<usize>> {
    let mut seen = vec![false; next.len()];
    let mut ways = vec![vec![start]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for &relay in &next[way[way.len() - 1]] {
                if relay == start {
                    return Some(way);
                }
                if !std::mem::replace(&mut seen[relay], true) {
                    longer.push([&way[..], &[relay]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// Whether who connects to `upstream` comes to the listener on `bound`.
fn reaches(upstream: SocketAddr, bound: SocketAddr, is_local: impl Fn(IpAddr) -> bool) -> bool {
    let upstream = as_connected(upstream);
    let to_any = bound.ip().is_unspecified()
        && bound.port() == upstream.port()
        && bound.is_ipv4() == upstream.is_ipv4();
    upstream == bound || to_any && is_local(upstream.ip())
}

/// The address to which a connection to `upstream` really goes: an IPv4 address in IPv6 is that
/// IPv4 address, and the unspecified address is the loopback.
fn as_connected(mut upstream: SocketAddr) -> SocketAddr {
    if let IpAddr::V4(address) = upstream.ip().to_canonical() {
        // Only if it is one, for an IPv6 address may have a scope.
        upstream = SocketAddr::new(address.into(), upstream.port());
    }
    if upstream.ip().is_unspecified() {
        upstream.set_ip(match upstream {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    upstream
}

/// Whether an interface of this machine has the address. (That it can be bound to does not say so:
/// see ip_nonlocal_bind in ip(7).)
fn is_local(address: IpAddr) -> bool {
    let has = |storage: nix::sys::socket::SockaddrStorage| match address {
        IpAddr::V4(address) => storage.as_sockaddr_in().is_some_and(|own| own.ip() == address),
        IpAddr::V6(address) => storage.as_sockaddr_in6().is_some_and(|own| own.ip() == address),
    };
    address.is_loopback()
        || getifaddrs().is_ok_and(|mut own| own.any(|own| own.address.is_some_and(has)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::tests::merge;

    /// The cycle among relays from the first to the others' addresses; 10.0.0.1 is this machine's.
    fn cycle(relays: &[(&str, &[&str])]) -> Option<Vec<usize>> {
        let relay = |(address, upstreams): &(&str, &[&str])| Relay {
            address: address.parse().unwrap(),
            upstreams: upstreams.iter().map(|upstream| upstream.parse().unwrap()).collect(),
        };
        let relays: Vec<_> = relays.iter().map(relay).collect();
        let own: IpAddr = "10.0.0.1".parse().unwrap();
        find(&relays, |address| address.is_loopback() || address == own)
    }

    #[test]
    fn a_relay_to_itself_is_found_whatever_its_address_is_called() {
        for (address, upstream) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("127.0.0.1:1", "0.0.0.0:1"),
            ("127.0.0.1:1", "[::ffff:127.0.0.1]:1"),
            ("[::1]:1", "[::]:1"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("0.0.0.0:1", "127.0.0.2:1"),
            ("0.0.0.0:1", "10.0.0.1:1"),
            ("0.0.0.0:1", "[::ffff:10.0.0.1]:1"),
            ("[::]:1", "[::1]:1"),
            ("[::]:1", "[::]:1"),
        ] {
            assert_eq!(cycle(&[(address, &[upstream])]), Some(vec![0]), "{address} {upstream}");
            let second = [(address, &["192.0.2.1:1", upstream][..])];
            assert_eq!(cycle(&second), Some(vec![0]), "{address} {upstream}");
        }
    }

    #[test]
    fn another_port_machine_or_family_is_another_upstream() {
        for (address, upstream) in [
            ("127.0.0.1:1", "127.0.0.1:2"),
            ("127.0.0.1:1", "127.0.0.2:1"),
            ("127.0.0.1:1", "10.0.0.1:1"),
            ("0.0.0.0:1", "10.0.0.2:1"),
            ("0.0.0.0:1", "10.0.0.1:2"),
            ("0.0.0.0:1", "[::1]:1"),
            ("[::]:1", "127.0.0.1:1"),
            ("[::]:1", "[::ffff:127.0.0.1]:1"),
            ("[fe80::1%1]:1", "[fe80::1%2]:1"),
        ] {
            assert_eq!(cycle(&[(address, &[upstream])]), None, "{address} {upstream}");
        }
    }

    #[test]
    fn a_way_through_others_is_a_cycle_only_if_it_comes_back() {
        let a = ("127.0.0.1:1", &["127.0.0.1:2"][..]);
        let b = ("127.0.0.1:2", &["127.0.0.1:3"][..]);
        assert_eq!(cycle(&[a, b]), None, "a chain has an end");
        assert_eq!(cycle(&[a, b, ("127.0.0.1:3", &["127.0.0.1:1"])]), Some(vec![0, 1, 2]));
        let into = ("127.0.0.1:3", &["192.0.2.1:1", "127.0.0.1:2"][..]);
        assert_eq!(cycle(&[a, b, into]), Some(vec![1, 2]), "the first is not part of it");
        let shared = ("127.0.0.1:9", &["127.0.0.1:2", "127.0.0.1:3"][..]);
        assert_eq!(cycle(&[shared, b, ("127.0.0.1:3", &["192.0.2.1:1"])]), None);
    }

    fn refusal(settings: &Settings) -> Option<String> {
        let addresses = settings.listen.iter().map(|listen| listen.address);
        refuse(settings, addresses).err().map(|refusal| refusal.to_string())
    }

    #[test]
    fn only_relays_make_a_cycle() {
        let a = "127.0.0.1:1=relay:127.0.0.1:2";
        for service in ["echo", "discard", "relay:original-dst"] {
            let b = format!("127.0.0.1:2={service}");
            assert_eq!(refusal(&merge(&["-l", a, "-l", &b], None).unwrap()), None);
        }
        for b in ["0.0.0.0:2=relay:127.0.0.1:1", "0.0.0.0:2=relay:127.0.0.1:1,tap=msgr2"] {
            let text = refusal(&merge(&["-l", a, "-l", b], None).unwrap()).unwrap();
            let start = "listen 127.0.0.1:1: relay:127.0.0.1:2 leads back to this listener, \
                         through 0.0.0.0:2: ";
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn addresses_that_are_never_connected_to_do_not_count() {
        let mut settings = merge(&["-l", "127.0.0.1:1=relay:127.0.0.1:1"], None).unwrap();
        assert!(refusal(&settings).is_some());
        settings.relay.family = Some(Family::V6);
        assert_eq!(refusal(&settings), None);
        settings.relay.family = Some(Family::V4);
        assert!(refusal(&settings).is_some());
        settings.relay.source = Some(Ipv6Addr::LOCALHOST.into());
        assert_eq!(refusal(&settings), None);
    }

    #[test]
    fn the_addresses_of_this_machine_are_known() {
        for (address, local) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_local(address.parse().unwrap()), local, "{address}");
        }
        // The address from which this machine would speak to others, if it can.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(is_local(socket.local_addr().unwrap().ip()));
        }
    }
}
