//! How long messages took: a histogram, and the five figures a table shows of it.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What takes longer than a minute is counted as a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Latencies of messages, to three significant digits.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

/// The distribution in microseconds; all zero when nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is its meaning")]
pub struct Percentiles {
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub max_us: f64,
}

impl Latency {
    /// An empty histogram. Allocates all it will ever need.
    pub fn new() -> Self {
        // The bounds are constants, and valid.
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds"))
    }

    /// Counts `messages` that each took `latency`.
    pub fn record(&mut self, latency: Duration, messages: u64) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST_NS);
        self.0.saturating_record_n(ns, messages);
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// The figures of what was recorded.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: self.0.max() as f64 / 1000.0,
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut latency = Latency::new();
        latency.record(Duration::from_micros(10), 989);
        latency.record(Duration::from_micros(500), 10);
        latency.record(Duration::from_millis(3), 1);
        let figures = latency.percentiles();
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.002;
        assert!(near(figures.p50_us, 10.0), "{figures:?}");
        assert!(near(figures.p99_us, 500.0), "{figures:?}");
        assert!(near(figures.p99_9_us, 500.0), "{figures:?}");
        assert!(near(figures.max_us, 3000.0), "{figures:?}");
    }

    #[test]
    fn nothing_recorded_is_zero_and_the_absurd_saturates() {
        let mut latency = Latency::new();
        assert_eq!(latency.percentiles().p99_us, 0.0);
        latency.record(Duration::MAX, 1);
        assert!(latency.percentiles().max_us >= 59e6);
        latency.clear();
        assert_eq!(latency.percentiles().max_us, 0.0);
    }
}
