//! Reads commands: arrays of bulk strings, or a line with words.

use std::ops::Range;

/// The longest argument.
pub(crate) const MAX_BULK: usize = 16 << 20;

/// The longest command.
pub(crate) const MAX_COMMAND: usize = 64 << 20;

/// The most arguments.
const MAX_ARGUMENTS: usize = 1 << 20;

/// The longest line, which is the longest command in a line.
const MAX_LINE: usize = 64 << 10;

/// What Redis says to those who do not speak its protocol; the connection ends with it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("Protocol error: invalid multibulk length")]
    Arguments,
    #[error("Protocol error: invalid bulk length")]
    Bulk,
    #[error("Protocol error: expected '$', got '{0}'")]
    NoBulk(char),
    #[error("Protocol error: too big inline request")]
    Line,
    #[error("Protocol error: too big mbulk count string")]
    LongNumber,
    #[error("Protocol error: too big request")]
    Command,
}

/// Reads one command, in as many steps as its bytes come in: what was read before is not read
/// again, as long as the buffer begins with the same bytes.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// Where the arguments lie in the buffer.
    arguments: Vec<Range<usize>>,
    /// Arguments that are still to come; `None`: not even their number has.
    missing: Option<usize>,
    /// What was read.
    at: usize,
    /// How long the command is at least.
    needed: usize,
}

impl Request {
    /// Where the arguments of the command lie that was read last.
    pub(crate) fn arguments(&self) -> &[Range<usize>] {
        &self.arguments
    }

    /// How long the command is at least that was not there wholly.
    pub(crate) fn needed(&self) -> usize {
        self.needed
    }

    /// Begins with another buffer.
    pub(crate) fn reset(&mut self) {
        self.arguments.clear();
        (self.missing, self.at, self.needed) = (None, 0, 0);
    }

    /// Reads the command with which the buffer begins: its length if it is there wholly.
    pub(crate) fn read(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let read = self.advance(buffer)?;
        if read.is_none() && self.needed > MAX_COMMAND {
            return Err(ProtocolError::Command);
        }
        Ok(read)
    }

