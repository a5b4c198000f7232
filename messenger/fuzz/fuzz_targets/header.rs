//! A message's header: 41 bytes are one, and come back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmsgr_messenger::msgr2::MessageHeader;

fuzz_target!(|bytes: &[u8]| {
    match MessageHeader::decode(bytes) {
        Ok(header) => assert_eq!(header.encode(), bytes),
        Err(_) => assert_ne!(bytes.len(), MessageHeader::BYTES),
    }
});
