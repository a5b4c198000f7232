//! Control frames, and with them addresses: what is decoded is encoded and decoded to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmsgr_messenger::msgr2::{Control, Tag};

fuzz_target!(|bytes: &[u8]| {
    let Some((tag, payload)) = bytes.split_first() else { return };
    let Ok(tag) = Tag::try_from(*tag) else { return };
    if let Ok(control) = Control::decode(tag, payload) {
        let mut again = Vec::new();
        control.encode(&mut again);
        assert_eq!(Control::decode(tag, &again), Ok(control));
    }
});
