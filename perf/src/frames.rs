//! Frames of msgr2: how fast they are made and taken apart, beside the checksum and the cipher
//! alone that they cannot do without.
//!
//! What is compared is a ratio within a round, in which each subject has its turn. It is taken to
//! the checksum or the cipher over the data alone, and over as many bytes as a frame makes of them,
//! in one piece. These have their keys made before, and go through memory that is as warm as a
//! frame's.
//!
//! Where a stream is read piece by piece, a copy stands for what a read has to do, on both sides.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, KeyInit};
use vmsgr_messenger::msgr2::{
    Envelope, FrameDecoder, FrameSealer, Limits, MessageHeader, SecureFrameDecoder, Side, Tag,
    crc_frame, from_connection_secret,
};

use crate::table::Table;

/// Sizes of the data.
const SIZES: [usize; 2] = [4 << 10, 4 << 20];

/// Each subject's turn.
const TURN: Duration = Duration::from_millis(60);

/// Bytes to go through between two looks at the clock: a look takes as long as the crc of a
/// kilobyte.
const BATCH: usize = 1 << 20;

/// What the daemon reads at once.
const READ: usize = 256 << 10;

const SECRET: [u8; 40] = [7; 40];

/// Front of a message, as long as that of an operation of an OSD.
const FRONT: [u8; 217] = [1; 217];

/// What a crc has to cover beside the data: preamble, header, front.
const AROUND_IN_CRC: usize = 28 + MessageHeader::BYTES + FRONT.len();

/// What is sealed beside the data: the first unit, the front with its padding, the epilogue.
const AROUND_IN_SECURE: usize = 80 + FRONT.len().next_multiple_of(16) + 16;

/// Something that is done to data; gives how often the data was gone through.
type Work = Box<dyn FnMut(&mut Data) -> usize>;

/// What a subject is set against: the first two subjects of its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Crc,
    /// After a read.
    ReadCrc,
    Aes,
}

/// Data, as it is and in frames.
struct Data {
    plain: Vec<u8>,
    /// The same and what else a frame has: as many bytes.
    with_around: Vec<u8>,
    /// A few frames, one behind the other.
    frames: Vec<u8>,
    /// The same sealed. Of one direction in order: none of them opens twice with one opener.
    sealed: Vec<u8>,
    count: usize,
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
        // So many that an opener's key counts for little, and so few that they stay in the cache.
        let count = (READ / bytes).max(1);
        let header = header();
        let segments: [&[u8]; 4] = [&header, &FRONT, &[], &plain];
        let frame = crc_frame(Tag::Message, &segments);
        let (mut sealer, _) = secrets(Side::Initiator);
        let mut sealed = Vec::new();
        for _ in 0..count {
            sealer.seal(Tag::Message, &segments, &mut sealed).expect("nonces are left");
        }
        let with_around = vec![3; bytes + AROUND_IN_CRC.max(AROUND_IN_SECURE)];
        let scratch = vec![0; bytes + 1024];
        Self { frames: frame.repeat(count), plain, with_around, sealed, count, scratch }
    }

    /// Bytes of the first so many of the frames.
    fn frames(&self, count: usize) -> &[u8] {
        &self.frames[..self.frames.len() / self.count * count]
    }
}

fn crc32c(bytes: &[u8]) -> usize {
    black_box(crc_fast::crc32_iscsi(bytes));
    1
}

/// AES-128-GCM of aws-lc-rs, from one place to another, as it is with what has to be kept.
fn aws_lc_rs() -> impl FnMut(&[u8], &mut [u8]) -> usize {
    use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &SECRET[..16]).expect("16 bytes"));
    move |bytes, out| {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let (out, mut tag) = (&mut out[..bytes.len()], [0; 16]);
        key.seal_out_of_place_scatter(nonce, Aad::empty(), bytes, out, &[], &mut tag)
            .expect("it is short enough");
        black_box(tag);
        1
    }
}

/// That of ring, in place.
fn ring() -> impl FnMut(&mut [u8]) -> usize {
    use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &SECRET[..16]).expect("16 bytes"));
    move |bytes| {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), bytes);
        let _ = black_box(tag.expect("it is short enough"));
        1
    }
}

