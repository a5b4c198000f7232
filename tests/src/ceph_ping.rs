//! Ceph's own client, pinging a monitor that a test plays.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::thread::{self, JoinHandle};

use crate::eventually::PATIENCE;
use crate::peer::peer;
use crate::process::run;

/// It runs again so often when it has crashed.
const MOST_CRASHES: usize = 3;

/// What it has said in the end.
#[derive(Debug)]
pub struct Pinged {
    /// The monitor's answer.
    pub text: String,
    /// How often it was killed by a signal before: its threads race at its end, and now and then one
    /// reads what is gone (a segmentation fault of `msgr-worker` in libceph-common).
    pub crashes: usize,
}

/// Has it ping the monitor there; `None`, reported as a skip, where Ceph is not installed. The thread
/// panics if the client fails.
pub fn ceph_ping(address: SocketAddr) -> Option<JoinHandle<Pinged>> {
    let ceph = peer("ceph")?;
    Some(thread::spawn(move || {
        let mut crashes = 0;
        loop {
            let mut command = ceph.command();
            command
                .args(["--conf", "/dev/null", "--auth_client_required", "none"])
                .args(["--name", "client.admin", "--mon_host", &format!("[v2:{address}/0]")])
                .args(["ping", "mon.noname-a"]);
            let output = run(&mut command, &[], PATIENCE);
            if output.status.signal().is_some() && crashes < MOST_CRASHES {
                crashes += 1;
                continue;
            }
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {text}{errors}", output.status);
            return Pinged { text, crashes };
        }
    }))
}
