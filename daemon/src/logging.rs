//! The log: lines on stderr, made by env_logger and written by a thread of their own.

use crate::log_writer::LogWriter;
use env_logger::{Builder, Target};
use log::{Level, LevelFilter, Log, Record};
use nix::sys::stat::fstat;
use std::env;
use std::io::{self, Write};

/// From here on, messages of at least this importance go to stderr; keep what is returned to the
/// end.
///
/// `2026-01-31T12:00:00.000Z INFO vmsgrd: text`; where stderr is the systemd journal, which stamps
/// lines itself, `<6>INFO vmsgrd: text`, with the priority that sd-daemon(3) describes.
///
/// # Errors
/// The kernel starts no more threads.
pub fn start(level: LevelFilter) -> io::Result<LogWriter> {
    let journal = env::var("JOURNAL_STREAM").is_ok_and(|stream| stderr_is(&stream));
    let direct = builder(level, journal).target(Target::Stderr).build();
    let tell_lost = move |lost| {
        let text = format_args!("{lost} log lines were lost: stderr was not read");
        direct.log(&Record::builder().level(Level::Error).args(text).build());
    };
    let writer = LogWriter::start(io::stderr(), tell_lost)?;
    builder(level, journal).target(Target::Pipe(Box::new(writer.lines()))).init();
    Ok(writer)
}

fn builder(level: LevelFilter, journal: bool) -> Builder {
    let mut builder = Builder::new();
    builder.filter_level(level).format(move |line, record| {
        if journal {
            write!(line, "<{}>", priority(record.level()))?;
        } else {
            let timestamp = line.timestamp_millis();
            write!(line, "{timestamp} ")?;
        }
        writeln!(line, "{} vmsgrd: {}", record.level(), record.args())
    });
    builder
}

/// Whether stderr is the `DEVICE:INODE` that systemd names; it need not be, since the variable is
/// inherited by whatever a service starts, also where that has its stderr elsewhere.
fn stderr_is(stream: &str) -> bool {
    fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The priority of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
