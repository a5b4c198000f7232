//! Addresses and ports that an application may use, as a person writes them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::ParseIntError;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Some addresses and some ports: `127.0.0.1:*`, `10.0.0.0/8:6800-7300`, `[::1]:7400`,
/// `[fd00::/8]:*`, `*:7000-7999`, `*:*`.
///
/// An IPv4 address is the same whether it is written as one or as an IPv6 address
/// (`::ffff:10.0.0.1`), in the rule and in what is asked for. The unspecified address (`0.0.0.0`,
/// `[::]`) is an address of its own: who may listen on 10.0.0.1 may not listen on all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `None`: any address of either family.
    network: Option<Network>,
    /// Port 0 stands for itself: to listen on any free port.
    ports: RangeInclusive<u16>,
}

/// Why a rule is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not ADDRESS:PORT: {part}; write an address such as 127.0.0.1, 10.0.0.0/8, [::1], \
     [fd00::/8] or *, a colon, and a port such as 7400, 6800-7300 or *"
)]
pub struct RuleError {
    text: String,
    part: String,
}

/// The addresses that begin with the same bits. Never IPv4 addresses in IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    /// The bits behind the prefix are 0.
    address: IpAddr,
    /// In `0..=32` or `0..=128`.
    prefix: u8,
}

impl Rule {
    /// Every address and port.
    pub const ANY: Self = Self { network: None, ports: 0..=u16::MAX };

    /// Whether `address` is one of this rule's.
    pub fn covers(&self, address: SocketAddr) -> bool {
        self.ports.contains(&address.port())
            && self.network.is_none_or(|network| network.contains(address.ip()))
    }
}

impl Network {
    fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let (address, prefix) = match (address.to_canonical(), prefix) {
            // An IPv4 address in IPv6.
            (IpAddr::V4(v4), 96..=128) if address.is_ipv6() => (v4.into(), prefix - 96),
            _ => (address, prefix),
        };
        (prefix <= bits).then(|| Self { address: masked(address, prefix), prefix })
    }

    fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

/// The address with the bits behind the prefix cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = |part: String| RuleError { text: text.to_owned(), part };
        let (host, ports) = text.rsplit_once(':').ok_or_else(|| wrong("it has no port".into()))?;
        let network = match host {
            "*" => None,
            _ => Some(network(host).map_err(wrong)?),
        };
        let ports = ports_of(ports).map_err(wrong)?;
        Ok(Self { network, ports })
    }
}

fn network(text: &str) -> Result<Network, String> {
    let wrong = || format!("there is no address '{text}'");
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let (address, prefix) = match bracketed.unwrap_or(text).split_once('/') {
        None => (bracketed.unwrap_or(text), None),
        Some((address, prefix)) => (address, Some(prefix)),
    };
    let (address, bits) = match bracketed {
        None => (address.parse().map(IpAddr::V4).map_err(|_| wrong())?, 32),
        Some(_) => (address.parse().map(IpAddr::V6).map_err(|_| wrong())?, 128),
    };
    let prefix = match prefix {
        None => bits,
        Some(prefix) => number(prefix).map_err(|_| wrong())?,
    };
    let network = Network::new(address, prefix)
        .ok_or_else(|| format!("/{prefix} is longer than the address, which has {bits} bits"))?;
    // Most likely not what was meant, and which of the two was cannot be told.
    let exact = masked(address, prefix);
    if exact != address {
        return Err(format!("{address} has bits behind /{prefix}; write {exact}/{prefix}"));
    }
    Ok(network)
}

fn ports_of(text: &str) -> Result<RangeInclusive<u16>, String> {
    if text == "*" {
        return Ok(0..=u16::MAX);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        (Ok(first), Ok(last)) => Err(format!("ports {first}-{last} are none")),
        _ => Err(format!("there is no port '{text}'")),
    }
}

/// Digits only: `parse` also takes a sign.
fn number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, ParseIntError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse() } else { "".parse() }
}

