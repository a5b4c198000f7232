//! What an application says to attach, and the handshake as a whole.
//!
//! An application connects to the daemon's Unix socket, which is of type SOCK_SEQPACKET: each side
//! sends one message of a fixed size, and message boundaries are the kernel's. All numbers are
//! little-endian.
//!
//! ```text
//!   application                         daemon
//!       | -------- connect ------------> |   looks at the credentials (SO_PEERCRED)
//!       | -------- hello --------------> |   checks it, asks the policy, makes the segment
//!       | <------- answer -------------- |   welcome with descriptors, or refusal and hang-up
//!       |                                |
//!       |   (the socket stays open: the sign that both live; nothing more is sent)
//! ```
//!
//! A hello, from the application, [`HELLO_BYTES`] long, without descriptors:
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | `vmsgr-hi` |
//! | 8 | 4 | version of the handshake: 1 |
//! | 12 | 4 | flags; none is defined, so 0 |
//! | 16 | 4 | slots (connections) wanted: 1 to 65536 |
//! | 20 | 4 | bytes of each connection's receive ring: a power of two from 4096 to 16777216 |
//! | 24 | 4 | bytes of each connection's send ring: likewise |
//! | 28 | 4 | linger in milliseconds: 0 to 3600000; 0 closes at once |
//! | 32 | 1 | length of the name: 0 to 64; 0 is no name, and nothing can be taken over |
//! | 33 | 7 | 0 |
//! | 40 | 64 | the name, of `A-Z a-z 0-9 . _ / -`, then zeroes |
//!
//! An answer, from the daemon, [`ANSWER_BYTES`](super::ANSWER_BYTES) long:
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | `vmsgr-re` |
//! | 8 | 4 | version of the handshake: 1 |
//! | 12 | 4 | status: 0 for a welcome, or the errno of a refusal, 1 to 4095 |
//! | 16 | 8 | epoch; 0 in a refusal |
//! | 24 | 8 | bytes of the segment, at least 1; 0 in a refusal |
//! | 32 | 2 | cores, 1 to 250; 0 in a refusal |
//! | 34 | 1 | 1 if an earlier segment of this name was taken over, else 0 |
//! | 35 | 1 | 0 |
//! | 36 | 2 | length of the reason: 0 to 256; 0 in a welcome |
//! | 38 | 2 | 0 |
//! | 40 | 256 | the reason, UTF-8 for people, then zeroes |
//!
//! With a welcome come 3 + cores descriptors (SCM_RIGHTS) in one control message: the segment (a
//! memfd), the application's doorbell (pollable), the doorbell of the daemon's control thread, and
//! one doorbell for each core, in the order of the daemon's cores. A refusal carries none.
//!
//! Magic and version stand at the same place in every version, so that a side that speaks another
//! one can be told so. A message that is longer or shorter than its version says, a byte that
//! should be 0 and is not, a descriptor that nobody asked for: each is a violation, which ends the
//! attempt.
//!
//! The daemon may refuse before it has read the hello. An application whose `sendmsg` fails with
//! EPIPE, or whose first `recvmsg` fails with ECONNRESET, therefore reads once more before it gives
//! up: the refusal lies behind.

use std::time::Duration;

use nix::errno::Errno;

use super::bytes::{field, put, text};
use super::geometry::Geometry;

/// The version of the handshake.
pub const VERSION: u32 = 1;

/// The length of a hello.
pub const HELLO_BYTES: usize = 104;

const MAGIC: [u8; 8] = *b"vmsgr-hi";
const NAME: usize = 40;

/// What an application wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Who it is, for logs and to take over what an earlier application of this name, run by the
    /// same user, left behind: at most [`MAX_NAME_BYTES`](Self::MAX_NAME_BYTES) of
    /// `A-Z a-z 0-9 . _ / -`. Empty: nobody; nothing is taken over, nothing can be.
    pub name: String,
    /// Connections at the same time, in `1..=65_536`.
    pub slots: u32,
    /// The receive ring of each connection; a power of two in `4 KiB..=16 MiB`.
    pub receive_ring_bytes: u32,
    /// The send ring of each connection; a power of two in `4 KiB..=16 MiB`.
    pub send_ring_bytes: u32,
    /// How long the daemon keeps the connections of an application that is gone; at most an hour.
    /// Zero: they are closed at once. Travels in whole milliseconds, rounded up.
    pub linger: Duration,
}

