//! Messages in a ring that its other side may have filled with anything. The input says what that one
//! does, step by step: bytes committed as they are, headers that are nearly right, notices, messages
//! that are put there properly, in whatever room there is, and bytes written over what was committed.
//! In between the reader takes parts. What it takes is within its bounds, and a message that was put
//! properly arrives as it was.
#![no_main]

mod shm;

use std::ptr::NonNull;

use libfuzzer_sys::fuzz_target;
use shm::byte_ring::{ByteRing, Piece};
use shm::part::{Envelope, NOTICE_BYTES, Notice, PART_BYTES, PartHeader, PartKind, PartRule};
use shm::part_reader::{Body, Found, PartReader};
use shm::part_writer::PartWriter;
// Where the files of the messenger look for it.
use vmsgr_messenger::msgr2;

/// The input, used up from its beginning; zeros behind its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let given = self.some(LENGTH);
        bytes[..given.len()].copy_from_slice(given);
        bytes
    }

    fn some(&mut self, count: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        some
    }

    fn number(&mut self) -> u32 {
        u16::from_le_bytes(self.bytes()).into()
    }
}

/// A message that is being put into the ring.
struct Sending {
    writer: PartWriter,
    body: Vec<u8>,
}

struct Ring {
    /// On the heap, where a sanitizer sees who leaves it.
    memory: Vec<u8>,
    put: u64,
    taken: u64,
    /// From here on there is nothing but what was put properly.
    proper: bool,
    /// Messages that were put properly, and not taken.
    sent: Vec<(Envelope, Vec<u8>)>,
    sending: Option<Sending>,
}

fn ring(memory: &mut [u8]) -> ByteRing<'_> {
    let start = NonNull::new(memory.as_mut_ptr()).unwrap();
    // SAFETY: the memory is borrowed for as long as the ring, and its length is a power of two.
    unsafe { ByteRing::new(start, memory.len() as u32) }
}

impl Ring {
    fn unread(&self) -> u32 {
        self.put.wrapping_sub(self.taken) as u32
    }

    fn room(&self) -> u32 {
        self.memory.len() as u32 - self.unread()
    }

    /// Nothing that is there or comes has to arrive.
    fn spoil(&mut self) {
        self.proper = false;
        self.sent.clear();
        self.sending = None;
    }

    fn commit(&mut self, bytes: &[u8]) {
        self.spoil();
        let bytes = &bytes[..bytes.len().min(self.room() as usize)];
        ring(&mut self.memory).write(self.put, bytes);
        self.put = self.put.wrapping_add(bytes.len() as u64);
    }

    fn send(&mut self, lens: [u32; 3], most: u32) {
        let put = self.put;
        let room = self.room().min(most);
        let mut sending = self.sending.take().unwrap_or_else(|| {
            let [front, middle, data] = lens;
            let envelope = Envelope { tid: put, front, middle, data, ..Envelope::default() };
            let body = (0..envelope.body_bytes()).map(|at| (at ^ put) as u8).collect();
            Sending { writer: PartWriter::new(envelope), body }
        });
        let before = sending.writer.all_parts(self.memory.len() as u32);
        let (front, back) = sending.body.split_at(sending.body.len() / 3);
        let count = sending.writer.put(ring(&mut self.memory), put, room, &[front, back]);
        assert!(count <= room && count.is_multiple_of(8));
        let after = sending.writer.all_parts(self.memory.len() as u32);
        assert_eq!(u64::from(count), before - after);
        self.put = put.wrapping_add(count.into());
        if !sending.writer.is_done() {
            self.sending = Some(sending);
        } else if self.proper {
            self.sent.push((*sending.writer.envelope(), sending.body));
        }
    }

