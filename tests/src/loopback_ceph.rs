//! A throw-away Ceph cluster on the loopback addresses that everybody has.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::eventually::{PATIENCE, eventually};
use crate::peer::peer;

/// A running monitor and OSD; both end with it.
#[derive(Debug)]
pub struct LoopbackCeph {
    folder: TempDir,
    /// Where the monitor listens.
    pub mon: SocketAddr,
    /// Where the OSD listens for clients.
    pub osd: SocketAddr,
    mon_pid: i32,
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("mini-ceph.sh"))
}

/// A port from which on some are free: the cluster takes the ports after its monitor's, too.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let port = listener.local_addr().expect("it is bound").port();
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if port < 60_000 && (1..10).all(|next| free(port + next)) {
            return port;
        }
    }
}

impl LoopbackCeph {
    /// Starts one with this authentication (`none`, `cephx`) and mode (`crc`, `secure`); `None` where
    /// Ceph's daemons are not installed, which has been reported then.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start(auth: &str, mode: &str) -> Option<Self> {
        for program in ["ceph-mon", "ceph-osd", "ceph"] {
            peer(program)?;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = script()
            .args(["start".as_ref(), cluster(&folder).as_os_str(), auth.as_ref(), mode.as_ref()])
            .env("MINI_CEPH_PORT", free_port().to_string())
            .output()
            .expect("the script runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("no {name} in {text}"))
        };
        let address = |name| value(name).parse().expect("an address");
        let (mon, osd) = (address("CEPH_MON_ADDR"), address("CEPH_OSD_ADDR"));
        let mon_pid = value("CEPH_MON_PID").parse().expect("a process id");
        Some(Self { folder, mon, osd, mon_pid })
    }

    /// Its configuration.
    pub fn conf(&self) -> PathBuf {
        cluster(&self.folder).join("ceph.conf")
    }

    /// Kills the monitor, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// When it does not go.
    pub fn kill_mon(&self) {
        let pid = Pid::from_raw(self.mon_pid);
        kill(pid, Signal::SIGKILL).expect("the monitor runs");
        eventually("the monitor's end", PATIENCE, || TcpListener::bind(self.mon).is_ok());
    }

    /// Starts the monitor again.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_mon(&mut self) {
        let status = peer("ceph-mon").expect("it ran before").command();
        let status = { status }.arg("-c").arg(self.conf()).args(["-i", "a"]).status();
        assert!(status.expect("it starts").success());
        let file = cluster(&self.folder).join("mon.a.pid");
        eventually("the monitor's process id", PATIENCE, || {
            let pid = std::fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse().ok());
            pid.is_some_and(|pid| std::mem::replace(&mut self.mon_pid, pid) != pid)
        });
    }
}

fn cluster(folder: &TempDir) -> PathBuf {
    folder.path().join("c")
}

impl Drop for LoopbackCeph {
    fn drop(&mut self) {
        // It ends its daemons by their pid files.
        let stopped = script().args(["stop".as_ref(), cluster(&self.folder).as_os_str()]).status();
        if !stopped.is_ok_and(|status| status.success()) {
            eprintln!("the cluster in {} was not stopped", cluster(&self.folder).display());
        }
    }
}
