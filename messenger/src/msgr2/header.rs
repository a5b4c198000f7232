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
        // Word by word: what is about to read them, the crc or the cipher, takes words, and a
        // processor hands them on at once only if they were written as such.
        let (padding, ack) = (u64::from(self.data_pre_padding), self.ack_seq);
        let words = [
            self.seq,
            self.tid,
            u64::from(self.kind)
                | u64::from(self.priority) << 16
                | u64::from(self.version) << 32
                | padding << 48,
            padding >> 16 | u64::from(self.data_offset) << 16 | ack << 32,
            ack >> 32
                | u64::from(self.flags) << 32
                | u64::from(self.compat_version) << 40
                | u64::from(self.reserved) << 56,
        ];
        let mut bytes = [0; Self::BYTES];
        let (chunks, last) = bytes.as_chunks_mut();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.to_le_bytes();
        }
        last.copy_from_slice(&[(self.reserved >> 8) as u8]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_every_field_has_its_place() {
        for bit in 0..8 * MessageHeader::BYTES {
            let mut bytes = [0; MessageHeader::BYTES];
            bytes[bit / 8] = 1 << (bit % 8);
            assert_eq!(MessageHeader::decode(&bytes).unwrap().encode(), bytes, "{bit}");
        }
        let header = MessageHeader { data_pre_padding: 0x0102_0304, ..Default::default() };
        assert_eq!(header.encode()[22..26], [4, 3, 2, 1]);
        for length in [0, MessageHeader::BYTES - 1, MessageHeader::BYTES + 1] {
            let decoded = MessageHeader::decode(&vec![0; length]);
            assert_eq!(decoded, Err(Rule::HeaderLength(length as u32)));
        }
    }
}