    /// One part; false if there is none.
    fn take(&mut self, reader: &mut PartReader, largest: u32) -> Result<bool, PartRule> {
        let (taken, unread, size) = (self.taken, self.unread(), self.memory.len() as u32);
        let ring = ring(&mut self.memory);
        let Some(part) = reader.next(ring, taken, unread)? else { return Ok(false) };
        assert!(part.bytes >= PART_BYTES && part.bytes.is_multiple_of(8));
        assert!(part.bytes <= unread && part.bytes <= size / 2);
        let message = match part.found {
            Found::Some | Found::Notice(_) => None,
            Found::Whole(envelope, body) => Some((envelope, body)),
            Found::InPlace(envelope, body) => {
                // An application looks for it again, by its envelope.
                let again = Body::at(ring, taken, &envelope);
                let (body, again) = (copied(body), copied(again));
                assert_eq!(body, again);
                Some((envelope, body))
            }
        };
        self.taken = taken.wrapping_add(part.bytes.into());
        if let Some((envelope, body)) = message {
            assert_eq!(envelope.body_bytes(), body.len() as u64);
            assert!(body.len() <= largest as usize);
            if self.proper {
                assert_eq!((envelope, body), self.sent.remove(0));
            }
        }
        Ok(true)
    }
}

fn copied(Body { front, middle, data }: Body<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pieces: [[Piece<'_>; 2]; 3] = [front, middle, data];
    pieces.as_flattened().iter().for_each(|piece| piece.append_to(&mut bytes));
    bytes
}

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    let [how] = input.bytes();
    let from = u64::from_le_bytes(input.bytes());
    let size = 4096 << (how & 3);
    let largest = if how & 4 == 0 { 1 << 18 } else { 5000 };
    let resumed = how & 8 != 0;
    let make = |resumed| match resumed {
        true => PartReader::resume(largest),
        false => PartReader::new(largest),
    };
    let mut reader = make(resumed);
    // Whoever resumes may find the rest of a message first.
    let mut ring = Ring {
        memory: vec![0; size],
        put: from,
        taken: from,
        proper: largest == 1 << 18,
        sent: Vec::new(),
        sending: None,
    };
    while !input.0.is_empty() {
        let [step, flags] = input.bytes();
        match step % 6 {
            0 => {
                let count = input.number() as usize % 600;
                ring.commit(input.some(count));
            }
            1 => {
                // A part as its header says, with an envelope if it is a first one.
                let kind = if flags & 1 == 0 { PartKind::Message } else { PartKind::Notice };
                let (first, last) = (flags & 2 != 0, flags & 4 != 0);
                let (len, body) = (input.number() % 4096, input.number());
                let mut part = PartHeader { kind, first, last, len }.encode().to_vec();
                if first && flags & 8 == 0 {
                    let envelope =
                        Envelope { front: body, data: (flags >> 4).into(), ..Envelope::default() };
                    part.extend_from_slice(&envelope.encode());
                }
                part.resize((PART_BYTES + len).next_multiple_of(8) as usize, flags);
                ring.commit(&part);
            }
            2 => {
                let lost = u64::from(input.number());
                let notice = [Notice::Forgotten { lost }, Notice::StreamLost, Notice::StreamBack]
                    [usize::from(flags) % 3];
                // A proper one stands between messages.
                if ring.sending.is_some() || ring.room() < PART_BYTES + NOTICE_BYTES {
                    continue;
                }
                let bytes = notice.encode();
                self::ring(&mut ring.memory).write(ring.put, &bytes);
                ring.put = ring.put.wrapping_add(bytes.len() as u64);
            }
            3 => {
                let lens = [input.number(), u32::from(flags), input.number()];
                let most = input.number();
                ring.send(lens, most);
            }
            4 => {
                let at = ring.taken.wrapping_add(input.number().into());
                let bytes = input.some(1 + usize::from(flags) % 16);
                ring.spoil();
                self::ring(&mut ring.memory).write(at, bytes);
            }
            _ => {
                for _ in 0..=flags % 32 {
                    match ring.take(&mut reader, largest) {
                        Ok(true) => {}
                        Ok(false) => {
                            assert!(ring.sent.is_empty());
                            break;
                        }
                        Err(rule) => {
                            assert!(!ring.proper, "{rule} in what is right");
                            // Its application is detached; another begins where nothing is.
                            ring.taken = ring.put;
                            ring.sending = None;
                            ring.proper = largest == 1 << 18;
                            reader = make(flags & 32 != 0);
                        }
                    }
                }
            }
        }
    }
});
