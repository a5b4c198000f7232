//! What an endpoint counts.

/// How often an endpoint has slept, and has woken others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Entries that were taken from the ready rings.
    pub ready: u64,
    /// Doorbells that were rung: system calls.
    pub doorbells_rung: u64,
    /// Doorbells that did not have to be rung, since the other side was awake.
    pub doorbells_saved: u64,
    /// Times that [`wait`](super::Endpoint::wait) slept.
    pub sleeps: u64,
    /// Times that it did not have to, since something came while it looked again.
    pub sleeps_saved: u64,
}
