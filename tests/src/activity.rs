//! What the kernel says a process did: context switches, CPU time, resident memory.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The activity of a process's threads since they started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    threads: BTreeMap<u32, Thread>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Thread {
    name: String,
    /// Voluntary and involuntary together: a thread that sleeps has neither.
    switches: u64,
    on_cpu: Duration,
}

impl Activity {
    /// Reads the activity of the threads of process `pid` whose names begin with `prefix`; the
    /// daemon's loops are `vmsgr/0`, `vmsgr/1` and so on, the empty prefix means all threads.
    ///
    /// # Panics
    ///
    /// When there is no such process, or it has no such thread.
    pub fn of(pid: u32, prefix: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap_or_else(|error| panic!("process {pid} has no threads to look at: {error}"));
        let threads: BTreeMap<_, _> = tasks
            .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|tid| Some((tid, Thread::read(pid, tid)?)))
            .filter(|(_, thread)| thread.name.starts_with(prefix))
            .collect();
        assert!(!threads.is_empty(), "process {pid} has no thread named {prefix}*");
        Self { threads }
    }

    /// The number of threads looked at.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Context switches of all these threads.
    pub fn switches(&self) -> u64 {
        self.threads.values().map(|thread| thread.switches).sum()
    }

    /// Time on a CPU of all these threads.
    pub fn on_cpu(&self) -> Duration {
        self.threads.values().map(|thread| thread.on_cpu).sum()
    }
}

impl Thread {
    /// `None` when the thread ended meanwhile.
    fn read(pid: u32, tid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
        let schedstat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
        let nanoseconds = schedstat.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            name: field(&status, "Name")?.to_owned(),
            switches: number(&status, "voluntary_ctxt_switches")?
                + number(&status, "nonvoluntary_ctxt_switches")?,
            on_cpu: Duration::from_nanos(nanoseconds),
        })
    }
}

/// The cores that each thread of process `pid` may run on, by the thread's name.
///
/// # Panics
///
/// When there is no such process.
pub fn allowed_cores(pid: u32) -> BTreeMap<String, String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
        .filter_map(|status| {
            let cores = field(&status, "Cpus_allowed_list")?;
            Some((field(&status, "Name")?.to_owned(), cores.to_owned()))
        })
        .collect()
}

/// How many descriptors process `pid` has open.
///
/// # Panics
///
/// When there is no such process.
pub fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

/// Memory of process `pid` that is in RAM, shared library pages included, in bytes.
///
/// # Panics
///
/// When there is no such process.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    number(&status, "VmRSS").expect("a process has VmRSS, in kB") * 1024
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

fn number(status: &str, name: &str) -> Option<u64> {
    field(status, name)?.split_whitespace().next()?.parse().ok()
}
