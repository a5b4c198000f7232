//! Frames in secure mode: sealed with AES-128-GCM in up to three units.
//!
//! ```text
//! unit 1: preamble 32, first 48 bytes of segment 0         always, padded
//! unit 2: the rest of segment 0                            if there is one
//! unit 3: segments 1-3, each padded, and an epilogue 16    if there are several segments
//! ```
//!
//! Padding is zeros, to blocks of 16; a tag of 16 bytes follows each unit.
//!
//! `sealing` makes them, `opening` takes them apart; here is what both know: the shape, and keys
//! and nonces.

mod opening;
mod sealing;

pub use opening::SecureFrameDecoder;
pub use sealing::FrameSealer;

use super::error::Rule;
use super::gcm::{Gcm, KEY, NONCE, Purpose, TAG};
use super::limits::Limits;
use super::preamble::{self, Preamble, SEGMENTS};

/// Segments are padded to this.
const BLOCK: usize = 16;
/// Bytes of segment 0 that travel in the first unit.
const INLINE: usize = 48;
/// Bytes of the first unit.
const FIRST: usize = preamble::BYTES + INLINE;
/// Bytes of the epilogue.
const EPILOGUE: usize = 16;

/// What goes around the segments of a frame, at most.
pub(super) const AROUND: usize = FIRST + TAG + (BLOCK + TAG) + 3 * BLOCK + EPILOGUE + TAG;

/// Bytes of a connection secret that are used.
const SECRET: usize = KEY + 2 * NONCE;

const fn padded(length: usize) -> usize {
    length.next_multiple_of(BLOCK)
}

/// The nonces of one direction: a fixed part and a counter that goes up with every unit.
struct Nonces {
    fixed: [u8; 4],
    first: u64,
    next: Option<u64>,
}

impl Nonces {
    fn new(bytes: &[u8; NONCE]) -> Self {
        let (fixed, counter) = bytes.split_first_chunk().expect("12 is more than 4");
        let first = u64::from_le_bytes(counter.try_into().expect("12 less 4 is 8"));
        Self { fixed: *fixed, first, next: Some(first) }
    }

    fn take(&mut self) -> Result<[u8; NONCE], Rule> {
        let counter = self.next.ok_or(Rule::NoncesUsedUp)?;
        // The start is anywhere in the ring of 64 bits; only a full turn would use one twice.
        let next = counter.wrapping_add(1);
        self.next = (next != self.first).then_some(next);
        let mut nonce = [0; NONCE];
        nonce[..4].copy_from_slice(&self.fixed);
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        Ok(nonce)
    }
}

/// Key and nonces of one direction.
struct Direction {
    key: Gcm,
    nonces: Nonces,
}

impl std::fmt::Debug for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        f.debug_struct("Direction").field("next", &self.nonces.next).finish_non_exhaustive()
    }
}

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// We connected.
    Initiator,
    /// The peer did.
    Acceptor,
}

/// Both directions' secrets from the connection secret that authentication agreed on; `None` if it
/// is too short.
pub fn from_connection_secret(
    secret: &[u8],
    side: Side,
    limits: Limits,
) -> Option<(FrameSealer, SecureFrameDecoder)> {
    let (used, _) = secret.split_first_chunk::<SECRET>()?;
    let (key, nonces) = used.split_first_chunk()?;
    let (to_initiator, to_acceptor) = nonces.split_at(NONCE);
    let (send, receive) = match side {
        Side::Initiator => (to_acceptor, to_initiator),
        Side::Acceptor => (to_initiator, to_acceptor),
    };
    let direction = |nonce: &[u8], purpose| {
        let nonces = Nonces::new(nonce.try_into().ok()?);
        Some(Direction { key: Gcm::new(key, purpose)?, nonces })
    };
    let sealer = FrameSealer { direction: direction(send, Purpose::Seal)? };
    Some((sealer, SecureFrameDecoder::new(direction(receive, Purpose::Open)?, limits)))
}

