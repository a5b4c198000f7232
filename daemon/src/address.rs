//! The address of a listener, as a person writes it.

use std::net::{SocketAddr, ToSocketAddrs};

const FORM: &str = "write HOST:PORT, such as 127.0.0.1:7400, [::1]:7400 or localhost:0 (0: any \
                    free port)";

/// Reads `127.0.0.1:7400`, `[::1]:7400` or `localhost:7400`; the error says what is allowed.
///
/// A name stands for its first IPv4 address, or for its first IPv6 address if it has no other: a
/// listener is one address, and with port 0 it must be clear which one got the port. Names are
/// looked up by the system's resolver, which may block for seconds.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let malformed = || format!("'{text}' is not an address; {FORM}");
    let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    // A host that still holds a colon or a bracket is a malformed IPv6 address; a host of digits
    // and dots is a malformed IPv4 address, which the resolver would read as something else
    // (`127.1` as 127.0.0.1).
    let is_name = !host.is_empty()
        && !host.contains([':', '[', ']', ' ', '/'])
        && !host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    // An IP address with a port that there is has been read already.
    if !is_number || !(is_name || is_ip(host)) {
        return Err(malformed());
    }
    let no_port = |_| {
        format!("there is no port {port}, which '{text}' has; write 0 to 65535 (0: any free port)")
    };
    let number: u16 = port.parse().map_err(no_port)?;
    let unresolved = |error| format!("host '{host}' cannot be resolved: {error}");
    let addresses: Vec<_> = (host, number).to_socket_addrs().map_err(unresolved)?.collect();
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    let address = ipv4.or(addresses.first());
    address.copied().ok_or_else(|| format!("host '{host}' has no address"))
}

/// Whether an address with this host is one, whatever its port.
fn is_ip(host: &str) -> bool {
    format!("{host}:0").parse::<SocketAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_read() {
        for text in ["127.0.0.1:7400", "[::1]:7400", "0.0.0.0:0", "[::]:65535"] {
            assert_eq!(listen_address(text).unwrap().to_string(), text);
        }
        let localhost = listen_address("localhost:7400").unwrap();
        assert!(localhost.ip().is_loopback() && localhost.port() == 7400, "{localhost}");
    }

    #[test]
    fn what_is_no_address_is_named_with_the_form() {
        for text in [
            "",
            "7400",
            "127.0.0.1",
            ":7400",
            "::1:7400",
            "[::1]",
            "[::1:7400",
            "127.0.0.1:",
            "127.0.0.1:-1",
            "127.0.0.1:+1",
            "localhost:http",
            "127.1:80",
            "1.2.3.4.5:80",
            "127.0.0.1:80/tcp",
            "localhost:",
            "1.2.3.4.5:70000",
            "::1:70000",
        ] {
            let error = listen_address(text).unwrap_err();
            assert!(error.starts_with(&format!("'{text}' is not")), "{error}");
            assert!(error.contains("127.0.0.1:7400"), "{error}");
        }
    }

    #[test]
    fn a_port_that_there_is_not_is_named_with_the_range() {
        for (text, port) in [
            ("127.0.0.1:65536", "65536"),
            ("127.0.0.1:70000", "70000"),
            ("[::1]:99999999999999999999", "99999999999999999999"),
            ("no-such-host.invalid:70000", "70000"),
        ] {
            let error = listen_address(text).unwrap_err();
            assert!(error.starts_with(&format!("there is no port {port}, which '{text}'")));
            assert!(error.contains("0 to 65535 (0: any free port)"), "{error}");
        }
    }

    #[test]
    fn a_name_that_does_not_resolve_is_named() {
        let error = listen_address("no-such-host.invalid:80").unwrap_err();
        assert!(error.starts_with("host 'no-such-host.invalid' cannot be resolved: "), "{error}");
    }
}
