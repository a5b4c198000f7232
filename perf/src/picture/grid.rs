//! Panels in a grid, each with a row for each peer: bars, or percentiles on a log axis.

use svg::Document;
use svg::node::element::{Circle, Rectangle, Title};

use super::scale::Scale;
use super::{FAINT, INK, MARGIN, RULE, head, line, paper, round, text};
use crate::table::figure;

/// Panels beside each other.
const COLUMNS: usize = 3;
const PANEL_WIDTH: f64 = 440.0;
/// Space between panels.
const GAP: f64 = 26.0;
/// Height of a panel's title.
const TITLE: f64 = 46.0;
/// Height of a row.
const ROW: f64 = 21.0;
/// Height of an axis below the rows.
const AXIS: f64 = 24.0;
/// Width of the rows' labels, and of the figures behind them: one, or two.
const LABEL: f64 = 132.0;
const FIGURE: f64 = 96.0;
const FIGURES: f64 = 134.0;
/// Space around a note, and how wide a letter of it is on average, rounded up.
const NOTE_MARGIN: f64 = 6.0;
const LETTER: f64 = 6.4;
/// Space for the label of a tick.
const TICK_LABEL: f64 = 38.0;
/// Where a note was cut.
const ELLIPSIS: &str = "...";

/// One workload.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Its name.
    pub title: String,
    /// What it is.
    pub subtitle: String,
    /// A peer each.
    pub rows: Vec<Row>,
}

/// One peer.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub label: String,
    /// Its colour, as SVG has them.
    pub colour: &'static str,
    /// It is what all this is about.
    pub strong: bool,
    /// What is shown of it.
    pub mark: Mark,
}

/// What a row shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// A bar to the median, a line from the least to the most, and the figure in words.
    Bar {
        /// Length of the bar.
        median: f64,
        /// One end of the line.
        min: f64,
        /// The other.
        max: f64,
        /// The figure.
        text: String,
    },
    /// A bar in two parts: the length of the first, and the whole.
    Parts(f64, Box<Self>),
    /// p50, p90, p99, p99.9 and the longest, in this order, on the panel's log axis.
    Percentiles([f64; 5]),
    /// Words instead of a figure.
    Note(String),
}

/// The whole picture, with lines below its title that say how to read it.
pub fn grid(title: &str, caption: &[String], panels: &[Panel]) -> Document {
    let lines: Vec<&[Panel]> = panels.chunks(COLUMNS).collect();
    let heights: Vec<f64> =
        lines.iter().map(|line| line.iter().map(height).fold(0.0, f64::max)).collect();
    let width = 2.0 * MARGIN + COLUMNS as f64 * (PANEL_WIDTH + GAP) - GAP;
    let total = head(caption.len()) + heights.iter().map(|height| height + GAP).sum::<f64>();
    let mut document = paper(width, total, title, caption);
    let mut top = head(caption.len());
    for (line, height) in lines.iter().zip(&heights) {
        for (column, panel) in line.iter().enumerate() {
            let left = MARGIN + column as f64 * (PANEL_WIDTH + GAP);
            document = draw(document, panel, left, top);
        }
        top += height + GAP;
    }
    document
}

fn height(panel: &Panel) -> f64 {
    TITLE + panel.rows.len() as f64 * ROW + if percentiles(panel).is_some() { AXIS } else { 0.0 }
}

/// All figures on the panel's log axis; `None` when it has none.
fn percentiles(panel: &Panel) -> Option<Vec<f64>> {
    let rows = panel.rows.iter().filter_map(|row| match &row.mark {
        Mark::Percentiles(values) => Some(values),
        _ => None,
    });
    let values: Vec<f64> = rows.flatten().copied().collect();
    (!values.is_empty()).then_some(values)
}

