//! A network of the test's own.

use std::fs::File;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::eventually::PATIENCE;
use crate::peer::{Peer, is_root, peer};
use crate::process::run;

/// A network namespace with a loopback that is up, and nothing else. It is removed with this guard,
/// with all addresses and firewall rules in it.
#[derive(Debug)]
pub struct Namespace {
    ip: Peer,
    name: String,
}

impl Namespace {
    /// Makes one; `None`, reported as a skip, without root or `ip`.
    ///
    /// # Panics
    ///
    /// When the kernel has none to give, or something is missing that `VMSGR_REQUIRE_PEERS=1` requires.
    #[track_caller]
    pub fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        if !is_root() {
            return None;
        }
        let ip = peer("ip")?;
        let name = format!("vmsgr-{}-{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        succeed(ip.command().args(["netns", "add", &name]));
        let namespace = Self { ip, name };
        namespace.run(&["ip", "link", "set", "lo", "up"]);
        Some(namespace)
    }

    /// What to put before a command for it to run in here.
    pub fn exec(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Runs a command in here.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    pub fn run(&self, command: &[&str]) {
        succeed(self.ip.command().args(["netns", "exec", &self.name]).args(command));
    }

    /// From here on, connections made in here that `which`, of a rule of nftables, holds for come to
    /// this port of their host.
    ///
    /// # Panics
    ///
    /// When it cannot be told.
    #[track_caller]
    pub fn redirect(&self, which: &str, port: u16) {
        // What is there already is added once.
        self.run(&["nft", "add", "table", "ip", "vmsgr"]);
        let chain = "{ type nat hook output priority -100; }";
        self.run(&["nft", "add", "chain", "ip", "vmsgr", "output", chain]);
        let rule = format!("{which} redirect to :{port}");
        self.run(&["nft", "add", "rule", "ip", "vmsgr", "output", &rule]);
    }

    /// Runs `task` in here. The sockets that it makes stay in here, wherever they are used later.
    ///
    /// # Panics
    ///
    /// When `task` does.
    #[track_caller]
    pub fn enter<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        // A namespace is entered by a thread; this one is never seen outside again.
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace = File::open(format!("/run/netns/{}", self.name))
                    .expect("a namespace made by ip has its file");
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
                task()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing to be done about a namespace that does not go away.
        let _ = self.ip.command().args(["netns", "delete", &self.name]).status();
    }
}

#[track_caller]
fn succeed(command: &mut Command) {
    let output = run(command, &[], PATIENCE);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}
