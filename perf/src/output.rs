//! What is printed, and what is written into files.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use vmsgr_perf::standard_streams;

/// Prints it; nobody need read it, and files are still to be written.
pub fn print(text: &(impl Display + ?Sized)) -> Result<()> {
    standard_streams::print(text).map(drop).context("standard output")
}

/// Makes a folder, unless it is there.
pub fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Writes a file of JSON.
pub fn save(path: &Path, report: &impl Serialize) -> Result<()> {
    write(path, &(serde_json::to_string_pretty(report)? + "\n"))
}

/// Writes a file.
pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
