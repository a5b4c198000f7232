//! Descriptors of this process, which all tests in it share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the tests that run beside one with many descriptors may need of them.
pub const OTHERS: u64 = 5000;

/// Raises this process's limit of descriptors as far as it may, for tests with many connections.
/// Returns the limit.
pub fn raise_descriptor_limit() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a process knows its limits");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit is allowed");
    hard
}

/// Until this goes, no other test runs that holds ten thousand descriptors.
pub fn ten_thousand() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
