//! What is taken for a banner is one, and a prefix of it is none yet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmsgr_messenger::msgr2::Banner;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((banner, length))) = Banner::decode(bytes) {
        assert_eq!(Banner::decode(&bytes[..length - 1]), Ok(None));
        let again = banner.encode();
        assert_eq!(Banner::decode(&again), Ok(Some((banner, again.len()))));
    }
});