fn draw(mut document: Document, panel: &Panel, left: f64, top: f64) -> Document {
    let title = text(left, top + 16.0, &panel.title).set("font-size", 15);
    let subtitle = text(left, top + 32.0, &panel.subtitle).set("font-size", 11);
    document = document.add(title.set("font-weight", "bold")).add(subtitle.set("fill", FAINT));
    let figures = percentiles(panel);
    let from = left + LABEL;
    let to = left + PANEL_WIDTH - if figures.is_some() { FIGURES } else { FIGURE };
    let first = top + TITLE;
    let bottom = first + panel.rows.len() as f64 * ROW;
    let scale = match figures {
        Some(values) => {
            let scale = Scale::logarithmic(values.into_iter(), from, to);
            document = axis(document, &scale, first, bottom);
            scale
        }
        None => {
            document = document.add(line(from, first, from, bottom, RULE));
            Scale::linear(longest_bar(panel), from, to)
        }
    };
    for (number, row) in panel.rows.iter().enumerate() {
        let middle = first + (number as f64 + 0.5) * ROW;
        let label = text(from - 8.0, middle + 4.0, &row.label).set("text-anchor", "end");
        let weight = if row.strong { "bold" } else { "normal" };
        document = document.add(label.set("font-weight", weight));
        let (first, mark) = match &row.mark {
            Mark::Parts(first, whole) => (Some(*first), whole.as_ref()),
            mark => (None, mark),
        };
        document = match mark {
            Mark::Bar { median, min, max, text } => {
                bar(document, row, &scale, middle, (first, [*median, *min, *max]), text)
            }
            Mark::Parts(..) => document,
            Mark::Percentiles(values) => dots(document, row, &scale, middle, to, values),
            Mark::Note(note) => note_on(document, note, from, left + PANEL_WIDTH, middle),
        };
    }
    document
}

fn longest_bar(panel: &Panel) -> f64 {
    fn longest(mark: &Mark) -> f64 {
        match mark {
            Mark::Bar { median, max, .. } => median.max(*max),
            Mark::Parts(_, whole) => longest(whole),
            Mark::Percentiles(_) | Mark::Note(_) => 0.0,
        }
    }
    panel.rows.iter().map(|row| longest(&row.mark)).fold(0.0, f64::max)
}

fn axis(mut document: Document, scale: &Scale, top: f64, bottom: f64) -> Document {
    for tick in scale.ticks() {
        let x = scale.at(tick);
        document = document.add(line(x, top, x, bottom, RULE));
    }
    for tick in labelled(scale) {
        let label = text(scale.at(tick), bottom + 14.0, &microseconds(tick));
        let label = label.set("text-anchor", "middle");
        document = document.add(label.set("font-size", 10).set("fill", FAINT));
    }
    document
}

/// The ticks whose labels do not touch: powers of ten before all others, so that what is left out
/// is easily told.
fn labelled(scale: &Scale) -> Vec<f64> {
    let ticks = scale.ticks();
    let is_power = |tick: &f64| (tick.log10() - tick.log10().round()).abs() < 1e-9;
    let (powers, others): (Vec<f64>, Vec<f64>) = ticks.into_iter().partition(is_power);
    let mut labelled: Vec<f64> = Vec::new();
    for tick in powers.into_iter().chain(others) {
        let far = |other: &f64| (scale.at(tick) - scale.at(*other)).abs() >= TICK_LABEL;
        if labelled.iter().all(far) {
            labelled.push(tick);
        }
    }
    labelled
}

fn bar(
    document: Document,
    row: &Row,
    scale: &Scale,
    middle: f64,
    (first, [median, min, max]): (Option<f64>, [f64; 3]),
    figure: &str,
) -> Document {
    let (from, to) = (scale.at(0.0), scale.at(median));
    let shape = |to: f64| {
        Rectangle::new()
            .set("x", round(from))
            .set("y", round(middle - 7.0))
            .set("width", round(to - from))
            .set("height", 14)
            .set("fill", row.colour)
    };
    let document = match first {
        Some(first) => {
            document.add(shape(to).set("fill-opacity", 0.4)).add(shape(scale.at(first.min(median))))
        }
        None => document.add(shape(to)),
    };
    let weight = if row.strong { "bold" } else { "normal" };
    let figure = text(scale.at(max).max(to) + 6.0, middle + 4.0, figure);
    document
        .add(line(scale.at(min), middle, scale.at(max), middle, INK))
        .add(figure.set("font-weight", weight))
}

fn dots(
    document: Document,
    row: &Row,
    scale: &Scale,
    middle: f64,
    right: f64,
    values: &[f64; 5],
) -> Document {
    let [p50, p90, p99, p99_9, max] = values.map(|value| scale.at(value));
    let dot = |x, radius: f64, fill: &str| {
        Circle::new()
            .set("cx", round(x))
            .set("cy", round(middle))
            .set("r", radius)
            .set("fill", fill)
            .set("stroke", row.colour)
            .set("stroke-width", 1.5)
    };
    let words = format!("{} / {}", microseconds(values[0]), microseconds(values[2]));
    let weight = if row.strong { "bold" } else { "normal" };
    document
        .add(line(p50, middle, max, middle, row.colour))
        .add(line(p50, middle, p99, middle, row.colour).set("stroke-width", 4))
        .add(line(max, middle - 5.0, max, middle + 5.0, row.colour).set("stroke-width", 2))
        .add(dot(p99_9, 3.0, "white"))
        .add(dot(p90, 3.0, row.colour))
        .add(dot(p99, 5.0, "white"))
        .add(dot(p50, 5.0, row.colour))
        .add(text(right + 8.0, middle + 4.0, &words).set("font-weight", weight))
}

