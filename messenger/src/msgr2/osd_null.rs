//! An OSD that stores nothing: every operation succeeds at once. It is to messages what *discard*
//! is to bytes: the way to measure a messenger alone.

use bytes::Bytes;

use super::error::{Rule, Violation};
use super::header::MessageHeader;
use super::message::Message;
use super::osd_op::{OSD_OP, OsdOp, Step};
use super::tag::Tag;
use super::wire::Writer;

/// `CEPH_MSG_PING`.
const PING: u16 = 2;

/// What a ping is answered with.
const PONG: &[u8] = br#"{"service":"osd-null"}"#;

/// More than this one reply does not carry.
const MOST_DATA: u64 = 4 << 20;

/// What is in every object.
static ZEROS: [u8; MOST_DATA as usize] = [0; MOST_DATA as usize];

/// Bytes of what `stat` answers: size and time.
const STAT: u32 = 16;

/// Answers operations; without sockets and clocks, like the protocol under it.
#[derive(Debug, Clone, Default)]
pub struct OsdNull {
    object_bytes: u64,
    version: u64,
}

impl OsdNull {
    /// Every object seems to have `object_bytes` zeros, whatever is written.
    pub fn new(object_bytes: u64) -> Self {
        Self { object_bytes, version: 0 }
    }

    /// The answer to a message, from its header and front; `None` for those that get none.
    ///
    /// # Errors
    ///
    /// A front that is not what its header says; an operation of a version that nobody sends to whom
    /// has our features, since no answer at all would leave its sender waiting.
    pub fn answer(
        &mut self,
        header: &MessageHeader,
        front: &[u8],
    ) -> Result<Option<Message>, Violation> {
        let answer = match header.kind {
            OSD_OP => self.operation(header, front).map(Some),
            PING => Ok(Some(pong(header))),
            _ => Ok(None),
        };
        answer.map_err(Violation::of(Tag::Message))
    }

    fn operation(&mut self, header: &MessageHeader, front: &[u8]) -> Result<Message, Rule> {
        if !OsdOp::is_known(header) {
            return Err(Rule::OperationVersion(header.version));
        }
        let op = OsdOp::decode(front)?;
        if op.is_write() {
            self.version += 1;
        }
        // Counted again wherever it is needed: there is a step or two, and no place to keep it.
        let bytes = op.steps().scan(MOST_DATA, |room, step| {
            let given = self.wanted(step).min(*room);
            *room -= given;
            Some(given as u32)
        });
        let header = op.reply_header(header);
        let front = op.reply(bytes.clone(), self.version).into();
        let data = self.data(&op, bytes);
        Ok(Message { header, front, middle: Bytes::new(), data })
    }

    /// How much a step would be answered with if there was room for any.
    fn wanted(&self, step: Step) -> u64 {
        if step.is_read() {
            step.length().min(self.object_bytes.saturating_sub(step.offset()))
        } else if step.is_stat() {
            u64::from(STAT)
        } else {
            0
        }
    }

    /// The data of all steps: zeros, which are nowhere copied, but for the size that `stat` gives.
    fn data(&self, op: &OsdOp<'_>, bytes: impl Iterator<Item = u32> + Clone) -> Bytes {
        let total: usize = bytes.clone().map(|bytes| bytes as usize).sum();
        if !op.steps().any(|step| step.is_stat()) {
            return Bytes::from_static(&ZEROS[..total]);
        }
        let mut data = Vec::with_capacity(total);
        for (step, bytes) in op.steps().zip(bytes) {
            let start = data.len();
            if step.is_stat() && bytes == STAT {
                data.put_u64(self.object_bytes);
            }
            data.resize(start + bytes as usize, 0);
        }
        data.into()
    }
}

fn pong(header: &MessageHeader) -> Message {
    let mut front = Vec::new();
    front.put_blob(PONG);
    let header = MessageHeader {
        tid: header.tid,
        kind: PING,
        priority: header.priority,
        version: 1,
        compat_version: 1,
        flags: header.flags,
        ..Default::default()
    };
    Message { header, front: front.into(), ..Default::default() }
}
