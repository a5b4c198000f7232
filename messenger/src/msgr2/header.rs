//! A message's header.

use super::error::Rule;
use super::wire::Reader;

/// What a message says of itself (`ceph_msg_header2`). What is not explained here only the
/// receiver of the message understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageHeader {
    /// Place in the session, from 1; given by the session that sends it.
    pub seq: u64,
    /// Which request this is or answers.
    pub tid: u64,
    /// What kind of message it is.
    pub kind: u16,
    /// The higher the sooner, where the receiver has several to choose from.
    pub priority: u16,
    /// Version of the front's encoding.
    pub version: u16,
    /// Bytes to leave before the data so that it is aligned well.
    pub data_pre_padding: u32,
    /// Offset of the data in its page or object, as the sender sees it.
    pub data_offset: u16,
    /// The last message of the other direction that has come; given by the session.
    pub ack_seq: u64,
    /// `CEPH_MSG_FLAG`s.
    pub flags: u8,
    /// The oldest version of a decoder that understands the front.
    pub compat_version: u16,
    /// Not used.
    pub reserved: u16,
}

impl MessageHeader {
    /// Bytes of an encoded header.
    pub const BYTES: usize = 41;

    /// As bytes.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..8].copy_from_slice(&self.seq.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.tid.to_le_bytes());
        bytes[16..18].copy_from_slice(&self.kind.to_le_bytes());
        bytes[18..20].copy_from_slice(&self.priority.to_le_bytes());
        bytes[20..22].copy_from_slice(&self.version.to_le_bytes());
        bytes[22..26].copy_from_slice(&self.data_pre_padding.to_le_bytes());
        bytes[26..28].copy_from_slice(&self.data_offset.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.ack_seq.to_le_bytes());
        bytes[36] = self.flags;
        bytes[37..39].copy_from_slice(&self.compat_version.to_le_bytes());
        bytes[39..41].copy_from_slice(&self.reserved.to_le_bytes());
        bytes
    }

    /// Reads the bytes of one; they have to be exactly as many as there are fields for.
    pub fn decode(bytes: &[u8]) -> Result<Self, Rule> {
        if bytes.len() != Self::BYTES {
            return Err(Rule::HeaderLength(bytes.len() as u32));
        }
        let mut reader = Reader::new(bytes);
        Ok(Self {
            seq: reader.u64("seq")?,
            tid: reader.u64("tid")?,
            kind: reader.u16("type")?,
            priority: reader.u16("priority")?,
            version: reader.u16("version")?,
            data_pre_padding: reader.u32("data_pre_padding_len")?,
            data_offset: reader.u16("data_off")?,
            ack_seq: reader.u64("ack_seq")?,
            flags: reader.u8("flags")?,
            compat_version: reader.u16("compat_version")?,
            reserved: reader.u16("reserved")?,
        })
    }
}
