//! Addresses of Ceph's entities: `entity_addr_t` and `entity_addrvec_t`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::error::Rule;
use super::wire::{Reader, Writer};

const AF_UNSPEC: u16 = 0;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Bytes of `sockaddr_in` and `sockaddr_in6`.
const V4_BYTES: usize = 16;
const V6_BYTES: usize = 28;

/// An address, not in the encoding of before msgr2.
const ADDRESS: u8 = 1;
/// A list of them.
const LIST: u8 = 2;

/// More addresses than this no daemon has: one for each protocol and family.
pub(super) const MOST_ADDRESSES: u32 = 64;

/// Which protocol an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressKind {
    /// No address.
    None,
    /// Protocol v1.
    Legacy,
    /// Protocol v2.
    Msgr2,
    /// Any: a client's, which nobody connects to.
    Any,
    /// One that is not known here.
    Other(u32),
}

impl AddressKind {
    const fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Legacy => 1,
            Self::Msgr2 => 2,
            Self::Any => 3,
            Self::Other(number) => number,
        }
    }

    const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Legacy,
            2 => Self::Msgr2,
            3 => Self::Any,
            number => Self::Other(number),
        }
    }
}

/// The address of an entity: a socket's, and which of the processes that had it one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityAddr {
    /// Which protocol is spoken there.
    pub kind: AddressKind,
    /// Tells processes at the same socket address apart.
    pub nonce: u32,
    /// Where it is; `None`: nowhere. A port of 0 is that of a client that does not listen.
    pub socket: Option<SocketAddr>,
}

impl EntityAddr {
    /// No address at all.
    pub const NONE: Self = Self { kind: AddressKind::None, nonce: 0, socket: None };

    /// Of an entity that speaks msgr2 there.
    pub const fn msgr2(socket: SocketAddr, nonce: u32) -> Self {
        Self { kind: AddressKind::Msgr2, nonce, socket: Some(socket) }
    }

    /// Of a client with this address, which does not listen.
    pub const fn client(address: IpAddr, nonce: u32) -> Self {
        Self { kind: AddressKind::Any, nonce, socket: Some(SocketAddr::new(address, 0)) }
    }

    /// Where it stands when two entities have to agree which of them goes first: Ceph compares its
    /// structure byte by byte.
    pub(crate) fn rank(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u32(self.kind.number());
        bytes.put_u32(self.nonce);
        self.encode_socket(&mut bytes);
        bytes
    }

    pub(crate) fn encode(&self, out: &mut impl Writer) {
        let socket_bytes = match self.socket {
            None => 0,
            Some(SocketAddr::V4(_)) => V4_BYTES,
            Some(SocketAddr::V6(_)) => V6_BYTES,
        };
        out.put_u8(ADDRESS);
        out.put_u8(1);
        out.put_u8(1);
        out.put_u32(12 + socket_bytes as u32);
        out.put_u32(self.kind.number());
        out.put_u32(self.nonce);
        out.put_u32(socket_bytes as u32);
        self.encode_socket(out);
    }

    fn encode_socket(&self, out: &mut impl Writer) {
        match self.socket {
            None => {}
            Some(SocketAddr::V4(address)) => {
                out.put_u16(AF_INET);
                out.put(&address.port().to_be_bytes());
                out.put(&address.ip().octets());
                out.put(&[0; 8]);
            }
            Some(SocketAddr::V6(address)) => {
                out.put_u16(AF_INET6);
                out.put(&address.port().to_be_bytes());
                out.put_u32(address.flowinfo());
                out.put(&address.ip().octets());
                out.put_u32(address.scope_id());
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Rule> {
        match reader.u8("address marker")? {
            ADDRESS => Self::decode_unmarked(reader),
            other => Err(Rule::AddressMarker(other)),
        }
    }

    fn decode_unmarked(reader: &mut Reader<'_>) -> Result<Self, Rule> {
        let _version = reader.u8("address version")?;
        let compat = reader.u8("address compat")?;
        if compat > 1 {
            return Err(Rule::AddressCompat(compat));
        }
        // What newer versions append is skipped with the rest of the blob.
        let mut reader = Reader::new(reader.blob("address")?);
        let kind = AddressKind::from_number(reader.u32("address type")?);
        let nonce = reader.u32("address nonce")?;
        let socket = decode_socket(reader.blob("socket address")?)?;
        Ok(Self { kind, nonce, socket })
    }
}

fn decode_socket(bytes: &[u8]) -> Result<Option<SocketAddr>, Rule> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(bytes);
    let family = reader.u16("address family")?;
    let needed = match family {
        AF_UNSPEC => return Ok(None),
        AF_INET => V4_BYTES,
        AF_INET6 => V6_BYTES,
        _ => return Err(Rule::AddressFamily(family)),
    };
    if bytes.len() < needed {
        return Err(Rule::AddressLength { family, length: bytes.len() as u32 });
    }
    let port = u16::from_be_bytes(reader.array("port")?);
    if family == AF_INET {
        let ip = Ipv4Addr::from(reader.array::<4>("IPv4 address")?);
        return Ok(Some(SocketAddr::new(ip.into(), port)));
    }
    let flow = reader.u32("flow information")?;
    let ip = Ipv6Addr::from(reader.array::<16>("IPv6 address")?);
    let scope = reader.u32("scope")?;
    Ok(Some(SocketAddrV6::new(ip, port, flow, scope).into()))
}

impl fmt::Display for EntityAddr {
    /// As Ceph writes it: `v2:10.0.0.1:6800/1234`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            AddressKind::None => return f.write_str("-"),
            AddressKind::Legacy => f.write_str("v1:")?,
            AddressKind::Msgr2 => f.write_str("v2:")?,
            AddressKind::Any => f.write_str("any:")?,
            AddressKind::Other(number) => write!(f, "type{number}:")?,
        }
        match self.socket {
            Some(socket) => write!(f, "{socket}/{}", self.nonce),
            None => write!(f, "-/{}", self.nonce),
        }
    }
}

