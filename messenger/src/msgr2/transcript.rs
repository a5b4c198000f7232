//! What was said before authentication: each side signs what it received.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use bytes::Bytes;

use super::error::{Rule, Violation};
use super::frame::{Frame, body_length, in_place};
use super::limits::Limits;
use super::output;
use super::preamble::{self, Preamble};
use super::segment::{Segment, gather};

/// Bytes of memory that a list has for each of its entries at most: room for four with the first,
/// and while it grows itself once more and twice as long.
const fn listed(entry: usize) -> usize {
    4 * entry
}

/// Who has bytes that several share: where they lie, how many there are, and by how many.
const OWNER: usize = 3 * size_of::<usize>();

/// Bytes of memory around something that was received, at most.
const AROUND_RECEIVED: usize = OWNER + listed(size_of::<Bytes>());

/// And around something that was sent, which has a place in what waits to be written, too.
const AROUND_SENT: usize = AROUND_RECEIVED + listed(output::PIECE);

/// Both directions of a connection so far, frame by frame. Each frame lies in memory of its own
/// that is there at once when its preamble has come, is held once, and then never moves, so that
/// what is signed takes no more memory than the bound, however a peer that is not authenticated
/// sends. Two things are counted when they are there already: the banner and what we say.
///
/// Beside the bound there is what does not grow with what the peer sends:
///
/// - The peer's banner, of 266 bytes at most, lies in memory that grew with it, to 512 bytes, with
///   256 more while it does. What is counted is its bytes.
/// - The payload of a frame that we say is there a second time until the frame is: up to three
///   times its bytes, while a list grows.
/// - Our signature is in none of these frames: its 512 bytes of what waits to be written, and its
///   place there.
/// - Nor is the peer's: in crc mode it has its 32 bytes, and less than 256 around them; in secure
///   mode a decoder of less than 512, and a cipher for each direction, in 880 bytes of a C library.
#[derive(Debug)]
pub(super) struct Transcript {
    limit: u32,
    received: Vec<Bytes>,
    sent: Vec<Bytes>,
    /// The frame that is coming.
    coming: Vec<u8>,
    /// What that one says of itself, once that has come.
    preamble: Option<Preamble>,
    /// Memory for what was said, and the frame that is coming, and around it.
    held: usize,
}

impl Transcript {
    /// With at most so many bytes of memory.
    pub(super) fn new(limit: u32) -> Self {
        let (received, sent, coming) = Default::default();
        // A preamble lies by itself until it is clear how much room its frame needs, and is moved
        // there.
        Self { limit, received, sent, coming, preamble: None, held: preamble::BYTES }
    }

    /// Something was received that is no frame.
    pub(super) fn received(&mut self, bytes: Bytes) -> Result<(), Rule> {
        self.hold(bytes.len() + AROUND_RECEIVED)?;
        self.received.push(bytes);
        Ok(())
    }

    /// Something is said.
    pub(super) fn sent(&mut self, bytes: Bytes) -> Result<(), Rule> {
        self.hold(bytes.len() + AROUND_SENT)?;
        self.sent.push(bytes);
        Ok(())
    }

    /// Takes from `input` what belongs to the next frame, and gives it once all of it has come.
    pub(super) fn take_frame(
        &mut self,
        input: &mut &[u8],
        limits: &Limits,
    ) -> Result<Option<Frame<'static>>, Violation> {
        let preamble = match self.preamble {
            Some(preamble) => preamble,
            None => {
                gather(&mut self.coming, preamble::BYTES, input);
                let Some(head) = self.coming.first_chunk() else { return Ok(None) };
                let preamble = Preamble::decode(head, limits)?;
                let total = preamble::BYTES + body_length(&preamble);
                self.hold(total + AROUND_RECEIVED).map_err(Violation::of(preamble.tag))?;
                self.coming.reserve_exact(total - preamble::BYTES);
                *self.preamble.insert(preamble)
            }
        };
        let total = preamble::BYTES + body_length(&preamble);
        gather(&mut self.coming, total, input);
        if self.coming.len() < total {
            return Ok(None);
        }
        self.preamble = None;
        let bytes = Bytes::from(std::mem::take(&mut self.coming));
        self.received.push(bytes.clone());
        // Control frames have no epilogue, in which one could be given up.
        let segments = in_place(&preamble, &bytes[preamble::BYTES..])?;
        Ok(segments.map(|segments| {
            let segments = segments.map(|segment| Segment::Owned(bytes.slice_ref(segment)));
            Frame { tag: preamble.tag, segments, forgotten: 0 }
        }))
    }

    /// There will be so many bytes more.
    fn hold(&mut self, bytes: usize) -> Result<(), Rule> {
        let held = self.held.saturating_add(bytes);
        if held > self.limit as usize {
            return Err(Rule::UnauthenticatedBytes(self.limit));
        }
        self.held = held;
        Ok(())
    }

    /// Our signature: of what we received. Zeros without a key.
    pub(super) fn sign(&self, key: Option<&[u8]>) -> [u8; 32] {
        signature(key, &self.received)
    }

    /// Whether the peer has received what we sent.
    pub(super) fn verify(&self, key: Option<&[u8]>, carried: &[u8; 32]) -> Result<(), Rule> {
        verify_slices_are_equal(&signature(key, &self.sent), carried).map_err(|_| Rule::Signature)
    }
}

fn signature(key: Option<&[u8]>, said: &[Bytes]) -> [u8; 32] {
    let mut signature = [0; 32];
    if let Some(key) = key {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        said.iter().for_each(|bytes| context.update(bytes));
        signature.copy_from_slice(context.sign().as_ref());
    }
    signature
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::msgr2::SecureFrameDecoder;

    #[test]
    fn what_opens_the_peers_signature_is_as_small_as_it_is_said_to_be() {
        // Beside its first unit and the signature.
        assert!(size_of::<SecureFrameDecoder>() < 512 - 80 - 64);
    }

    #[test]
    fn a_list_has_no_more_room_than_is_counted_for_its_entries() {
        let (mut list, mut queue) = (Vec::new(), VecDeque::new());
        for count in 1..1000 {
            let before = list.capacity() + queue.capacity();
            list.push(count);
            queue.push_back(count);
            let after = list.capacity() + queue.capacity();
            // While it grows both are there.
            let most = if after > before { before + after } else { after };
            assert!(most <= 2 * count * listed(1), "{most} for {count} in each");
        }
    }
}
