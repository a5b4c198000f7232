//! Operations as we ask for them, and what a reply says: whatever is asked for is understood and
//! answered, the answer is to that request, and its result can be read. Of bytes that are no reply
//! the result is not known.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmsgr_messenger::msgr2::{OSD_OP_REPLY, OsdNull, OsdRequest, Timestamp, osd_result};

const OBJECT: u64 = 10_000;

/// Of the front, up to the result: the object's name behind its length, a placement group, flags.
const BEFORE_RESULT: usize = 4 + 17 + 8;

type Place = (u64, u32, u32, u32, Vec<u8>);

fuzz_target!(|input: (Place, (u32, u32), u64, u64, Result<Vec<u8>, u64>, Vec<u8>)| {
    let ((pool, hash, group, epoch, object), time, tid, offset, what, bytes) = input;
    let time = Timestamp { seconds: time.0, nanoseconds: time.1 };
    let request = OsdRequest { pool, hash, group, epoch, object, time };
    let (message, data) = match what {
        Ok(data) => (request.write(tid, offset, data.into()), 0),
        Err(length) => {
            (request.read(tid, offset, length), length.min(OBJECT.saturating_sub(offset)))
        }
    };
    let reply = OsdNull::new(OBJECT).answer(&message.header, &message.front);
    let reply = reply.expect("ours are understood").expect("and answered");
    assert_eq!((reply.header.kind, reply.header.tid), (OSD_OP_REPLY, tid));
    assert_eq!(reply.data.len() as u64, data);
    assert_eq!(osd_result(&reply.front), Ok(0));
    let front = reply.front.len();
    let needed = BEFORE_RESULT + request.object.len() + 4;
    let cut = bytes.len() % front;
    assert_eq!(osd_result(&reply.front[..cut]).is_ok(), cut >= needed);
    // The same from anybody: no more than its length is looked at.
    assert!(bytes.len() >= BEFORE_RESULT + 4 || osd_result(&bytes).is_err());
});