/// That of RustCrypto, in place.
fn rust_crypto() -> impl FnMut(&mut [u8]) -> usize {
    let key = Aes128Gcm::new((&[7; 16]).into());
    move |bytes| {
        let tag = key.encrypt_inout_detached((&[0; 12]).into(), &[], bytes.into());
        let _ = black_box(tag.expect("it is short enough"));
        1
    }
}

/// Takes frames apart, given so many bytes at a time; how many there were.
macro_rules! take_apart {
    ($decoder:expr, $bytes:expr, $at_a_time:expr) => {{
        let (mut decoder, mut count) = ($decoder, 0);
        for mut piece in $bytes.chunks($at_a_time) {
            while let Some(frame) = decoder.decode(&mut piece).expect("it is right") {
                black_box(&frame);
                count += 1;
            }
        }
        count
    }};
}

/// Reads so many times so many bytes, one behind the other, and sums up each of them.
fn read_and_sum(bytes: &[u8], count: usize, scratch: &mut Vec<u8>) -> usize {
    let at_a_time = (READ / bytes.len()).max(1).min(count);
    scratch.resize(at_a_time * bytes.len(), 0);
    for _ in 0..count / at_a_time {
        for to in scratch.chunks_mut(bytes.len()) {
            for (to, from) in to.chunks_mut(READ).zip(bytes.chunks(READ)) {
                to.copy_from_slice(from);
                crc32c(to);
            }
        }
    }
    count
}

/// Takes frames apart as a daemon does, which reads long segments right into their places; how many
/// there were.
fn read_in_places(decoder: &mut FrameDecoder, mut stream: &[u8], scratch: &mut Vec<u8>) -> usize {
    let mut count = 0;
    scratch.resize(READ, 0);
    while !stream.is_empty() {
        let mut piece = &scratch[..0];
        match decoder.place() {
            Some(place) => {
                let (come, rest) = stream.split_at(stream.len().min(place.most).min(READ));
                place.buffer.extend_from_slice(come);
                stream = rest;
            }
            None => {
                let (come, rest) = stream.split_at(stream.len().min(READ));
                scratch[..come.len()].copy_from_slice(come);
                (piece, stream) = (&scratch[..come.len()], rest);
            }
        }
        while let Some(frame) = decoder.decode(&mut piece).expect("it is right") {
            black_box(&frame);
            count += 1;
        }
    }
    count
}

