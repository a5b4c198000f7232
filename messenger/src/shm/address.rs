//! Socket addresses as three words: family, port and scope; then the address in network order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// `address` as words: bits 0..16 of the first are 4 or 6, bits 16..32 the port, the rest the scope
/// of an IPv6 address; the others hold the bytes of the address.
pub(crate) fn to_words(address: SocketAddr) -> [u64; 3] {
    let (family, scope, bytes) = match address {
        SocketAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.ip().octets());
            (4, 0, bytes)
        }
        SocketAddr::V6(v6) => (6, v6.scope_id(), v6.ip().octets()),
    };
    let half = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    [family | u64::from(address.port()) << 16 | u64::from(scope) << 32, half(0), half(8)]
}

/// The address that the words say; `None` if they say none.
pub(crate) fn from_words(words: [u64; 3]) -> Option<SocketAddr> {
    let [head, front, back] = words;
    let (port, scope) = ((head >> 16) as u16, (head >> 32) as u32);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&front.to_le_bytes());
    bytes[8..].copy_from_slice(&back.to_le_bytes());
    match head & 0xffff {
        4 => {
            let [a, b, c, d, rest @ ..] = bytes;
            let clean = scope == 0 && rest == [0; 12];
            clean.then(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port))
        }
        6 => Some(SocketAddrV6::new(Ipv6Addr::from(bytes), port, 0, scope).into()),
        _ => None,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_come_back_as_they_were() {
        for text in ["127.0.0.1:80", "255.254.253.252:65535", "[::1]:0", "[fe80::1%7]:7400"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(from_words(to_words(address)), Some(address), "{text}");
        }
    }

    proptest! {
        /// An application may write anything: it is an address that means the same, or none.
        #[test]
        fn any_words_are_an_address_or_none(words: [u64; 3], family in 0u64..8) {
            let words = [words[0] & !0xffff | family, words[1], words[2]];
            if let Some(address) = from_words(words) {
                prop_assert_eq!(to_words(address), words);
            }
        }
    }
}
