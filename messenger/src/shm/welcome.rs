//! What an application is answered; the bytes are described in `hello.rs`.

use std::fmt;

use nix::errno::Errno;

use super::bytes::{field, put, text};
use super::hello::VERSION;

/// The most descriptors that the kernel passes with one message (SCM_MAX_FD).
pub(super) const MAX_DESCRIPTORS: usize = 253;

/// The segment and the doorbells of the application and of the control thread.
pub(super) const BESIDE_CORES: usize = 3;

/// The most cores of a daemon that applications can attach to.
pub const MAX_CORES: usize = MAX_DESCRIPTORS - BESIDE_CORES;

/// The length of an answer.
pub const ANSWER_BYTES: usize = 296;

const MAGIC: [u8; 8] = *b"vmsgr-re";
const REASON: usize = 40;

/// The largest errno that the kernel returns.
const MAX_ERRNO: i32 = 4095;

/// What an application is answered.
pub type Answer = Result<Welcome, Refusal>;

/// An application is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// Which attachment of its segment this is.
    pub epoch: u64,
    /// Whether the segment is that of an earlier application of the same name, with its
    /// connections in it.
    pub resumed: bool,
    /// The daemon's loops, in `1..=250`.
    pub cores: u16,
    /// The length of the segment, at least 1.
    pub segment_bytes: u64,
}

/// An application may not attach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({errno})")]
pub struct Refusal {
    /// Why, for programs; never 0.
    pub errno: Errno,
    /// Why, for people: at most [`MAX_REASON_BYTES`](Self::MAX_REASON_BYTES), more is cut off.
    pub reason: String,
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It does not begin as one.
    #[error("not an answer of vmsgrd: it does not begin with 'vmsgr-re'")]
    Magic,
    /// It is of another version of the handshake.
    #[error("the daemon speaks version {0} of the handshake, this library version {VERSION}")]
    Version(u32),
    /// It is cut off, or goes on.
    #[error("an answer has {ANSWER_BYTES} bytes, this one {0}")]
    Length(usize),
    /// A field is out of its range, which is named.
    #[error("the daemon's answer has a {0} that cannot be")]
    Field(&'static str),
}

impl Refusal {
    /// The longest reason that travels.
    pub const MAX_REASON_BYTES: usize = ANSWER_BYTES - REASON;

