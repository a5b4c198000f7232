//! Frames sealed: put together unit by unit, large segments on their way.

use super::super::error::Rule;
use super::super::frame;
use super::super::gcm::{Gcm, Refused, TAG};
use super::super::preamble::{Preamble, SEGMENTS};
use super::super::tag::Tag;
use super::{AROUND, BLOCK, Direction, EPILOGUE, FIRST, INLINE, padded};

/// Shorter segments are put next to what goes around them and sealed with that: a step costs as
/// much as to copy so many.
const TOGETHER: usize = 512;

/// Builds frames in secure mode.
#[derive(Debug)]
pub struct FrameSealer {
    pub(super) direction: Direction,
}

impl FrameSealer {
    /// Appends the frame with these segments to `out`; fails when no nonces are left.
    ///
    /// # Panics
    ///
    /// If a segment has 4 GiB or more.
    pub fn seal(
        &mut self,
        tag: Tag,
        segments: &[&[u8]; SEGMENTS],
        out: &mut Vec<u8>,
    ) -> Result<(), Rule> {
        let preamble = Preamble::new(tag, frame::lengths(segments));
        out.reserve(segments.iter().map(|segment| segment.len()).sum::<usize>() + AROUND);
        let [first, others @ ..] = segments;
        let (inline, rest) = first.split_at(first.len().min(INLINE));
        let mut unit = self.direction.seal(out)?;
        unit.put(&preamble.encode())?;
        unit.put(inline)?;
        unit.pad_to(FIRST);
        unit.end()?;
        if !rest.is_empty() {
            let mut unit = self.direction.seal(out)?;
            unit.put_padded(rest)?;
            unit.end()?;
        }
        if preamble.has_epilogue() {
            let mut unit = self.direction.seal(out)?;
            others.iter().try_for_each(|segment| unit.put_padded(segment))?;
            unit.put_epilogue()?;
            unit.end()?;
        }
        Ok(())
    }
}

/// Of a frame that counts.
pub(super) const fn epilogue() -> [u8; EPILOGUE] {
    let mut epilogue = [0; EPILOGUE];
    epilogue[0] = frame::STATUS;
    epilogue
}

impl Direction {
    /// Begins a unit behind what is in `out`.
    pub(super) fn seal<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Result<Unit<'a>, Rule> {
        self.key.begin(&self.nonces.take()?).map_err(cannot_seal)?;
        let start = out.len();
        Ok(Unit { key: &mut self.key, start, sealed: start, out })
    }
}

/// It happens only to units beyond 64 GiB.
fn cannot_seal(_: Refused) -> Rule {
    Rule::Seal(0)
}

/// A unit that is being built.
pub(super) struct Unit<'a> {
    key: &'a mut Gcm,
    out: &'a mut Vec<u8>,
    /// Where it begins in `out`.
    start: usize,
    /// How far `out` is sealed; what lies behind is to be. A multiple of [`BLOCK`] from `start`.
    sealed: usize,
}

impl Unit<'_> {
    fn length(&self) -> usize {
        self.out.len() - self.start
    }

    /// Zeros up to this length.
    fn pad_to(&mut self, length: usize) {
        self.out.resize(self.start + length, 0);
    }

    fn put_padded(&mut self, segment: &[u8]) -> Result<(), Rule> {
        self.put(segment)?;
        self.pad_to(padded(self.length()));
        Ok(())
    }

    /// Puts bytes behind the others. Many of them must begin a block; they are sealed on their way,
    /// not copied first.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Rule> {
        let mut last = bytes;
        if bytes.len() >= TOGETHER {
            debug_assert_eq!(self.length() % BLOCK, 0, "the step before leaves no part of a block");
            self.seal_so_far()?;
            let blocks;
            (blocks, last) = bytes.split_at(bytes.len() - bytes.len() % BLOCK);
            self.key.append(blocks, self.out).map_err(cannot_seal)?;
            self.sealed = self.out.len();
        }
        self.out.extend_from_slice(last);
        Ok(())
    }

    /// Of a frame that counts.
    fn put_epilogue(&mut self) -> Result<(), Rule> {
        const BYTES: [u8; EPILOGUE] = epilogue();
        if self.sealed < self.out.len() {
            return self.put(&BYTES);
        }
        // With nothing to seal it with it need not be written first: that is slow to read at once.
        self.key.append(&BYTES, self.out).map_err(cannot_seal)?;
        self.sealed = self.out.len();
        Ok(())
    }

    fn seal_so_far(&mut self) -> Result<(), Rule> {
        let sealed = std::mem::replace(&mut self.sealed, self.out.len());
        match &mut self.out[sealed..] {
            [] => Ok(()),
            bytes => self.key.in_place(bytes).map_err(cannot_seal),
        }
    }

    pub(super) fn end(mut self) -> Result<(), Rule> {
        self.seal_so_far()?;
        // In its place: what is moved in other pieces than it was written in has to wait for the
        // memory.
        self.out.extend_from_slice(&[0; TAG]);
        let tag = self.out.last_chunk_mut().expect("it was put there");
        self.key.tag(tag).map_err(cannot_seal)
    }
}
