//! One server's figure beside another's: the ratio, how well it is known, and what that says of an
//! aim.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::summary::Spread;

/// With fewer rounds than this in which both of two peers count, their medians are compared: the
/// middle of one or two ratios says more of the moment than of the servers.
const FEWEST_COMMON: usize = 3;

/// How sure bounds are: what is true lies beyond either of them in at most this share of all runs.
const BEYOND: f64 = 0.025;

/// One peer's figure against another's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// Of the medians over all rounds.
    pub of_medians: f64,
    /// Median of the ratios within each round: what drifts from round to round cancels out. With
    /// fewer than three rounds that count for both it is the ratio of the medians.
    pub of_rounds: f64,
    /// Between them the true ratio lies, in 19 of 20 runs; none with fewer than six rounds that count
    /// for both, which are too few to be that sure of anything.
    pub bounds: Option<(f64, f64)>,
}

impl Ratio {
    /// Of the ratios within those of `all` rounds that count for both.
    pub fn new(of_medians: f64, rounds: &[f64], all: usize) -> Self {
        let by_round = Spread::of(rounds).filter(|_| rounds.len() >= FEWEST_COMMON.min(all));
        Self {
            of_medians,
            of_rounds: by_round.map_or(of_medians, |spread| spread.median),
            bounds: bounds_of_median(rounds),
        }
    }

    /// The other one's figure against this one's.
    pub fn inverse(self) -> Self {
        Self {
            of_medians: 1.0 / self.of_medians,
            of_rounds: 1.0 / self.of_rounds,
            bounds: self.bounds.map(|(least, most)| (1.0 / most, 1.0 / least)),
        }
    }

    /// Whether it is large enough.
    pub fn at_least(self, aim: f64) -> Judgement {
        Judgement { met: self.of_rounds >= aim, doubt: self.doubt(aim) }
    }

    /// Whether it is small enough.
    pub fn at_most(self, aim: f64) -> Judgement {
        Judgement { met: self.of_rounds <= aim, doubt: self.doubt(aim) }
    }

    /// Whether it is smaller.
    pub fn below(self, aim: f64) -> Judgement {
        Judgement { met: self.of_rounds < aim, doubt: self.doubt(aim) }
    }

    fn doubt(self, aim: f64) -> Option<Doubt> {
        let Some((least, most)) = self.bounds else { return Some(Doubt::FewRounds) };
        (least <= aim && aim <= most).then_some(Doubt::WithinNoise)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.of_rounds)?;
        match self.bounds {
            Some((least, most)) => write!(f, " ({least:.3}-{most:.3})"),
            None => Ok(()),
        }
    }
}

/// Why an aim may have been reached and yet be missed, or the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// The aim lies between the bounds: as many rounds again may say otherwise.
    WithinNoise,
    /// There are no bounds.
    FewRounds,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WithinNoise => "within noise",
            Self::FewRounds => "of few rounds",
        })
    }
}

/// Whether an aim was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// By the median it was.
    pub met: bool,
    /// If it may be otherwise, why.
    pub doubt: Option<Doubt>,
}

impl Judgement {
    /// One that nothing can change.
    pub fn certain(met: bool) -> Self {
        Self { met, doubt: None }
    }

    /// Of two aims at once. If either is surely missed, so are both.
    pub fn and(self, other: Self) -> Self {
        let surely_missed = |one: Self| !one.met && one.doubt.is_none();
        if surely_missed(self) || surely_missed(other) {
            return Self::certain(false);
        }
        Self { met: self.met && other.met, doubt: self.doubt.max(other.doubt) }
    }
}

