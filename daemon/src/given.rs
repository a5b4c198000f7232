//! A value as somebody wrote it, and where: what every message about it begins with.

use crate::ranges::Range;
use crate::refusal::Refusal;
use std::fmt::{self, Display};
use std::str::FromStr;
use toml::Value;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// An option, by its name.
    CommandLine(&'static str),
    /// A key in the configuration file.
    File {
        /// The file as the user named it.
        path: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// With its table: `socket.backlog`.
        key: &'static str,
    },
}

/// A value as it was written, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// Always a string if it comes from the command line.
    value: Value,
    origin: Origin,
}

impl Given {
    /// The value of an option.
    pub fn on_command_line(option: &'static str, text: &str) -> Self {
        Self { value: Value::from(text), origin: Origin::CommandLine(option) }
    }

    /// The value of a key in a file.
    pub fn in_file(value: Value, origin: Origin) -> Self {
        Self { value, origin }
    }

    /// This value cannot be used, and why.
    pub fn refuse(&self, reason: impl Display) -> Refusal {
        Refusal::new(&self.origin, reason)
    }

    /// The value as text.
    pub fn text(&self) -> Result<&str, Refusal> {
        let text = self.value.as_str();
        text.ok_or_else(|| self.refuse(format_args!("{} is not a string in quotes", self.value)))
    }

    /// The value as something that has a written form; its error says what is allowed.
    pub fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, Refusal> {
        self.text()?.parse().map_err(|error| self.refuse(error))
    }

    /// As [`parse`](Self::parse), for what may also be written as a bare number.
    pub fn parse_word_or_number<T: FromStr<Err: Display>>(&self) -> Result<T, Refusal> {
        match self.value {
            Value::Integer(number) => number.to_string().parse().map_err(|e| self.refuse(e)),
            _ => self.parse(),
        }
    }

    /// The value as a number in `range`.
    pub fn number(&self, range: &Range) -> Result<u64, Refusal> {
        let number = match (&self.value, &self.origin) {
            (Value::Integer(number), _) => Some(*number),
            (Value::String(text), Origin::CommandLine(_)) => text.parse().ok(),
            _ => None,
        };
        number.and_then(|number| range.accept(number)).ok_or_else(|| {
            self.refuse(format_args!(
                "{} is not allowed; write a whole number: {range}",
                self.value
            ))
        })
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(option) => f.write_str(option),
            Self::File { path, line, column, key } => write!(f, "{path}:{line}:{column}: {key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::{DRAIN_TIMEOUT, MAX_CONNECTIONS};
    use vmsgr_reactor::SpinPolicy;

    fn in_file(value: impl Into<Value>) -> Given {
        let origin = Origin::File { path: "v.toml".into(), line: 3, column: 7, key: "a.b" };
        Given::in_file(value.into(), origin)
    }

    #[test]
    fn a_number_out_of_range_is_named_with_its_range_and_place() {
        let error = in_file(0).number(&MAX_CONNECTIONS).unwrap_err().to_string();
        assert_eq!(
            error,
            "v.toml:3:7: a.b: 0 is not allowed; \
             write a whole number: 1 to 10000000 connections, default 65536"
        );
        let error = Given::on_command_line("--drain-timeout", "-1").number(&DRAIN_TIMEOUT);
        assert_eq!(
            error.unwrap_err().to_string(),
            "--drain-timeout: \"-1\" is not allowed; \
             write a whole number: 0 to 3600 seconds, default 10"
        );
    }

    #[test]
    fn a_number_in_quotes_is_one_on_the_command_line_only() {
        assert_eq!(Given::on_command_line("--n", "7").number(&MAX_CONNECTIONS), Ok(7));
        assert_eq!(in_file(7).number(&MAX_CONNECTIONS), Ok(7));
        for value in [Value::from("7"), Value::from(7.0), Value::from(true)] {
            assert!(in_file(value).number(&MAX_CONNECTIONS).is_err());
        }
        for text in ["", " 7", "7s", "0x7", "99999999999999999999"] {
            assert!(Given::on_command_line("--n", text).number(&MAX_CONNECTIONS).is_err());
        }
    }

    #[test]
    fn a_spin_is_a_word_or_a_number() {
        let spin = |given: Given| given.parse_word_or_number::<SpinPolicy>();
        assert_eq!(spin(in_file("auto")), Ok(SpinPolicy::Auto));
        assert_eq!(spin(in_file(50)).unwrap().to_string(), "50");
        assert_eq!(spin(in_file("50")).unwrap().to_string(), "50");
        assert!(spin(in_file(-1)).unwrap_err().to_string().contains("a.b: spin '-1'"));
        assert!(spin(in_file(1.5)).unwrap_err().to_string().contains("not a string in quotes"));
    }
}
