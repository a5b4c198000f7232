//! How many system calls a process makes, counted from outside.
//!
//! By the kernel's tracepoint, for which one has to be root or to have CAP_PERFMON and a readable
//! tracefs: it costs the process some 100 ns a call. Else by strace, for which the process has to
//! be ours and `kernel.yama.ptrace_scope` 0: it makes it several times slower, and so more
//! messages share a call than would without. Nobody should be measured meanwhile.

mod filter;

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

/// The tracepoints at the beginning and at the end of each call: where tracefs is, and where it
/// was.
const TRACEPOINTS: [&str; 2] =
    ["/sys/kernel/tracing/events/raw_syscalls", "/sys/kernel/debug/tracing/events/raw_syscalls"];

/// Who counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// A counter for each thread that there was: of all calls, and of those that found nothing,
    /// where the kernel can tell.
    Tracepoint(Vec<Counter>, Option<Vec<Counter>>),
    /// A process that watches, and the file that it will write.
    Strace(Strace),
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// System calls.
    pub calls: u64,
    /// Those of them that found nothing: waits that only the time ended, reads that would have had
    /// to wait. None where it cannot be told.
    pub found_nothing: Option<u64>,
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
            Ok(count) => return Ok(count),
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
            Self::Tracepoint(..) => Means::Tracepoint,
            Self::Strace(_) => Means::Strace,
        }
    }

    /// How many there were.
    ///
    /// # Errors
    /// When who counts cannot tell.
    pub fn end(self) -> Result<Counted> {
        match self {
            Self::Tracepoint(calls, found_nothing) => {
                let sum = |mut counters: Vec<Counter>| {
                    counters.iter_mut().map(Counter::read).sum::<std::io::Result<u64>>()
                };
                let found_nothing = found_nothing.map(sum).transpose()?;
                Ok(Counted { calls: sum(calls)?, found_nothing })
            }
            Self::Strace(strace) => Ok(Counted { calls: strace.end()?, found_nothing: None }),
        }
    }
}

fn tracepoints(pid: u32) -> Result<Count> {
    let thread = |entry: std::io::Result<fs::DirEntry>| -> Result<i32> {
        Ok(entry?.file_name().to_string_lossy().parse()?)
    };
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?.map(thread);
    of_threads(&threads.collect::<Result<Vec<_>>>()?)
}

fn of_threads(threads: &[i32]) -> Result<Count> {
    let calls = enabled(counters(threads, "sys_enter")?)?;
    // Not every kernel filters; that is no reason to count nothing.
    let found_nothing = counters(threads, "sys_exit").and_then(|counters| {
        counters.iter().try_for_each(filter::found_nothing)?;
        enabled(counters)
    });
    Ok(Count::Tracepoint(calls, found_nothing.ok()))
}

/// Of this tracepoint, for each thread; not enabled.
fn counters(threads: &[i32], tracepoint: &str) -> Result<Vec<Counter>> {
    let file = |folder: &&str| fs::read_to_string(format!("{folder}/{tracepoint}/id")).ok();
    let id = TRACEPOINTS.iter().find_map(file);
    let id = id.context("/sys/kernel/tracing cannot be read")?;
    let event = Tracepoint::with_id(id.trim().parse()?);
    let counter = |&thread: &i32| {
        let mut builder = Builder::new(event);
        // A call counts as something that the kernel does.
        builder.observe_pid(thread).include_kernel().build().context("perf_event_open")
    };
    threads.iter().map(counter).collect()
}

fn enabled(mut counters: Vec<Counter>) -> Result<Vec<Counter>> {
    counters.iter_mut().try_for_each(Counter::enable)?;
    Ok(counters)
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
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

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
            Ok(counted) => assert!(counted.calls > 20, "{counted:?}"),
            Err(error) => assert!(error.to_string().contains("run as root"), "{error:#}"),
        }
        assert!(Count::begin(child.id()).is_err());
    }

    /// Only where the kernel counts.
    #[test]
    fn what_found_nothing_is_told_from_what_found_something() {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let (mut near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        epoll.add(&near, EpollEvent::new(EpollFlags::EPOLLIN, 0)).unwrap();
        let mut turn = || {
            let ready = epoll.wait(&mut [EpollEvent::empty()], 0u8).unwrap();
            let read = near.read(&mut [0; 1]).map_or(0, |read| read);
            ready + read
        };
        // Of this thread alone: others of this process run other tests.
        let begin = || of_threads(&[nix::unistd::gettid().as_raw()]);
        if begin().is_err() {
            return;
        }
        let begin = || begin().unwrap();
        let count = begin();
        for _ in 0..7 {
            assert_eq!(turn(), 0);
        }
        assert_eq!(count.end().unwrap().found_nothing, Some(14));
        let count = begin();
        for _ in 0..7 {
            far.write_all(&[1]).unwrap();
            assert_eq!(turn(), 2);
        }
        assert_eq!(count.end().unwrap().found_nothing, Some(0));
    }
}
