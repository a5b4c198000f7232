//! `vmsgr-bench`: see the library's documentation for what is behind each subcommand.

mod cli;
mod commands;
mod failure;
// As vmsgrd has it.
#[path = "../../daemon/src/generate/mod.rs"]
mod generate;
mod manual;
mod output;
mod progress;
mod saved;
// As vmsgrd has it.
#[path = "../../daemon/src/unbound.rs"]
mod unbound;

use std::process::ExitCode;

use vmsgr_perf::{frames, standard_streams};

use cli::{Cli, Command};
use commands::{hand_over, load, serve, spin, suite};
use failure::Failure;

fn main() -> ExitCode {
    let cli: Cli = match generate::read(std::env::args_os(), &manual::MANUAL) {
        Ok(generate::Asked::Run(cli)) => cli,
        Ok(generate::Asked::Print(text)) => return standard_streams::answer("vmsgr-bench", &text),
        Err(error) => error.exit(),
    };
    let done = match cli.command {
        Command::Load(arguments) => load::load(&arguments),
        Command::Osd(arguments) => load::osd(&arguments),
        Command::Suite(arguments) => suite::suite(arguments),
        Command::Spin(arguments) => spin::spin(arguments),
        Command::Compare(arguments) => suite::compare(&arguments),
        Command::Merge(arguments) => suite::merge(&arguments),
        Command::Frames(arguments) => {
            output::print(&frames::run(arguments.rounds)).map_err(Failure::from)
        }
        Command::HandOver(arguments) => hand_over::hand_over(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.told(),
    }
}
