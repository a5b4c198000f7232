//! Operations on objects as a client of Ceph 16.2 sends them (`MOSDOp` version 8), one step each,
//! and what a reply says of the outcome.

use bytes::Bytes;

use super::config::FEATURES;
use super::control::Timestamp;
use super::error::{Rule, Violation};
use super::header::MessageHeader;
use super::message::Message;
use super::osd_op::{OSD_OP, PG, READ, STEP, TRACE, VERSION, WRITE};
use super::tag::Tag;
use super::wire::{Reader, Writer};

/// The oldest decoder that understands our operations.
const COMPAT: u16 = 3;
/// Of what clients ask.
const PRIORITY: u16 = 63;
/// What Ceph's clients set in every header.
const HEADER_FLAGS: u8 = 3;

/// `CEPH_OSD_FLAG_READ`.
const FLAG_READ: u32 = 0x10;
/// `CEPH_OSD_FLAG_ONDISK` and `CEPH_OSD_FLAG_KNOWN_REDIR`, which librados always sets.
const FLAGS: u32 = 0x4 | 0x40_0000;

/// `CEPH_OSD_OP_WRITE`.
const STEP_WRITE: u16 = 0x2201;

/// `CEPH_NOSNAP`: the object as it is now.
const NO_SNAPSHOT: u64 = -2_i64 as u64;

/// Bytes of a request's id: who, number, incarnation; all zero, they are in the message's header.
const REQUEST_ID: usize = 21;

/// The object that operations are for, and where a client believes it to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsdRequest {
    /// Number of the pool.
    pub pool: u64,
    /// Hash of the object's name.
    pub hash: u32,
    /// Its placement group in the pool: the lower bits of the hash.
    pub group: u32,
    /// Epoch of the map that says so.
    pub epoch: u32,
    /// Name of the object.
    pub object: Vec<u8>,
    /// The object's time after a write.
    pub time: Timestamp,
}

impl OsdRequest {
    /// Writes `data` at an offset of the object. `tid` tells the answer.
    pub fn write(&self, tid: u64, offset: u64, data: Bytes) -> Message {
        let length = data.len() as u64;
        let front = self.front(WRITE, self.time, &step(STEP_WRITE, offset, length, length as u32));
        Message { data, ..message(tid, front) }
    }

    /// Reads so many bytes at an offset.
    pub fn read(&self, tid: u64, offset: u64, length: u64) -> Message {
        let front = self.front(FLAG_READ, Timestamp::default(), &step(READ, offset, length, 0));
        message(tid, front)
    }

    fn front(&self, flags: u32, time: Timestamp, step: &[u8; STEP]) -> Vec<u8> {
        let mut front = Vec::with_capacity(256 + self.object.len());
        structure(&mut front, 1, 1, |out| {
            let before = out.len();
            out.put_u8(1);
            out.put_u64(self.pool);
            out.put_u32(self.group);
            // No OSD is preferred.
            out.put_u32(u32::MAX);
            debug_assert_eq!(out.len() - before, PG, "as a reply names it");
            // And none of its shards.
            out.put_u8(u8::MAX);
        });
        front.put_u32(self.hash);
        front.put_u32(self.epoch);
        front.put_u32(flags | FLAGS);
        structure(&mut front, 2, 2, |out| out.put(&[0; REQUEST_ID]));
        front.put(&[0; TRACE]);
        // Of the client's incarnations.
        front.put_u32(0);
        front.put_u32(time.seconds);
        front.put_u32(time.nanoseconds);
        structure(&mut front, 6, 3, |out| {
            out.put_u64(self.pool);
            out.put_u32(u32::MAX);
            // Neither a key nor a namespace, and the hash is that of the name.
            out.put_blob(&[]);
            out.put_blob(&[]);
            out.put_u64(u64::MAX);
        });
        front.put_blob(&self.object);
        front.put_u16(1);
        front.put(step);
        front.put_u64(NO_SNAPSHOT);
        // Snapshots there are none, and it is the first attempt.
        front.put_u64(0);
        front.put_u32(0);
        front.put_u32(0);
        front.put_u64(FEATURES);
        front
    }
}

/// A structure behind its version, the oldest decoder's, and its length.
fn structure(out: &mut Vec<u8>, version: u8, compat: u8, content: impl FnOnce(&mut Vec<u8>)) {
    out.put(&[version, compat]);
    let at = out.len();
    out.put_u32(0);
    content(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

fn step(code: u16, offset: u64, length: u64, payload: u32) -> [u8; STEP] {
    let mut step = [0; STEP];
    step[..2].copy_from_slice(&code.to_le_bytes());
    step[6..14].copy_from_slice(&offset.to_le_bytes());
    step[14..22].copy_from_slice(&length.to_le_bytes());
    step[STEP - 4..].copy_from_slice(&payload.to_le_bytes());
    step
}

fn message(tid: u64, front: Vec<u8>) -> Message {
    let header = MessageHeader {
        tid,
        kind: OSD_OP,
        priority: PRIORITY,
        version: VERSION,
        compat_version: COMPAT,
        flags: HEADER_FLAGS,
        ..Default::default()
    };
    Message { header, front: front.into(), ..Default::default() }
}

/// What a reply's front says of the operation: 0, or an errno below it.
///
/// # Errors
///
/// A front that ends before it is said.
pub fn osd_result(front: &[u8]) -> Result<i32, Violation> {
    let read = || {
        let mut reader = Reader::new(front);
        reader.blob("object")?;
        reader.bytes("placement group", PG)?;
        reader.u64("flags")?;
        Ok::<i32, Rule>(reader.u32("result")?.cast_signed())
    };
    read().map_err(Violation::of(Tag::Message))
}

#[cfg(test)]
mod tests {
    use super::super::osd_op::OsdOp;
    use super::*;

    fn request() -> OsdRequest {
        let time = Timestamp { seconds: 3, nanoseconds: 4 };
        OsdRequest { pool: 2, hash: 0xabcd, group: 5, epoch: 7, object: b"name".to_vec(), time }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for write in [true, false] {
            let message = match write {
                true => request().write(9, 4096, Bytes::from_static(b"data")),
                false => request().read(9, 4096, 4),
            };
            assert!(OsdOp::is_known(&message.header) && message.header.tid == 9);
            let op = OsdOp::decode(&message.front).unwrap();
            let steps: Vec<_> = op.steps().collect();
            let [step] = steps[..] else { panic!("{op:?}") };
            assert_eq!((op.is_write(), step.is_read()), (write, !write));
            assert_eq!((step.offset(), step.length()), (4096, 4));
            assert_eq!(message.data.len(), if write { 4 } else { 0 });
        }
    }

    #[test]
    fn the_result_of_a_reply_that_ends_early_is_not_known() {
        let message = request().write(1, 0, Bytes::new());
        let mut reply = OsdOp::decode(&message.front).unwrap().reply([0].into_iter(), 1);
        assert_eq!(osd_result(&reply), Ok(0));
        let at = 4 + 4 + PG + 8;
        reply[at..at + 4].copy_from_slice(&(-28_i32).to_le_bytes());
        assert_eq!(osd_result(&reply), Ok(-28));
        for length in 0..at + 4 {
            assert!(osd_result(&reply[..length]).is_err(), "{length}");
        }
    }
}
