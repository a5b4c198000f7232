//! Frames of msgr2: how fast they are made and taken apart, beside the checksum and the cipher
//! alone that they cannot do without.
//!
//! What is compared is a ratio within a round, in which each subject has its turn.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, KeyInit};
use vmsgr_messenger::msgr2::{
    Envelope, FrameDecoder, FrameSealer, Limits, MessageHeader, SecureFrameDecoder, Side, Tag,
    from_connection_secret,
};

use crate::table::Table;

/// Sizes of the data.
const SIZES: [usize; 2] = [4 << 10, 4 << 20];

/// Each subject's turn.
const TURN: Duration = Duration::from_millis(60);

const SECRET: [u8; 40] = [7; 40];

/// Front of a message, as long as that of an operation of an OSD.
const FRONT: [u8; 217] = [1; 217];

/// Something that is done to data; gives how often the data was gone through.
type Subject = (&'static str, Baseline, Box<dyn FnMut(&mut Data) -> u64>);

/// What a subject is set against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Baseline {
    Crc,
    Aes,
}

/// Data, as it is and in frames.
struct Data {
    plain: Vec<u8>,
    frame: Vec<u8>,
    /// Of one direction in order: none of them opens twice.
    sealed: Vec<Vec<u8>>,
    scratch: Vec<u8>,
}

fn header() -> [u8; MessageHeader::BYTES] {
    MessageHeader { seq: 1, kind: 42, ..Default::default() }.encode()
}

fn secrets(side: Side) -> (FrameSealer, SecureFrameDecoder) {
    from_connection_secret(&SECRET, side, Limits::default()).expect("it is long enough")
}

impl Data {
    fn new(bytes: usize) -> Self {
        let plain: Vec<u8> = (0..bytes).map(|i| (i * 7) as u8).collect();
        let header = header();
        let segments: [&[u8]; 4] = [&header, &FRONT, &[], &plain];
        let envelope = Envelope::new(Tag::Message, &segments);
        let frame = envelope.slices(&segments).iter().flat_map(|s| s.to_vec()).collect();
        let (mut sealer, _) = secrets(Side::Initiator);
        let count = ((8 << 20) / bytes).clamp(4, 512);
        let sealed = (0..count).map(|_| {
            let mut out = Vec::new();
            sealer.seal(Tag::Message, &segments, &mut out).expect("nonces are left");
            out
        });
        let sealed = sealed.collect();
        Self { plain, frame, sealed, scratch: Vec::with_capacity(bytes + 1024) }
    }
}

/// AES-128-GCM of a crate with the interface that ring has and aws-lc-rs shares.
macro_rules! aes_gcm_of {
    ($crypto:ident) => {
        |data: &mut Data| {
            use $crypto::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
            let key = UnboundKey::new(&AES_128_GCM, &SECRET[..16]).expect("16 bytes");
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let key = LessSafeKey::new(key);
            let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut data.plain);
            let _ = black_box(tag.expect("it is short enough"));
            1
        }
    };
}

fn subjects() -> Vec<Subject> {
    let (mut sealer, _) = secrets(Side::Initiator);
    vec![
        (
            "crc32c",
            Baseline::Crc,
            Box::new(|data| {
                black_box(crc_fast::crc32_iscsi(&data.plain));
                1
            }),
        ),
        (
            "encode, crc",
            Baseline::Crc,
            Box::new(|data| {
                let header = header();
                let segments: [&[u8]; 4] = [&header, &FRONT, &[], &data.plain];
                black_box(Envelope::new(Tag::Message, &segments).slices(&segments));
                1
            }),
        ),
        (
            "decode, crc",
            Baseline::Crc,
            Box::new(|data| {
                let mut decoder = FrameDecoder::new(Limits::default());
                let frame = decoder.decode(&mut &data.frame[..]).expect("it is right");
                black_box(frame.expect("it is whole"));
                1
            }),
        ),
        ("aes-128-gcm, aws-lc-rs", Baseline::Aes, Box::new(aes_gcm_of!(aws_lc_rs))),
        ("aes-128-gcm, ring", Baseline::Aes, Box::new(aes_gcm_of!(ring))),
        (
            "aes-128-gcm, RustCrypto",
            Baseline::Aes,
            Box::new(|data| {
                let key = Aes128Gcm::new((&[7; 16]).into());
                let tag = key.encrypt_inout_detached(
                    (&[0; 12]).into(),
                    &[],
                    data.plain.as_mut_slice().into(),
                );
                let _ = black_box(tag.expect("it is short enough"));
                1
            }),
        ),
        (
            "encode, secure",
            Baseline::Aes,
            Box::new(move |data| {
                let header = header();
                data.scratch.clear();
                let segments: [&[u8]; 4] = [&header, &FRONT, &[], &data.plain];
                sealer.seal(Tag::Message, &segments, &mut data.scratch).expect("nonces are left");
                black_box(&data.scratch);
                1
            }),
        ),
        (
            "decode, secure",
            Baseline::Aes,
            Box::new(|data| {
                let (_, mut opener) = secrets(Side::Acceptor);
                for sealed in &data.sealed {
                    let frame = opener.decode(&mut &sealed[..]).expect("it is right");
                    black_box(frame.expect("it is whole"));
                }
                data.sealed.len() as u64
            }),
        ),
    ]
}

/// GB/s of one turn.
fn turn(data: &mut Data, subject: &mut dyn FnMut(&mut Data) -> u64) -> f64 {
    let bytes = data.plain.len() as f64;
    let (mut times, start) = (0, Instant::now());
    while start.elapsed() < TURN {
        times += subject(data);
    }
    times as f64 * bytes / start.elapsed().as_secs_f64() / 1e9
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Measures so many rounds, and sets each subject against what it cannot do without: medians.
pub fn run(rounds: usize) -> Table {
    let mut table = Table::new(["subject", "data", "GB/s", "of crc32c or AES alone"]);
    for bytes in SIZES {
        let mut data = Data::new(bytes);
        let mut subjects = subjects();
        let mut figures = vec![Vec::new(); subjects.len()];
        for _ in 0..rounds {
            for ((_, _, subject), figures) in subjects.iter_mut().zip(&mut figures) {
                figures.push(turn(&mut data, subject));
            }
        }
        for (index, (name, baseline, _)) in subjects.iter().enumerate() {
            let alone = subjects.iter().position(|(_, other, _)| other == baseline);
            let alone = &figures[alone.unwrap_or(index)];
            let ratios = figures[index].iter().zip(alone).map(|(figure, alone)| figure / alone);
            table.row(vec![
                (*name).to_owned(),
                format!("{} KiB", bytes >> 10),
                format!("{:.2}", median(figures[index].clone())),
                format!("{:.2}", median(ratios.collect())),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_subject_has_its_row() {
        // A header, a rule, and eight subjects of two sizes.
        assert_eq!(super::run(1).to_string().lines().count(), 2 + 16);
    }
}
