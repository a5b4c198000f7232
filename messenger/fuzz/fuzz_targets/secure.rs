//! Frames in secure mode. Whoever has the key may write anything into the units: preambles with any
//! tag and lengths (their crcs made right), segments, padding, late status. Whole and in pieces:
//! both see the same. The last bytes are changed behind the seal.
#![no_main]

mod pieces;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use crc_fast::{CrcAlgorithm, Digest};
use libfuzzer_sys::fuzz_target;
use pieces::take_all;
use vmsgr_messenger::msgr2::*;

const SECRET: [u8; 40] = [7; 40];

struct Sealer {
    key: LessSafeKey,
    counter: u64,
}

impl Sealer {
    fn seal(&mut self, mut unit: Vec<u8>, out: &mut Vec<u8>) {
        let mut nonce = [7; 12];
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        self.counter = self.counter.wrapping_add(1);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut unit).unwrap();
        out.extend_from_slice(&unit);
        out.extend_from_slice(tag.as_ref());
    }
}

/// What the fuzzer says of one frame: tag, number of segments, flags, what the padding is, and the
/// lengths of the segments.
type Frame = (u8, u8, u8, u8, [u16; 4]);

/// A segment with its padding.
fn put(unit: &mut Vec<u8>, length: usize, padding: u8) {
    unit.extend((0..length).map(|at| at as u8));
    unit.resize(unit.len().next_multiple_of(16), padding);
}

fn build((tag, count, flags, padding, lengths): &Frame, sealer: &mut Sealer, out: &mut Vec<u8>) {
    let mut first = vec![*tag, *count];
    for length in lengths {
        first.extend_from_slice(&u32::from(*length).to_le_bytes());
        first.extend_from_slice(&8_u16.to_le_bytes());
    }
    first.extend([*flags, 0]);
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, 0);
    digest.update(&first);
    first.extend_from_slice(&(!(digest.finalize() as u32)).to_le_bytes());
    let [header, others @ ..] = lengths.map(usize::from);
    first.extend((0..header.min(48)).map(|at| at as u8));
    first.resize(80, *padding);
    sealer.seal(first, out);
    if header > 48 {
        let mut unit = Vec::new();
        put(&mut unit, header - 48, *padding);
        sealer.seal(unit, out);
    }
    if *count > 1 {
        let mut unit = Vec::new();
        others.iter().for_each(|length| put(&mut unit, *length, *padding));
        unit.push(*flags ^ 0xe);
        unit.resize(unit.len() + 15, *padding);
        sealer.seal(unit, out);
    }
}

fn decoder() -> SecureFrameDecoder {
    let limits = Limits { front_bytes: 1 << 14, data_bytes: 1 << 14, ..Limits::default() };
    from_connection_secret(&SECRET, Side::Acceptor, limits).unwrap().1
}

fuzz_target!(|input: (u8, Vec<Frame>, Vec<(u16, u8)>)| {
    let (step, frames, changes) = input;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &SECRET[..16]).unwrap());
    let mut sealer = Sealer { key, counter: u64::from_le_bytes([7; 8]) };
    let mut wire = Vec::new();
    for frame in frames.iter().take(16) {
        build(frame, &mut sealer, &mut wire);
    }
    for (at, change) in changes.iter().take(4) {
        let length = wire.len();
        if length > 0 {
            wire[length - 1 - usize::from(*at) % length] ^= change;
        }
    }
    let (mut whole, mut cut) = (decoder(), decoder());
    let whole = take_all(|piece| whole.decode(piece), std::iter::once(&wire[..]));
    let pieces = wire.chunks(usize::from(step).max(1));
    let cut = take_all(|piece| cut.decode(piece), pieces);
    assert_eq!(whole, cut);
});
