//! Operations on objects as Ceph 16.2 sends them (`MOSDOp` version 8), as far as a reply needs
//! them, and their replies (`MOSDOpReply` version 8).

use super::error::Rule;
use super::header::MessageHeader;
use super::wire::{Reader, Writer};

/// `CEPH_MSG_OSD_OP`.
pub const OSD_OP: u16 = 42;
/// `CEPH_MSG_OSD_OPREPLY`.
pub const OSD_OP_REPLY: u16 = 43;

/// The version of both that is spoken here.
pub(super) const VERSION: u16 = 8;
/// The oldest decoder that understands our replies.
const REPLY_COMPAT: u16 = 2;
/// `CEPH_MSG_PRIO_DEFAULT`.
const PRIORITY: u16 = 127;
/// What Ceph's daemons set in every header.
const HEADER_FLAGS: u8 = 3;

/// `CEPH_OSD_FLAG_ACK` and `CEPH_OSD_FLAG_ONDISK`: it is done, and safe.
const DONE: u32 = 5;
/// `CEPH_OSD_FLAG_WRITE`.
pub(super) const WRITE: u32 = 0x20;

/// `CEPH_OSD_OP_READ`.
pub(super) const READ: u16 = 0x1201;
/// `CEPH_OSD_OP_STAT`.
const STAT: u16 = 0x1202;

/// Bytes of an encoded operation.
pub(super) const STEP: usize = 38;
/// Bytes of a placement group's name.
pub(super) const PG: usize = 17;
/// Bytes that trace a request.
pub(super) const TRACE: usize = 24;

/// Bytes of a reply's front without the object's name and the steps.
const REPLY: usize = 4 + PG + 8 + 4 + 8 + 4 + 4 + 4 + 4 + 8 + 4 + 8 + 1 + TRACE;

/// Ceph itself puts no more steps than this into one operation.
const MOST_STEPS: u16 = 1024;

/// One step of an operation (`ceph_osd_op`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step([u8; STEP]);

impl Step {
    fn u64_at(&self, at: usize) -> u64 {
        u64::from_le_bytes(*self.0[at..].first_chunk().expect("it lies within the step"))
    }

    /// What it does.
    pub(super) fn code(&self) -> u16 {
        u16::from_le_bytes([self.0[0], self.0[1]])
    }

    pub(super) fn is_read(&self) -> bool {
        self.code() == READ
    }

    pub(super) fn is_stat(&self) -> bool {
        self.code() == STAT
    }

    /// Of a read or write: where in the object.
    pub(super) fn offset(&self) -> u64 {
        self.u64_at(6)
    }

    /// Of a read or write: how much.
    pub(super) fn length(&self) -> u64 {
        self.u64_at(14)
    }

    /// As it is answered: how much of the object was read, and bytes of the answer.
    fn answered(mut self, bytes: u32) -> Self {
        if self.is_read() {
            self.0[14..22].copy_from_slice(&u64::from(bytes).to_le_bytes());
        }
        self.0[STEP - 4..].copy_from_slice(&bytes.to_le_bytes());
        self
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OsdOp<'a> {
    pg: &'a [u8],
    epoch: u32,
    flags: u32,
    object: &'a [u8],
    /// Where they lie.
    steps: &'a [[u8; STEP]],
    retry_attempt: u32,
}

/// Bytes of a structure behind its version, compat and length.
fn structure<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Reader<'a>, Rule> {
    reader.u8(field)?;
    reader.u8(field)?;
    Ok(Reader::new(reader.blob(field)?))
}

impl<'a> OsdOp<'a> {
    /// Whether this version is understood.
    pub(super) fn is_known(header: &MessageHeader) -> bool {
        header.version == VERSION
    }

    pub(super) fn decode(front: &'a [u8]) -> Result<Self, Rule> {
        let mut reader = Reader::new(front);
        let mut pg = structure(&mut reader, "placement group")?;
        let pg = pg.bytes("placement group", PG)?;
        reader.u32("hash")?;
        let epoch = reader.u32("epoch")?;
        let flags = reader.u32("flags")?;
        structure(&mut reader, "request id")?;
        reader.bytes("trace", TRACE)?;
        reader.u32("incarnation")?;
        reader.u64("time")?;
        structure(&mut reader, "locator")?;
        let object = reader.blob("object")?;
        let count = reader.u16("number of steps")?;
        if count > MOST_STEPS {
            return Err(Rule::Truncated("steps"));
        }
        let steps = reader.bytes("steps", usize::from(count) * STEP)?;
        let steps = steps.as_chunks().0;
        reader.u64("snapshot")?;
        reader.u64("snapshot context")?;
        let snapshots = reader.u32("number of snapshots")? as usize;
        reader.bytes("snapshots", snapshots.checked_mul(8).ok_or(Rule::Truncated("snapshots"))?)?;
        let retry_attempt = reader.u32("retry attempt")?;
        Ok(Self { pg, epoch, flags, object, steps, retry_attempt })
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = Step> + Clone {
        self.steps.iter().map(|step| Step(*step))
    }

    /// Whether it changes the object.
    pub(super) fn is_write(&self) -> bool {
        self.flags & WRITE != 0
    }

    /// Header of the reply to a message with this one.
    pub(super) fn reply_header(&self, request: &MessageHeader) -> MessageHeader {
        let first_read = self.steps().next().filter(Step::is_read);
        MessageHeader {
            tid: request.tid,
            kind: OSD_OP_REPLY,
            priority: PRIORITY,
            version: VERSION,
            compat_version: REPLY_COMPAT,
            // Of what is read the receiver knows then how it lies in its page.
            data_offset: first_read.map_or(0, |step| step.offset() as u16),
            flags: HEADER_FLAGS,
            ..Default::default()
        }
    }

    /// Front of the reply: success, each step with so many bytes of data, and the object is of this
    /// version.
    pub(super) fn reply(&self, bytes: impl Iterator<Item = u32>, version: u64) -> Vec<u8> {
        let length = REPLY + self.object.len() + self.steps.len() * (STEP + 4);
        // With exactly as much it is shared later without another allocation.
        let mut front = Vec::with_capacity(length);
        // What a write replays as; a read does not.
        let (replay, replay_epoch) = if self.is_write() { (version, self.epoch) } else { (0, 0) };
        front.put_blob(self.object);
        front.put(self.pg);
        front.put_u64(u64::from(self.flags | DONE));
        front.put_u32(0);
        front.put_u64(replay);
        front.put_u32(replay_epoch);
        front.put_u32(self.epoch);
        front.put_u32(self.steps.len() as u32);
        for (step, bytes) in self.steps().zip(bytes) {
            front.put(&step.answered(bytes).0);
        }
        front.put_u32(self.retry_attempt);
        for _ in self.steps {
            front.put_u32(0);
        }
        front.put_u64(replay);
        front.put_u32(replay_epoch);
        front.put_u64(version);
        // It is not somewhere else.
        front.put_u8(0);
        front.put(&[0; TRACE]);
        debug_assert_eq!(front.len(), length);
        front
    }
}
