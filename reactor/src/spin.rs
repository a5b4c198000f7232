//! Looking again before sleeping: how long a loop with nothing to do goes on looking.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long a loop that just worked looks for more before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpinPolicy {
    /// A window that grows while it pays and dies out when it does not.
    #[default]
    Auto,
    /// Always this long after a turn with work; zero: sleep at once. At most 10 ms.
    Fixed(Duration),
}

/// The text is neither `auto` nor a number of microseconds in range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spin '{0}' is neither 'auto' nor a number of microseconds from 0 to 10000")]
pub struct SpinPolicyError(String);

impl FromStr for SpinPolicy {
    type Err = SpinPolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse::<u64>() {
            Ok(us @ 0..=10_000) => Ok(Self::Fixed(Duration::from_micros(us))),
            _ => Err(SpinPolicyError(text.to_owned())),
        }
    }
}

impl fmt::Display for SpinPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(window) => write!(f, "{}", window.as_micros()),
        }
    }
}
