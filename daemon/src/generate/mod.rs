//! `--generate`: the man page and the completions of shells, made from the definition of the
//! command line, so that they say what `--help` says.
//!
//! All programs of the workspace have it from here, whichever else they take on the command line.

mod man_page;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser, ValueEnum, value_parser};
use clap_complete::{Shell, generate};
use std::ffi::OsString;

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked<T> {
    /// To do what the program is for.
    Run(T),
    /// To print this and exit.
    Print(String),
}

/// What the man page says beyond the help.
#[derive(Debug)]
pub struct Manual {
    /// Section of the manual: "1" for a tool, "8" for a daemon.
    pub section: &'static str,
    /// More sections, written like those after the help: a heading with a colon, below it entries
    /// indented by two, their text two spaces behind them or, indented more, in the lines that
    /// follow.
    pub sections: &'static str,
}

/// What can be generated.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Man,
    Bash,
    Zsh,
    Fish,
}

const OPTION: &str = "generate";

/// Reads a command line, the program's name first.
///
/// # Errors
/// What clap has to say about it; the help and the version, too.
pub fn read<T: Parser>(
    line: impl IntoIterator<Item = OsString>,
    manual: &Manual,
) -> Result<Asked<T>, clap::Error> {
    let mut command = with_option(T::command());
    let matches = command.clone().try_get_matches_from(line);
    let mut matches = matches.map_err(|error| with_subcommands(error, &command))?;
    if let Some(&what) = matches.get_one(OPTION) {
        return Ok(Asked::Print(text(what, command, manual)));
    }
    T::from_arg_matches_mut(&mut matches)
        .map(Asked::Run)
        .map_err(|error| error.format(&mut command))
}

/// Who asks for a subcommand that there is not is told those that there are.
fn with_subcommands(mut error: clap::Error, command: &Command) -> clap::Error {
    if error.kind() == ErrorKind::InvalidSubcommand {
        let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        let tip = format!("subcommands are {}", names.join(", "));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Where it is given, nothing else may be, and so nothing else must be.
fn with_option(command: Command) -> Command {
    let option = Arg::new(OPTION)
        .long(OPTION)
        .value_name("man|bash|zsh|fish")
        .value_parser(value_parser!(What))
        .hide_possible_values(true)
        .exclusive(true)
        .help("Print the man page, or the completions of a shell, and exit");
    command.arg(option).args_conflicts_with_subcommands(true).subcommand_required(false)
}

fn text(what: What, mut command: Command, manual: &Manual) -> String {
    let shell = match what {
        What::Man => return man_page::of(command, manual),
        What::Bash => Shell::Bash,
        What::Zsh => Shell::Zsh,
        What::Fish => Shell::Fish,
    };
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(shell, &mut command, &name, &mut script);
    let script = String::from_utf8_lossy(&script);
    match shell {
        Shell::Bash => with_matching_labels(&script, &name),
        _ => script.into_owned(),
    }
}

/// Of a program with a hyphen in its name, clap_complete's script for bash enters the state of a
/// subcommand under one name and looks for it under another (clap-rs/clap#6421).
fn with_matching_labels(script: &str, name: &str) -> String {
    let label = |hyphen| name.replace('-', hyphen) + "__subcmd__";
    script.replace(&label("__subcmd__"), &label("__"))
}