impl fmt::Display for Rule {
    /// As it can be read again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.network {
            None => f.write_str("*")?,
            Some(Network { address: IpAddr::V4(address), prefix: 32 }) => write!(f, "{address}")?,
            Some(Network { address: IpAddr::V4(address), prefix }) => {
                write!(f, "{address}/{prefix}")?;
            }
            Some(Network { address: IpAddr::V6(address), prefix: 128 }) => {
                write!(f, "[{address}]")?
            }
            Some(Network { address: IpAddr::V6(address), prefix }) => {
                write!(f, "[{address}/{prefix}]")?;
            }
        }
        match (*self.ports.start(), *self.ports.end()) {
            (0, u16::MAX) => f.write_str(":*"),
            (first, last) if first == last => write!(f, ":{first}"),
            (first, last) => write!(f, ":{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn covers(rule: &str, address: &str) -> bool {
        rule.parse::<Rule>().unwrap().covers(address.parse().unwrap())
    }

    #[test]
    fn a_rule_covers_its_addresses_and_ports_and_no_others() {
        for (rule, inside, outside) in [
            ("*:*", &["0.0.0.0:0", "[::]:65535", "192.0.2.1:80"][..], &[][..]),
            ("127.0.0.1:*", &["127.0.0.1:0", "127.0.0.1:9"], &["127.0.0.2:9", "[::1]:9"]),
            (
                "10.0.0.0/8:6800-7300",
                &["10.0.0.0:6800", "10.255.255.255:7300"],
                &["10.0.0.1:6799", "10.0.0.1:7301", "11.0.0.0:6800", "9.255.255.255:6800"],
            ),
            ("[::1]:7400", &["[::1]:7400"], &["[::1]:7401", "[::2]:7400", "127.0.0.1:7400"]),
            ("[fd00::/8]:1", &["[fd00::1]:1", "[fdff::]:1"], &["[fe00::]:1", "253.0.0.1:1"]),
            ("*:7000-7999", &["[::1]:7000", "1.2.3.4:7999"], &["1.2.3.4:8000", "1.2.3.4:0"]),
            ("0.0.0.0/0:1", &["0.0.0.0:1", "255.0.0.1:1"], &["[::1]:1", "[::]:1"]),
            ("[::/0]:1", &["[::]:1", "[ff::]:1"], &["0.0.0.0:1"]),
            ("0.0.0.0:1", &["0.0.0.0:1"], &["127.0.0.1:1", "[::]:1"]),
            ("127.0.0.1:0", &["127.0.0.1:0"], &["127.0.0.1:1"]),
        ] {
            inside.iter().for_each(|address| assert!(covers(rule, address), "{rule} {address}"));
            outside.iter().for_each(|address| assert!(!covers(rule, address), "{rule} {address}"));
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_is_that_ipv4_address() {
        assert!(covers("10.0.0.0/8:*", "[::ffff:10.1.2.3]:1"));
        assert!(!covers("10.0.0.0/8:*", "[::ffff:11.1.2.3]:1"));
        // The bits say otherwise, the kernel does not.
        assert!(!covers("[::/0]:*", "[::ffff:10.1.2.3]:1"));
        assert!(!covers("[::/64]:*", "[::ffff:10.1.2.3]:1"));
        for rule in ["[::ffff:10.0.0.0/104]:*", "[::ffff:10.1.2.3]:*"] {
            assert!(covers(rule, "10.1.2.3:1") && covers(rule, "[::ffff:10.1.2.3]:1"), "{rule}");
            assert!(!covers(rule, "11.1.2.3:1") && !covers(rule, "[::10.1.2.3]:1"), "{rule}");
        }
    }

    #[test]
    fn a_scope_or_a_flow_is_not_another_address() {
        assert!(covers("[fe80::/10]:*", "[fe80::1%3]:1"));
    }

    #[test]
    fn a_rule_is_printed_as_it_is_read() {
        for text in [
            "*:*",
            "127.0.0.1:*",
            "10.0.0.0/8:6800-7300",
            "0.0.0.0/0:0",
            "[::1]:7400",
            "[fd00::/8]:1-2",
            "[::/0]:65535",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!(
            "[::ffff:10.0.0.0/104]:5-5".parse::<Rule>().unwrap().to_string(),
            "10.0.0.0/8:5"
        );
        assert_eq!(Rule::ANY.to_string(), "*:*");
        assert_eq!("*:0-65535".parse(), Ok(Rule::ANY));
    }

    #[test]
    fn what_is_no_rule_is_named_with_what_is_allowed() {
        for (text, part) in [
            ("", "it has no port"),
            ("*", "it has no port"),
            ("127.0.0.1", "it has no port"),
            ("127.0.0.1:", "there is no port ''"),
            ("127.0.0.1:http", "there is no port 'http'"),
            ("127.0.0.1:65536", "there is no port '65536'"),
            ("127.0.0.1:+1", "there is no port '+1'"),
            ("127.0.0.1:1-", "there is no port '1-'"),
            ("127.0.0.1:1-2-3", "there is no port '1-2-3'"),
            ("127.0.0.1:9-8", "ports 9-8 are none"),
            ("localhost:1", "there is no address 'localhost'"),
            ("10/8:1", "there is no address '10/8'"),
            ("10.0.0.0/:1", "there is no address '10.0.0.0/'"),
            ("10.0.0.0/+8:1", "there is no address"),
            ("10.0.0.0/999:1", "there is no address"),
            ("::1:1", "there is no address '::1'"),
            ("[127.0.0.1]:1", "there is no address '[127.0.0.1]'"),
            ("[::1:1", "there is no address '[::1'"),
            ("10.0.0.0/33:1", "/33 is longer than the address, which has 32 bits"),
            ("[fd00::/129]:1", "/129 is longer than the address, which has 128 bits"),
            ("10.0.0.1/8:1", "10.0.0.1 has bits behind /8; write 10.0.0.0/8"),
            ("[fd00::1/8]:1", "fd00::1 has bits behind /8; write fd00::/8"),
        ] {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            let start = format!("'{text}' is not ADDRESS:PORT: {part}");
            assert!(error.starts_with(&start), "{error}");
            assert!(error.contains("10.0.0.0/8, [::1]"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_network_holds_what_has_its_first_bits(
            network: u32,
            prefix in 0..=32_u8,
            address: u32,
            close: bool,
        ) {
            let bits = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let network = network & bits;
            // Else hardly any would be inside.
            let address = if close { network ^ address.checked_shr(prefix.into()).unwrap_or(0) }
                else { address };
            let (v4, rule) = (Ipv4Addr::from_bits(address), Ipv4Addr::from_bits(network));
            let rule: Rule = format!("{rule}/{prefix}:*").parse().unwrap();
            let inside = address & bits == network;
            prop_assert_eq!(rule.covers((v4, 1).into()), inside);
            prop_assert_eq!(rule.covers((v4.to_ipv6_mapped(), 1).into()), inside);
        }

        #[test]
        fn no_text_is_too_odd(text in "[\\[\\]0-9a-f:./*+-]{0,30}") {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }
    }
}