fn subjects() -> Vec<(&'static str, Kind, Work)> {
    let plain = || FrameDecoder::new(Limits::default());
    let (mut sealer, _) = secrets(Side::Initiator);
    let (mut aws, mut aws_around, mut ring, mut rust_crypto) =
        (aws_lc_rs(), aws_lc_rs(), ring(), rust_crypto());
    let encode = |data: &mut Data| {
        let header = header();
        let segments: [&[u8]; 4] = [&header, &FRONT, &[], &data.plain];
        black_box(Envelope::new(Tag::Message, &segments).slices(&segments));
        1
    };
    let seal = move |data: &mut Data| {
        let header = header();
        data.scratch.clear();
        let segments: [&[u8]; 4] = [&header, &FRONT, &[], &data.plain];
        sealer.seal(Tag::Message, &segments, &mut data.scratch).expect("nonces are left");
        black_box(&data.scratch);
        1
    };
    let aws_alone = move |data: &mut Data| {
        data.scratch.resize(data.with_around.len(), 0);
        aws(&data.plain, &mut data.scratch)
    };
    let aws_around = move |data: &mut Data| {
        data.scratch.resize(data.with_around.len(), 0);
        let bytes = data.plain.len() + AROUND_IN_SECURE;
        aws_around(&data.with_around[..bytes], &mut data.scratch)
    };
    let crc_around =
        |data: &mut Data| crc32c(&data.with_around[..data.plain.len() + AROUND_IN_CRC]);
    let read_crc = |data: &mut Data| {
        let Data { plain, count, scratch, .. } = data;
        read_and_sum(plain, *count, scratch)
    };
    let read_crc_around = |data: &mut Data| {
        let bytes = data.plain.len() + AROUND_IN_CRC;
        let Data { with_around, count, scratch, .. } = data;
        read_and_sum(&with_around[..bytes], *count, scratch)
    };
    // A frame has a crc of each of its pieces: these calls it cannot do without.
    let crc_pieces = |data: &mut Data| {
        let around = &data.with_around[..AROUND_IN_CRC];
        let (preamble, others) = around.split_at(28);
        let (header, front) = others.split_at(MessageHeader::BYTES);
        [preamble, header, front, &data.plain].into_iter().for_each(|piece| _ = crc32c(piece));
        1
    };
    let open_by_reads = |data: &mut Data| take_apart!(secrets(Side::Acceptor).1, data.sealed, READ);
    vec![
        ("crc32c", Kind::Crc, Box::new(|data| crc32c(&data.plain))),
        ("crc32c, a frame's bytes", Kind::Crc, Box::new(crc_around)),
        ("crc32c, a frame's pieces", Kind::Crc, Box::new(crc_pieces)),
        ("encode, crc", Kind::Crc, Box::new(encode)),
        (
            "decode, crc",
            Kind::Crc,
            Box::new(move |data| take_apart!(plain(), data.frames(1), READ.max(data.frames.len()))),
        ),
        (
            "decode, crc, gathered",
            Kind::Crc,
            Box::new(move |data| take_apart!(plain(), data.frames, READ)),
        ),
        ("read, crc32c", Kind::ReadCrc, Box::new(read_crc)),
        ("read, crc32c, a frame's bytes", Kind::ReadCrc, Box::new(read_crc_around)),
        (
            "read, decode, crc",
            Kind::ReadCrc,
            Box::new(move |data| read_in_places(&mut plain(), &data.frames, &mut data.scratch)),
        ),
        ("aes-128-gcm", Kind::Aes, Box::new(aws_alone)),
        ("aes-128-gcm, a frame's bytes", Kind::Aes, Box::new(aws_around)),
        ("aes-128-gcm, ring", Kind::Aes, Box::new(move |data| ring(&mut data.plain))),
        ("aes-128-gcm, RustCrypto", Kind::Aes, Box::new(move |data| rust_crypto(&mut data.plain))),
        ("encode, secure", Kind::Aes, Box::new(seal)),
        (
            "decode, secure",
            Kind::Aes,
            Box::new(|data| take_apart!(secrets(Side::Acceptor).1, data.sealed, data.sealed.len())),
        ),
        ("decode, secure, by reads", Kind::Aes, Box::new(open_by_reads)),
    ]
}

/// GB/s of data in one turn.
fn turn(data: &mut Data, work: &mut dyn FnMut(&mut Data) -> usize) -> f64 {
    let bytes = data.plain.len();
    let (mut times, start) = (0, Instant::now());
    while start.elapsed() < TURN {
        let batch = times + BATCH.div_ceil(bytes);
        while times < batch {
            times += work(data);
        }
    }
    (times * bytes) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// The middle one of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Measures so many rounds, and sets each subject against what it cannot do without: medians.
pub fn run(rounds: usize) -> Table {
    let mut table =
        Table::new(["subject", "data", "GB/s", "of it alone", "of it alone, a frame's bytes"]);
    for bytes in SIZES {
        let mut data = Data::new(bytes);
        let mut subjects = subjects();
        let mut figures = vec![Vec::new(); subjects.len()];
        for _ in 0..rounds {
            for ((_, _, work), figures) in subjects.iter_mut().zip(&mut figures) {
                figures.push(turn(&mut data, work));
            }
        }
        for (index, (name, kind, _)) in subjects.iter().enumerate() {
            let mut row = vec![
                (*name).to_owned(),
                format!("{} KiB", bytes >> 10),
                format!("{:.2}", median(figures[index].clone())),
            ];
            let first = subjects.iter().position(|(_, other, _)| other == kind).unwrap_or(index);
            for alone in [&figures[first], &figures[first + 1]] {
                let ratios = figures[index].iter().zip(alone).map(|(figure, alone)| figure / alone);
                row.push(format!("{:.2}", median(ratios.collect())));
            }
            table.row(row);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_subject_has_its_row() {
        // A header, a rule, and sixteen subjects of two sizes.
        assert_eq!(super::run(1).to_string().lines().count(), 2 + 32);
    }
}
