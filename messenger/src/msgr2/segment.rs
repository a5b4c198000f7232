//! A segment of a frame, in place or gathered.

use std::ops::Deref;

use bytes::Bytes;

/// Bytes of a received segment: where they lie in what was received, or gathered from several
/// pieces of it.
#[derive(Debug, Clone)]
pub enum Segment<'a> {
    /// In place.
    Borrowed(&'a [u8]),
    /// Gathered, or decrypted.
    Owned(Bytes),
}

impl Segment<'_> {
    /// To keep: copies only what is in place.
    pub fn into_owned(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Owned(bytes) => bytes,
        }
    }

    /// A part of it to keep: copies only what is in place.
    ///
    /// # Panics
    ///
    /// If it is no part of it.
    pub(crate) fn part(&self, part: &[u8]) -> Bytes {
        match self {
            Self::Borrowed(_) => Bytes::copy_from_slice(part),
            Self::Owned(bytes) => bytes.slice_ref(part),
        }
    }

    /// Whether it lies where it was received.
    pub const fn is_borrowed(&self) -> bool {
        matches!(self, Self::Borrowed(_))
    }
}

impl Default for Segment<'_> {
    fn default() -> Self {
        Self::Borrowed(&[])
    }
}

impl Deref for Segment<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Where the next bytes of a stream belong: who reads it may read them right into there.
#[derive(Debug)]
pub struct Place<'a> {
    /// They go behind what is in here, which stays as it is.
    pub buffer: &'a mut Vec<u8>,
    /// So many at most, and at least one. There is room for them.
    pub most: usize,
}

/// A buffer for bytes that come grows with them: a length that somebody announced allocates no more
/// than this much ahead.
const AHEAD: usize = 64 << 10;

/// Fewer bytes than this are not worth a read of their own.
const PLACE: usize = AHEAD;

/// Makes room in `buffer` for `count` bytes more, with which it has at most `total`.
pub(crate) fn make_room(buffer: &mut Vec<u8>, total: usize, count: usize) {
    let needed = buffer.len() + count;
    if buffer.capacity() < needed {
        let room = (2 * buffer.capacity()).max(needed).max(AHEAD).min(total);
        buffer.reserve_exact(room - buffer.len());
    }
}

/// Moves bytes from the front of `input` to `buffer` until that has `total`.
pub(crate) fn gather(buffer: &mut Vec<u8>, total: usize, input: &mut &[u8]) {
    let piece = split(input, total - buffer.len());
    make_room(buffer, total, piece.len());
    buffer.extend_from_slice(piece);
}

/// The place in `buffer` for bytes with which it has `total`, if many are missing.
pub(crate) fn place(buffer: &mut Vec<u8>, total: usize) -> Option<Place<'_>> {
    let missing = total - buffer.len();
    if missing < PLACE {
        return None;
    }
    make_room(buffer, total, PLACE);
    let most = missing.min(buffer.capacity() - buffer.len());
    Some(Place { buffer, most })
}

/// At most so many bytes off the front of `input`.
pub(crate) fn split<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (piece, rest) = input.split_at(input.len().min(most));
    *input = rest;
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_with_what_comes_and_ends_at_its_size() {
        let bytes = vec![7; 300_000];
        let (mut buffer, mut input) = (Vec::new(), &bytes[..10]);
        gather(&mut buffer, 1 << 28, &mut input);
        assert!(buffer.capacity() <= 2 * AHEAD, "{}", buffer.capacity());
        let mut buffer = Vec::new();
        for chunk in bytes.chunks(1000) {
            let mut input = chunk;
            gather(&mut buffer, 250_000, &mut input);
        }
        assert_eq!((buffer.len(), buffer.capacity()), (250_000, 250_000));
    }
}
