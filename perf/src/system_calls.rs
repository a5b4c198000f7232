//! How many system calls a process makes, counted from outside.
//!
//! By the kernel's tracepoint, for which one has to be root or to have CAP_PERFMON and a readable
//! tracefs: it costs the process some 100 ns a call. Else by strace, for which the process has to
//! be ours and `kernel.yama.ptrace_scope` 0: it makes it several times slower, and so more
//! messages share a call than would without. Nobody should be measured meanwhile.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// Number of the tracepoint at the beginning of each call: where tracefs is, and where it was.
const TRACEPOINT: [&str; 2] = [
    "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
    "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id",
];

/// Who counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Means {
    /// The kernel.
    Tracepoint,
    /// strace.
    Strace,
}

/// Counts from when it was begun until it is read.
#[derive(Debug)]
pub enum Count {
    /// A counter for each thread that there was.
    Tracepoint(Vec<Counter>),
    /// A process that watches, and the file that it will write.
    Strace(Strace),
}

/// A running strace. Dropping it ends it.
#[derive(Debug)]
pub struct Strace {
    child: Child,
    summary: NamedTempFile,
}

impl Count {
    /// Begins to count the calls of all threads of `pid`.
    ///
    /// # Errors
    /// When neither way is open; the error says what each would need.
    pub fn begin(pid: u32) -> Result<Self> {
        let by_kernel = match tracepoints(pid) {
            Ok(counters) => return Ok(Self::Tracepoint(counters)),
            Err(error) => error,
        };
        Strace::begin(pid).map(Self::Strace).map_err(|by_strace| {
            anyhow!(
                "no tracepoints ({by_kernel:#}; run as root), no strace ({by_strace:#}; apt-get \
                 install strace, sysctl kernel.yama.ptrace_scope=0)"
            )
        })
    }

    /// Who counts.
    pub fn means(&self) -> Means {
        match self {
            Self::Tracepoint(_) => Means::Tracepoint,
            Self::Strace(_) => Means::Strace,
        }
    }

    /// How many there were.
    ///
    /// # Errors
    /// When who counts cannot tell.
    pub fn end(self) -> Result<u64> {
        match self {
            Self::Tracepoint(mut counters) => {
                let counts = counters.iter_mut().map(Counter::read);
                Ok(counts.sum::<std::io::Result<u64>>()?)
            }
            Self::Strace(strace) => strace.end(),
        }
    }
}

fn tracepoints(pid: u32) -> Result<Vec<Counter>> {
    let id = TRACEPOINT.iter().find_map(|path| fs::read_to_string(path).ok());
    let id = id.context("/sys/kernel/tracing cannot be read")?;
    let event = Tracepoint::with_id(id.trim().parse()?);
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?;
    let counter = |thread: std::io::Result<fs::DirEntry>| -> Result<Counter> {
        let thread = thread?.file_name().to_string_lossy().parse()?;
        let mut builder = Builder::new(event);
        // A call counts as something that the kernel does.
        let mut counter =
            builder.observe_pid(thread).include_kernel().build().context("perf_event_open")?;
        counter.enable()?;
        Ok(counter)
    };
    threads.map(counter).collect()
}

impl Strace {
    fn begin(pid: u32) -> Result<Self> {
        let summary = NamedTempFile::with_prefix("vmsgr-bench-strace-")?;
        let mut command = Command::new("strace");
        command.env("LC_ALL", "C").args(["-f", "-c", "-p", &pid.to_string(), "-o"]);
        command.arg(summary.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().context("it cannot be started")?;
        let stderr = child.stderr.take().context("no stderr")?;
        let strace = Self { child, summary };
        // It says so when it watches, and why it does not.
        let mut line = String::new();
        BufReader::new(stderr).read_line(&mut line)?;
        if !line.contains("attached") {
            bail!("{}", line.trim());
        }
        Ok(strace)
    }

    fn end(mut self) -> Result<u64> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT)?;
        self.child.wait()?;
        let summary = fs::read_to_string(self.summary.path())?;
        // Nothing was called: no table.
        if summary.trim().is_empty() {
            return Ok(0);
        }
        parse_total(&summary).context("strace has written no sum")
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It lets go of the process when it is killed, too.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Of the last line of `strace -c`: `100.00 0.000123 4 28 3 total`, where the figures are percent,
/// seconds, microseconds per call, calls, and errors if there were any.
fn parse_total(summary: &str) -> Option<u64> {
    let line = summary.lines().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn totals_with_and_without_errors() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     100.00    0.000010           5         2           write\n\
                     ------ ----------- ----------- --------- --------- ----------------\n";
        let with = format!("{table}100.00    0.000010           5         2         1 total\n");
        let without = format!("{table}100.00    0.000010           5        31           total\n");
        assert_eq!((parse_total(&with), parse_total(&without)), (Some(2), Some(31)));
        assert_eq!(parse_total(table), None);
    }

    /// Only where one of the ways is open: as root it is.
    #[test]
    fn calls_of_another_process_are_counted() {
        let script = "while :; do read -r _ </proc/self/stat; done";
        let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let counted = Count::begin(child.id()).and_then(|count| {
            thread::sleep(Duration::from_millis(50));
            count.end()
        });
        child.kill().unwrap();
        child.wait().unwrap();
        match counted {
            Ok(calls) => assert!(calls > 20, "{calls}"),
            Err(error) => assert!(error.to_string().contains("run as root"), "{error:#}"),
        }
        assert!(Count::begin(child.id()).is_err());
    }
}
