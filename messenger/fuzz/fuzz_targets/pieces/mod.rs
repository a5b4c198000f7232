//! What the targets of frames have in common: taking frames from bytes in any pieces.

use vmsgr_messenger::msgr2::{Frame, SEGMENTS, Tag, Violation};

type Owned = (Tag, [Vec<u8>; SEGMENTS]);

/// Takes all frames from the pieces with `decode`, up to the first error.
pub fn take_all<'a>(
    mut decode: impl FnMut(&mut &'a [u8]) -> Result<Option<Frame<'a>>, Violation>,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Owned>, Option<Violation>) {
    let mut frames = Vec::new();
    for mut piece in pieces {
        loop {
            match decode(&mut piece) {
                Ok(Some(frame)) => {
                    frames.push((frame.tag, frame.segments.map(|segment| segment.to_vec())));
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(piece.is_empty());
    }
    (frames, None)
}
