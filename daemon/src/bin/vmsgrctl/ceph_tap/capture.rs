//! The packets of a capture file, pcap or pcapng.

use pcap_parser::pcapng::Block;
use pcap_parser::{Linktype, PcapBlockOwned, PcapError, create_reader};
use std::io::Read;
use std::time::Duration;

/// The largest packet or block that is read; captures have packets of 256 KiB at most.
const LARGEST: usize = 4 << 20;

/// A captured packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// When it was seen, since 1970.
    pub time: Duration,
    pub link: Linktype,
    pub data: &'a [u8],
}

/// An interface of a pcapng file.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Units of time in a second.
    resolution: u64,
}

/// What to do without a capture.
const MAKE_ONE: &str = "make one with tcpdump -s 0 -w FILE tcp port PORT";

/// Shows every packet of a capture; what is wrong with the capture, if it is.
pub fn read(file: impl Read + Send, mut see: impl FnMut(Packet<'_>)) -> Result<(), String> {
    let wrong = |error: PcapError<&[u8]>| match error {
        PcapError::UnexpectedEof => "it ends within a packet".to_owned(),
        PcapError::ReadError => "it cannot be read to its end".to_owned(),
        PcapError::BufferTooSmall => format!("it has a packet of more than {LARGEST} bytes"),
        _ => "it is damaged".to_owned(),
    };
    let mut reader = create_reader(LARGEST, file).map_err(|error| match error {
        PcapError::Eof => format!("it is empty; {MAKE_ONE}"),
        PcapError::ReadError => wrong(error),
        // However it fails, nothing has been recognised; what is shorter than a header, neither.
        _ => format!("it is no capture, neither pcap nor pcapng; {MAKE_ONE}"),
    })?;
    let mut interfaces = Vec::new();
    loop {
        let offset = match reader.next() {
            Ok((offset, block)) => {
                block_seen(block, &mut interfaces, &mut see);
                offset
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                reader.refill().map_err(wrong)?;
                continue;
            }
            Err(error) => return Err(wrong(error)),
        };
        reader.consume(offset);
    }
}

fn block_seen(
    block: PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
    see: &mut impl FnMut(Packet<'_>),
) {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let resolution =
                if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
            *interfaces = vec![Interface { link: header.network, resolution }];
        }
        PcapBlockOwned::Legacy(block) => {
            let Some(interface) = interfaces.first() else { return };
            let seconds = Duration::from_secs(block.ts_sec.into());
            let time = seconds + time(block.ts_usec.into(), interface.resolution);
            let data = &block.data[..block.data.len().min(block.caplen as usize)];
            see(Packet { time, link: interface.link, data });
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
        PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
            let resolution = block.ts_resolution().unwrap_or(1_000_000);
            // More interfaces than this no machine has; packets of others are passed over.
            if interfaces.len() < 4096 {
                interfaces.push(Interface { link: block.linktype, resolution });
            }
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
            let Some(interface) = interfaces.get(block.if_id as usize) else { return };
            let units = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
            let time = time(units, interface.resolution);
            let data = &block.data[..block.data.len().min(block.caplen as usize)];
            see(Packet { time, link: interface.link, data });
        }
        // Without a time, or about the capture itself.
        PcapBlockOwned::NG(_) => {}
    }
}

fn time(units: u64, resolution: u64) -> Duration {
    let nanoseconds = u128::from(units) * 1_000_000_000 / u128::from(resolution.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = (Duration, Linktype, Vec<u8>);

    fn packets(file: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        read(file, |packet| seen.push((packet.time, packet.link, packet.data.to_vec()))).unwrap();
        seen
    }

    /// A number in the order of bytes of whoever wrote the capture.
    type Put = fn(u32) -> [u8; 4];

    const LITTLE: Put = u32::to_le_bytes;
    const BIG: Put = u32::to_be_bytes;

    fn words(put: Put, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| put(*word)).collect()
    }

    #[test]
    fn a_packet_has_its_time_and_its_bytes_in_either_order_and_resolution() {
        for put in [LITTLE, BIG] {
            for (magic, nanoseconds) in [(0xa1b2_c3d4, 5_000), (0xa1b2_3c4d, 5)] {
                // Version 2.4, whose halves are of 16 bits.
                let mut file = words(put, &[magic]);
                let version: [[u8; 2]; 2] =
                    if put(1) == LITTLE(1) { [[2, 0], [4, 0]] } else { [[0, 2], [0, 4]] };
                file.extend(version.concat());
                file.extend(words(put, &[0, 0, 1 << 16, 113]));
                file.extend(words(put, &[7, 5, 3, 9]));
                file.extend(b"abc");
                let time = Duration::new(7, nanoseconds);
                assert_eq!(packets(&file), [(time, Linktype::LINUX_SLL, b"abc".to_vec())]);
            }
        }
    }

    fn block(put: Put, kind: u32, body: &[u8]) -> Vec<u8> {
        let length = 12 + body.len() as u32;
        [&put(kind)[..], &put(length), body, &put(length)].concat()
    }

    fn section(put: Put) -> Vec<u8> {
        let version: [u8; 4] = if put(1) == LITTLE(1) { [1, 0, 0, 0] } else { [0, 1, 0, 0] };
        let order = put(0x1a2b_3c4d);
        block(put, 0x0a0d_0d0a, &[&order[..], &version, &[0xff; 8]].concat())
    }

    /// An interface, and the resolution of its times if it is told: a power of ten.
    fn interface(put: Put, link: u8, resolution: Option<u8>) -> Vec<u8> {
        let (link, resolved): ([u8; 4], [u8; 4]) = match put(1) == LITTLE(1) {
            true => ([link, 0, 0, 0], [9, 0, 1, 0]),
            false => ([0, link, 0, 0], [0, 9, 0, 1]),
        };
        let mut body = [&link[..], &put(1 << 16)].concat();
        if let Some(power) = resolution {
            body.extend(resolved);
            body.extend([power, 0, 0, 0]);
            body.extend([0; 4]);
        }
        block(put, 1, &body)
    }

    fn packet(put: Put, interface: u32, units: u64, data: &[u8]) -> Vec<u8> {
        let (high, low) = ((units >> 32) as u32, units as u32);
        let mut body = words(put, &[interface, high, low, data.len() as u32, 99]);
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0xee);
        block(put, 6, &body)
    }

    #[test]
    fn packets_of_a_section_have_the_link_and_resolution_of_their_interface() {
        for put in [LITTLE, BIG] {
            let file = [
                section(put),
                interface(put, 1, Some(9)),
                interface(put, 101, None),
                packet(put, 0, 7_000_000_005, b"nanoseconds"),
                packet(put, 1, 1 << 33, b"micro"),
                packet(put, 2, 1, b"of no interface"),
                section(put),
                packet(put, 0, 1, b"of none any more"),
                interface(put, 113, Some(3)),
                packet(put, 0, 7_005, b"milli"),
            ]
            .concat();
            let expected = [
                (Duration::new(7, 5), Linktype::ETHERNET, b"nanoseconds".to_vec()),
                (Duration::from_micros(1 << 33), Linktype::RAW, b"micro".to_vec()),
                (Duration::from_millis(7005), Linktype::LINUX_SLL, b"milli".to_vec()),
            ];
            assert_eq!(packets(&file), expected);
        }
    }
}
