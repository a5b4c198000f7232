//! Pictures of figures, as SVG: panels of rows side by side ([`grid`]), and curves ([`curves`]).
//!
//! Everything is drawn with text, lines and shapes only, so that a picture shows the same in a
//! browser, in a Markdown page and on paper. A peer has the same colour everywhere.

pub mod curves;
pub mod grid;
mod scale;

use svg::Document;
use svg::node::element::{Line, Rectangle, Text};

/// What is not data.
const INK: &str = "#222222";
const FAINT: &str = "#767676";
const RULE: &str = "#dddddd";

/// White paper of this size, with a title and lines below it.
fn paper(width: f64, height: f64, title: &str, caption: &[impl AsRef<str>]) -> Document {
    let mut document = Document::new()
        .set("xmlns", "http://www.w3.org/2000/svg")
        .set("viewBox", (0, 0, width as i64, height as i64))
        .set("width", width)
        .set("height", height)
        .set("font-family", "Helvetica, Arial, 'DejaVu Sans', sans-serif")
        .add(Rectangle::new().set("width", width).set("height", height).set("fill", "white"))
        .add(text(MARGIN, 30.0, title).set("font-size", 19).set("font-weight", "bold"));
    for (number, line) in caption.iter().enumerate() {
        let y = 50.0 + number as f64 * CAPTION_LINE;
        document = document.add(text(MARGIN, y, line.as_ref()).set("fill", FAINT));
    }
    document
}

/// Space for the title of the picture and so many lines, in pixels.
fn head(lines: usize) -> f64 {
    HEAD + lines.saturating_sub(1) as f64 * CAPTION_LINE
}

/// Space around everything, in pixels.
const MARGIN: f64 = 20.0;
/// Height of a line below the title, in pixels.
const CAPTION_LINE: f64 = 16.0;
/// Space for the title of the picture and one line below it, in pixels.
const HEAD: f64 = 66.0;

fn text(x: f64, y: f64, content: &str) -> Text {
    let plain = Text::new(content).set("x", round(x)).set("y", round(y));
    plain.set("font-size", 12).set("fill", INK)
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64, colour: &str) -> Line {
    Line::new()
        .set("x1", round(x1))
        .set("y1", round(y1))
        .set("x2", round(x2))
        .set("y2", round(y2))
        .set("stroke", colour)
}

/// A tenth of a pixel is enough, and keeps the file short.
fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}
