//! The banner: the first bytes of a stream, both ways.

use super::error::Rule;
use super::wire::{Reader, Writer};

const MAGIC: &[u8; 8] = b"ceph v2\n";

/// Bytes of the two sets of features.
const PAYLOAD: u16 = 16;

/// Later versions of the protocol may append something, but not without a bound.
const MOST_PAYLOAD: u16 = 256;

/// What a side can do and what it needs the other to, in terms of the protocol itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Banner {
    /// Features supported: [`Banner::REVISION_1`], [`Banner::COMPRESSION`].
    pub supported: u64,
    /// Features without which it does not go on.
    pub required: u64,
}

impl Banner {
    /// The frame layout of revision 1, the only one spoken here.
    pub const REVISION_1: u64 = 1;
    /// Compression of frames, which is not offered here.
    pub const COMPRESSION: u64 = 2;
    /// Ours.
    pub const OURS: Self = Self { supported: Self::REVISION_1, required: 0 };
    /// Bytes of an encoded banner.
    pub const BYTES: usize = MAGIC.len() + 2 + PAYLOAD as usize;

    /// As bytes.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.put(MAGIC);
        bytes.put_u16(PAYLOAD);
        bytes.put_u64(self.supported);
        bytes.put_u64(self.required);
        bytes.try_into().expect("the fields add up")
    }

    /// A banner off the front of what came so far, and its length; `None` while it is incomplete.
    /// Wrong bytes are wrong at once, not when enough of them have come.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Rule> {
        let magic = &bytes[..bytes.len().min(MAGIC.len())];
        if !MAGIC.starts_with(magic) {
            return Err(Rule::Banner);
        }
        let mut reader = Reader::new(&bytes[magic.len()..]);
        let Ok(length) = reader.u16("length") else { return Ok(None) };
        if !(PAYLOAD..=MOST_PAYLOAD).contains(&length) {
            return Err(Rule::BannerLength { length, most: MOST_PAYLOAD });
        }
        let Ok(payload) = reader.bytes("features", length as usize) else { return Ok(None) };
        let mut reader = Reader::new(payload);
        let banner =
            Self { supported: reader.u64("supported")?, required: reader.u64("required")? };
        Ok(Some((banner, MAGIC.len() + 2 + payload.len())))
    }

    /// Whether this peer can be talked to.
    pub fn check(&self) -> Result<(), Rule> {
        let lacking = self.required & !Self::OURS.supported;
        if lacking != 0 {
            return Err(Rule::RequiredFeatures(lacking));
        }
        if self.supported & Self::REVISION_1 == 0 {
            return Err(Rule::Revision);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banner_is_complete_with_its_last_byte() {
        let bytes = Banner { supported: 3, required: 1 }.encode();
        for length in 0..bytes.len() {
            assert_eq!(Banner::decode(&bytes[..length]), Ok(None));
        }
        let (banner, length) = Banner::decode(&bytes).unwrap().unwrap();
        assert_eq!((banner.supported, banner.required, length), (3, 1, bytes.len()));
    }

    #[test]
    fn what_later_versions_append_is_skipped() {
        let mut bytes = Banner::OURS.encode().to_vec();
        bytes[8] = 18;
        assert_eq!(Banner::decode(&bytes), Ok(None));
        bytes.extend([9, 9, 7]);
        assert_eq!(Banner::decode(&bytes), Ok(Some((Banner::OURS, 28))));
    }

    #[test]
    fn wrong_bytes_are_wrong_at_once() {
        assert_eq!(Banner::decode(b"ceph v1"), Err(Rule::Banner));
        assert_eq!(Banner::decode(b"G"), Err(Rule::Banner));
        for length in [0, 15, 257, u16::MAX] {
            let mut bytes = MAGIC.to_vec();
            bytes.put_u16(length);
            assert_eq!(Banner::decode(&bytes), Err(Rule::BannerLength { length, most: 256 }));
        }
    }

    #[test]
    fn only_revision_1_without_more_demands_will_do() {
        assert_eq!(Banner::OURS.check(), Ok(()));
        assert_eq!(Banner { supported: 3, required: 1 }.check(), Ok(()));
        assert_eq!(Banner { supported: 2, required: 0 }.check(), Err(Rule::Revision));
        let demanding = Banner { supported: 3, required: 3 };
        assert_eq!(demanding.check(), Err(Rule::RequiredFeatures(2)));
    }
}
