//! Curves over a logarithmic axis, panels beside each other, one legend for all.

use svg::Document;
use svg::node::element::{Circle, Polyline};

use super::grid::microseconds;
use super::scale::Scale;
use super::{FAINT, MARGIN, RULE, head, line, paper, round, text};

const PANEL_WIDTH: f64 = 440.0;
const PANEL_HEIGHT: f64 = 320.0;
/// Space for the labels of the vertical axis.
const LEFT: f64 = 62.0;
/// Space for the title of a panel, and below it for the horizontal axis.
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
const LEGEND: f64 = 28.0;

/// Several curves of one figure.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What the figure is.
    pub title: String,
    /// How the vertical axis runs.
    pub axis: Axis,
    /// The curves.
    pub curves: Vec<Curve>,
}

/// A vertical axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Microseconds, logarithmic.
    Time,
    /// Percent, from 0 to 100.
    Percent,
}

/// One curve.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Its name in the legend; the same in every panel.
    pub label: String,
    /// Its colour, as SVG has them.
    pub colour: &'static str,
    /// It is what all this is about: it lies above the others.
    pub strong: bool,
    /// (rate, figure), in ascending order of the rate.
    pub points: Vec<(f64, f64)>,
}

/// The whole picture, with lines below its title that say how to read it; `across` says what the
/// horizontal axis is.
pub fn curves(title: &str, caption: &[String], across: &str, panels: &[Panel]) -> Document {
    let width = 2.0 * MARGIN + panels.len() as f64 * PANEL_WIDTH;
    let top = head(caption.len());
    let height = top + LEGEND + PANEL_HEIGHT + MARGIN;
    let mut document = paper(width, height, title, caption);
    let mut x = MARGIN;
    for curve in panels.first().map(|panel| &panel.curves[..]).unwrap_or_default() {
        let sample = line(x, top + 8.0, x + 26.0, top + 8.0, curve.colour);
        document = document.add(sample.set("stroke-width", 3)).add(
            text(x + 32.0, top + 12.0, &curve.label)
                .set("font-size", 13)
                .set("font-weight", if curve.strong { "bold" } else { "normal" }),
        );
        x += 60.0 + 8.0 * curve.label.chars().count() as f64;
    }
    for (number, panel) in panels.iter().enumerate() {
        let left = MARGIN + number as f64 * PANEL_WIDTH;
        document = draw(document, panel, across, left, top + LEGEND);
    }
    document
}

fn draw(mut document: Document, panel: &Panel, across: &str, left: f64, top: f64) -> Document {
    let (x0, x1) = (left + LEFT, left + PANEL_WIDTH - 24.0);
    let (y0, y1) = (top + PANEL_HEIGHT - BOTTOM, top + TOP);
    let points = || panel.curves.iter().flat_map(|curve| &curve.points);
    let horizontal = Scale::logarithmic(points().map(|&(x, _)| x), x0, x1);
    let vertical = match panel.axis {
        Axis::Time => Scale::logarithmic(points().map(|&(_, y)| y), y0, y1),
        Axis::Percent => Scale::linear(100.0, y0, y1),
    };
    let title = text(x0, top + 18.0, &panel.title).set("font-size", 14);
    document = document.add(title.set("font-weight", "bold"));
    for tick in horizontal.ticks() {
        let x = horizontal.at(tick);
        let label = text(x, y0 + 16.0, &round_rate(tick)).set("text-anchor", "middle");
        document = document
            .add(line(x, y0, x, y1, RULE))
            .add(label.set("font-size", 11).set("fill", FAINT));
    }
    for tick in vertical.ticks() {
        let y = vertical.at(tick);
        let words = match panel.axis {
            Axis::Time => microseconds(tick),
            Axis::Percent => format!("{tick:.0}%"),
        };
        let label = text(x0 - 6.0, y + 4.0, &words).set("text-anchor", "end");
        document = document
            .add(line(x0, y, x1, y, RULE))
            .add(label.set("font-size", 11).set("fill", FAINT));
    }
    let across = text((x0 + x1) / 2.0, y0 + 34.0, across).set("text-anchor", "middle");
    document = document.add(across.set("fill", FAINT));
    let (strong, others): (Vec<&Curve>, Vec<&Curve>) =
        panel.curves.iter().partition(|curve| curve.strong);
    for curve in others.into_iter().chain(strong) {
        let places: Vec<(f64, f64)> = curve
            .points
            .iter()
            .map(|&(x, y)| (round(horizontal.at(x)), round(vertical.at(y))))
            .collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x},{y}")).collect();
        document = document.add(
            Polyline::new()
                .set("points", path.join(" "))
                .set("fill", "none")
                .set("stroke", curve.colour)
                .set("stroke-width", if curve.strong { 3 } else { 2 }),
        );
        for (x, y) in places {
            let dot = Circle::new().set("cx", x).set("cy", y).set("r", 3);
            document = document.add(dot.set("fill", curve.colour));
        }
    }
    document
}

/// A round figure in few characters: `300`, `10k`, `1M`.
fn round_rate(per_second: f64) -> String {
    match per_second {
        x if x >= 1e6 => format!("{:.0}M", x / 1e6),
        x if x >= 1e3 => format!("{:.0}k", x / 1e3),
        x => format!("{x:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_all_its_points_and_is_in_the_legend() {
        let curve = Curve {
            label: "spin 50".into(),
            colour: "#123456",
            strong: true,
            points: vec![(10.0, 100.0), (1000.0, 30.0), (100_000.0, 20.0)],
        };
        let panel = |axis| Panel { title: "p50".into(), axis, curves: vec![curve.clone()] };
        let panels = [panel(Axis::Time), panel(Axis::Percent)];
        let svg = curves("Title", &["Subtitle".into()], "requests/s", &panels).to_string();
        assert_eq!(svg.matches("<circle").count(), 6, "{svg}");
        assert_eq!(svg.matches("spin 50").count(), 1, "{svg}");
        assert!(svg.contains("100k") && svg.contains("100 us"), "{svg}");
        assert!(svg.contains("100%") && !svg.contains("NaN"), "{svg}");
    }
}
