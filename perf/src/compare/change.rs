//! How a figure changed from one run to another, and whether that says anything.

use crate::suite::summary::Spread;

/// A figure's way from one run to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Of the medians.
    pub ratio: f64,
    /// The least and the largest ratio of any two rounds; none where either run has one round,
    /// which has no other to differ from.
    pub bounds: Option<(f64, f64)>,
    /// Both are nothing.
    unchanged: bool,
}

impl Change {
    /// From `old` to `new`, with the fewer of the rounds of both.
    pub fn new(old: Spread, new: Spread, rounds: usize) -> Self {
        Self {
            ratio: new.median / old.median,
            bounds: (rounds > 1).then_some((new.min / old.max, new.max / old.min)),
            unchanged: old.median == 0.0 && new.median == 0.0,
        }
    }

    /// In a word or two.
    pub fn verdict(self, more_is_better: bool) -> &'static str {
        let overlap = self.bounds.is_some_and(|(least, most)| least <= 1.0 && most >= 1.0);
        if overlap || self.unchanged {
            return "noise";
        }
        // Nothing is nothing every time, and something is not.
        let decided = self.bounds.is_some() || self.ratio == 0.0 || self.ratio.is_infinite();
        match (self.ratio > 1.0) == more_is_better {
            _ if !decided => "one round",
            true => "better",
            false => "WORSE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(min: f64, median: f64, max: f64) -> Spread {
        Spread { median, min, max }
    }

    #[test]
    fn what_overlaps_is_noise() {
        let change = Change::new(spread(90.0, 100.0, 110.0), spread(105.0, 120.0, 130.0), 2);
        assert_eq!(change.verdict(true), "noise");
        let change = Change::new(spread(90.0, 100.0, 110.0), spread(111.0, 120.0, 130.0), 2);
        assert_eq!(change.verdict(true), "better");
        assert_eq!(change.verdict(false), "WORSE");
        assert!((change.ratio - 1.2).abs() < 1e-9);
    }

    #[test]
    fn one_round_decides_nothing_but_nothing() {
        let (some, more) = (spread(100.0, 100.0, 100.0), spread(102.0, 102.0, 102.0));
        assert_eq!(Change::new(some, more, 1).verdict(false), "one round");
        assert_eq!(Change::new(some, more, 1).bounds, None);
        let nothing = spread(0.0, 0.0, 0.0);
        for rounds in [1, 2] {
            assert_eq!(Change::new(nothing, nothing, rounds).verdict(false), "noise");
            assert_eq!(Change::new(nothing, some, rounds).verdict(false), "WORSE");
            assert_eq!(Change::new(some, nothing, rounds).verdict(false), "better");
        }
    }
}
