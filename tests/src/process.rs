//! Child processes that end with the test.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::counters::Counters;
use crate::eventually::eventually;
use crate::lines::Lines;

/// A running child with both its output streams captured. Dropping it kills it, by its own process
/// id, and shows the end of its output if the test is failing.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Process {
    /// Starts `command` without standard input.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let stdout = Lines::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::of(child.stderr.take().expect("stderr is piped"));
        Self { name, child, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written on standard output.
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// What it has written on standard error.
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When it is gone already.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a process id fits"));
        signal::kill(pid, signal)
            .unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// Its exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits until it has ended and all its output is captured.
    ///
    /// # Panics
    ///
    /// When it has not ended at the deadline.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        eventually(&format!("{} exits", self.name), deadline, || self.exited().is_some());
        assert!(
            self.stdout.wait_for_end(deadline) && self.stderr.wait_for_end(deadline),
            "{} left its output open to somebody else",
            self.name
        );
        self.exited().expect("it has ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither can fail in a way that matters: what is gone already needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for (stream, lines) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
                // Of the counters, which some tests ask for by the hundred, a failing test shows its
                // own.
                let mut lines = lines.all();
                lines.retain(|line| !Counters::is_line(line));
                let last = lines.len().saturating_sub(40);
                for line in &lines[last..] {
                    eprintln!("{} {stream}: {line}", self.name);
                }
            }
        }
    }
}

/// Runs `command` to its end with `input` on its standard input, and returns what it wrote.
///
/// # Panics
///
/// When it cannot be started, or has not ended at the deadline (it is killed then).
#[track_caller]
pub fn run(command: &mut Command, input: &[u8], deadline: Duration) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");

    thread::scope(|scope| {
        scope.spawn(move || {
            // A program that does not read all its input is no fault of the test's.
            let _ = stdin.write_all(input);
        });
        let stdout = scope.spawn(move || read_all(stdout));
        let stderr = scope.spawn(move || read_all(stderr));

        let started = std::time::Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break Some(status);
            }
            if started.elapsed() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let stdout = stdout.join().expect("the reader of stdout");
        let stderr = stderr.join().expect("the reader of stderr");
        let Some(status) = status else {
            panic!(
                "{name} has not ended within {deadline:?}\nstdout: {}\nstderr: {}",
                String::from_utf8_lossy(&stdout),
                String::from_utf8_lossy(&stderr)
            );
        };
        Output { status, stdout, stderr }
    })
}

fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // An error ends the output like an end of file; the exit status tells the rest.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}