    fn advance(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => match buffer.first() {
                None => return Ok(self.wait_for(1)),
                Some(b'*') => {
                    let Some(number) = self.number(buffer)? else { return Ok(None) };
                    // None, or less than none, is a command that does nothing.
                    let number = number.ok_or(ProtocolError::Arguments)?.max(0);
                    usize::try_from(number)
                        .ok()
                        .filter(|n| *n <= MAX_ARGUMENTS)
                        .ok_or(ProtocolError::Arguments)?
                }
                Some(_) => return self.line(buffer),
            },
        };
        self.missing = Some(missing);
        while missing > 0 {
            match buffer.get(self.at) {
                None => return Ok(self.wait_for(6 * missing)),
                Some(b'$') => {}
                Some(&other) => return Err(ProtocolError::NoBulk(other.into())),
            }
            let begin = self.at;
            let Some(length) = self.number(buffer)? else { return Ok(None) };
            let length = length.and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|n| *n <= MAX_BULK).ok_or(ProtocolError::Bulk)?;
            let end = self.at + length;
            if buffer.len() < end + 2 {
                self.needed = end + 2 + 6 * (missing - 1);
                self.at = begin;
                return Ok(None);
            }
            self.arguments.push(self.at..end);
            self.at = end + 2;
            missing -= 1;
            self.missing = Some(missing);
        }
        Ok(Some(self.at))
    }

    /// The number in the line that begins at `at` with a sign for its type; `Some(None)`: there is
    /// a line, but no number in it.
    fn number(&mut self, buffer: &[u8]) -> Result<Option<Option<i64>>, ProtocolError> {
        let rest = &buffer[self.at..];
        let Some(end) = rest.iter().take(32).position(|&byte| byte == b'\n') else {
            if rest.len() >= 32 {
                return Err(ProtocolError::LongNumber);
            }
            self.needed = buffer.len() + 1 + 6 * self.missing.unwrap_or(1).saturating_sub(1);
            return Ok(None);
        };
        let digits = rest[1..end.max(1)].strip_suffix(b"\r").unwrap_or_default();
        self.at += end + 1;
        Ok(Some(std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok())))
    }

    /// A command in one line.
    fn line(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = buffer.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
            if buffer.len() >= MAX_LINE {
                return Err(ProtocolError::Line);
            }
            self.needed = buffer.len() + 1;
            return Ok(None);
        };
        let mut begin = None;
        for (at, byte) in buffer[..=end].iter().enumerate() {
            match (byte.is_ascii_whitespace(), begin) {
                (false, None) => begin = Some(at),
                (true, Some(word)) => {
                    self.arguments.push(word..at);
                    begin = None;
                }
                _ => {}
            }
        }
        Ok(Some(end + 1))
    }

    fn wait_for(&mut self, bytes: usize) -> Option<usize> {
        self.needed = self.at + bytes;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The arguments of a command, and its length.
    type Read<'a> = Option<(Vec<&'a [u8]>, usize)>;

    fn read(buffer: &[u8]) -> Result<Read<'_>, ProtocolError> {
        let mut request = Request::default();
        let length = request.read(buffer)?;
        let arguments = request.arguments().iter().map(|range| &buffer[range.clone()]).collect();
        Ok(length.map(|length| (arguments, length)))
    }

    fn encode(arguments: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            bytes.extend(format!("${}\r\n", argument.len()).into_bytes());
            bytes.extend(argument);
            bytes.extend(b"\r\n");
        }
        bytes
    }

    #[test]
    fn commands_are_arrays_or_lines() {
        let (arguments, length) = read(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1").unwrap().unwrap();
        assert_eq!((arguments, length), (vec![&b"GET"[..], b"k"], 20));
        assert_eq!(read(b"  ping  x\r\nrest").unwrap().unwrap(), (vec![&b"ping"[..], b"x"], 11));
        assert_eq!(read(b"\r\n").unwrap().unwrap(), (vec![], 2));
        assert_eq!(read(b"*0\r\n").unwrap().unwrap(), (vec![], 4));
        assert_eq!(read(b"*-1\r\n").unwrap().unwrap(), (vec![], 5));
    }

    #[test]
    fn what_is_no_command_is_named_as_redis_names_it() {
        for (bytes, error) in [
            (&b"*x\r\n"[..], ProtocolError::Arguments),
            (b"*1048577\r\n", ProtocolError::Arguments),
            (b"*1\r\n:3\r\n", ProtocolError::NoBulk(':')),
            (b"*1\r\n$-1\r\n", ProtocolError::Bulk),
            (b"*1\r\n$16777217\r\n", ProtocolError::Bulk),
            (b"*1\r\n$\n", ProtocolError::Bulk),
            (b"*00000000000000000000000000000001\r\n", ProtocolError::LongNumber),
            (&[b'x'; MAX_LINE], ProtocolError::Line),
        ] {
            assert_eq!(read(bytes).unwrap_err(), error, "{}", bytes.escape_ascii());
        }
        let too_much = b"*6\r\n".iter().chain(b"$16777216\r\n").copied().collect::<Vec<_>>();
        assert_eq!(read(&too_much), Ok(None), "so much may come");
    }

    proptest! {
        /// However its bytes come in, it is the same command, and no byte behind it is asked for.
        #[test]
        fn a_command_in_pieces_is_the_command(
            arguments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..8),
            greedy: bool,
        ) {
            let bytes = encode(&arguments);
            let mut request = Request::default();
            let mut length = 0;
            let read = loop {
                match request.read(&bytes[..length]).unwrap() {
                    Some(read) => break read,
                    None => {
                        prop_assert!(request.needed() > length && request.needed() <= bytes.len());
                        length = if greedy { request.needed() } else { length + 1 };
                    }
                }
            };
            prop_assert_eq!((read, length), (bytes.len(), bytes.len()));
            let found: Vec<_> = request.arguments().iter().map(|it| &bytes[it.clone()]).collect();
            prop_assert_eq!(found, arguments);
        }

        #[test]
        fn garbage_is_a_command_or_an_error(bytes in "[*$0-9\r\n a-z-]{0,40}") {
            let _ = read(bytes.as_bytes());
        }
    }
}
