//! A throw-away Ceph cluster in a network of its own.

use std::fmt::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::eventually::{PATIENCE, eventually};
use crate::namespace::Namespace;
use crate::peer::peer;
use crate::process::run;

/// What starts and stops it.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mini-ceph.sh");

/// A cluster takes a few seconds to start, and more on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Its client commands may have to wait for a busy machine, too.
const COMMAND: Duration = Duration::from_secs(60);

/// A monitor and an OSD that keeps its objects in memory, with one pool, `test`. They end with this
/// guard.
#[derive(Debug)]
pub struct MiniCeph<'a> {
    namespace: &'a Namespace,
    folder: TempDir,
    env: String,
}

impl<'a> MiniCeph<'a> {
    /// Starts one in `namespace`, with authentication `none` or `cephx` and connections in mode
    /// `crc` or `secure`; `None`, reported as a skip, where Ceph is not installed.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[track_caller]
    pub fn start(namespace: &'a Namespace, auth: &str, mode: &str) -> Option<Self> {
        Self::start_with(namespace, auth, mode, &[])
    }

    /// The same, with variables of the script's.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[track_caller]
    pub fn start_with(
        namespace: &'a Namespace,
        auth: &str,
        mode: &str,
        variables: &[(&str, &str)],
    ) -> Option<Self> {
        for program in ["ceph-mon", "ceph-osd", "ceph", "rados"] {
            peer(program)?;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut cluster = Self { namespace, folder, env: String::new() };
        let output = cluster.start_script(&[auth, mode], variables);
        if !output.status.success() {
            let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
            let log = std::fs::read_to_string(cluster.path("start.log")).unwrap_or_default();
            let _ = write!(said, "{log}");
            panic!("no cluster: {said}");
        }
        cluster.env = String::from_utf8(output.stdout).expect("assignments");
        Some(cluster)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join("cluster").join(name).display().to_string()
    }

    fn start_script(&self, how: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.inside("bash");
        command.arg(SCRIPT).arg("start").arg(self.folder.path().join("cluster")).args(how);
        run(command.envs(variables.iter().copied()), &[], START)
    }

    fn inside(&self, program: &str) -> Command {
        let exec = self.namespace.exec();
        let mut command = Command::new(exec[0]);
        command.args(&exec[1..]).arg(program);
        command
    }

    /// What the script says of `name`: `CEPH_MON_ADDR`, `CEPH_OSD_ADDR`, ...
    ///
    /// # Panics
    ///
    /// When it says nothing.
    #[track_caller]
    pub fn env(&self, name: &str) -> &str {
        let value = |line: &'_ str| line.split_once('=').is_some_and(|(left, _)| left == name);
        let line = self.env.lines().find(|line| value(line));
        line.and_then(|line| line.split_once('=')).unwrap_or_else(|| panic!("no {name}")).1
    }

    /// Where the OSD listens for clients.
    ///
    /// # Panics
    ///
    /// When the script does not say it.
    #[track_caller]
    pub fn osd_port(&self) -> &str {
        self.env("CEPH_OSD_ADDR").rsplit_once(':').expect("a port").1
    }

    /// Runs one of Ceph's client programs on it, and returns what that wrote.
    ///
    /// # Panics
    ///
    /// When it fails.
    #[track_caller]
    pub fn client(&self, program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = self.inside(program);
        command.args(["-c", self.env("CEPH_CONF")]).args(arguments);
        let output = run(&mut command, input, COMMAND);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        output.stdout
    }

    /// The address of the OSD as its map has it: `v2:IP:PORT/NONCE`.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn osd_with_nonce(&self) -> String {
        let dump = String::from_utf8(self.client("ceph", &["osd", "dump"], &[])).expect("text");
        let address = dump
            .lines()
            .filter(|line| line.starts_with("osd.0 "))
            .flat_map(str::split_whitespace)
            .find(|word| word.trim_start_matches('[').starts_with("v2:"));
        address.expect("an address").trim_matches(['[', ']']).to_owned()
    }
}

/// A number that rados bench has printed after `label`.
///
/// # Panics
///
/// When there is none.
#[track_caller]
pub fn rados_said(output: &[u8], label: &str) -> u64 {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().find(|line| line.starts_with(label));
    let number = line.and_then(|line| line.rsplit([':', ' ']).find(|word| !word.is_empty()));
    number.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {label} in {text}"))
}

/// The monitor comes and goes.
impl MiniCeph<'_> {
    /// What its configuration says of `name`.
    ///
    /// # Panics
    ///
    /// When it says nothing.
    #[track_caller]
    pub fn conf(&self, name: &str) -> String {
        let conf = std::fs::read_to_string(self.path("ceph.conf")).expect("a configuration");
        let line = conf.lines().filter_map(|line| line.split_once(" = "));
        line.filter(|(left, _)| *left == name)
            .map(|(_, right)| right.to_owned())
            .next()
            .expect(name)
    }

    /// Kills the monitor. Its clients' connections are reset by then or about to be.
    ///
    /// # Panics
    ///
    /// When it does not run.
    #[track_caller]
    pub fn kill_mon(&self) {
        let pid = std::fs::read_to_string(self.path("mon.a.pid")).expect("a process id");
        let pid = Pid::from_raw(pid.trim().parse().expect("a process id"));
        kill(pid, Signal::SIGKILL).expect("it runs");
        let address: SocketAddr = self.env("CEPH_MON_ADDR").parse().expect("an address");
        eventually("the monitor's end", PATIENCE, || {
            self.namespace.enter(|| TcpStream::connect(address).is_err())
        });
    }

    /// Starts the monitor again; it is in the background then.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[track_caller]
    pub fn start_mon(&self) {
        let mut command = self.inside("ceph-mon");
        command.args(["-c", self.env("CEPH_CONF"), "-i", "a"]);
        let output = run(&mut command, &[], START);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ceph-mon: {error}");
    }
}

impl Drop for MiniCeph<'_> {
    fn drop(&mut self) {
        let folder = self.folder.path().join("cluster");
        let mut command = self.inside("bash");
        // Nothing to be done about a cluster that does not stop.
        let _ = command.arg(SCRIPT).arg("stop").arg(folder).status();
    }
}
