//! What an OSD operation does and to which object, from the front of its message (`MOSDOp`).
//!
//! Version 8 is decoded, which Ceph sends since Luminous. Of later ones only the beginning is known
//! to be the same; it says whether the operation reads or writes, but not what and where.
//!
//! ```text
//! placement group | hash u32 | epoch u32 | flags u32 | reqid | trace 24 | client_inc u32 |
//! mtime 8 | locator | object's name | number of operations u16 | operations, 38 bytes each | ...
//! ```

use crate::msgr2::MessageHeader;
use crate::msgr2::wire::Reader;

/// The version whose front is known whole, and the first whose beginning is.
const VERSION: u16 = 8;

/// `CEPH_OSD_FLAG_READ` and `CEPH_OSD_FLAG_WRITE`.
const FLAG_READ: u32 = 0x10;
const FLAG_WRITE: u32 = 0x20;

/// Bytes of one `ceph_osd_op`; its code comes first.
const OPERATION: usize = 38;

/// Operations of one message that are looked at; hardly any has more than ten.
const MOST_LOOKED_AT: u16 = 64;

/// Bytes of a name that are kept.
const NAME_KEPT: usize = 128;

/// What an operation mostly does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Reads an object's data.
    Read,
    /// Writes an object's data, whatever else it does.
    Write,
    /// Neither: attributes, existence, removal, placement groups.
    Other,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Other];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Other => "other",
        }
    }

    /// Of one operation on an object.
    const fn of_code(code: u16) -> Self {
        match code {
            // Read, sparse and sync read.
            0x1201 | 0x1205 | 0x120b => Self::Read,
            // Write, write full, append, write same.
            0x2201 | 0x2202 | 0x2206 | 0x2226 => Self::Write,
            _ => Self::Other,
        }
    }
}

/// An operation, as far as it is told about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    /// The code that decides what kind it is; `None` if the front could not be read so far.
    pub(crate) code: Option<u16>,
    pub(crate) pool: Option<i64>,
    /// The first bytes of the object's name; none of an operation on a placement group.
    pub(crate) object: Box<[u8]>,
}

impl Operation {
    /// Reads as much of the front as is there and known.
    pub(crate) fn decode(header: &MessageHeader, front: &[u8]) -> Self {
        let mut operation =
            Self { kind: Kind::Other, code: None, pool: None, object: Box::default() };
        if header.version >= VERSION {
            // What was read before something was missing stays.
            let _ = operation.read(header.version, front);
        }
        operation
    }

    /// `None` when something is missing or not known.
    fn read(&mut self, version: u16, front: &[u8]) -> Option<()> {
        let mut reader = Reader::new(front);
        versioned(&mut reader)?;
        let _hash = reader.u32("hash").ok()?;
        let _epoch = reader.u32("epoch").ok()?;
        let flags = reader.u32("flags").ok()?;
        self.kind = match flags {
            _ if flags & FLAG_WRITE != 0 => Kind::Write,
            _ if flags & FLAG_READ != 0 => Kind::Read,
            _ => Kind::Other,
        };
        if version != VERSION {
            return None;
        }
        versioned(&mut reader)?;
        reader.bytes("trace, incarnation, mtime", 24 + 4 + 8).ok()?;
        let mut locator = Reader::new(versioned(&mut reader)?);
        self.pool = Some(locator.u64("pool").ok()?.cast_signed());
        let object = reader.blob("object").ok()?;
        self.object = object[..object.len().min(NAME_KEPT)].into();
        let count = reader.u16("number of operations").ok()?;
        let mut kind = None;
        for _ in 0..count.min(MOST_LOOKED_AT) {
            let operation = reader.bytes("operation", OPERATION).ok()?;
            let code = u16::from_le_bytes([operation[0], operation[1]]);
            let of_code = Kind::of_code(code);
            // Writing says more than reading, and that more than the rest.
            let outweighs = matches!(
                (kind, of_code),
                (None, _)
                    | (Some(Kind::Read | Kind::Other), Kind::Write)
                    | (Some(Kind::Other), Kind::Read)
            );
            if outweighs {
                (kind, self.code) = (Some(of_code), Some(code));
            }
        }
        self.kind = kind.unwrap_or(Kind::Other);
        Some(())
    }
}

/// The content of a structure that says its versions and length.
fn versioned<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    reader.bytes("version and compat", 2).ok()?;
    reader.blob("structure").ok()
}

