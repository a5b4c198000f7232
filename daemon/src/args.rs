//! The command line.
//!
//! Values stay text here: they are read by the same code, with the same messages, as those of the
//! configuration file.

use crate::generate::{self, Asked};
use crate::given::Given;
use crate::manual::MANUAL;
use crate::ranges::{DRAIN_TIMEOUT, MAX_CONNECTIONS, MAX_HELD};
use crate::refusal::Refusal;
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::path::PathBuf;

/// The messenger daemon for storage servers: serves TCP connections on its own pinned cores.
///
/// What the command line says wins over the configuration file, and that over the defaults.
#[derive(Debug, Default, PartialEq, Parser)]
#[command(name = "vmsgrd", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Configuration file (TOML); vmsgrd.example.toml lists every key.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Cores to run on, one event loop each: a mask (0x3), a list (0-1,4) or 'all'
    /// [default: the first core that this process may use].
    #[arg(long, value_name = "MASK")]
    core_mask: Option<String>,

    /// Listen on ADDR (HOST:PORT, port 0: any free one) and give its connections to SERVICE: echo,
    /// discard, relay:HOST:PORT, relay:original-dst or osd-null. After a relay, ',tap=msgr2' counts
    /// and times the operations of Ceph's clients that pass; osd-null is a Ceph OSD that answers
    /// and stores nothing, and after it ',object-bytes=N' is the size of every object. May be
    /// repeated; replaces the listeners of the configuration file.
    #[arg(short, long, value_name = "ADDR=SERVICE")]
    listen: Vec<String>,

    /// Which core gets a connection: balanced, reuseport or round-robin [default: balanced].
    #[arg(long, value_name = "PLACEMENT")]
    placement: Option<String>,

    /// How long a loop without work looks for more before it sleeps: 'auto', or 0 to 10000
    /// microseconds [default: auto].
    #[arg(long, value_name = "auto|N", allow_negative_numbers = true)]
    spin_us: Option<String>,

    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(help = format!("Connections open at the same time: {MAX_CONNECTIONS}"))]
    max_connections: Option<String>,

    #[arg(long, value_name = "SECS", allow_negative_numbers = true)]
    #[arg(help = format!("How long connections may drain after SIGTERM: {DRAIN_TIMEOUT}"))]
    drain_timeout: Option<String>,

    /// Where applications attach: the path of a Unix socket, or 'none' for no applications
    /// [default: $XDG_RUNTIME_DIR/vmsgr/vmsgrd.sock or /run/vmsgr/vmsgrd.sock].
    #[arg(long, value_name = "PATH|none")]
    socket: Option<String>,

    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(help = format!("Messages held for one application outside its segment: {MAX_HELD}"))]
    max_held_bytes: Option<String>,

    /// Least important message to log: off, error, warn, info, debug or trace [default: info].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// Check command line and configuration, print what would be in effect, and exit.
    #[arg(long)]
    pub check: bool,
}

const AFTER_HELP: &str = "\
Examples:
  vmsgrd
      Echo on 127.0.0.1:7400. Try it: nc 127.0.0.1 7400
  vmsgrd -l 127.0.0.1:6380=relay:127.0.0.1:6379
      A relay in front of a Redis. Try it: redis-cli -p 6380 ping
  vmsgrd --core-mask 0-1 -l 0.0.0.0:7400=echo -l '[::]:7401=discard'
      Two services on two cores
  vmsgrd -l 127.0.0.1:6900=relay:10.0.0.1:6801,tap=msgr2
      A relay in front of a Ceph OSD that watches the operations
  vmsgrd -l 127.0.0.1:6800=osd-null
      An OSD without a store. Try it: vmsgrctl ceph-ping 127.0.0.1:6800/1
  vmsgrd -c vmsgrd.toml --check
      Is this configuration right, and what does it come to?

Signals:
  SIGTERM, SIGINT  stop accepting, let connections drain, exit 0; a second one exits at once
  SIGUSR1          print all counters as one line of JSON on stderr
  SIGHUP           not taken, and ends it at once: the configuration is read at the start only

Exit codes:
  0  stopped as asked
  1  failed while running, or stopped at once by a second signal
  2  bad command line or configuration";

