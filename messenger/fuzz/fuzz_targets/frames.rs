//! Frames in crc mode, whole and in pieces: both see the same. Crcs are made right first, so that
//! what lies behind them is reached.
#![no_main]

mod pieces;

use libfuzzer_sys::fuzz_target;
use pieces::take_all;
use vmsgr_messenger::msgr2::{Envelope, FrameDecoder, Limits, Tag};

fn decoder() -> FrameDecoder {
    let limits = Limits { front_bytes: 1 << 16, data_bytes: 1 << 16, ..Limits::default() };
    FrameDecoder::new(limits)
}

fuzz_target!(|input: (u8, bool, Vec<u8>)| {
    let (step, as_it_is, bytes) = input;
    let mut wire = Vec::new();
    if as_it_is {
        wire = bytes;
    } else {
        // The bytes are the segments of messages.
        for chunk in bytes.chunks(200) {
            let header = [0; 41];
            let (front, data) = chunk.split_at(chunk.len() / 3);
            let segments: [&[u8]; 4] = [&header, front, &[], data];
            let envelope = Envelope::new(Tag::Message, &segments);
            envelope.slices(&segments).iter().for_each(|slice| wire.extend_from_slice(slice));
        }
    }
    let (mut whole, mut cut) = (decoder(), decoder());
    let whole = take_all(|piece| whole.decode(piece), std::iter::once(&wire[..]));
    let pieces = wire.chunks(usize::from(step).max(1));
    let cut = take_all(|piece| cut.decode(piece), pieces);
    assert_eq!(whole, cut);
    if !as_it_is {
        assert!(whole.1.is_none());
    }
});
