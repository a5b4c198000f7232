//! What generator and servers ask of the machine before they start: a core, and descriptors.

use anyhow::{Context, Result, bail};
use core_affinity::CoreId;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// The lowest priority.
const NICEST: i32 = 19;

/// Pins the calling thread to `core`.
///
/// # Errors
/// When this process may not use that core; the error names those it may.
pub fn pin(core: usize) -> Result<()> {
    check(core)?;
    move_to(core)
}

/// As [`pin`], for a thread that was pinned before, or was started by one that was: it is told of no
/// other core, but may go there.
///
/// # Errors
/// When this process may not use that core.
pub fn move_to(core: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &only))
        .with_context(|| format!("cannot pin to core {core}"))
}

/// From now on the calling thread runs when nobody else on its core wants to, and others need not
/// wait until its turn is over: for who never sleeps beside those who do. Without it each of their
/// wakeups may take some milliseconds.
///
/// # Errors
/// When the kernel refuses, which it does not for this.
pub fn give_way() -> Result<()> {
    // On Linux it is the thread's, not the process's.
    rustix::process::nice(NICEST).context("cannot give way to others")?;
    Ok(())
}

/// Fails when this process may not use `core`.
///
/// # Errors
/// As the one line says; the error names the cores that are allowed.
pub fn check(core: usize) -> Result<()> {
    let allowed = core_affinity::get_core_ids().context("sched_getaffinity failed")?;
    if !allowed.contains(&CoreId { id: core }) {
        let ids: Vec<String> = allowed.iter().map(|core| core.id.to_string()).collect();
        bail!("core {core} is not one this process may use: {}", ids.join(", "));
    }
    Ok(())
}

/// Raises the soft limit on open descriptors to the hard one, and returns it.
///
/// # Errors
/// When the kernel refuses, which it does not for this.
pub fn raise_descriptor_limit() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise RLIMIT_NOFILE")?;
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_does_not_exist_is_named() {
        let error = pin(100_000).unwrap_err().to_string();
        assert!(error.starts_with("core 100000 is not one this process may use: "), "{error}");
    }
}
