//! A load's file: what was measured, and by what, with what, when.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::{Timestamp, Unit};
use serde::Serialize;
use vmsgr_perf::suite::machine::Machine;
use vmsgr_perf::suite::report::command_line;

use crate::output;

/// What a file holds beside what was measured.
#[derive(Debug, Serialize)]
struct Saved<'a, O, T> {
    date: String,
    machine: Machine,
    command: String,
    /// All of them, also those that nobody gave.
    options: &'a O,
    #[serde(flatten)]
    outcome: &'a T,
}

/// Makes sure that `path` can be written, before it is measured and not after. What it holds stays.
pub fn prepare(path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes what these options have brought.
pub fn save(path: Option<&Path>, options: &impl Serialize, outcome: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let saved = Saved {
        date: Timestamp::now().round(Unit::Second)?.to_string(),
        machine: Machine::here(),
        command: command_line(),
        options,
        outcome,
    };
    output::save(path, &saved)
}
