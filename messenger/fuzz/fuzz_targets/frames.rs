//! Frames in crc mode, whole and in pieces: both see the same. Crcs are made right first, so that
//! what lies behind them is reached. Of a last frame that is made long, pieces go where the decoder says.
#![no_main]

mod pieces;

use libfuzzer_sys::fuzz_target;
use pieces::take_all;
use vmsgr_messenger::msgr2::{Envelope, Frame, FrameDecoder, Limits, Tag, Violation};

fn decoder() -> FrameDecoder {
    let limits = Limits { front_bytes: 1 << 16, data_bytes: 1 << 18, ..Limits::default() };
    FrameDecoder::new(limits)
}

/// Puts what comes where it belongs, as one does who reads it there.
fn decode_in_places<'a>(
    decoder: &mut FrameDecoder,
    piece: &mut &'a [u8],
) -> Result<Option<Frame<'a>>, Violation> {
    if let Some(place) = decoder.place() {
        let (head, rest) = piece.split_at(piece.len().min(place.most));
        place.buffer.extend_from_slice(head);
        *piece = rest;
    }
    decoder.decode(piece)
}

/// From this step on the last frame is long, and so are the pieces.
const LONG: u8 = 200;

fuzz_target!(|input: (u8, bool, Vec<u8>)| {
    let (step, as_it_is, bytes) = input;
    let mut wire = Vec::new();
    if as_it_is {
        wire = bytes;
    } else {
        // The bytes are the segments of messages.
        let last = bytes.len().saturating_sub(1) / 200;
        for (number, chunk) in bytes.chunks(200).enumerate() {
            let header = [0; 41];
            let (front, data) = chunk.split_at(chunk.len() / 3);
            let times = if step >= LONG && number == last { 600 } else { 1 };
            let segments: [&[u8]; 4] = [&header, front, &[], &data.repeat(times)];
            Envelope::new(Tag::Message, &segments).append(&segments, &mut wire);
        }
    }
    let (mut whole, mut cut) = (decoder(), decoder());
    let whole = take_all(|piece| whole.decode(piece), std::iter::once(&wire[..]));
    let step = usize::from(step).max(1) << if step >= LONG { 6 } else { 0 };
    let cut = take_all(|piece| decode_in_places(&mut cut, piece), wire.chunks(step));
    assert!(whole == cut);
    if !as_it_is {
        assert!(whole.1.is_none());
    }
});
