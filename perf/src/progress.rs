//! The line that shows how a load goes, where stderr is a terminal.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::style::ProgressTracker;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use vmsgr_perf::load::{WARM_UP, live};
use vmsgr_perf::table::rate;

/// Over how long a rate is taken.
const OVER: Duration = Duration::from_secs(1);

/// How long it has been running, and with which rate messages (or what `units` names) come back;
/// without `units` nothing is sent.
pub fn progress(
    duration: Duration,
    connections: usize,
    address: SocketAddr,
    units: Option<&str>,
) -> Result<ProgressBar> {
    let template = match units {
        Some(units) => format!("{{spinner}} {{elapsed}} {{msg}}, {{rate}} {units}/s"),
        None => "{spinner} {elapsed} {msg}".to_owned(),
    };
    let style = ProgressStyle::with_template(&template)?.with_key("rate", Rate::new());
    let progress = ProgressBar::new_spinner().with_style(style).with_message(format!(
        "of {} s and {} s of warm-up: {connections} connections to {address}",
        duration.as_secs_f64(),
        WARM_UP.as_secs_f64(),
    ));
    progress.enable_steady_tick(Duration::from_millis(250));
    Ok(progress)
}

/// Messages a second, of the last second.
#[derive(Debug, Clone)]
struct Rate {
    since: Instant,
    answered: u64,
    per_s: Option<f64>,
}

impl Rate {
    fn new() -> Self {
        Self { since: Instant::now(), answered: live::answered(), per_s: None }
    }

    fn update(&mut self, answered: u64, now: Instant) {
        let passed = now.duration_since(self.since);
        if passed >= OVER {
            self.per_s = Some((answered - self.answered) as f64 / passed.as_secs_f64());
            (self.since, self.answered) = (now, answered);
        }
    }
}

impl ProgressTracker for Rate {
    fn clone_box(&self) -> Box<dyn ProgressTracker> {
        Box::new(self.clone())
    }

    fn tick(&mut self, _: &ProgressState, now: Instant) {
        self.update(live::answered(), now);
    }

    fn reset(&mut self, _: &ProgressState, _: Instant) {
        *self = Self::new();
    }

    fn write(&self, _: &ProgressState, line: &mut dyn fmt::Write) {
        // A line that cannot be drawn is none.
        let _ = line.write_str(&self.per_s.map_or("-".to_owned(), rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let start = Instant::now();
        let mut rate = Rate { since: start, answered: 100, per_s: None };
        rate.update(500, start + OVER / 2);
        assert_eq!(rate.per_s, None);
        rate.update(1100, start + OVER);
        assert_eq!(rate.per_s, Some(1000.0));
        rate.update(1100, start + OVER + OVER / 2);
        assert_eq!(rate.per_s, Some(1000.0));
        rate.update(1300, start + OVER * 3);
        assert_eq!(rate.per_s, Some(100.0));
    }
}
