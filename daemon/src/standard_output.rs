//! Standard output, which nobody may read to its end.
//!
//! All programs of the workspace have it from here.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Prints all of it. A reader that has gone, such as `head`, has seen all that it wanted.
///
/// # Errors
/// When it cannot be written although somebody would read it.
pub fn print(text: &(impl Display + ?Sized)) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Prints what `program` was asked for and nothing else; its exit code.
pub fn answer(program: &str, text: &str) -> ExitCode {
    match print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{program}: standard output: {error}");
            ExitCode::FAILURE
        }
    }
}
