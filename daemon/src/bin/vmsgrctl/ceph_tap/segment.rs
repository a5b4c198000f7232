//! The TCP segment in a captured packet.

use pcap_parser::Linktype;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Types of what an Ethernet frame carries.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

const TCP: u8 = 6;

/// A segment, and how much of it was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u32,
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
    /// What was captured of the payload.
    pub payload: &'a [u8],
    /// Bytes that it really had; at least as many.
    pub length: usize,
}

/// The segment in a packet of this kind of link; `None` if there is none, or not enough of it.
pub fn of_packet(link: Linktype, data: &[u8]) -> Option<Segment<'_>> {
    match link {
        Linktype::ETHERNET => {
            let mut rest = data.get(12..)?;
            let mut kind = be16(rest)?;
            // As many tags as there may be, and a few more.
            for _ in 0..4 {
                if VLAN.contains(&kind) {
                    rest = rest.get(4..)?;
                    kind = be16(rest)?;
                }
            }
            of_ip(kind, rest.get(2..)?)
        }
        Linktype::LINUX_SLL => of_ip(be16(data.get(14..)?)?, data.get(16..)?),
        Linktype::LINUX_SLL2 => of_ip(be16(data)?, data.get(20..)?),
        Linktype::NULL | Linktype::LOOP => of_any_ip(data.get(4..)?),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => of_any_ip(data),
        _ => None,
    }
}

fn be16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.first_chunk()?))
}

fn of_any_ip(data: &[u8]) -> Option<Segment<'_>> {
    match data.first()? >> 4 {
        4 => of_ip(IPV4, data),
        6 => of_ip(IPV6, data),
        _ => None,
    }
}

fn of_ip(kind: u16, data: &[u8]) -> Option<Segment<'_>> {
    match kind {
        IPV4 => {
            let header = usize::from(data.first()? & 0xf) * 4;
            let total = usize::from(be16(data.get(2..)?)?);
            // The first fragment of several or a later one: Ceph's peers do not send any.
            let fragmented = be16(data.get(6..)?)? & 0x3fff != 0;
            if fragmented || *data.get(9)? != TCP || header < 20 {
                return None;
            }
            let from = Ipv4Addr::from(*data.get(12..)?.first_chunk()?);
            let to = Ipv4Addr::from(*data.get(16..)?.first_chunk()?);
            // Offloaded packets may be captured before their length is known.
            let total = if total == 0 { data.len() } else { total };
            of_tcp(from.into(), to.into(), data.get(header..)?, total.checked_sub(header)?)
        }
        IPV6 => {
            let length = usize::from(be16(data.get(4..)?)?);
            if *data.get(6)? != TCP {
                return None;
            }
            let from = Ipv6Addr::from(*data.get(8..)?.first_chunk()?);
            let to = Ipv6Addr::from(*data.get(24..)?.first_chunk()?);
            let rest = data.get(40..)?;
            let length = if length == 0 { rest.len() } else { length };
            of_tcp(from.into(), to.into(), rest, length)
        }
        _ => None,
    }
}

