//! Frames in crc mode, whole and in pieces: both see the same. Crcs are made right first, so that
//! what lies behind them is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmsgr_messenger::msgr2::{Envelope, FrameDecoder, Limits, SEGMENTS, Tag, Violation};

type Owned = (Tag, [Vec<u8>; SEGMENTS]);

fn decode(pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<Owned>, Option<Violation>) {
    let limits = Limits { front_bytes: 1 << 16, data_bytes: 1 << 16, ..Limits::default() };
    let mut decoder = FrameDecoder::new(limits);
    let mut frames = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(frame)) => {
                    frames.push((frame.tag, frame.segments.map(|segment| segment.to_vec())));
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(piece.is_empty());
    }
    (frames, None)
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
    let whole = decode(&mut std::iter::once(&wire[..]));
    let cut = decode(&mut wire.chunks(usize::from(step).max(1)));
    assert_eq!(whole, cut);
    if !as_it_is {
        assert!(whole.1.is_none());
    }
});
