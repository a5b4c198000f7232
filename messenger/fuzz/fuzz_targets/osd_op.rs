//! Operations on objects: whatever they ask for, the reply is bounded, and says that it is done.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmsgr_messenger::msgr2::{MessageHeader, OSD_OP, OsdNull, osd_result};

fuzz_target!(|front: &[u8]| {
    let header = MessageHeader { kind: OSD_OP, version: 8, ..Default::default() };
    if let Ok(Some(reply)) = OsdNull::new(10_000).answer(&header, front) {
        assert!(reply.data.len() <= 4 << 20 && reply.front.len() <= front.len() * 2 + 256);
        assert_eq!(osd_result(&reply.front), Ok(0));
    }
});
