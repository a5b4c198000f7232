//! The bytes of one direction of a connection, as they lie in the segment.
//!
//! Positions run freely from 0, the beginning of the connection. Where a position lies follows from
//! the *base*, the position at the beginning of the ring: its producer moves the base to wherever
//! an empty ring stands, so that a connection with short messages uses the same few lines again and
//! again instead of walking through all of its ring. The base is published before the position of
//! the bytes that lie by it, and is not moved before all of them are consumed.
#![allow(unsafe_code)] // Bytes in memory that another process writes.

use std::marker::PhantomData;
use std::ptr::NonNull;

/// A ring in a segment, for as long as that is mapped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByteRing<'a> {
    start: NonNull<u8>,
    /// A power of two.
    size: u32,
    segment: PhantomData<&'a ()>,
}

/// One contiguous piece of a ring: only the kernel, and the copies below, look into it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    start: NonNull<u8>,
    len: usize,
    segment: PhantomData<&'a ()>,
}

impl<'a> ByteRing<'a> {
    /// # Safety
    /// `size` bytes from `start` on are mapped for `'a`, readable and writable; `size` is a power
    /// of two.
    pub(crate) unsafe fn new(start: NonNull<u8>, size: u32) -> Self {
        debug_assert!(size.is_power_of_two());
        Self { start, size, segment: PhantomData }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Where `len` bytes lie of which the first is `offset` bytes behind the base: up to the end of
    /// the ring, and on from its beginning. Any offset is one: it is taken modulo the size.
    pub(crate) fn pieces(&self, offset: u64, len: u32) -> [Piece<'a>; 2] {
        assert!(len <= self.size);
        let at = (offset & u64::from(self.size - 1)) as usize;
        let front = (len as usize).min(self.size as usize - at);
        let piece = |at: usize, len| {
            // SAFETY: `at` is at most `size`, so the pointer stays within the ring, or one past it
            // with a length of 0.
            let start = unsafe { self.start.add(at) };
            Piece { start, len, segment: PhantomData }
        };
        [piece(at, front), piece(0, len as usize - front)]
    }

    /// A copy of the bytes at `offset`.
    pub(crate) fn read<const LENGTH: usize>(&self, offset: u64) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let [front, back] = self.pieces(offset, LENGTH as u32);
        front.copy_to(&mut bytes);
        back.copy_to(&mut bytes[front.len()..]);
        bytes
    }

    /// Puts bytes at `offset`: not more than the ring is large.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let [front, back] = self.pieces(offset, bytes.len() as u32);
        front.copy_from(&bytes[..front.len()]);
        back.copy_from(&bytes[front.len()..]);
    }
}

impl<'a> Piece<'a> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The first `len` bytes of it, or all of it if it is shorter.
    pub(crate) fn first(&self, len: usize) -> Self {
        Self { len: self.len.min(len), ..*self }
    }

    /// Copies the piece to the beginning of `into`, which is as long at least.
    pub(crate) fn copy_to(&self, into: &mut [u8]) {
        assert!(self.len <= into.len());
        // SAFETY: both are `len` bytes long. `into` is not in the segment, which no slice of ours
        // that may be written covers. That the other side writes meanwhile is possible only if it
        // lies about its cursors; then bytes of its own are mixed up, which are plain bytes.
        unsafe { self.start.as_ptr().copy_to_nonoverlapping(into.as_mut_ptr(), self.len) };
    }

    /// Copies the piece to the end of `into`.
    pub(crate) fn append_to(&self, into: &mut Vec<u8>) {
        into.reserve(self.len);
        // SAFETY: there is room for `len` bytes, which are then written. For the rest, as above.
        unsafe {
            let end = into.as_mut_ptr().add(into.len());
            self.start.as_ptr().copy_to_nonoverlapping(end, self.len);
            into.set_len(into.len() + self.len);
        }
    }

    /// Copies the beginning of `from`, which is as long at least, over the piece.
    pub(crate) fn copy_from(&self, from: &[u8]) {
        assert!(self.len <= from.len());
        // SAFETY: both are `len` bytes long; `from` may lie in a receive ring of the segment, but
        // not in the send ring whose unused part this is, so they do not overlap.
        unsafe { self.start.as_ptr().copy_from_nonoverlapping(from.as_ptr(), self.len) };
    }

    /// The piece as a slice.
    ///
    /// # Safety
    /// Nobody writes these bytes while the slice lives.
    pub(crate) unsafe fn as_slice(&self) -> &'a [u8] {
        // SAFETY: mapped for 'a; what the caller promises is what remains.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The piece as a slice that may be written.
    ///
    /// # Safety
    /// Nobody else reads or writes these bytes while the slice lives.
    pub(crate) unsafe fn as_mut_slice(&self) -> &'a mut [u8] {
        // SAFETY: mapped for 'a; what the caller promises is what remains.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn pieces_wrap_and_never_leave_the_ring() {
        let mut memory = vec![0u8; 4096];
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        // SAFETY: the vector outlives the ring.
        let ring = unsafe { ByteRing::new(start, 4096) };
        for (offset, len, front, back) in [
            (0, 4096, 4096, 0),
            (4095, 2, 1, 1),
            (4096, 10, 10, 0),
            (u64::MAX, 4096, 1, 4095),
            (5, 0, 0, 0),
        ] {
            let pieces = ring.pieces(offset, len);
            assert_eq!((pieces[0].len(), pieces[1].len()), (front, back), "{offset}");
            let at = (offset % 4096) as usize;
            assert_eq!(pieces[0].as_ptr(), start.as_ptr().wrapping_add(at));
            assert_eq!(pieces[1].as_ptr(), start.as_ptr());
        }
        let text = b"round the corner";
        ring.write(4090, text);
        assert_eq!(&ring.read::<16>(4090), text);
        let mut read = b"once ".to_vec();
        ring.pieces(4090, 16).iter().for_each(|piece| piece.append_to(&mut read));
        assert_eq!(read, b"once round the corner");
    }
}
