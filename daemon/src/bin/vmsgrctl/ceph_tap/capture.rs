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

/// Shows every packet of a capture; what is wrong with the capture, if it is.
pub fn read(file: impl Read + Send, mut see: impl FnMut(Packet<'_>)) -> Result<(), String> {
    let wrong = |error: PcapError<&[u8]>| match error {
        PcapError::Eof => "it is empty".to_owned(),
        PcapError::HeaderNotRecognized => "it is neither pcap nor pcapng".to_owned(),
        PcapError::UnexpectedEof => "it ends within a packet".to_owned(),
        PcapError::ReadError => "it cannot be read to its end".to_owned(),
        PcapError::BufferTooSmall => format!("it has a packet of more than {LARGEST} bytes"),
        _ => "it is damaged".to_owned(),
    };
    let mut reader = create_reader(LARGEST, file).map_err(wrong)?;
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
