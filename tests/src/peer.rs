//! Programs that the tests talk with, and what to do without them.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Pid, geteuid};

/// The programs that tests look for, each with the Debian package that brings it.
pub const PACKAGES: [(&str, &str); 23] = [
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("redis-cli", "redis-tools"),
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("ab", "apache2-utils"),
    ("iperf3", "iperf3"),
    ("strace", "strace"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("cc", "build-essential"),
    ("pkg-config", "pkgconf"),
    ("valgrind", "valgrind"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("groff", "groff-base"),
    ("bash", "bash"),
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("ceph-mon", "ceph-mon"),
    ("ceph-osd", "ceph-osd"),
    ("ceph", "ceph-common"),
    ("rados", "ceph-common"),
];

/// A program of somebody else's that is installed here.
#[derive(Debug, Clone)]
pub struct Peer {
    path: PathBuf,
}

impl Peer {
    /// A command that runs it.
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }
}

/// Finds a program of [`PACKAGES`]. Where it is not installed the test is to return: `None` has been
/// reported as `skipped: needs nginx (Debian package nginx-light)` by then.
///
/// # Panics
///
/// When it is not installed and `VMSGR_REQUIRE_PEERS=1` says that it has to be.
#[track_caller]
pub fn peer(name: &str) -> Option<Peer> {
    let package = PACKAGES.iter().find(|(program, _)| *program == name).map(|(_, package)| package);
    let package = package.unwrap_or_else(|| panic!("{name} is not in PACKAGES"));
    // Servers lie in the sbin folders, which not every user has on the path.
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = env::split_paths(&path)
        .chain(sbin)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .map(|path| Peer { path });
    if found.is_none() {
        skip(&format!("needs {name} (Debian package {package})"));
    }
    found
}

/// Whether this is root, as network namespaces need; reports the test as skipped otherwise.
///
/// # Panics
///
/// When it is not and `VMSGR_REQUIRE_PEERS=1` is set.
#[track_caller]
pub fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        skip("needs root (for a network namespace of its own)");
    }
    root
}

/// A core mask of two cores that this process may use, as `--core-mask` takes it; on a machine with
/// fewer the test is reported as skipped.
///
/// # Panics
///
/// When there is only one and `VMSGR_REQUIRE_PEERS=1` is set.
#[track_caller]
pub fn two_cores() -> Option<String> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("a process knows its cores");
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    let (first, second) = (cores.next(), cores.next());
    if let (Some(first), Some(second)) = (first, second) {
        return Some(format!("{first},{second}"));
    }
    skip("needs two cores");
    None
}

/// Reports the running test as skipped, with what it needs.
///
/// # Panics
///
/// When `VMSGR_REQUIRE_PEERS=1` says that nothing may be skipped.
#[track_caller]
pub fn skip(reason: &str) {
    assert!(env::var_os("VMSGR_REQUIRE_PEERS").is_none_or(|value| value != "1"), "{reason}");
    report(&format!("skipped: {reason}"));
}

/// Says something about the running test that is to be seen even when it passes. (The test harness
/// captures `println!`, but not what is written to the stream itself.)
pub fn report(text: &str) {
    let test = thread::current().name().unwrap_or("test").to_owned();
    // Nobody can be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{test}: {text}");
}

#[cfg(test)]
mod tests {
    use super::PACKAGES;

    #[test]
    fn the_readme_names_every_package() {
        let readme = include_str!("../README.md");
        let install = readme.lines().find_map(|line| line.trim().strip_prefix("apt-get install "));
        let install: Vec<_> = install.expect("the command").split(' ').collect();
        for (program, package) in PACKAGES {
            assert!(install.contains(&package), "{package} for {program} is not in README.md");
        }
    }
}
