//! What an application has put into the shared segment, as the daemon takes it.
#![allow(unsafe_code)] // A ring of bytes is made of memory of its own here.

use std::hint::black_box;
use std::ptr::NonNull;

use crate::harness::rounds;
use crate::shm::byte_ring::ByteRing;
use crate::shm::job::{Asked, Request};
use crate::shm::layout::WORDS;
use crate::shm::part::Envelope;
use crate::shm::part_reader::{Found, PartReader};
use crate::shm::part_writer::PartWriter;
use crate::shm::ring::{Pusher, Ring, Taker};
use crate::shm::sync::AtomicU64;

/// Entries of a ring.
const ENTRIES: usize = 256;

/// Bytes of a ring of bytes.
const RING_BYTES: u32 = 64 << 10;

/// A ring of entries and its two sides.
struct Entries<const N: usize> {
    pushed: AtomicU64,
    taken: AtomicU64,
    entries: Vec<[AtomicU64; N]>,
    pusher: Pusher,
    taker: Taker,
}

impl<const N: usize> Entries<N> {
    fn new() -> Self {
        let empty = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            pushed: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            entries: (0..ENTRIES).map(|_| empty()).collect(),
            pusher: Pusher::default(),
            taker: Taker::default(),
        }
    }

    fn push(&mut self, entry: [u64; N]) {
        let Self { pushed, taken, entries, pusher, .. } = self;
        assert_eq!(pusher.push(Ring { pushed, taken, entries }, entry), Ok(true));
    }

    fn take(&mut self) -> [u64; N] {
        let Self { pushed, taken, entries, taker, .. } = self;
        taker
            .take(Ring { pushed, taken, entries })
            .expect("it does not lie")
            .expect("one was pushed")
    }
}

/// A job: to listen on an address.
pub(crate) fn job() {
    let address = "127.0.0.1:7400".parse().expect("it is an address");
    let request = |round| Request { job: round, kind: Asked::Listen { address, backlog: 1024 } };
    rounds(
        &mut Entries::<WORDS>::new(),
        |ring, round| ring.push(request(round as u64).to_words()),
        |ring, round| {
            let taken = black_box(Request::from_words(ring.take()));
            assert_eq!(taken.map(|request| request.job), Some(round as u64));
        },
        |_, _| (),
    );
}

/// A number in a ready ring: a slot and the generation of its connection.
pub(crate) fn number() {
    rounds(
        &mut Entries::<1>::new(),
        |ring, round| ring.push([7 << 32 | round as u64]),
        |ring, round| {
            let [entry] = ring.take();
            let (slot, generation) = black_box((entry as u32, (entry >> 32) as u32));
            assert_eq!((slot, generation), (round as u32, 7));
        },
        |_, _| (),
    );
}

/// What describes a message in a ring of bytes: its part's header and its envelope. It is looked at in
/// place.
pub(crate) fn part() {
    let mut memory = vec![0_u8; RING_BYTES as usize];
    let start = NonNull::from(&mut memory[..]).cast();
    // SAFETY: the memory outlives the ring, nobody else looks at it, and its size is a power of two.
    let ring = unsafe { ByteRing::new(start, RING_BYTES) };
    let envelope = Envelope { seq: 1, kind: 42, front: 217, data: 4096, ..Default::default() };
    let mut writer = PartWriter::new(envelope);
    let bytes = writer.put(ring, 0, RING_BYTES, &[&[1; 217], &[2; 4096]]);
    assert!(writer.is_done());
    rounds(
        &mut PartReader::new(1 << 20),
        |_, _| (),
        |reader, _| {
            let part = reader.next(ring, 0, bytes).expect("it is right").expect("it is there");
            let Found::InPlace(found, body) = black_box(part.found) else { panic!("it is whole") };
            assert_eq!((found, body.data[0].len()), (envelope, 4096));
        },
        |_, _| (),
    );
}