/// Why a hello is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// It does not begin as one.
    #[error("not a hello of an application: it does not begin with 'vmsgr-hi'")]
    Magic,
    /// It is of another version of the handshake.
    #[error("the application speaks version {0} of the handshake, the daemon version {VERSION}")]
    Version(u32),
    /// It is cut off, or goes on.
    #[error("a hello has {HELLO_BYTES} bytes, this one {0}")]
    Length(usize),
    /// It sets a flag that is not defined.
    #[error("flags {0:#x} are not defined in version {VERSION} of the handshake")]
    Flags(u32),
    /// A byte that should be zero is not.
    #[error("a reserved byte of the hello is not 0")]
    Reserved,
    /// The name is too long or has other characters.
    #[error("the name is not at most 64 characters of A-Z a-z 0-9 . _ / -")]
    Name,
    /// Too few slots, or too many.
    #[error("{0} slots are not allowed; ask for 1 to 65536")]
    Slots(u32),
    /// The size of a ring.
    #[error("a ring of {0} bytes is not allowed; ask for a power of two from 4096 to 16777216")]
    Ring(u32),
    /// Too long a linger.
    #[error("a linger of {0:?} is not allowed; ask for at most 3600 s")]
    Linger(Duration),
}

impl HelloError {
    /// The errno with which such a hello is refused.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Magic | Self::Length(_) | Self::Reserved => Errno::EBADMSG,
            Self::Version(_) | Self::Flags(_) => Errno::EPROTONOSUPPORT,
            Self::Name | Self::Slots(_) | Self::Ring(_) | Self::Linger(_) => Errno::EINVAL,
        }
    }
}

impl Hello {
    /// The longest name.
    pub const MAX_NAME_BYTES: usize = HELLO_BYTES - NAME;
    /// The most slots.
    pub const MAX_SLOTS: u32 = 65_536;
    /// The smallest ring.
    pub const MIN_RING_BYTES: u32 = 4 << 10;
    /// The largest ring.
    pub const MAX_RING_BYTES: u32 = 16 << 20;
    /// The longest linger.
    pub const MAX_LINGER: Duration = Duration::from_secs(3600);

    /// The bytes of the segment that a daemon of so many cores makes for it, all of it: at most
    /// 2^42. `None` if a size is out of its range.
    pub fn segment_bytes(&self, cores: usize) -> Option<u64> {
        let (receive, send) = (self.receive_ring_bytes, self.send_ring_bytes);
        let geometry = Geometry::new(u32::try_from(cores).ok()?, self.slots, receive, send)?;
        Some(geometry.segment_bytes() as u64)
    }

    /// The message.
    ///
    /// # Errors
    /// A field is out of its range.
    pub fn encode(&self) -> Result<[u8; HELLO_BYTES], HelloError> {
        self.check()?;
        let mut message = [0; HELLO_BYTES];
        put(&mut message, 0, MAGIC);
        put(&mut message, 8, VERSION.to_le_bytes());
        put(&mut message, 16, self.slots.to_le_bytes());
        put(&mut message, 20, self.receive_ring_bytes.to_le_bytes());
        put(&mut message, 24, self.send_ring_bytes.to_le_bytes());
        put(&mut message, 28, millis_rounded_up(self.linger).to_le_bytes());
        message[32] = self.name.len() as u8;
        message[NAME..NAME + self.name.len()].copy_from_slice(self.name.as_bytes());
        Ok(message)
    }

    /// Reads a message that an application has sent.
    ///
    /// # Errors
    /// It is none, or a field is out of its range.
    pub fn decode(message: &[u8]) -> Result<Self, HelloError> {
        if message.len() < 12 {
            return Err(HelloError::Length(message.len()));
        }
        if field(message, 0) != MAGIC {
            return Err(HelloError::Magic);
        }
        match u32::from_le_bytes(field(message, 8)) {
            VERSION => {}
            other => return Err(HelloError::Version(other)),
        }
        if message.len() != HELLO_BYTES {
            return Err(HelloError::Length(message.len()));
        }
        let number = |offset| u32::from_le_bytes(field(message, offset));
        if number(12) != 0 {
            return Err(HelloError::Flags(number(12)));
        }
        if field(message, 33) != [0; 7] {
            return Err(HelloError::Reserved);
        }
        let name = text(&message[NAME..], message[32].into()).ok_or(HelloError::Name)?;
        let hello = Self {
            name: name.to_owned(),
            slots: number(16),
            receive_ring_bytes: number(20),
            send_ring_bytes: number(24),
            linger: Duration::from_millis(number(28).into()),
        };
        hello.check()?;
        Ok(hello)
    }

