//! How many instructions it takes to parse what others have written, one scenario per argument.
//!
//! `.ci/instructions` runs it under callgrind and compares the counts with `baseline.txt`. Whatever is
//! parsed here is checked as well: a peer or an application may have written anything.

mod frames;
#[path = "../../../reactor/benches/harness/mod.rs"]
mod harness;
mod segment;
mod sessions;
mod shm;

use std::process::ExitCode;

use harness::Scenario;
// Where the files of the messenger look for it.
use vmsgr_messenger::msgr2;

const SCENARIOS: [Scenario; 11] = [
    ("frame_crc", 1, frames::crc),
    ("frame_crc_in_pieces", 1, frames::crc_in_pieces),
    ("frame_secure", 1, frames::secure),
    ("tap_frame", 1, frames::tapped),
    ("control_decode", sessions::KINDS, sessions::control_decode),
    ("control_encode", sessions::KINDS, sessions::control_encode),
    ("handshake", 1, sessions::handshake),
    ("keepalive", 1, sessions::keepalive),
    ("segment_job", 1, segment::job),
    ("segment_number", 1, segment::number),
    ("segment_part", 1, segment::part),
];

fn main() -> ExitCode {
    harness::main(&SCENARIOS)
}
