//! The daemon with several spin windows.

use vmsgr_perf::spin;

use super::{place, stop_on_signals, warn_of_a_debug_build};
use crate::cli::Spin;
use crate::failure::Failure::{self, Usage};
use crate::output::{create, print, save, write};

/// Draws latency and CPU over request rates.
pub fn spin(arguments: Spin) -> Result<(), Failure> {
    warn_of_a_debug_build();
    let stop = stop_on_signals()?;
    let options = spin::Options {
        rounds: arguments.rounds,
        duration: arguments.seconds,
        attempts: arguments.attempts,
        place: place(arguments.place)?,
    };
    options.place.check_cores().map_err(Usage)?;
    options.place.check_vmsgrd("or name another with --vmsgrd").map_err(Usage)?;
    // Before the minutes that it takes, not after.
    create(&arguments.out).map_err(Usage)?;
    let report = spin::run(&options, &stop)?;
    print(&report)?;
    write(&arguments.out.join("spin.svg"), &report.picture().to_string())?;
    Ok(save(&arguments.out.join("spin.json"), &report)?)
}
