//! Tables that read as well in a terminal as in a Markdown file, and how figures are written in
//! them.

use std::fmt;

/// Rows under a header. The first column is flush left, the others are figures and flush right.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no rows.
    pub fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![header.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row; it must have as many cells as the header.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.rows[0].len());
        self.rows.push(cells);
    }

    /// Adds a row that says something instead of its figures.
    pub fn note(&mut self, name: &str, text: &str) {
        let mut cells = vec!["-".to_owned(); self.rows[0].len()];
        cells[0] = name.to_owned();
        cells[1] = text.to_owned();
        self.rows.push(cells);
    }

    /// As an HTML table.
    pub fn html(&self) -> String {
        let row = |(number, cells): (usize, &Vec<String>)| {
            let tag = if number == 0 { "th" } else { "td" };
            let cell = |cell: &String| format!("<{tag}>{}</{tag}>", escape(cell));
            format!("<tr>{}</tr>\n", cells.iter().map(cell).collect::<String>())
        };
        let rows: String = self.rows.iter().enumerate().map(row).collect();
        format!("<table>\n{rows}</table>\n")
    }
}

/// Text as HTML shows it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    write!(f, "| {cell:<width$} |")?;
                } else {
                    write!(f, " {cell:>width$} |")?;
                }
            }
            writeln!(f)?;
            if number == 0 {
                write!(f, "| {} |", "-".repeat(widths[0]))?;
                for &width in &widths[1..] {
                    write!(f, " {}: |", "-".repeat(width.saturating_sub(1)))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// A rate, to three digits or so: `940`, `99.3k`, `1.68M`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        x if x >= 1e6 => format!("{:.2}M", x / 1e6),
        x if x >= 1e4 => format!("{:.1}k", x / 1e3),
        x => format!("{x:.0}"),
    }
}

/// A figure of any size with the digits that mean something: `0.553`, `9.50`, `118`.
pub fn figure(x: f64) -> String {
    match x {
        0.0 => "0".into(),
        x if x < 0.9995 => format!("{x:.3}"),
        x if x < 9.995 => format!("{x:.2}"),
        x if x < 99.95 => format!("{x:.1}"),
        x => format!("{x:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["peer", "msgs/s"]);
        table.row(vec!["epoll-spin".into(), "1".into()]);
        assert_eq!(
            table.to_string(),
            "| peer       | msgs/s |\n\
             | ---------- | -----: |\n\
             | epoll-spin |      1 |\n"
        );
    }

    #[test]
    fn html_shows_what_is_there() {
        let mut table = Table::new(["peer", "msgs/s"]);
        table.note("a<b", "not installed: x & y");
        let html = table.html();
        assert!(html.contains("<tr><th>peer</th><th>msgs/s</th></tr>"), "{html}");
        assert!(html.contains("<td>a&lt;b</td><td>not installed: x &amp; y</td>"), "{html}");
    }

    #[test]
    fn figures_keep_three_digits() {
        let rates = [0.0, 940.4, 99_312.0, 1_684_000.0].map(rate);
        assert_eq!(rates, ["0", "940", "99.3k", "1.68M"]);
        let figures = [0.0, 0.5531, 0.9999, 9.5, 51.23, 1234.4].map(figure);
        assert_eq!(figures, ["0", "0.553", "1.00", "9.50", "51.2", "1234"]);
    }
}
