//! Does what a command asks for, and writes its answer.

use std::ops::Range;

use crate::answer;
use crate::request::MAX_BULK;
use crate::store::{Refused, Store};

/// How it goes on after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// Doing it again would answer the same, and change nothing.
    Repeatable,
    /// What it has done is done.
    Once,
    /// The connection ends behind the answer.
    Quit,
}

/// The arguments of a command, its name being the first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arguments<'a> {
    pub(crate) buffer: &'a [u8],
    pub(crate) ranges: &'a [Range<usize>],
}

impl<'a> Arguments<'a> {
    fn len(&self) -> usize {
        self.ranges.len()
    }

    fn get(&self, index: usize) -> &'a [u8] {
        &self.buffer[self.ranges[index].clone()]
    }

    /// Those from `first` on.
    fn from(&self, first: usize) -> impl Iterator<Item = &'a [u8]> {
        let buffer = self.buffer;
        self.ranges[first..].iter().map(move |range| &buffer[range.clone()])
    }
}

/// Does it. The answer goes behind what is in `out`.
pub(crate) fn execute(store: &mut Store, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Done {
    if arguments.len() == 0 {
        return Done::Repeatable;
    }
    let mut name = [0; 12];
    let given = arguments.get(0);
    let name = match name.get_mut(..given.len()) {
        Some(name) => {
            name.copy_from_slice(given);
            name.make_ascii_uppercase();
            &*name
        }
        None => &[],
    };
    let begin = out.len();
    match run(store, name, arguments, out) {
        Ok(done) => done,
        Err(error) => {
            out.truncate(begin);
            match error {
                Error::Refused(refused) => answer::error(out, refused),
                Error::Count => {
                    let name = String::from_utf8_lossy(given).to_lowercase();
                    answer::error(
                        out,
                        format_args!("ERR wrong number of arguments for '{name}' command"),
                    );
                }
                Error::Syntax => answer::error(out, "ERR syntax error"),
                Error::Unknown => unknown(arguments, out),
            }
            Done::Once
        }
    }
}

enum Error {
    Refused(Refused),
    Count,
    Syntax,
    Unknown,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

fn run(
    store: &mut Store,
    name: &[u8],
    arguments: Arguments<'_>,
    out: &mut Vec<u8>,
) -> Result<Done, Error> {
    let count = arguments.len();
    let takes = |fits: bool| if fits { Ok(()) } else { Err(Error::Count) };
    match name {
        b"PING" => {
            takes(count <= 2)?;
            match count {
                1 => answer::simple(out, "PONG"),
                _ => answer::bulk(out, arguments.get(1)),
            }
            return Ok(Done::Repeatable);
        }
        b"ECHO" => {
            takes(count == 2)?;
            answer::bulk(out, arguments.get(1));
            return Ok(Done::Repeatable);
        }
        b"GET" => {
            takes(count == 2)?;
            one(store.get(arguments.get(1))?, out);
            return Ok(Done::Repeatable);
        }
        b"SET" => {
            takes(count >= 3)?;
            if count > 3 {
                return Err(Error::Syntax);
            }
            store.set(arguments.get(1), arguments.get(2))?;
            answer::simple(out, "OK");
        }
        b"MSET" => {
            takes(count >= 3 && count % 2 == 1)?;
            for index in (1..count).step_by(2) {
                store.set(arguments.get(index), arguments.get(index + 1))?;
            }
            answer::simple(out, "OK");
        }
        b"MGET" => {
            takes(count >= 2)?;
            let size = |key| store.get(key).ok().flatten().map_or(0, <[u8]>::len);
            fits(arguments.from(1).map(size).sum(), store)?;
            answer::array(out, count - 1);
            for key in arguments.from(1) {
                // What is no string is answered as nothing.
                one(store.get(key).unwrap_or(None), out);
            }
        }
        b"INCR" => {
            takes(count == 2)?;
            answer::integer(out, store.increment(arguments.get(1))?);
        }
        b"DEL" => {
            takes(count >= 2)?;
            let deleted = arguments.from(1).filter(|key| store.delete(key)).count();
            answer::integer(out, deleted as i64);
        }
        b"EXISTS" => {
            takes(count >= 2)?;
            let found = arguments.from(1).filter(|key| store.contains(key)).count();
            answer::integer(out, found as i64);
        }
        b"LPUSH" => {
            takes(count >= 3)?;
            let mut length = 0;
            for item in arguments.from(2) {
                length = store.push(arguments.get(1), item)?;
            }
            answer::integer(out, length as i64);
        }
        b"LLEN" => {
            takes(count == 2)?;
            let length = store.items(arguments.get(1))?.map_or(0, |items| items.len());
            answer::integer(out, length as i64);
        }
        b"LRANGE" => {
            takes(count == 4)?;
            let (start, stop) = (number(arguments.get(2))?, number(arguments.get(3))?);
            range(store, arguments.get(1), start, stop, out)?;
        }
        b"DBSIZE" => answer::integer(out, store.len() as i64),
        b"FLUSHALL" | b"FLUSHDB" => {
            store.clear();
            answer::simple(out, "OK");
        }
        b"CONFIG" => config(store, arguments, out)?,
        b"COMMAND" => match count {
            1 => answer::array(out, 0),
            _ if arguments.get(1).eq_ignore_ascii_case(b"COUNT") => answer::integer(out, 0),
            _ => answer::array(out, 0),
        },
        b"CLIENT" | b"SELECT" => {
            takes(count >= 2)?;
            answer::simple(out, "OK");
        }
        b"INFO" => {
            let (used, keys) = (store.used(), store.len());
            let text = format!(
                "# Memory\r\nused_memory:{used}\r\n# Keyspace\r\ndb0:keys={keys},expires=0\r\n"
            );
            answer::bulk(out, text.as_bytes());
        }
        b"QUIT" => {
            answer::simple(out, "OK");
            return Ok(Done::Quit);
        }
        _ => return Err(Error::Unknown),
    }
    Ok(Done::Once)
}

fn one(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(bytes) => answer::bulk(out, bytes),
        None => answer::nothing(out),
    }
}

/// An answer takes memory too.
fn fits(bytes: usize, store: &Store) -> Result<(), Refused> {
    let free = store.most().saturating_sub(store.used());
    if bytes > free { Err(Refused::OutOfMemory) } else { Ok(()) }
}

fn number(bytes: &[u8]) -> Result<i64, Refused> {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.parse().ok()).ok_or(Refused::NotAnInteger)
}

