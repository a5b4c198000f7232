//! What was said before authentication: each side signs what it received.

use aws_lc_rs::hmac;

use super::error::{Rule, Violation};
use super::frame::{Frame, FrameDecoder};
use super::limits::Limits;
use super::preamble::{self, Preamble};
use super::segment::split;

/// Bytes of the first allocation.
const FIRST: usize = 512;

/// Further ones come in steps of so many bytes. To double would leave less for the other direction.
const STEP: usize = 4 << 10;

/// Both directions of a connection so far. A frame is gathered here and nowhere else, so that who
/// is not authenticated has no more memory than the bound, however it sends.
#[derive(Debug)]
pub(super) struct Transcript {
    limit: u32,
    received: Vec<u8>,
    sent: Vec<u8>,
    /// Where the frame that is coming begins in what was received.
    frame: usize,
}

impl Transcript {
    /// With at most so many bytes of memory, those that the connection has elsewhere included.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, received: Vec::new(), sent: Vec::new(), frame: 0 }
    }

    /// Something was received that is no frame, and so many bytes are held elsewhere.
    pub(super) fn received(&mut self, bytes: &[u8], elsewhere: usize) -> Result<(), Rule> {
        let most = self.left(self.sent.capacity() + elsewhere);
        append(&mut self.received, bytes, most).ok_or(Rule::UnauthenticatedBytes(self.limit))?;
        self.frame = self.received.len();
        Ok(())
    }

    /// Something was said, and so many bytes are held elsewhere.
    pub(super) fn sent(&mut self, bytes: &[u8], elsewhere: usize) -> Result<(), Rule> {
        let most = self.left(self.received.capacity() + elsewhere);
        append(&mut self.sent, bytes, most).ok_or(Rule::UnauthenticatedBytes(self.limit))
    }

    /// Takes from `input` what belongs to the next frame, and gives it once all of it has come.
    pub(super) fn take_frame(
        &mut self,
        input: &mut &[u8],
        limits: &Limits,
        elsewhere: usize,
    ) -> Result<Option<Frame<'_>>, Violation> {
        if !self.take(preamble::BYTES, input, elsewhere)? {
            return Ok(None);
        }
        let head = self.received[self.frame..].first_chunk().expect("so much has come");
        let preamble = Preamble::decode(head, limits)?;
        let taken = self.take(preamble.frame_bytes() as usize, input, elsewhere);
        if !taken.map_err(Violation::of(preamble.tag))? {
            return Ok(None);
        }
        let begin = std::mem::replace(&mut self.frame, self.received.len());
        // Control frames have no epilogue, in which one could be given up.
        FrameDecoder::new(*limits).decode(&mut &self.received[begin..])
    }

    /// Whether `count` bytes of the frame have come, with those at the front of `input`.
    fn take(&mut self, count: usize, input: &mut &[u8], elsewhere: usize) -> Result<bool, Rule> {
        let (end, most) = (self.frame + count, self.left(self.sent.capacity() + elsewhere));
        if end > most {
            return Err(Rule::UnauthenticatedBytes(self.limit));
        }
        let piece = split(input, end.saturating_sub(self.received.len()));
        append(&mut self.received, piece, most).ok_or(Rule::UnauthenticatedBytes(self.limit))?;
        Ok(self.received.len() >= end)
    }

    /// Of the bound, beside so many bytes.
    fn left(&self, others: usize) -> usize {
        (self.limit as usize).saturating_sub(others)
    }

    /// Our signature: of what we received. Zeros without a key.
    pub(super) fn sign(&self, key: Option<&[u8]>) -> [u8; 32] {
        signature(key, &self.received)
    }

    /// Whether the peer has received what we sent.
    pub(super) fn verify(&self, key: Option<&[u8]>, carried: &[u8; 32]) -> Result<(), Rule> {
        let good = match key {
            Some(key) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key);
                hmac::verify(&key, &self.sent, carried).is_ok()
            }
            None => *carried == [0; 32],
        };
        if good { Ok(()) } else { Err(Rule::Signature) }
    }
}

/// Puts bytes behind the others, in at most `most` bytes of memory; `None` if it is too little.
fn append(to: &mut Vec<u8>, bytes: &[u8], most: usize) -> Option<()> {
    let needed = to.len() + bytes.len();
    if needed > to.capacity() {
        let room = if needed <= FIRST { FIRST } else { needed.next_multiple_of(STEP) };
        let room = room.min(most);
        to.reserve_exact(room.checked_sub(needed)? + bytes.len());
    }
    to.extend_from_slice(bytes);
    Some(())
}

fn signature(key: Option<&[u8]>, bytes: &[u8]) -> [u8; 32] {
    let mut signature = [0; 32];
    if let Some(key) = key {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        signature.copy_from_slice(hmac::sign(&key, bytes).as_ref());
    }
    signature
}