/// Words instead of a figure, on white: the lines of an axis would go through them. What does not
/// fit is cut, and shown in full when pointed at.
fn note_on(document: Document, note: &str, from: f64, right: f64, middle: f64) -> Document {
    let fits = ((right - from - 2.0 * NOTE_MARGIN) / LETTER) as usize;
    let mut shown = note.to_owned();
    if note.chars().count() > fits {
        let cut: String = note.chars().take(fits - ELLIPSIS.len()).collect();
        shown = cut.trim_end().to_owned() + ELLIPSIS;
    }
    let width = shown.chars().count() as f64 * LETTER + 2.0 * NOTE_MARGIN;
    let paper = Rectangle::new()
        .set("x", round(from + 1.0))
        .set("y", round(middle - 9.0))
        .set("width", round(width.min(right - from)))
        .set("height", 18)
        .set("fill", "white");
    let words = text(from + NOTE_MARGIN, middle + 4.0, &shown).set("fill", FAINT);
    document.add(paper).add(words.add(Title::new(note)))
}

/// A time in the unit that keeps it short.
pub fn microseconds(us: f64) -> String {
    match us {
        us if us >= 999_500.0 => format!("{} s", short(us / 1e6)),
        us if us >= 999.5 => format!("{} ms", short(us / 1e3)),
        us => format!("{} us", short(us)),
    }
}

fn short(x: f64) -> String {
    if x.fract() == 0.0 { format!("{x:.0}") } else { figure(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_named_and_shows_its_figure() {
        let row =
            |label: &str, mark| Row { label: label.into(), colour: "#123456", strong: false, mark };
        let bar = Mark::Bar { median: 2.0, min: 1.0, max: 3.0, text: "2.00".into() };
        let panel = Panel {
            title: "fan".into(),
            subtitle: "64 connections".into(),
            rows: vec![
                row("vmsgrd", bar),
                row("haproxy", Mark::Note("not installed".into())),
                row("epoll", Mark::Percentiles([10.0, 20.0, 30.0, 40.0, 2500.0])),
            ],
        };
        let svg = grid("Title", &["Subtitle".into(), "Source".into()], &[panel]).to_string();
        let words = [
            "Title",
            "Subtitle",
            "Source",
            "fan",
            "vmsgrd",
            "2.00",
            "not installed",
            "10 us / 30 us",
        ];
        for word in words {
            assert!(svg.contains(word), "{word} in\n{svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_note_is_cut_at_the_edge_and_kept_in_full() {
        let reason = "not available: io_uring_setup: Operation not permitted (os error 1)";
        let row = Row {
            label: "monoio-uring".into(),
            colour: "#123456",
            strong: false,
            mark: Mark::Note(reason.into()),
        };
        let panel = Panel { title: "fan".into(), subtitle: "".into(), rows: vec![row] };
        let svg = grid("Title", &[], &[panel]).to_string();
        assert!(svg.contains(&format!("<title>{reason}</title>")), "{svg}");
        assert!(svg.contains("\nnot available: io_uring_setup: Operation no..."), "{svg}");
    }

    #[test]
    fn powers_of_ten_are_labelled_first() {
        let labelled = |values: [f64; 2]| {
            let scale = Scale::logarithmic(values.into_iter(), 0.0, 165.0);
            labelled(&scale).into_iter().map(microseconds).collect::<Vec<_>>()
        };
        assert_eq!(labelled([100.0, 10_000.0]), ["100 us", "1 ms", "10 ms"]);
        assert_eq!(labelled([500.0, 5000.0]), ["1 ms", "500 us", "2 ms", "5 ms"]);
    }

    #[test]
    fn times_are_short() {
        let texts = [20.0, 118.4, 1000.0, 2500.0, 1_234_567.0].map(microseconds);
        assert_eq!(texts, ["20 us", "118 us", "1 ms", "2.50 ms", "1.23 s"]);
    }
}
