//! The files with a report's pictures, and the page that shows everything at once.

use std::fs;
use std::path::Path;

use super::pictures::{Picture, pictures};
use super::report::Report;
use super::summary::Section;
use crate::table::escape;
use anyhow::{Context, Result};

const STYLE: &str = "\
body { font: 15px/1.5 Helvetica, Arial, 'DejaVu Sans', sans-serif; color: #222; margin: 2em auto;
  max-width: 1420px; padding: 0 1em; }
svg { max-width: 100%; height: auto; display: block; margin: 1em 0; }
table { border-collapse: collapse; margin: 0.5em 0 2em; font-size: 13px; }
th, td { padding: 0.15em 0.7em; text-align: right; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
code { background: #f3f3f3; padding: 0 0.2em; }
.scroll { overflow-x: auto; }
";

/// Writes the pictures and `index.html`, which contains them, into an existing folder.
///
/// # Errors
/// When a file cannot be written.
pub fn write(report: &Report, folder: &Path) -> Result<()> {
    let pictures = pictures(report);
    let save = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    for (name, picture) in &pictures {
        save(name, &picture.to_string())?;
    }
    save("index.html", &page(report, &pictures))
}

/// One file with everything in it; it needs nothing from anywhere else.
fn page(report: &Report, pictures: &[Picture]) -> String {
    let title = escape(&report.header.title());
    let item = |line: &String| format!("<li>{}</li>\n", with_code(&escape(line)));
    let lines: String = report.header.lines().iter().map(item).collect();
    let verdict = |verdict: &super::verdict::Verdict| item(&verdict.to_string());
    let verdicts: String = report.verdicts.iter().map(verdict).collect();
    let figure = |(name, picture): &Picture| format!("<!-- {name} -->\n{picture}\n");
    let pictures: String = pictures.iter().map(figure).collect();
    let table = |section: &Section| {
        let title = escape(&section.title());
        format!("<h3>{title}</h3>\n<div class=\"scroll\">\n{}</div>\n", section.table().html())
    };
    let tables: String = report.sections.iter().map(table).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <ul>\n{lines}</ul>\n<h2>Verdicts</h2>\n<ul>\n{verdicts}</ul>\n<h2>Pictures</h2>\n\
         {pictures}<h2>Tables</h2>\n{tables}</body>\n</html>\n"
    )
}

/// What stands between backquotes, as code.
fn with_code(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    pieces
        .map(|(number, piece)| match number % 2 {
            0 => piece.to_owned(),
            _ => format!("<code>{piece}</code>"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_marked() {
        assert_eq!(with_code("server: `a b`"), "server: <code>a b</code>");
        assert_eq!(with_code("plain"), "plain");
    }
}
