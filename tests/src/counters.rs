//! The daemon's counters, as SIGUSR1 prints them.

use serde::Deserialize;

/// All counters at one moment.
#[derive(Debug, Clone, Deserialize)]
pub struct Counters {
    /// One entry per core of the mask.
    pub cores: Vec<Counts>,
    /// The sum of the cores.
    pub total: Counts,
    /// What taps have seen, where there is one.
    pub tap: Option<serde_json::Value>,
    /// What entities of Ceph's protocol have done, where there are some.
    pub msgr2: Option<serde_json::Value>,
}

/// The counters of one core, or their sum. A line that lacks one of them does not parse, so that every
/// test that reads counters also checks that they are all there.
#[derive(Debug, Clone, Deserialize)]
pub struct Counts {
    /// The core's number; absent in the sum.
    pub core: Option<u64>,
    /// Turns of the loop.
    pub turns: u64,
    /// Returns of a blocking wait.
    pub wakeups: u64,
    /// Returns of a blocking wait that brought nothing to do.
    pub wakeups_empty: u64,
    /// Looks at the sources without sleeping.
    pub spins: u64,
    /// Looks that found something.
    pub spin_hits: u64,
    /// The spinning window in force, in microseconds.
    pub spin_window_us: u64,
    /// Times that WRITABLE was registered.
    pub writable_armed: u64,
    /// Times that WRITABLE was removed, other than with its connection.
    pub writable_disarmed: u64,
    /// Doorbells rung for a core that slept.
    pub doorbells_rung: u64,
    /// Doorbells not rung, because the core was awake.
    pub doorbells_saved: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Reads that brought bytes.
    pub messages_in: u64,
    /// Writes that took bytes.
    pub messages_out: u64,
    /// Reads, writes and accepts that the kernel answered with "would block".
    pub would_block: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections handed to another core.
    pub handed_over: u64,
    /// Turns of a connection or listener that ended with its budget.
    pub budget_exhausted: u64,
    /// Messages between cores that found their ring full.
    pub ring_full: u64,
    /// Connections now open (gauge).
    pub connections: u64,
    /// Connections that now have bytes waiting for their socket (gauge).
    pub pending_streams: u64,
    /// Bytes that now wait for a socket (gauge).
    pub pending_bytes: u64,
    /// Connections that are now not read from, for backpressure (gauge).
    pub paused: u64,
    /// Timers now armed (gauge).
    pub timers: u64,
}

impl Counters {
    pub(crate) fn parse(line: &str) -> Self {
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("the counters do not parse: {error}\n{line}"))
    }

    /// Whether a line on standard error is the counters' rather than the log's.
    pub(crate) fn is_line(line: &str) -> bool {
        line.starts_with("{\"cores\"")
    }
}
