//! The tool, run to its end.

use std::process::{Command, Output};

use crate::binary;
use crate::eventually::PATIENCE;
use crate::process::run;

/// Runs `vmsgrctl` with these arguments, after `wrapper` if that is not empty (`ip netns exec`).
///
/// # Panics
///
/// When it does not end in time.
#[track_caller]
pub fn vmsgrctl(wrapper: &[&str], arguments: &[&str]) -> Output {
    let mut command = match wrapper.split_first() {
        None => Command::new(binary::vmsgrctl()),
        Some((program, words)) => {
            let mut command = Command::new(program);
            command.args(words).arg(binary::vmsgrctl());
            command
        }
    };
    run(command.args(arguments), &[], PATIENCE)
}
