//! `vmsgrctl`, for who runs storage servers: looks at them, and at what they say to each other.
//!
//! A subcommand each: `ceph_ping` asks a Ceph daemon what it offers and how fast it answers,
//! `ceph_tap` counts and times operations in a capture. `generate` and `manual` are the man page
//! and the completions. What any of them has to say goes through `standard_streams`.

mod ceph_ping;
mod ceph_tap;
// As vmsgrd has it.
#[path = "../../generate/mod.rs"]
mod generate;
mod manual;
// As vmsgrd has it.
#[path = "../../standard_streams.rs"]
mod standard_streams;
// What taps have seen is told in the same words as by the daemon.
#[path = "../../tap_report.rs"]
mod tap_report;

use crate::generate::Asked;
use crate::manual::MANUAL;
use clap::{Parser, Subcommand};
use std::env;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  vmsgrctl ceph-ping v2:127.0.0.1:3300/0
      What a Ceph daemon offers, and how fast it answers
  vmsgrctl ceph-tap osd.pcap
      What clients and daemons said to each other in a capture";

/// Looks at storage servers, and at what they say to each other.
#[derive(Debug, Parser)]
#[command(name = "vmsgrctl", version, max_term_width = 100, after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CephPing(ceph_ping::Args),
    CephTap(ceph_tap::Args),
}

fn main() -> ExitCode {
    let args: Args = match generate::read(env::args_os(), &MANUAL) {
        Ok(Asked::Run(args)) => args,
        Ok(Asked::Print(text)) => return standard_streams::answer("vmsgrctl", &text),
        // What is wrong with the command line clap says itself, and exits with 2.
        Err(error) => error.exit(),
    };
    match args.command {
        Command::CephPing(args) => ceph_ping::run(&args),
        Command::CephTap(args) => ceph_tap::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_finds_no_fault_with_the_definition() {
        Args::command().debug_assert();
    }

    #[test]
    fn no_line_of_an_example_or_a_code_is_broken_at_the_widest() {
        let mut command = Args::command();
        command.build();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
            }
        }
    }

    #[test]
    fn a_number_below_zero_is_out_of_range_and_no_option() {
        for option in ["--count", "--interval", "--timeout"] {
            let line = ["vmsgrctl", "ceph-ping", "127.0.0.1:1", option, "-1"];
            let error = Args::try_parse_from(line).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::ValueValidation, "{error}");
        }
    }
}
