//! Doorbells that wait, and for how long.

use nix::sched::sched_getcpu;

/// For so many turns in a row a doorbell may be left for later (I6).
pub(super) const TURNS: u32 = 4;

/// What was left for later.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    /// Turns in a row that have left something.
    turns: u32,
}

impl Bells {
    /// Somebody who sleeps was not rung for, though there is something for it.
    pub(crate) fn withhold(&self) -> bool {
        self.turns > 0
    }

    /// A doorbell may be left for later in this turn.
    pub(super) fn may_wait(&self) -> bool {
        self.turns < TURNS
    }

    /// The applications were told, all of them or not.
    pub(super) fn turn_is_over(&mut self, withheld: bool) {
        self.turns = if withheld { self.turns + 1 } else { 0 };
    }
}

/// The processor on which this thread runs, if the kernel says it.
pub(crate) fn processor() -> Option<u32> {
    sched_getcpu().ok().and_then(|processor| u32::try_from(processor).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_knows_its_processor() {
        assert!(processor().is_some());
    }
}