/// `total` are the bytes that the segment has with its header.
fn of_tcp(from: IpAddr, to: IpAddr, data: &[u8], total: usize) -> Option<Segment<'_>> {
    let header = usize::from(data.get(12)? >> 4) * 4;
    let length = total.checked_sub(header)?;
    if header < 20 {
        return None;
    }
    let flags = *data.get(13)?;
    // Behind a short packet an Ethernet frame is filled up.
    let captured = data.get(header..)?;
    let payload = &captured[..captured.len().min(length)];
    Some(Segment {
        from: SocketAddr::new(from, be16(data)?),
        to: SocketAddr::new(to, be16(data.get(2..)?)?),
        sequence: u32::from_be_bytes(*data.get(4..)?.first_chunk()?),
        fin: flags & 1 != 0,
        syn: flags & 2 != 0,
        rst: flags & 4 != 0,
        ack: flags & 16 != 0,
        payload,
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x0c, 0xe4, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 0x18];
        bytes.extend([0; 6]);
        bytes.extend(payload);
        bytes
    }

    fn ipv4(payload: &[u8]) -> Vec<u8> {
        let segment = tcp(payload);
        let total = (20 + segment.len()) as u16;
        let mut bytes = vec![0x45, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(segment);
        bytes
    }

    fn ipv6(payload: &[u8]) -> Vec<u8> {
        let segment = tcp(payload);
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((segment.len() as u16).to_be_bytes());
        bytes.extend([TCP, 64]);
        bytes.extend([0; 15]);
        bytes.push(1);
        bytes.extend([0; 15]);
        bytes.push(1);
        bytes.extend(segment);
        bytes
    }

    #[test]
    fn a_segment_is_found_behind_every_kind_of_link() {
        let (four, six) = (ipv4(b"ceph"), ipv6(b"ceph"));
        let with = |before: &[u8], ip: &[u8]| [before, ip].concat();
        let ethernet = |kind: &[u8], ip: &[u8]| with(&[&[0; 12], kind].concat(), ip);
        for (link, data) in [
            (Linktype::ETHERNET, ethernet(&[8, 0], &four)),
            (Linktype::ETHERNET, ethernet(&[0x86, 0xdd], &six)),
            (Linktype::ETHERNET, ethernet(&[0x81, 0, 0, 7, 8, 0], &four)),
            (Linktype::ETHERNET, ethernet(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8, 8, 0], &four)),
            (Linktype::ETHERNET, [&ethernet(&[8, 0], &four)[..], &[0; 6]].concat()),
            (Linktype::LINUX_SLL, with(&[&[0; 14][..], &[8, 0]].concat(), &four)),
            (Linktype::LINUX_SLL2, with(&[&[8, 0][..], &[0; 18]].concat(), &four)),
            (Linktype::NULL, with(&[2, 0, 0, 0], &four)),
            (Linktype::LOOP, with(&[0, 0, 0, 2], &four)),
            (Linktype::RAW, six.clone()),
            (Linktype(12), four.clone()),
        ] {
            let segment = of_packet(link, &data).unwrap();
            assert_eq!((segment.payload, segment.length), (&b"ceph"[..], 4), "{link:?}");
            assert_eq!((segment.from.port(), segment.to.port()), (0x1234, 3300));
            assert_eq!(segment.sequence, 9);
            assert!(segment.ack && !segment.syn && !segment.fin && !segment.rst);
        }
    }

    #[test]
    fn each_flag_is_one_bit() {
        for bit in 0..8 {
            let mut data = ipv4(b"");
            data[20 + 13] = 1 << bit;
            let segment = of_packet(Linktype::RAW, &data).unwrap();
            let flags = [segment.fin, segment.syn, segment.rst, segment.ack];
            assert_eq!(flags, [0, 1, 2, 4].map(|at| at == bit), "{bit}");
        }
    }

    #[test]
    fn a_packet_without_a_length_yet_is_as_long_as_it_was_captured() {
        for (mut data, at) in [(ipv4(b"ceph"), 2), (ipv6(b"ceph"), 4)] {
            data[at..at + 2].fill(0);
            let segment = of_packet(Linktype::RAW, &data).unwrap();
            assert_eq!((segment.payload, segment.length), (&b"ceph"[..], 4));
        }
    }

    #[test]
    fn fragments_are_no_segments() {
        // More of them follow; it is one of those; both.
        for fragment in [[0x20, 0], [0, 1], [0x3f, 0xff]] {
            let mut data = ipv4(b"ceph");
            data[6..8].copy_from_slice(&fragment);
            assert_eq!(of_packet(Linktype::RAW, &data), None, "{fragment:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_no_tcp_is_no_segment_and_no_panic() {
        for data in [ipv4(b"ceph"), ipv6(b"ceph")] {
            let head = data.len() - 4;
            for length in 0..data.len() {
                let segment = of_packet(Linktype::RAW, &data[..length]);
                assert_eq!(segment.is_some(), length >= head, "{length}");
                assert!(segment.is_none_or(|it| it.length == 4 && it.payload.len() < 4));
            }
            for at in 0..head {
                for byte in [0, 0x0f, 0x4f, 0xff] {
                    let mut data = data.clone();
                    data[at] = byte;
                    let _ = of_packet(Linktype::RAW, &data);
                }
            }
        }
        assert_eq!(of_packet(Linktype(105), &ipv4(b"ceph")), None);
    }
}
