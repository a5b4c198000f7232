//! Waiting for a condition with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that should happen at once. Generous: the machine may be
/// running three other tests, and the deadline costs nothing when the condition comes true.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Returns as soon as `condition` holds.
///
/// # Panics
///
/// When it still does not hold at the deadline; `what` names it in the message.
#[track_caller]
pub fn eventually(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