/// All addresses of an entity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct EntityAddrs(pub Vec<EntityAddr>);

impl EntityAddrs {
    /// The address that this protocol is spoken at, or else the first; an entity without any has
    /// none.
    pub fn msgr2(&self) -> EntityAddr {
        let speaks = |address: &&EntityAddr| address.kind == AddressKind::Msgr2;
        *self.0.iter().find(speaks).or(self.0.first()).unwrap_or(&EntityAddr::NONE)
    }

    pub(crate) fn encode(&self, out: &mut impl Writer) {
        out.put_u8(LIST);
        out.put_u32(self.0.len() as u32);
        for address in &self.0 {
            address.encode(out);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Rule> {
        match reader.u8("addresses marker")? {
            ADDRESS => Ok(Self(vec![EntityAddr::decode_unmarked(reader)?])),
            LIST => {
                let count = reader.u32("number of addresses")?;
                if count > MOST_ADDRESSES {
                    return Err(Rule::Truncated("addresses"));
                }
                (0..count).map(|_| EntityAddr::decode(reader)).collect::<Result<_, _>>().map(Self)
            }
            other => Err(Rule::AddressMarker(other)),
        }
    }
}

impl From<EntityAddr> for EntityAddrs {
    fn from(address: EntityAddr) -> Self {
        Self(vec![address])
    }
}

impl fmt::Display for EntityAddrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, address) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{address}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(address: &EntityAddr) -> Vec<u8> {
        let mut bytes = Vec::new();
        address.encode(&mut bytes);
        bytes
    }

    #[test]
    fn both_families_and_none_come_back() {
        let v6 = SocketAddrV6::new("fe80::1".parse().unwrap(), 6800, 7, 9);
        for address in [
            EntityAddr::NONE,
            EntityAddr::msgr2("10.1.2.3:6800".parse().unwrap(), 5),
            EntityAddr::client("127.0.0.1".parse().unwrap(), u32::MAX),
            EntityAddr { kind: AddressKind::Legacy, nonce: 1, socket: Some(v6.into()) },
            EntityAddr { kind: AddressKind::Other(77), nonce: 1, socket: None },
        ] {
            let bytes = bytes(&address);
            let mut reader = Reader::new(&bytes);
            assert_eq!(EntityAddr::decode(&mut reader), Ok(address));
            assert!(reader.rest().is_empty());
            for length in 0..bytes.len() {
                let cut = EntityAddr::decode(&mut Reader::new(&bytes[..length]));
                assert!(matches!(cut, Err(Rule::Truncated(_))), "{length}: {cut:?}");
            }
        }
    }

    #[test]
    fn what_later_versions_append_is_skipped() {
        let address = EntityAddr::msgr2("10.1.2.3:6800".parse().unwrap(), 5);
        let mut bytes = bytes(&address);
        bytes[1] = 2;
        bytes[3] += 3;
        bytes.extend([1, 2, 3, 99]);
        let mut reader = Reader::new(&bytes);
        assert_eq!(EntityAddr::decode(&mut reader), Ok(address));
        assert_eq!(reader.rest(), [99]);
    }

    #[test]
    fn wrong_fields_are_named() {
        let good = bytes(&EntityAddr::msgr2("10.1.2.3:6800".parse().unwrap(), 5));
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            EntityAddr::decode(&mut Reader::new(&bytes)).unwrap_err()
        };
        assert_eq!(with(0, 0), Rule::AddressMarker(0));
        assert_eq!(with(2, 2), Rule::AddressCompat(2));
        assert_eq!(with(15, 15), Rule::AddressLength { family: 2, length: 15 });
        assert_eq!(with(19, 3), Rule::AddressFamily(3));
        let mut list = vec![LIST];
        list.put_u32(u32::MAX);
        let error = EntityAddrs::decode(&mut Reader::new(&list));
        assert_eq!(error, Err(Rule::Truncated("addresses")));
    }

    #[test]
    fn they_read_as_ceph_writes_them() {
        let daemon = EntityAddr::msgr2("[::1]:6800".parse().unwrap(), 42);
        let client = EntityAddr::client("10.0.0.1".parse().unwrap(), 7);
        let all = EntityAddrs(vec![client, daemon]);
        assert_eq!(all.to_string(), "[any:10.0.0.1:0/7,v2:[::1]:6800/42]");
        assert_eq!(all.msgr2(), daemon);
    }
}
