//! The system calls of a running process, as strace sees them.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::eventually::{PATIENCE, eventually};
use crate::peer::peer;
use crate::process::Process;

/// Watches processes, all of their threads, until it goes.
#[derive(Debug)]
pub struct SystemCalls {
    tracer: Process,
    folder: TempDir,
    /// Bytes of the trace that were there when the processes slept.
    seen: u64,
}

impl SystemCalls {
    /// Of these; `None`, reported as a skip, without strace.
    ///
    /// # Panics
    ///
    /// When it may not watch them.
    #[track_caller]
    pub fn of(pids: &[u32]) -> Option<Self> {
        let strace = peer("strace")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = strace.command();
        command.arg("-f").env("LC_ALL", "C");
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let tracer = Process::spawn(command.arg("-o").arg(folder.path().join("trace")));
        eventually("strace is attached", PATIENCE, || {
            let lines = tracer.stderr().all();
            lines.iter().filter(|line| line.contains("attached")).count() >= pids.len()
        });
        Some(Self { tracer, folder, seen: 0 })
    }

    fn trace(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    /// Bytes of the trace so far.
    fn length(&self) -> u64 {
        fs::metadata(self.trace()).map(|file| file.len()).unwrap_or_default()
    }

    /// Waits until the processes sleep, and then for so long that they go on to.
    ///
    /// # Panics
    ///
    /// When they do not.
    #[track_caller]
    pub fn expect_none(&mut self, window: Duration) {
        // To attach interrupts each thread once; wait until they are back in their sleep.
        let mut seen = self.length();
        eventually("the traced threads sleep", PATIENCE, || {
            thread::sleep(Duration::from_millis(500));
            let before = std::mem::replace(&mut seen, self.length());
            before == seen
        });
        self.seen = seen;
        thread::sleep(window);
        let trace = fs::read(self.trace()).expect("the trace");
        let calls = String::from_utf8_lossy(&trace[usize::try_from(seen).expect("a length")..]);
        assert!(calls.is_empty(), "system calls while idle:\n{calls}");
    }

    /// Waits for some since then: the tracer is not deaf.
    ///
    /// # Panics
    ///
    /// When there are none.
    #[track_caller]
    pub fn expect_some(mut self) {
        eventually("the trace of what they did", PATIENCE, || self.length() > self.seen);
        self.tracer.signal(Signal::SIGINT);
        self.tracer.wait(PATIENCE);
    }
}