/// The order statistics between which the median of what `values` are a sample of lies, with at most
/// [`BEYOND`] on either side, whatever their distribution: so many of n values are below the median
/// as heads are thrown with n coins. `None` where not even the least and the largest are far enough
/// apart, with fewer than six.
fn bounds_of_median(values: &[f64]) -> Option<(f64, f64)> {
    let count = values.len();
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // The logarithm, as 2^-n is soon too small to be told from nothing.
    let mut ln_chance = -(count as f64) * std::f64::consts::LN_2;
    let mut below = 0.0;
    let mut rank = 0;
    while rank < count / 2 {
        below += ln_chance.exp();
        if below > BEYOND {
            break;
        }
        ln_chance += ((count - rank) as f64).ln() - ((rank + 1) as f64).ln();
        rank += 1;
    }
    let least = rank.checked_sub(1)?;
    Some((sorted[least], sorted[count - 1 - least]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(count: usize) -> Vec<f64> {
        (1..=count).map(|n| n as f64).collect()
    }

    #[test]
    fn bounds_are_those_of_the_tables() {
        // The ranks of the 95% bounds of a median, as tables of the sign test have them.
        let ranks = |count| bounds_of_median(&first(count)).map(|(a, b)| (a as u32, b as u32));
        assert_eq!((0..6).map(ranks).collect::<Vec<_>>(), [None; 6]);
        assert_eq!(
            [6, 8, 9, 11, 12, 15, 20, 21, 25, 50, 100].map(ranks).map(Option::unwrap),
            [
                (1, 6),
                (1, 8),
                (2, 8),
                (2, 10),
                (3, 10),
                (4, 12),
                (6, 15),
                (6, 16),
                (8, 18),
                (18, 33),
                (40, 61)
            ]
        );
        // 2^-5000 is nothing in a float.
        assert_eq!(ranks(5000), Some((2431, 2570)));
        let mut reversed = first(9);
        reversed.reverse();
        assert_eq!(bounds_of_median(&reversed), Some((2.0, 8.0)));
    }

    #[test]
    fn an_aim_between_the_bounds_is_within_noise() {
        let ratio = Ratio { of_medians: 1.0, of_rounds: 0.97, bounds: Some((0.95, 1.01)) };
        let perhaps = |met| Judgement { met, doubt: Some(Doubt::WithinNoise) };
        assert_eq!(ratio.at_least(0.98), perhaps(false));
        assert_eq!(ratio.at_least(0.96), perhaps(true));
        assert_eq!(ratio.at_least(0.9), Judgement::certain(true));
        assert_eq!(ratio.at_least(1.02), Judgement::certain(false));
        assert_eq!(ratio.at_most(1.0), perhaps(true));
        assert_eq!(ratio.at_most(0.9), Judgement::certain(false));
        assert_eq!([ratio.at_most(0.97), ratio.below(0.97)], [true, false].map(perhaps));
        let few = Ratio { bounds: None, ..ratio };
        let of_few = |met| Judgement { met, doubt: Some(Doubt::FewRounds) };
        assert_eq!([few.at_least(0.98), few.at_least(0.97)], [false, true].map(of_few));
    }

    #[test]
    fn of_two_aims_the_one_that_is_surely_missed_decides() {
        let [met, missed] = [true, false].map(Judgement::certain);
        let doubtful = |met, doubt| Judgement { met, doubt: Some(doubt) };
        let [perhaps, rather_not] = [true, false].map(|met| doubtful(met, Doubt::WithinNoise));
        let [few, few_not] = [true, false].map(|met| doubtful(met, Doubt::FewRounds));
        for (one, other, both) in [
            (met, met, met),
            (met, perhaps, perhaps),
            (met, rather_not, rather_not),
            (perhaps, rather_not, rather_not),
            (missed, met, missed),
            (missed, perhaps, missed),
            (missed, rather_not, missed),
            (missed, few_not, missed),
            (met, few_not, few_not),
            (perhaps, few, few),
            (rather_not, few, few_not),
        ] {
            assert_eq!((one.and(other), other.and(one)), (both, both), "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_is_turned_round_has_its_bounds_turned_round() {
        let ratio = Ratio { of_medians: 2.0, of_rounds: 4.0, bounds: Some((2.0, 8.0)) };
        assert_eq!(
            ratio.inverse(),
            Ratio { of_medians: 0.5, of_rounds: 0.25, bounds: Some((0.125, 0.5)) }
        );
        assert_eq!(ratio.inverse().to_string(), "0.250 (0.125-0.500)");
        assert_eq!(Ratio { bounds: None, ..ratio }.to_string(), "4.000");
    }
}