/// Bytes of the second unit; 0 if there is none.
fn second_unit(preamble: &Preamble) -> usize {
    padded(preamble.length(0).saturating_sub(INLINE))
}

/// Bytes of the third unit; 0 if there is none.
fn third_unit(preamble: &Preamble) -> usize {
    if !preamble.has_epilogue() {
        return 0;
    }
    let segments = (1..SEGMENTS).map(|segment| padded(preamble.length(segment)));
    segments.sum::<usize>() + EPILOGUE
}

/// Bytes of segment 0, padded, and of the third unit.
fn plain_length(preamble: &Preamble) -> usize {
    padded(preamble.length(0)) + third_unit(preamble)
}

#[cfg(test)]
mod tests {
    use super::super::tag::Tag;
    use super::sealing::epilogue;
    use super::*;

    #[test]
    fn nonces_pass_the_end_of_the_counter_and_never_come_twice() {
        let mut bytes = [0; NONCE];
        bytes[..4].copy_from_slice(&[1, 2, 3, 4]);
        bytes[4..].copy_from_slice(&u64::MAX.to_le_bytes());
        let mut nonces = Nonces::new(&bytes);
        assert_eq!(nonces.take().unwrap(), bytes);
        bytes[4..].fill(0);
        assert_eq!(nonces.take().unwrap(), bytes);
        nonces.next = Some(nonces.first.wrapping_sub(1));
        assert!(nonces.take().is_ok());
        assert_eq!(nonces.take().err(), Some(Rule::NoncesUsedUp));
        assert_eq!(nonces.take().err(), Some(Rule::NoncesUsedUp));
    }

    fn pair() -> (FrameSealer, SecureFrameDecoder) {
        let secret = [9; 64];
        let limits = Limits::default();
        let (sealer, _) = from_connection_secret(&secret, Side::Initiator, limits).unwrap();
        let (_, decoder) = from_connection_secret(&secret, Side::Acceptor, limits).unwrap();
        (sealer, decoder)
    }

    /// The units of a frame or several as they are, sealed.
    fn sealed(units: &[&[u8]]) -> Vec<u8> {
        let (mut sealer, mut bytes) = (pair().0, Vec::new());
        for bytes_of_unit in units {
            let mut unit = sealer.direction.seal(&mut bytes).unwrap();
            unit.put(bytes_of_unit).unwrap();
            unit.end().unwrap();
        }
        bytes
    }

    /// The first unit of a frame with these lengths, with ones in segment 0.
    fn first_unit(tag: Tag, lengths: [u32; SEGMENTS]) -> Vec<u8> {
        let mut unit = Preamble::new(tag, lengths).encode().to_vec();
        unit.resize(preamble::BYTES + INLINE.min(lengths[0] as usize), 1);
        unit.resize(FIRST, 0);
        unit
    }

    /// So many ones, padded.
    fn ones(count: usize) -> Vec<u8> {
        let mut bytes = vec![1; count];
        bytes.resize(padded(count), 0);
        bytes
    }

    /// A frame of a first and a second unit, and one of a first and a third.
    fn frames() -> [Vec<Vec<u8>>; 2] {
        let third = [ones(20), ones(17), epilogue().to_vec()].concat();
        [
            vec![first_unit(Tag::AuthRequest, [50, 0, 0, 0]), ones(2)],
            vec![first_unit(Tag::Message, [41, 20, 0, 17]), third],
        ]
    }