    fn check(&self) -> Result<(), HelloError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
        if self.name.len() > Self::MAX_NAME_BYTES || !self.name.bytes().all(allowed) {
            return Err(HelloError::Name);
        }
        if !(1..=Self::MAX_SLOTS).contains(&self.slots) {
            return Err(HelloError::Slots(self.slots));
        }
        for ring in [self.receive_ring_bytes, self.send_ring_bytes] {
            let in_range = (Self::MIN_RING_BYTES..=Self::MAX_RING_BYTES).contains(&ring);
            if !in_range || !ring.is_power_of_two() {
                return Err(HelloError::Ring(ring));
            }
        }
        if self.linger > Self::MAX_LINGER {
            return Err(HelloError::Linger(self.linger));
        }
        Ok(())
    }
}

/// So that a short linger does not become none.
fn millis_rounded_up(linger: Duration) -> u32 {
    // At most an hour.
    linger.as_nanos().div_ceil(1_000_000) as u32
}

impl Default for Hello {
    /// Nobody, 1,024 connections, 64 KiB per direction, and 30 s to come back.
    fn default() -> Self {
        Self {
            name: String::new(),
            slots: 1024,
            receive_ring_bytes: 64 << 10,
            send_ring_bytes: 64 << 10,
            linger: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(name: &str) -> Hello {
        Hello { name: name.to_owned(), ..Hello::default() }
    }

    /// The message of the default hello with other bytes in one place.
    fn with(offset: usize, bytes: &[u8]) -> Result<Hello, HelloError> {
        let mut message = named("kv").encode().unwrap();
        message[offset..offset + bytes.len()].copy_from_slice(bytes);
        Hello::decode(&message)
    }

    #[test]
    fn a_hello_lies_in_memory_as_documented() {
        let hello = Hello {
            name: "ceph/osd.3".to_owned(),
            slots: 0x102,
            receive_ring_bytes: 1 << 16,
            send_ring_bytes: 1 << 12,
            linger: Duration::from_millis(0x0304),
        };
        let message = hello.encode().unwrap();
        assert_eq!(&message[..16], b"vmsgr-hi\x01\0\0\0\0\0\0\0");
        assert_eq!(&message[16..32], b"\x02\x01\0\0\0\0\x01\0\0\x10\0\0\x04\x03\0\0");
        assert_eq!(&message[32..40], b"\x0a\0\0\0\0\0\0\0");
        assert_eq!(&message[40..51], b"ceph/osd.3\0");
        assert!(message[51..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn what_is_out_of_range_is_named_on_both_sides() {
        for (hello, error) in [
            (named(&"x".repeat(65)), HelloError::Name),
            (named("a b"), HelloError::Name),
            (named("ü"), HelloError::Name),
            (Hello { slots: 0, ..named("a") }, HelloError::Slots(0)),
            (Hello { slots: 65_537, ..named("a") }, HelloError::Slots(65_537)),
            (Hello { receive_ring_bytes: 2048, ..named("a") }, HelloError::Ring(2048)),
            (Hello { send_ring_bytes: 5000, ..named("a") }, HelloError::Ring(5000)),
            (Hello { send_ring_bytes: 32 << 20, ..named("a") }, HelloError::Ring(32 << 20)),
            (
                Hello { linger: Duration::from_millis(3_600_001), ..named("a") },
                HelloError::Linger(Duration::from_millis(3_600_001)),
            ),
        ] {
            assert_eq!(hello.encode(), Err(error.clone()), "{hello:?}");
            assert_eq!(error.errno(), Errno::EINVAL);
        }
        assert_eq!(with(16, &[0; 4]), Err(HelloError::Slots(0)));
        assert_eq!(with(20, &5000_u32.to_le_bytes()), Err(HelloError::Ring(5000)));
        assert_eq!(with(24, &[0xff; 4]), Err(HelloError::Ring(u32::MAX)));
        let long = Duration::from_millis(3_600_001);
        assert_eq!(with(28, &3_600_001_u32.to_le_bytes()), Err(HelloError::Linger(long)));
        assert_eq!(with(40, b"a\n"), Err(HelloError::Name));
        assert_eq!(with(40, b"\xff"), Err(HelloError::Name));
        assert_eq!(with(32, &[65]), Err(HelloError::Name), "the name leads out of its place");
        assert_eq!(with(32, &[1]), Err(HelloError::Name), "something lies behind the name");
        assert_eq!(with(32, &[3]), Err(HelloError::Name), "a zero is no character");
    }

    #[test]
    fn what_is_no_hello_says_why() {
        assert_eq!(Hello::decode(b""), Err(HelloError::Length(0)));
        assert_eq!(Hello::decode(b"GET / HTTP/1.1\r\n\r\n"), Err(HelloError::Magic));
        assert_eq!(with(0, b"V"), Err(HelloError::Magic));
        assert_eq!(with(12, &[0, 0, 0, 0x80]), Err(HelloError::Flags(0x8000_0000)));
        assert_eq!(with(39, &[1]), Err(HelloError::Reserved));
        let message = named("kv").encode().unwrap();
        let longer = [&message[..], &[0]].concat();
        assert_eq!(Hello::decode(&longer), Err(HelloError::Length(105)));
        assert_eq!(Hello::decode(&message[..103]), Err(HelloError::Length(103)));
    }

    #[test]
    fn another_version_is_told_apart_whatever_its_length_is() {
        let mut message = named("kv").encode().unwrap().to_vec();
        message[8] = 2;
        for length in [12, 104, 200] {
            message.resize(length, 7);
            let error = Hello::decode(&message).unwrap_err();
            assert_eq!(error, HelloError::Version(2));
            assert_eq!(error.errno(), Errno::EPROTONOSUPPORT);
        }
    }

    #[test]
    fn a_short_linger_does_not_become_none() {
        let hello = Hello { linger: Duration::from_nanos(1), ..Hello::default() };
        let arrived = Hello::decode(&hello.encode().unwrap()).unwrap();
        assert_eq!(arrived.linger, Duration::from_millis(1));
    }

    #[test]
    fn the_largest_segment_is_counted_without_overflow() {
        let (slots, ring) = (Hello::MAX_SLOTS, Hello::MAX_RING_BYTES);
        let (receive_ring_bytes, send_ring_bytes) = (ring, ring);
        let hello = Hello { slots, receive_ring_bytes, send_ring_bytes, ..Hello::default() };
        let bytes = hello.segment_bytes(1024).unwrap();
        assert!(bytes > 1 << 41 && bytes < 1 << 42, "{bytes}");
        assert_eq!(hello.segment_bytes(0), None);
    }

    #[test]
    fn a_segment_is_more_than_its_data_rings() {
        // As docs/SHM.md lays it out.
        let hello = Hello { slots: 1024, ..Hello::default() };
        assert_eq!(hello.segment_bytes(2), Some(434_176 + (128 << 20)));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            name in "[A-Za-z0-9._/-]{0,64}",
            slots in 1..=65_536_u32,
            receive in 12..=24,
            send in 12..=24,
            linger in 0..=3_600_000_u64,
        ) {
            let hello = Hello {
                name,
                slots,
                receive_ring_bytes: 1_u32 << receive,
                send_ring_bytes: 1_u32 << send,
                linger: Duration::from_millis(linger),
            };
            prop_assert_eq!(Hello::decode(&hello.encode().unwrap()), Ok(hello));
        }

        #[test]
        fn whatever_arrives_is_refused_or_means_exactly_what_it_says(
            bytes in proptest::collection::vec(any::<u8>(), 0..=120),
            offset in 0..HELLO_BYTES,
            good in any::<bool>(),
        ) {
            let message = if good {
                // A good message with a piece of something else in it.
                let mut message = named("kv").encode().unwrap();
                let length = bytes.len().min(HELLO_BYTES - offset).min(4);
                message[offset..offset + length].copy_from_slice(&bytes[..length]);
                message.to_vec()
            } else {
                bytes
            };
            if let Ok(hello) = Hello::decode(&message) {
                prop_assert_eq!(&hello.encode().unwrap()[..], &message[..]);
            }
        }
    }
}
