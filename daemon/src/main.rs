//! `vmsgrd`, the messenger daemon for storage servers.
//!
//! From the command line to the running daemon, a file each:
//!
//! ```text
//! args ----+
//!          +--> merge --> settings --> probe, cycle --> limits, signals, logging --> run (notify)
//! config --+                                   |
//!                                              +--> effective (--check)
//! ```
//!
//! `given` is a value as somebody wrote it and where, `mistake` what a file of another shape is
//! told; `ranges` are the numbers that can be set; `listeners` and `address` are about where to
//! listen, `unbound` what to do where that cannot be, `allow` about who may attach; `refusal` is
//! why the daemon does not start. `log_writer` is the thread that log lines go through, `report`
//! are the counters, `tap_report` what taps have seen. `generate` makes the man page, to which
//! `manual` adds what the help leaves out, and the completions. `standard_streams` prints them and
//! the checked configuration, and says what is refused.

mod address;
mod allow;
mod applications;
mod args;
mod attached;
mod config;
mod cycle;
mod effective;
mod generate;
mod given;
mod limits;
mod listeners;
mod log_writer;
mod logging;
mod manual;
mod merge;
mod mistake;
mod notify;
mod probe;
mod ranges;
mod refusal;
mod report;
mod run;
mod settings;
mod signals;
mod standard_streams;
mod tap_report;
mod unbound;

use crate::args::Args;
use crate::config::File;
use crate::generate::Asked;
use crate::limits::DescriptorLimit;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::signals::Signals;
use std::process::ExitCode;

/// A bad command line or configuration.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(refusal) => {
            standard_streams::say(format_args!("vmsgrd: {refusal}"));
            ExitCode::from(REFUSED)
        }
    }
}

/// Everything that can be refused comes first, while there is one thread.
fn start() -> Result<ExitCode, Refusal> {
    let args = match Args::read(std::env::args_os())? {
        Asked::Run(args) => args,
        Asked::Print(text) => return Ok(standard_streams::answer("vmsgrd", &text)),
    };
    let file = args.config.as_deref().map(File::read).transpose()?;
    let settings = Settings::merge(&args, file.as_ref())?;
    probe::relay(&settings.relay)?;
    cycle::refuse(&settings, settings.listen.iter().map(|listen| listen.address))?;
    if args.check {
        // A comment, so that the output is a configuration file as a whole.
        let text = format!("# configuration ok\n{}", effective::to_toml(&settings));
        return Ok(standard_streams::answer("vmsgrd", &text));
    }
    let limit = DescriptorLimit::raise();
    let signals = Signals::take_over().map_err(|error| Refusal::new("signals", error))?;
    let bound = run::bind(&settings)?;
    let applications = applications::bind(&settings.applications)?;
    // The first thread. With whatever ends here, the log is written to its end.
    let log = logging::start(settings.log_level).map_err(|error| Refusal::new("log", error))?;
    Ok(run::run(settings, (bound, applications), limit, signals, log.lines()))
}
