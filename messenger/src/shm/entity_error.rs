//! What is wrong with an entity that an application would be.

use std::time::Duration;

use super::part::LARGEST_MESSAGE;

/// The longest identifier, in bytes.
pub(crate) const ID_BYTES: usize = 32;

/// An entity that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntityError {
    /// Types of entities are 1 to 255.
    #[error("an entity has a type, which is not 0")]
    Type,
    /// The identifier is empty, too long, or has other characters.
    #[error("an entity's identifier has 1 to {ID_BYTES} characters of A-Z a-z 0-9 . _ -")]
    Id,
    /// The throttle holds no message, or more than 4,294,967,295.
    #[error("a throttle of {0} messages is not 1 to {max}", max = u32::MAX)]
    ThrottleMessages(u64),
    /// The throttle holds no byte, or 4 TiB and more.
    #[error("a throttle of {0} bytes is not 1 byte to 4 TiB")]
    ThrottleBytes(u64),
    /// No message is as large, or messages are larger than passes through rings.
    #[error("a largest message of {0} bytes is not 1 to {LARGEST_MESSAGE}")]
    LargestMessage(u32),
    /// Keepalives are due too soon or too late, or waited for too short or too long.
    #[error(
        "keepalives after {after:?}, waited for {patience:?}: neither is less than 100 ms or \
         more than a day"
    )]
    Keepalive {
        /// After so much silence.
        after: Duration,
        /// How long to wait for a sign of life then.
        patience: Duration,
    },
}
