//! Putting a message into a ring, in one part or in as many as it takes.

use super::byte_ring::ByteRing;
use super::part::{ENVELOPE_BYTES, Envelope, PART_BYTES, PartHeader, PartKind, ring_bytes};

/// How far a message has come into its ring. Whoever puts it has its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartWriter {
    envelope: Envelope,
    /// Its first part is in the ring.
    begun: bool,
    /// Bytes of front, middle and data that are in the ring.
    done: u64,
}

impl PartWriter {
    pub(crate) fn new(envelope: Envelope) -> Self {
        Self { envelope, begun: false, done: 0 }
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Some of it is in the ring.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// All of it is in the ring.
    pub(crate) fn is_done(&self) -> bool {
        self.begun && self.done == self.envelope.body_bytes()
    }

    /// Bytes that its next part takes in a ring of `size`; 0 if all of it is in the ring. To wait
    /// for less room is in vain.
    pub(crate) fn next_part(&self, size: u32) -> u32 {
        if self.is_done() { 0 } else { self.next_header(size).ring_bytes() as u32 }
    }

    /// Bytes that all its further parts take in a ring of `size`.
    pub(crate) fn all_parts(&self, size: u32) -> u64 {
        let (mut rest, mut bytes) = (*self, 0);
        if !rest.begun {
            bytes += u64::from(rest.next_part(size));
            rest.done += rest.next_body(size);
            rest.begun = true;
        }
        let left = rest.envelope.body_bytes() - rest.done;
        let each = u64::from(size / 4);
        let body = each - u64::from(PART_BYTES);
        bytes += left / body * each;
        bytes + if left % body > 0 { ring_bytes(left % body) } else { 0 }
    }

    /// Puts as many parts as there is room for at `offset` of the ring; how many bytes those take
    /// there, which are to be committed. `body` is front, middle and data, in whatever slices,
    /// always the same.
    pub(crate) fn put(
        &mut self,
        ring: ByteRing<'_>,
        offset: u64,
        room: u32,
        body: &[&[u8]],
    ) -> u32 {
        let len: u64 = body.iter().map(|slice| slice.len() as u64).sum();
        assert_eq!(len, self.envelope.body_bytes(), "a message as long as its envelope says");
        let mut put = 0;
        while !self.is_done() {
            let part = self.next_part(ring.size());
            if part > room - put {
                break;
            }
            self.put_part(ring, offset.wrapping_add(put.into()), body);
            put += part;
        }
        put
    }

    fn put_part(&mut self, ring: ByteRing<'_>, offset: u64, body: &[&[u8]]) {
        let header = self.next_header(ring.size());
        let mut at = offset;
        let mut put = |bytes: &[u8]| {
            ring.write(at, bytes);
            at = at.wrapping_add(bytes.len() as u64);
        };
        put(&header.encode());
        if header.first {
            put(&self.envelope.encode());
        }
        let mut left = self.next_body(ring.size());
        let mut skip = self.done;
        self.begun = true;
        self.done += left;
        for slice in body {
            let from = skip.min(slice.len() as u64);
            skip -= from;
            let slice = &slice[from as usize..];
            let slice = &slice[..left.min(slice.len() as u64) as usize];
            left -= slice.len() as u64;
            put(slice);
        }
        let padding = header.ring_bytes() - u64::from(PART_BYTES + header.len);
        put(&[0; 7][..padding as usize]);
    }

    fn next_header(&self, size: u32) -> PartHeader {
        let body = self.next_body(size);
        let first = !self.begun;
        let last = self.done + body == self.envelope.body_bytes();
        let len = body as u32 + if first { ENVELOPE_BYTES } else { 0 };
        PartHeader { kind: PartKind::Message, first, last, len }
    }

    /// Bytes of front, middle and data in the next part: all, if that takes at most half of the
    /// ring, else what fits into a quarter.
    fn next_body(&self, size: u32) -> u64 {
        let left = self.envelope.body_bytes() - self.done;
        if !self.begun {
            let whole = ring_bytes(u64::from(ENVELOPE_BYTES) + left);
            if whole <= u64::from(size / 2) {
                return left;
            }
            return left.min(u64::from(size / 4 - PART_BYTES - ENVELOPE_BYTES));
        }
        left.min(u64::from(size / 4 - PART_BYTES))
    }
}