/// What a reply says of the outcome (`MOSDOpReply`, version 7 and later): 0 or a negative errno.
///
/// ```text
/// object's name | placement group 17 | flags u64 | result i32 | ...
/// ```
pub(crate) fn result(header: &MessageHeader, front: &[u8]) -> Option<i32> {
    if header.version < 7 {
        return None;
    }
    let mut reader = Reader::new(front);
    reader.blob("object").ok()?;
    reader.bytes("placement group, flags", 17 + 8).ok()?;
    Some(reader.u32("result").ok()?.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgr2::wire::Writer;

    /// The front of a message with these operations on an object.
    pub(crate) fn front(object: &[u8], flags: u32, codes: &[u16]) -> Vec<u8> {
        let mut front = vec![1, 1];
        front.put_blob(&[0; 18]);
        front.put_u32(0x1234);
        front.put_u32(7);
        front.put_u32(flags);
        front.put(&[2, 2]);
        front.put_blob(&[0; 21]);
        front.put(&[0; 36]);
        front.put(&[6, 3]);
        let mut locator = Vec::new();
        locator.put_u64(3);
        locator.put(&[0; 20]);
        front.put_blob(&locator);
        front.put_blob(object);
        front.put_u16(codes.len() as u16);
        for code in codes {
            front.put_u16(*code);
            front.put(&[0; OPERATION - 2]);
        }
        front
    }

    fn header(version: u16) -> MessageHeader {
        MessageHeader { version, kind: 42, ..Default::default() }
    }

    #[test]
    fn an_operation_is_what_it_mostly_does() {
        for (codes, kind, code) in [
            (&[0x1201][..], Kind::Read, 0x1201),
            (&[0x2223, 0x2201], Kind::Write, 0x2201),
            (&[0x1202, 0x1201, 0x1301], Kind::Read, 0x1201),
            (&[0x1201, 0x2202], Kind::Write, 0x2202),
            (&[0x1205], Kind::Read, 0x1205),
            (&[0x120b], Kind::Read, 0x120b),
            (&[0x2202], Kind::Write, 0x2202),
            (&[0x2206], Kind::Write, 0x2206),
            (&[0x2226], Kind::Write, 0x2226),
            (&[0x2205], Kind::Other, 0x2205),
            (&[0x1202, 0x1301], Kind::Other, 0x1202),
        ] {
            let operation = Operation::decode(&header(8), &front(b"o", 0, codes));
            assert_eq!((operation.kind, operation.code), (kind, Some(code)), "{codes:x?}");
            assert_eq!((operation.pool, &*operation.object), (Some(3), &b"o"[..]));
        }
    }

    #[test]
    fn what_is_cut_off_is_known_as_far_as_it_came() {
        let front = front(b"object", FLAG_WRITE, &[0x2201, 0x2202]);
        for length in 0..front.len() {
            let operation = Operation::decode(&header(8), &front[..length]);
            let flags_there = length >= 2 + 4 + 18 + 12;
            assert_eq!(operation.kind == Kind::Write, flags_there, "{length}");
            let name_there = length >= front.len() - 2 - 2 * OPERATION;
            assert_eq!(&*operation.object == b"object", name_there, "{length}");
        }
    }

    #[test]
    fn of_later_versions_the_flags_count_and_of_earlier_ones_nothing() {
        let front = front(b"object", FLAG_READ, &[0x2201]);
        let later = Operation::decode(&header(9), &front);
        assert_eq!((later.kind, later.code, later.object.len()), (Kind::Read, None, 0));
        assert_eq!(Operation::decode(&header(7), &front).kind, Kind::Other);
        let both = self::front(b"object", FLAG_READ | FLAG_WRITE, &[]);
        assert_eq!(Operation::decode(&header(9), &both).kind, Kind::Write);
    }

    #[test]
    fn long_names_and_long_lists_are_cut() {
        let front = front(&[b'x'; 2000], 0, &[0x1202; 1000]);
        let operation = Operation::decode(&header(8), &front);
        assert_eq!((operation.object.len(), operation.code), (NAME_KEPT, Some(0x1202)));
        let mut lying = front[..front.len() - 1000 * OPERATION].to_vec();
        let count = lying.len() - 2;
        lying[count..].fill(0xff);
        assert_eq!(Operation::decode(&header(8), &lying).object.len(), NAME_KEPT);
    }
}
