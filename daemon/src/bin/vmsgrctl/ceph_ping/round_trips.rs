//! Round trips, summed up as ping does.

use std::time::Duration;

/// Round trips so far.
#[derive(Debug, Default)]
pub struct RoundTrips {
    pub sent: u32,
    answered: Vec<Duration>,
}

/// Of those that were answered, in milliseconds, not rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub min: f64,
    pub avg: f64,
    pub max: f64,
    /// The standard deviation, as ping computes it.
    pub mdev: f64,
}

impl RoundTrips {
    /// One more has been sent, and was answered after this time or not.
    pub fn add(&mut self, time: Option<Duration>) {
        self.sent += 1;
        self.answered.extend(time);
    }

    pub fn answered(&self) -> usize {
        self.answered.len()
    }

    /// None of none.
    pub fn summary(&self) -> Option<Summary> {
        let times = || self.answered.iter().map(|time| milliseconds(*time));
        let count = self.answered.len() as f64;
        let avg = times().sum::<f64>() / count;
        let min = times().reduce(f64::min)?;
        let max = times().reduce(f64::max)?;
        let variance = times().map(|time| (time - avg) * (time - avg)).sum::<f64>() / count;
        Some(Summary { min, avg, max, mdev: variance.sqrt() })
    }
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Milliseconds as they are told: to the microsecond, as ping does.
pub fn rounded(milliseconds: f64) -> f64 {
    (milliseconds * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_ends_at_the_microsecond() {
        for (value, told) in [
            (0.000_940_999_999_999_999_1, "0.001"),
            (0.000_4, "0.0"),
            (0.1 + 0.2, "0.3"),
            (12.345_678, "12.346"),
            (3_600_000.0, "3600000.0"),
        ] {
            assert_eq!(format!("{:?}", rounded(value)), told);
        }
    }

    #[test]
    fn sums_are_those_of_ping() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.summary(), None);
        for time in [Some(2), None, Some(4), Some(4), Some(4), Some(5), Some(5), Some(7), Some(9)] {
            trips.add(time.map(Duration::from_millis));
        }
        assert_eq!((trips.sent, trips.answered()), (9, 8));
        let Summary { min, avg, max, mdev } = trips.summary().unwrap();
        for (value, wanted) in [(min, 2.0), (avg, 5.0), (max, 9.0), (mdev, 2.0)] {
            assert!((value - wanted).abs() < 1e-9, "{value} is not {wanted}");
        }
    }
}