/// From `start` to `stop`, which is in it; both count from the end if they are negative.
fn range(
    store: &Store,
    key: &[u8],
    start: i64,
    stop: i64,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let Some(items) = store.items(key)? else {
        answer::array(out, 0);
        return Ok(());
    };
    let length = items.len() as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
    let start = from_end(start).clamp(0, length) as usize;
    let end = from_end(stop).saturating_add(1).clamp(start as i64, length) as usize;
    fits(items.range(start..end).map(|item| item.len() + 16).sum(), store)?;
    answer::array(out, end - start);
    items.range(start..end).for_each(|item| answer::bulk(out, item));
    Ok(())
}

/// What redis-benchmark and redis-cli ask for.
fn config(store: &Store, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    if arguments.len() < 3 {
        return Err(Error::Count);
    }
    if !arguments.get(1).eq_ignore_ascii_case(b"GET") {
        return Err(Error::Syntax);
    }
    let (memory, bulk) = (store.most().to_string(), MAX_BULK.to_string());
    let known = [
        ("save", ""),
        ("appendonly", "no"),
        ("maxmemory", memory.as_str()),
        ("proto-max-bulk-len", bulk.as_str()),
    ];
    let asked = |name: &str| {
        let name = name.as_bytes();
        arguments.from(2).any(|asked| asked == b"*" || asked.eq_ignore_ascii_case(name))
    };
    let told: Vec<_> = known.iter().filter(|(name, _)| asked(name)).collect();
    answer::array(out, 2 * told.len());
    for (name, value) in told {
        answer::bulk(out, name.as_bytes());
        answer::bulk(out, value.as_bytes());
    }
    Ok(())
}

fn unknown(arguments: Arguments<'_>, out: &mut Vec<u8>) {
    let short = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned();
    let beginning: String =
        arguments.from(1).take(8).map(|argument| format!("'{}' ", short(argument))).collect();
    let name = short(arguments.get(0));
    answer::error(
        out,
        format_args!("ERR unknown command '{name}', with args beginning with: {beginning}"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Request;

    /// Each command is a line.
    fn answers(commands: &[&str]) -> Vec<String> {
        let mut store = Store::new(100_000);
        commands.iter().map(|command| answer_of(&mut store, command)).collect()
    }

    fn answer_of(store: &mut Store, command: &str) -> String {
        let buffer = format!("{command}\n").into_bytes();
        let mut request = Request::default();
        request.read(&buffer).unwrap().unwrap();
        let mut out = Vec::new();
        execute(store, Arguments { buffer: &buffer, ranges: request.arguments() }, &mut out);
        String::from_utf8(out).unwrap().replace("\r\n", " ").trim_end().to_owned()
    }

    #[test]
    fn it_answers_as_redis_does() {
        let dialogue = [
            ("ping", "+PONG"),
            ("PING x", "$1 x"),
            ("ECHO hello", "$5 hello"),
            ("SET k v", "+OK"),
            ("get k", "$1 v"),
            ("GET none", "$-1"),
            ("MSET a 1 b 2", "+OK"),
            ("MGET a none b", "*3 $1 1 $-1 $1 2"),
            ("INCR a", ":2"),
            ("INCR fresh", ":1"),
            ("INCR k", "-ERR value is not an integer or out of range"),
            ("SET most 9223372036854775807", "+OK"),
            ("INCR most", "-ERR increment or decrement would overflow"),
            ("EXISTS a b none", ":2"),
            ("DEL a b none", ":2"),
            ("LPUSH l 1 2 3", ":3"),
            ("LRANGE l 0 -1", "*3 $1 3 $1 2 $1 1"),
            ("LRANGE l -2 1", "*1 $1 2"),
            ("LRANGE l 2 1", "*0"),
            ("LRANGE l -9 9", "*3 $1 3 $1 2 $1 1"),
            ("LRANGE none 0 -1", "*0"),
            ("LRANGE l 0 x", "-ERR value is not an integer or out of range"),
            ("LLEN l", ":3"),
            ("GET l", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("MSET a", "-ERR wrong number of arguments for 'mset' command"),
            ("SET k v EX 3", "-ERR syntax error"),
            ("NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b'"),
            ("CONFIG GET save", "*2 $4 save $0"),
            ("CONFIG GET nosuch", "*0"),
            ("COMMAND", "*0"),
            ("DBSIZE", ":4"),
            ("FLUSHALL", "+OK"),
            ("DBSIZE", ":0"),
        ];
        let found = answers(&dialogue.map(|(command, _)| command));
        for ((command, expected), found) in dialogue.iter().zip(found) {
            assert_eq!(found.replace("  ", " "), *expected, "{command}");
        }
    }

    #[test]
    fn an_answer_that_is_too_large_is_refused() {
        let mut store = Store::new(20_000);
        answer_of(&mut store, &format!("SET big {}", "x".repeat(9000)));
        let out = answer_of(&mut store, "MGET big big");
        assert!(out.starts_with("-OOM"), "{out}");
    }
}
