//! What it takes to hand a core over.

use vmsgr_perf::hand_over;

use super::usable;
use crate::cli::HandOver;
use crate::failure::Failure::{self, Usage};
use crate::output::print;

/// Measures it, or is the process that is woken.
pub fn hand_over(arguments: &HandOver) -> Result<(), Failure> {
    usable("--core", Some(arguments.core)).map_err(Usage)?;
    if arguments.sleeper {
        return Ok(hand_over::sleep(arguments.core)?);
    }
    let report = hand_over::run(arguments.core, arguments.size as usize, arguments.rounds)?;
    Ok(print(&report)?)
}