    /// Whether it is a frame.
    fn decode(units: &[Vec<u8>]) -> Result<bool, Rule> {
        let bytes = sealed(&units.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let frame = pair().1.decode(&mut &bytes[..]).map_err(|error| error.rule)?;
        Ok(frame.is_some())
    }

    #[test]
    fn a_changed_byte_anywhere_shows_with_the_tag_of_its_unit_and_not_before() {
        for (units, last) in frames().into_iter().zip([2, 3]) {
            assert_eq!(decode(&units), Ok(true));
            let bytes = sealed(&[&units[0], &units[1]]);
            for at in 0..bytes.len() {
                let (_, mut decoder) = pair();
                let mut bytes = bytes.clone();
                bytes[at] ^= 1;
                let first = FIRST + TAG;
                let (unit, end) = if at < first { (1, first) } else { (last, bytes.len()) };
                for (n, mut byte) in bytes[..end].chunks(1).enumerate() {
                    let came = decoder.decode(&mut byte).map(|frame| frame.is_some());
                    let expected = if n + 1 == end { Err(Rule::Seal(unit)) } else { Ok(false) };
                    assert_eq!(came.map_err(|error| error.rule), expected, "{at}: {n}");
                }
            }
        }
    }

    #[test]
    fn padding_that_carries_something_is_refused() {
        let [control, message] = frames();
        // Of segment 0 in the second unit; of it in the first, of two more, and behind the late
        // status.
        let of_control = [(1, 2), (1, 15)];
        let of_message = [(0, 73), (0, 79), (1, 20), (1, 31), (1, 49), (1, 63), (1, 65), (1, 79)];
        for (units, places) in [(control, &of_control[..]), (message, &of_message[..])] {
            for (unit, at) in places {
                let mut units = units.clone();
                units[*unit][*at] = 1;
                assert_eq!(decode(&units), Err(Rule::Padding), "{unit}: {at}");
            }
        }
    }

    #[test]
    fn a_frame_that_its_sender_gave_up_does_not_count_and_the_next_does() {
        let [_, mut units] = frames();
        let status = units[1].len() - EPILOGUE;
        units[1][status] = 3;
        assert_eq!(decode(&units), Err(Rule::LateStatus(3)));
        units[1][status] = 1;
        assert_eq!(decode(&units), Ok(false));
        units.push(first_unit(Tag::Ack, [8, 0, 0, 0]));
        assert_eq!(decode(&units), Ok(true));
    }

    #[test]
    fn what_is_announced_is_no_memory_before_it_comes() {
        for (tag, lengths) in
            [(Tag::AuthRequest, [1 << 20, 0, 0, 0]), (Tag::Message, [41, 0, 0, 100 << 20])]
        {
            let mut decoder = pair().1;
            let bytes = sealed(&[&first_unit(tag, lengths), &[0; 1000]]);
            for piece in bytes.chunks(100) {
                assert!(decoder.decode(&mut &piece[..]).unwrap().is_none());
                assert!(decoder.plain.capacity() <= 64 << 10, "{}", decoder.plain.capacity());
            }
            assert!(decoder.plain.len() > 1000);
        }
    }

    #[test]
    fn it_is_within_a_frame_from_its_first_byte_to_its_last() {
        for units in frames() {
            let mut decoder = pair().1;
            let bytes = sealed(&[&units[0], &units[1]]);
            assert!(!decoder.is_within_frame());
            for (n, mut byte) in bytes.chunks(1).enumerate() {
                let came = decoder.decode(&mut byte).unwrap().is_some();
                assert_eq!((came, decoder.is_within_frame()), (n + 1 == bytes.len(), !came));
            }
        }
    }

    #[test]
    fn limits_hold_for_the_frames_that_begin_from_now_on() {
        let [_, units] = frames();
        let bytes = sealed(&[&units[0], &units[1], &units[0]]);
        let mut decoder = pair().1;
        let (first, others) = bytes.split_at(FIRST + TAG);
        assert!(decoder.decode(&mut &first[..]).unwrap().is_none());
        decoder.set_limits(Limits { data_bytes: 16, ..Limits::default() });
        let mut others = others;
        assert!(decoder.decode(&mut others).unwrap().is_some());
        let error = decoder.decode(&mut others).unwrap_err();
        assert_eq!(error.rule, Rule::SegmentLength { segment: 3, length: 17, limit: 16 });
    }
}