    /// A refusal; what is too long of the reason is cut off.
    pub fn new(errno: Errno, reason: impl fmt::Display) -> Self {
        let mut reason = reason.to_string();
        reason.truncate(reason.floor_char_boundary(Self::MAX_REASON_BYTES));
        Self { errno, reason }
    }
}

/// The message of an answer.
///
/// # Errors
/// A field of the welcome is out of its range.
pub(crate) fn encode(answer: &Answer) -> Result<[u8; ANSWER_BYTES], AnswerError> {
    let mut message = [0; ANSWER_BYTES];
    put(&mut message, 0, MAGIC);
    put(&mut message, 8, VERSION.to_le_bytes());
    match answer {
        Ok(welcome) => {
            welcome.check()?;
            put(&mut message, 16, welcome.epoch.to_le_bytes());
            put(&mut message, 24, welcome.segment_bytes.to_le_bytes());
            put(&mut message, 32, welcome.cores.to_le_bytes());
            message[34] = welcome.resumed.into();
        }
        Err(Refusal { errno, reason }) => {
            let status = (*errno as i32).clamp(1, MAX_ERRNO);
            let length = reason.floor_char_boundary(Refusal::MAX_REASON_BYTES);
            put(&mut message, 12, status.to_le_bytes());
            put(&mut message, 36, (length as u16).to_le_bytes());
            message[REASON..REASON + length].copy_from_slice(&reason.as_bytes()[..length]);
        }
    }
    Ok(message)
}

/// Reads a message that the daemon has sent.
///
/// # Errors
/// It is none, or a field is out of its range.
pub(crate) fn decode(message: &[u8]) -> Result<Answer, AnswerError> {
    if message.len() < 12 {
        return Err(AnswerError::Length(message.len()));
    }
    if field(message, 0) != MAGIC {
        return Err(AnswerError::Magic);
    }
    match u32::from_le_bytes(field(message, 8)) {
        VERSION => {}
        other => return Err(AnswerError::Version(other)),
    }
    if message.len() != ANSWER_BYTES {
        return Err(AnswerError::Length(message.len()));
    }
    if message[35] != 0 || field(message, 38) != [0; 2] {
        return Err(AnswerError::Field("reserved byte"));
    }
    let length = u16::from_le_bytes(field(message, 36)).into();
    let reason = text(&message[REASON..], length).ok_or(AnswerError::Field("reason"))?;
    match i32::from_le_bytes(field(message, 12)) {
        0 if reason.is_empty() => {
            let welcome = Welcome {
                epoch: u64::from_le_bytes(field(message, 16)),
                resumed: match message[34] {
                    0 => false,
                    1 => true,
                    _ => return Err(AnswerError::Field("resumption")),
                },
                cores: u16::from_le_bytes(field(message, 32)),
                segment_bytes: u64::from_le_bytes(field(message, 24)),
            };
            welcome.check().map(|()| Ok(welcome))
        }
        0 => Err(AnswerError::Field("reason")),
        status if (1..=MAX_ERRNO).contains(&status) => {
            if field(message, 16) != [0; 19] {
                return Err(AnswerError::Field("segment, though it refuses"));
            }
            Ok(Err(Refusal { errno: Errno::from_raw(status), reason: reason.to_owned() }))
        }
        _ => Err(AnswerError::Field("status")),
    }
}

impl Welcome {
    fn check(&self) -> Result<(), AnswerError> {
        if !(1..=MAX_CORES).contains(&self.cores.into()) {
            return Err(AnswerError::Field("number of cores"));
        }
        if self.segment_bytes == 0 {
            return Err(AnswerError::Field("segment's length"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WELCOME: Welcome = Welcome { epoch: 3, resumed: true, cores: 2, segment_bytes: 0x1_0000 };

    fn decoded(answer: &Answer) -> Result<Answer, AnswerError> {
        decode(&encode(answer).unwrap())
    }

    /// The message of the welcome with other bytes in one place.
    fn with(offset: usize, bytes: &[u8]) -> Result<Answer, AnswerError> {
        let mut message = encode(&Ok(WELCOME)).unwrap();
        message[offset..offset + bytes.len()].copy_from_slice(bytes);
        decode(&message)
    }

    #[test]
    fn an_answer_lies_in_memory_as_documented() {
        let message = encode(&Ok(WELCOME)).unwrap();
        assert_eq!(&message[..16], b"vmsgr-re\x01\0\0\0\0\0\0\0");
        assert_eq!(&message[16..32], b"\x03\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0");
        assert_eq!(&message[32..40], b"\x02\0\x01\0\0\0\0\0");
        assert!(message[40..].iter().all(|&byte| byte == 0));

        let message = encode(&Err(Refusal::new(Errno::EACCES, "no"))).unwrap();
        assert_eq!(&message[..16], b"vmsgr-re\x01\0\0\0\x0d\0\0\0");
        assert_eq!(message[16..36], [0; 20]);
        assert_eq!(&message[36..43], b"\x02\0\0\0no\0");
    }

    #[test]
    fn a_reason_that_is_too_long_is_cut_between_characters() {
        let long = "ä".repeat(200);
        let cut = Refusal::new(Errno::EACCES, &long);
        assert_eq!(cut.reason, "ä".repeat(128));
        // Also when it was not made by `new`.
        let odd = Refusal { errno: Errno::EACCES, reason: format!("x{long}") };
        assert_eq!(
            decoded(&Err(odd)).unwrap().unwrap_err().reason,
            format!("x{}", "ä".repeat(127))
        );
    }

    #[test]
    fn a_refusal_is_one_whatever_its_errno() {
        let answer = decoded(&Err(Refusal::new(Errno::UnknownErrno, "?"))).unwrap();
        assert!(answer.is_err(), "{answer:?}");
    }

    #[test]
    fn what_is_no_answer_says_why() {
        assert_eq!(decode(b""), Err(AnswerError::Length(0)));
        assert_eq!(decode(b"220 smtp ready\r\n"), Err(AnswerError::Magic));
        assert_eq!(with(8, &[9]), Err(AnswerError::Version(9)));
        assert_eq!(decode(b"vmsgr-re\x09\0\0\0 and more"), Err(AnswerError::Version(9)));
        assert_eq!(decode(&[&b"vmsgr-re\x01\0\0\0"[..], &[0; 300]].concat()), {
            Err(AnswerError::Length(312))
        });
        for (offset, bytes, name) in [
            (12, &[0xff; 4][..], "status"),
            (12, &[0, 0x10, 0, 0], "status"),
            (12, &[13, 0, 0, 0], "segment, though it refuses"),
            (24, &[0; 8], "segment's length"),
            (32, &[0, 0], "number of cores"),
            (32, &[251, 0], "number of cores"),
            (34, &[2], "resumption"),
            (35, &[1], "reserved byte"),
            (38, &[0, 1], "reserved byte"),
            (36, &[1, 1], "reason"),
            (36, &[1, 0, 0, 0, b'x'], "reason"),
            (40, b"x", "reason"),
        ] {
            assert_eq!(with(offset, bytes), Err(AnswerError::Field(name)), "{offset} {bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            epoch: u64,
            resumed: bool,
            cores in 1..=250_u16,
            segment_bytes in 1..u64::MAX,
            errno in 1..=133,
            reason in "\\PC{0,64}",
        ) {
            let welcome = Ok(Welcome { epoch, resumed, cores, segment_bytes });
            prop_assert_eq!(decoded(&welcome), Ok(welcome));
            let errno = Errno::from_raw(errno);
            prop_assume!(errno != Errno::UnknownErrno);
            let refusal = Err(Refusal::new(errno, reason));
            prop_assert_eq!(decoded(&refusal), Ok(refusal));
        }

        #[test]
        fn whatever_arrives_is_refused_or_means_exactly_what_it_says(
            bytes in proptest::collection::vec(any::<u8>(), 0..=4),
            offset in 0..ANSWER_BYTES - 4,
            refused: bool,
        ) {
            let answer = if refused { Err(Refusal::new(Errno::EPERM, "why")) } else { Ok(WELCOME) };
            let mut message = encode(&answer).unwrap();
            message[offset..offset + bytes.len()].copy_from_slice(&bytes);
            match decode(&message) {
                // An errno that has no name here does not go back to what it was.
                Ok(Err(Refusal { errno: Errno::UnknownErrno, .. })) | Err(_) => {}
                Ok(answer) => prop_assert_eq!(&encode(&answer).unwrap()[..], &message[..]),
            }
        }
    }
}
