//! A bound on log lines that a peer can cause.

use std::time::{Duration, Instant};

/// Lines that may come at once.
const BURST: u32 = 20;

/// After this time one more may come.
const INTERVAL: Duration = Duration::from_millis(100);

/// A token bucket for log lines, of bursts of 20 and 10 a second; counts what it keeps back.
#[derive(Debug, Default)]
pub struct Complaints {
    /// Lines said since the bucket was full, in `0..=BURST`.
    said: u32,
    /// When the bucket was last filled up by whole intervals.
    filled: Option<Instant>,
    kept_back: u64,
}

impl Complaints {
    /// Whether one more line may be written; if so, how many were kept back before it.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        let filled = *self.filled.get_or_insert(now);
        let intervals = now.saturating_duration_since(filled).as_millis() / INTERVAL.as_millis();
        let intervals = u32::try_from(intervals).unwrap_or(u32::MAX);
        if intervals >= self.said {
            (self.said, self.filled) = (0, Some(now));
        } else {
            self.said -= intervals;
            self.filled = Some(filled + INTERVAL * intervals);
        }
        if self.said == BURST {
            self.kept_back += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.kept_back))
    }
}

/// Logs a line that a peer can cause, unless there were too many.
macro_rules! complain {
    ($complaints:expr, $now:expr, $level:expr, $($line:tt)+) => {
        if log::log_enabled!($level)
            && let Some(kept_back) = $complaints.admit($now)
        {
            if kept_back > 0 {
                log::warn!("{kept_back} lines like the following were kept back");
            }
            log::log!($level, $($line)+);
        }
    };
}
pub(crate) use complain;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_a_burst_and_then_a_trickle() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        let said = (0..1000).filter(|_| complaints.admit(start).is_some()).count();
        assert_eq!(said, 20);
        let later = start + INTERVAL * 3;
        assert_eq!(complaints.admit(later), Some(980));
        assert_eq!(complaints.admit(later), Some(0));
        assert_eq!(complaints.admit(later), Some(0));
        assert_eq!(complaints.admit(later), None);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!(complaints.admit(much_later), Some(1));
        assert_eq!((0..100).filter(|_| complaints.admit(much_later).is_some()).count(), 19);
    }
}