impl Args {
    /// Reads a command line, the program's name first.
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Asked<Self>, Refusal> {
        match generate::read(line, &MANUAL) {
            Ok(asked) => Ok(asked),
            Err(error) => match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    Ok(Asked::Print(error.render().to_string()))
                }
                _ => Err(refusal(error)),
            },
        }
    }

    pub fn core_mask(&self) -> Option<Given> {
        given("--core-mask", &self.core_mask)
    }

    pub fn listen(&self) -> Vec<Given> {
        self.listen.iter().map(|text| Given::on_command_line("--listen", text)).collect()
    }

    pub fn placement(&self) -> Option<Given> {
        given("--placement", &self.placement)
    }

    pub fn spin_us(&self) -> Option<Given> {
        given("--spin-us", &self.spin_us)
    }

    pub fn max_connections(&self) -> Option<Given> {
        given("--max-connections", &self.max_connections)
    }

    pub fn drain_timeout(&self) -> Option<Given> {
        given("--drain-timeout", &self.drain_timeout)
    }

    pub fn socket(&self) -> Option<Given> {
        given("--socket", &self.socket)
    }

    pub fn max_held_bytes(&self) -> Option<Given> {
        given("--max-held-bytes", &self.max_held_bytes)
    }

    pub fn log_level(&self) -> Option<Given> {
        given("--log-level", &self.log_level)
    }
}

fn given(option: &'static str, text: &Option<String>) -> Option<Given> {
    text.as_deref().map(|text| Given::on_command_line(option, text))
}

/// clap's message, tips included, without the usage, on one line.
fn refusal(mut error: clap::Error) -> Refusal {
    if let Some(tip) = way_out(&error) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let message: Vec<_> = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(|line| line.trim_start_matches("error: ").trim_start_matches("tip: "))
        .collect();
    Refusal::plain(format_args!("{}; see vmsgrd --help", message.join("; ")))
}

/// The option of what was written without one.
fn way_out(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument || word.starts_with('-') {
        return None;
    }
    Some(match word {
        word if word.contains('=') => format!("to listen: --listen {word}"),
        word if word.ends_with(".toml") => format!("for a configuration file: --config {word}"),
        _ => "to listen: --listen ADDR=SERVICE".to_owned(),
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The command line after the program's name.
    pub fn args(words: &[&str]) -> Args {
        match read(words) {
            Ok(Asked::Run(args)) => args,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    fn read(words: &[&str]) -> Result<Asked<Args>, Refusal> {
        Args::read(["vmsgrd"].iter().chain(words).map(OsString::from))
    }

    #[test]
    fn clap_finds_no_fault_with_the_definition() {
        Args::command().debug_assert();
    }

    #[test]
    fn long_and_short_options_say_the_same() {
        let long = args(&["--config", "f", "--listen", "a=echo", "--listen=b=discard"]);
        assert_eq!(long, args(&["-cf", "-la=echo", "-l", "b=discard"]));
        assert_eq!(long.listen.len(), 2);
    }

    #[test]
    fn bad_usage_is_one_line_that_names_the_option() {
        for (words, part) in [
            (&["--core-msk", "0x1"][..], "'--core-msk' found; a similar argument exists: '--core-"),
            (&["--core-mask"], "a value is required for '--core-mask <MASK>'"),
            (&["--check", "--check"], "'--check' cannot be used multiple times"),
            (&["--placement", "balanced", "--placement", "reuseport"], "multiple times"),
            (&["echo"], "unexpected argument 'echo' found; to listen: --listen ADDR=SERVICE;"),
            (&["127.0.0.1:0=echo"], "found; to listen: --listen 127.0.0.1:0=echo;"),
            (&["v.toml"], "found; for a configuration file: --config v.toml;"),
        ] {
            let text = read(words).unwrap_err().to_string();
            assert!(text.contains(part) && text.ends_with("; see vmsgrd --help"), "{text}");
            assert!(!text.contains("\\n") && !text.contains("error:"), "{text}");
        }
    }

    #[test]
    fn a_negative_number_reaches_the_range_check() {
        let given = args(&["--max-connections", "-5"]).max_connections().unwrap();
        assert!(given.number(&MAX_CONNECTIONS).unwrap_err().to_string().contains("\"-5\""));
    }

    #[test]
    fn help_and_version_are_printed() {
        let Ok(Asked::Print(help)) = read(&["--help"]) else { panic!() };
        for part in [
            "--core-mask",
            "ADDR=SERVICE",
            "Examples:",
            "nc 127.0.0.1 7400",
            "PATH|none",
            "SIGUSR1",
        ] {
            assert!(help.contains(part), "{help}");
        }
        let Ok(Asked::Print(version)) = read(&["--version"]) else { panic!() };
        assert_eq!(version.trim_end(), concat!("vmsgrd ", env!("CARGO_PKG_VERSION")));
    }
}
