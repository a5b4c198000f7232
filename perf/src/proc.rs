//! What the kernel knows about the process under test and about the cores: read before and after,
//! subtracted.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

/// What a process has used since it started; two of them make a [`Usage`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// CPU time of all threads, user and system.
    pub cpu: Duration,
    /// Times a thread gave up its core because it had nothing to do.
    pub voluntary_switches: u64,
    /// Times a thread was taken off its core although it had.
    pub involuntary_switches: u64,
    /// Time that threads were runnable and waited for a core that somebody else had.
    pub waited: Duration,
}

/// What a process used between two moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time of all threads in seconds.
    pub cpu_s: f64,
    /// Voluntary context switches.
    pub voluntary_switches: u64,
    /// Involuntary context switches.
    pub involuntary_switches: u64,
    /// Seconds that threads waited for a core.
    pub waited_s: f64,
}

impl Usage {
    /// What both used.
    pub fn and(self, other: Self) -> Self {
        Self {
            cpu_s: self.cpu_s + other.cpu_s,
            voluntary_switches: self.voluntary_switches + other.voluntary_switches,
            involuntary_switches: self.involuntary_switches + other.involuntary_switches,
            waited_s: self.waited_s + other.waited_s,
        }
    }
}

impl Snapshot {
    /// Reads the figures of process `pid`.
    ///
    /// The CPU time is the process's CPU-time clock, which is exact to the nanosecond even for a
    /// thread that is running this moment; the counters of /proc lag by up to a tick. The rest is
    /// summed over the live threads.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let mut sum = Self { cpu: cpu_time(pid)?, ..Self::default() };
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("no process {pid}"))? {
            sum.add_task(&task?.path())?;
        }
        Ok(sum)
    }

    /// Reads the figures of the calling thread alone.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn of_this_thread() -> Result<Self> {
        let cpu = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into();
        let mut sum = Self { cpu, ..Self::default() };
        sum.add_task(Path::new("/proc/thread-self"))?;
        Ok(sum)
    }

    /// Adds what /proc says of one thread; nothing when the thread has ended since it was listed.
    fn add_task(&mut self, path: &Path) -> Result<()> {
        let Ok(status) = fs::read_to_string(path.join("status")) else { return Ok(()) };
        let (voluntary, involuntary) = parse_switches(&status)
            .with_context(|| format!("{}/status has no context switches", path.display()))?;
        self.voluntary_switches += voluntary;
        self.involuntary_switches += involuntary;
        // Kernels without CONFIG_SCHED_INFO have no such file, and no such figure.
        let schedstat = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        self.waited += parse_waited(&schedstat).unwrap_or_default();
        Ok(())
    }

    /// What was used from `earlier` to now. A thread that ended in between takes its switches with
    /// it; the difference is then zero at the least.
    pub fn since(&self, earlier: &Self) -> Usage {
        Usage {
            cpu_s: self.cpu.saturating_sub(earlier.cpu).as_secs_f64(),
            voluntary_switches: self.voluntary_switches.saturating_sub(earlier.voluntary_switches),
            involuntary_switches: self
                .involuntary_switches
                .saturating_sub(earlier.involuntary_switches),
            waited_s: self.waited.saturating_sub(earlier.waited).as_secs_f64(),
        }
    }
}

fn cpu_time(pid: u32) -> Result<Duration> {
    // Pid 0 would mean the caller.
    let raw = i32::try_from(pid).ok().filter(|&raw| raw > 0);
    let Some(raw) = raw else { bail!("no process {pid}") };
    match clock_getcpuclockid(Pid::from_raw(raw)).and_then(clock_gettime) {
        Ok(time) => Ok(time.into()),
        Err(Errno::ESRCH) => bail!("no process {pid}"),
        Err(error) => Err(error).with_context(|| format!("the CPU time of process {pid}")),
    }
}

/// How long the hypervisor has kept `core` for others although it had work, since boot. Exact to a
/// tick (10 ms).
///
/// # Errors
/// When /proc/stat does not know the core.
pub fn stolen(core: usize) -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let ticks = parse_steal(&stat, core)
        .with_context(|| format!("/proc/stat has no steal figure of core {core}"))?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// (voluntary, involuntary) of the text of /proc/PID/task/TID/status.
fn parse_switches(status: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some((field("voluntary_ctxt_switches:")?, field("nonvoluntary_ctxt_switches:")?))
}

/// Second figure of the text of /proc/PID/task/TID/schedstat: nanoseconds on a run queue.
fn parse_waited(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

/// Steal ticks of a core in the text of /proc/stat: cpuN user nice system idle iowait irq softirq
/// steal ...
fn parse_steal(stat: &str, core: usize) -> Option<u64> {
    let name = format!("cpu{core}");
    stat.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name.as_str()))?
        .get(8)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_told_apart() {
        let status = "Name:\tx\nThreads:\t1\nvoluntary_ctxt_switches:\t12\n\
                      nonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(parse_switches(status), Some((12, 7)));
        assert_eq!(parse_switches("Name:\tx\n"), None);
    }

    #[test]
    fn waited_is_the_second_figure() {
        assert_eq!(parse_waited("2500 1700 3\n"), Some(Duration::from_nanos(1700)));
        assert_eq!(parse_waited(""), None);
    }

    #[test]
    fn steal_is_of_the_core_asked_for() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu1 0 0 0 0 0 0 0 41 0 0\n\
                    cpu10 0 0 0 0 0 0 0 42 0 0\nintr 5\n";
        assert_eq!(parse_steal(stat, 1), Some(41));
        assert_eq!(parse_steal(stat, 10), Some(42));
        assert_eq!(parse_steal(stat, 2), None);
    }

    #[test]
    fn own_process_uses_cpu_time() {
        let pid = std::process::id();
        let before = Snapshot::of(pid).unwrap();
        let mut x = 1u64;
        while Snapshot::of(pid).unwrap().since(&before).cpu_s < 0.001 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(Snapshot::of_this_thread().unwrap().cpu > Duration::ZERO);
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        for pid in [0, u32::MAX, 0x7fff_fffe] {
            let error = format!("{:#}", Snapshot::of(pid).unwrap_err());
            assert_eq!(error, format!("no process {pid}"));
        }
    }
}
