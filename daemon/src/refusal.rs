//! Why the daemon does not start: one line for people, exit code 2.

use std::fmt::{self, Display, Write};

/// The reason why the daemon does not start, with the thing that it is about in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// `subject` is what the reader has to change: an option, a place in a file, an address.
    pub fn new(subject: impl Display, reason: impl Display) -> Self {
        Self(format!("{subject}: {reason}"))
    }

    /// For a reason that names its subject itself.
    pub fn plain(reason: impl Display) -> Self {
        Self(reason.to_string())
    }
}

impl Display for Refusal {
    /// One line, whatever the user wrote: a value that is quoted back may hold a line break or an
    /// escape sequence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_whatever_it_quotes() {
        let refusal = Refusal::new("--core-mask", "no core 'a\nb\x1b[2J'");
        assert_eq!(refusal.to_string(), r"--core-mask: no core 'a\nb\u{1b}[2J'");
    }
}
