//! From a figure to a place on the paper.

/// A logarithmic or a linear axis.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    logarithmic: bool,
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// From zero at `from` to `most` at `to`.
    pub fn linear(most: f64, from: f64, to: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        Self { logarithmic: false, least: 0.0, most, from, to }
    }

    /// Wide enough for all of `values`, to the next 1, 2 or 5 times a power of ten; those that are
    /// not above zero are ignored.
    pub fn logarithmic(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|&value| value > 0.0 && value.is_finite()) {
            (least, most) = (least.min(value), most.max(value));
        }
        if most == 0.0 {
            (least, most) = (1.0, 10.0);
        }
        let (least, most) = (step_below(least), step_above(most));
        // Never of no width.
        let most = if most > least { most } else { least * 10.0 };
        Self { logarithmic: true, least, most, from, to }
    }

    /// Where `value` is; what lies outside is put at the edge.
    pub fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.least, self.most);
        let share = if self.logarithmic {
            (value / self.least).ln() / (self.most / self.least).ln()
        } else {
            value / self.most
        };
        self.from + share * (self.to - self.from)
    }

    /// Round figures to label, in ascending order: powers of ten, and 2 and 5 times those where
    /// there is room; quarters on a linear axis.
    pub fn ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            return (0..=4).map(|quarter| self.most * f64::from(quarter) / 4.0).collect();
        }
        let decades = (self.most / self.least).log10();
        let steps: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let first = self.least.log10().floor() as i32;
        let last = self.most.log10().ceil() as i32;
        (first..=last)
            .flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)))
            .filter(|&tick| tick >= self.least * 0.999 && tick <= self.most * 1.001)
            .collect()
    }
}

fn step_below(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let fits = |step: &&f64| **step * power <= value * 1.000_001;
    [5.0, 2.0, 1.0].iter().find(fits).map_or(power, |step| step * power)
}

fn step_above(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let fits = |step: &&f64| **step * power >= value * 0.999_999;
    [1.0, 2.0, 5.0, 10.0].iter().find(fits).map_or(power * 10.0, |step| step * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_axis_has_round_ends_and_ticks() {
        let scale = Scale::logarithmic([30.0, 0.0, 700.0, f64::NAN].into_iter(), 100.0, 200.0);
        assert!((scale.least - 20.0).abs() < 1e-9 && (scale.most - 1000.0).abs() < 1e-9);
        assert_eq!(scale.at(20.0), 100.0);
        assert_eq!(scale.at(5000.0), 200.0);
        let ticks: Vec<i64> = scale.ticks().iter().map(|tick| tick.round() as i64).collect();
        assert_eq!(ticks, [20, 50, 100, 200, 500, 1000]);
        let wide = Scale::logarithmic([1.0, 1e6].into_iter(), 0.0, 1.0);
        assert_eq!(wide.ticks().len(), 7);
    }

    #[test]
    fn nothing_to_show_is_still_an_axis() {
        assert_eq!(Scale::logarithmic(std::iter::empty(), 0.0, 1.0).at(10.0), 1.0);
        assert_eq!(Scale::linear(0.0, 0.0, 1.0).at(0.5), 0.5);
        assert_eq!(Scale::logarithmic([10.0].into_iter(), 0.0, 1.0).at(10.0), 0.0);
    }
}
