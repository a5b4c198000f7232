//! Standard output and standard error: somebody may have read all that they wanted of the one, and
//! neither need have room. `println!` and `eprintln!` panic then.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Who reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Somebody, as far as can be told.
    There,
    /// Nobody any more.
    Gone,
}

/// Prints all of it. A reader that has gone, such as `head`, has seen all that it wanted.
///
/// # Errors
/// When it cannot be written although somebody would read it.
pub fn print(text: &(impl Display + ?Sized)) -> io::Result<Reader> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// Says a line on standard error. Where that cannot be, nobody is left to be told.
pub fn say(line: impl Display) {
    // In one piece, whoever else writes there.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Prints what `program` was asked for and nothing else; its exit code.
pub fn answer(program: &str, text: &str) -> ExitCode {
    match print(text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{program}: standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}
