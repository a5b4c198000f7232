//! `ceph-tap`: what Ceph's clients and daemons said to each other, from a capture.
//!
//! `capture` reads packets from the file, `segment` finds TCP in them, `direction` puts the bytes
//! in order, `connections` gives them to the taps, `table` is what is printed for people.

mod capture;
mod connections;
mod direction;
mod segment;
mod table;

use self::connections::{Connections, Said};
use self::table::Table;
use crate::standard_streams::{self, say};
use crate::tap_report;
use serde_json::json;
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Counts and times the operations of Ceph's clients in a capture.
///
/// Reads pcap or pcapng, of Ethernet, loopback, "any" and raw IP. Connections count from their
/// beginning: those that were under way when the capture began are passed over, and so are those
/// that are encrypted, both of which is said.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The capture; '-' for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one object of JSON instead of a table: what the daemon's counters have under "tap",
    /// times in microseconds, and under "capture" what is missing.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  tcpdump -i any -s 0 -w osd.pcap tcp port 6801
      Makes a capture. Whole packets are needed: -s 0
  vmsgrctl ceph-tap osd.pcap
      What was said in it
  tcpdump -i lo -s 0 -w - tcp port 6801 | vmsgrctl ceph-tap -
      Until Ctrl-C ends tcpdump
  vmsgrctl ceph-tap --json osd.pcap | jq .operations.write.p99_us
      One of the facts of the table, for a program

Exit codes:
  0  read to its end
  1  the capture is damaged, or is none; what was read of it before is shown;
     or what was found cannot be written
  2  bad command line, or the file cannot be opened or is a directory";

/// The file that stands for it.
const STANDARD_INPUT: &str = "-";

/// Connections about which something is said one by one.
const MOST_SAID: u64 = 20;

/// Does it; the exit code.
pub fn run(args: &Args) -> ExitCode {
    let file = match open(&args.file) {
        Ok(file) => file,
        Err(error) => {
            say(format_args!("vmsgrctl: {}: {error}", name(&args.file)));
            return ExitCode::from(2);
        }
    };
    let mut connections = Connections::default();
    let (mut said, mut packets) = (0, 0u64);
    let read = capture::read(file, |packet| {
        packets += 1;
        let Some(segment) = segment::of_packet(packet.link, packet.data) else { return };
        let Some(what) = connections.take(packet.time, &segment) else { return };
        said += 1;
        if said <= MOST_SAID {
            let (from, to) = (segment.from, segment.to);
            match what {
                Said::Gap => {
                    say(format_args!("{from} > {to}: bytes are missing; not followed further"));
                }
                Said::Blind(reason) => {
                    say(format_args!("{from} > {to}: not followed further: {reason}"));
                }
            }
        }
    });
    if said > MOST_SAID {
        say(format_args!("... and {} more", said - MOST_SAID));
    }
    let text = match args.json {
        true => json(&mut connections, read.as_ref().err()),
        // What is no capture has nothing to show.
        false if read.is_err() && packets == 0 => String::new(),
        false => table(&mut connections),
    };
    if let Err(error) = standard_streams::print(&text) {
        say(format_args!("vmsgrctl: standard output: {error}"));
        return ExitCode::FAILURE;
    }
    match read {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            say(format_args!("vmsgrctl: {}: {reason}", name(&args.file)));
            ExitCode::FAILURE
        }
    }
}

/// What messages call it.
fn name(path: &Path) -> Cow<'_, str> {
    match path == Path::new(STANDARD_INPUT) {
        true => "standard input".into(),
        false => path.to_string_lossy(),
    }
}

/// The capture, or standard input. A folder can be opened, too, but not read.
fn open(path: &Path) -> io::Result<File> {
    let file = match path == Path::new(STANDARD_INPUT) {
        true => File::from(io::stdin().as_fd().try_clone_to_owned()?),
        false => File::open(path)?,
    };
    match file.metadata()?.is_dir() {
        true => Err(io::Error::other("it is a directory")),
        false => Ok(file),
    }
}

/// The same facts for programs; and what is wrong with the capture, if it is.
fn json(connections: &mut Connections, error: Option<&String>) -> String {
    let mut all = tap_report::json(&connections.end());
    let Connections { gaps, strays, too_many, .. } = connections;
    all["capture"] =
        json!({ "gaps": gaps, "strays": strays, "too_many": too_many, "error": error });
    format!("{all}\n")
}

fn table(connections: &mut Connections) -> String {
    let sums = connections.end();
    let mut text = format!(
        "{} connections, of them {} encrypted, {} compressed, {} not understood or with gaps\n",
        sums.connections, sums.blind.secure, sums.blind.compressed, sums.blind.broken
    );
    let Connections { gaps, strays, too_many, .. } = connections;
    for (count, what) in [
        (*gaps, "connections of which bytes are missing"),
        (*strays, "segments of connections whose beginning is not there"),
        (*too_many, "connections not followed, since too many were open"),
    ] {
        if count > 0 {
            text += &format!("{count} {what}\n");
        }
    }
    text + &format!("\n{}", Table(&sums))
}
