//! What was said before authentication: each side signs what it received.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use bytes::Bytes;

use super::error::{Rule, Violation};
use super::frame::{Frame, FrameDecoder};
use super::limits::Limits;
use super::preamble::{self, Preamble};
use super::segment::{Segment, gather};

/// Bytes of memory around a frame that was received, at most: who has its bytes, and its place in the
/// list, three times, since a list that grows is there once more and twice as long.
const AROUND_RECEIVED: usize = 128;

/// And around one that was sent, which has a place in what waits to be written, too.
const AROUND_SENT: usize = 256;

/// Both directions of a connection so far, frame by frame. Each lies in memory of its own that it got
/// at once, is held once, and never moves, so that who is not authenticated has no more memory than
/// the bound at any moment, however it sends.
#[derive(Debug)]
pub(super) struct Transcript {
    limit: u32,
    received: Vec<Bytes>,
    sent: Vec<Bytes>,
    /// The frame that is coming.
    coming: Vec<u8>,
    /// Its bytes in all; 0 until its preamble has come.
    total: usize,
    /// Memory for what was said, and the frame that is coming, and around it.
    held: usize,
}

impl Transcript {
    /// With at most so many bytes of memory.
    pub(super) fn new(limit: u32) -> Self {
        let (received, sent, coming) = Default::default();
        Self { limit, received, sent, coming, total: 0, held: 0 }
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
        if self.total == 0 {
            gather(&mut self.coming, preamble::BYTES, input);
            let Some(head) = self.coming.first_chunk() else { return Ok(None) };
            let preamble = Preamble::decode(head, limits)?;
            let total = preamble.frame_bytes() as usize;
            self.hold(total + AROUND_RECEIVED).map_err(Violation::of(preamble.tag))?;
            self.coming.reserve_exact(total - preamble::BYTES);
            self.total = total;
        }
        gather(&mut self.coming, self.total, input);
        if self.coming.len() < self.total {
            return Ok(None);
        }
        self.total = 0;
        let bytes = Bytes::from(std::mem::take(&mut self.coming));
        self.received.push(bytes.clone());
        // Control frames have no epilogue, in which one could be given up.
        let frame = FrameDecoder::new(*limits).decode(&mut &bytes[..])?;
        Ok(frame.map(|Frame { tag, segments, forgotten }| {
            let segments = segments.map(|segment| Segment::Owned(bytes.slice_ref(&segment)));
            Frame { tag, segments, forgotten }
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
