//! The man page: one of each program, its subcommands with their options in it.

use super::Manual;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// Renders it, for groff's `man` macros.
pub fn of(command: Command, manual: &Manual) -> String {
    // `help` has nothing to say that is not here.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let usages: Vec<_> =
        [usage(&command)].into_iter().chain(command.get_subcommands().map(usage)).collect();
    command = command.override_usage(usages.join("\n"));
    let name = command.get_name().to_owned();
    let version = command.get_version().unwrap_or_default().to_owned();
    let subcommands: Vec<_> = command.get_subcommands().cloned().collect();
    let help = after_help(&command);

    let man = Man::new(command)
        .title(name.to_uppercase())
        .section(manual.section)
        .source(format!("vmsgr {version}"))
        .manual("vmsgr");
    let mut page = [
        rendered(|page| man.render_title(page)),
        as_written(),
        rendered(|page| man.render_name_section(page)),
        rendered(|page| man.render_synopsis_section(page)),
        rendered(|page| man.render_description_section(page)),
        rendered(|page| man.render_options_section(page)),
    ]
    .concat();
    if !subcommands.is_empty() {
        page += &section("SUBCOMMANDS");
    }
    for subcommand in subcommands {
        page += &of_subcommand(subcommand);
    }
    for (heading, entries) in sections(&help).into_iter().chain(sections(manual.sections)) {
        page += &section(&heading.to_uppercase());
        page += &list(&entries);
    }
    page
}

/// What has a section of its own for a program is part of one for a subcommand.
fn of_subcommand(subcommand: Command) -> String {
    let mut heading = Roff::new();
    heading.control("SS", [usage(&subcommand).as_str()]);
    let help = after_help(&subcommand);
    let man = Man::new(subcommand);
    let mut page = heading.to_roff();
    page += without_heading(&rendered(|page| man.render_description_section(page)));
    page += without_heading(&rendered(|page| man.render_options_section(page)));
    for (heading, entries) in sections(&help) {
        let mut paragraph = Roff::new();
        paragraph.control("PP", []).text([roman(format!("{heading}:"))]);
        page += &paragraph.to_roff();
        page += &list(&entries);
    }
    page
}

/// How it is called, as the help says it.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    // Of a program with subcommands it has a second line for these, which get lines of their own.
    let line = usage.lines().next().unwrap_or_default();
    line.trim_start_matches("Usage:").trim().to_owned()
}

fn after_help(command: &Command) -> String {
    command.get_after_help().map(ToString::to_string).unwrap_or_default()
}

fn rendered(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut part = Vec::new();
    render(&mut part).unwrap_or_else(|error| unreachable!("memory can be written to: {error}"));
    String::from_utf8_lossy(&part).into_owned()
}

/// What comes after the line with its heading, before which roff is prepared for what is rendered.
fn without_heading(section: &str) -> &str {
    let heading = section.find(".SH ").map_or("", |start| &section[start..]);
    heading.split_once('\n').map_or("", |(_, text)| text)
}

/// Commands are to be copied, and words of theirs to be searched for: no wide gaps, no hyphens.
fn as_written() -> String {
    let mut request = Roff::new();
    request.control("ad", ["l"]).control("nh", []);
    request.to_roff()
}

fn section(heading: &str) -> String {
    let mut section = Roff::new();
    section.control("SH", [heading]);
    section.to_roff()
}

/// What is in a list, and what is said of it, which may be nothing.
#[derive(Debug, PartialEq)]
struct Entry {
    term: String,
    text: String,
    /// The text begins on a line of its own: it is a sentence about a command, say.
    below: bool,
}

fn list(entries: &[Entry]) -> String {
    let mut list = Roff::new();
    for Entry { term, text, below } in entries {
        list.control(if text.is_empty() { "PP" } else { "TP" }, []).text([bold(term)]);
        if *below {
            list.control("br", []);
        }
        if !text.is_empty() {
            list.text([roman(text)]);
        }
    }
    list.to_roff()
}

/// Takes text apart that is written as [`Manual::sections`] says.
fn sections(text: &str) -> Vec<(&str, Vec<Entry>)> {
    let mut sections: Vec<(&str, Vec<Entry>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let indent = line.len() - line.trim_start().len();
        let Some((_, entries)) = sections.last_mut().filter(|_| indent > 0) else {
            sections.push((heading(line), Vec::new()));
            continue;
        };
        let line = line.trim();
        match entries.last_mut() {
            Some(entry) if indent > 2 && entry.text.is_empty() => {
                (entry.text, entry.below) = (line.to_owned(), true);
            }
            Some(entry) if indent > 2 => entry.text += &format!(" {line}"),
            _ => {
                let (term, text) = line.split_once("  ").unwrap_or((line, ""));
                let (term, text) = (term.to_owned(), text.trim().to_owned());
                entries.push(Entry { term, text, below: false });
            }
        }
    }
    sections
}

/// What manual pages call it.
fn heading(line: &str) -> &str {
    match line.trim_end_matches(':') {
        "Example" => "Examples",
        "Exit codes" => "Exit status",
        heading => heading,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_taken_apart() {
        let text = "\
Example:
  it --now
  it --then
      Later,
      once

Exit codes:
  0  done
  1  not done:
     broken";
        let entry = |term: &str, text: &str, below| Entry {
            term: term.to_owned(),
            text: text.to_owned(),
            below,
        };
        assert_eq!(
            sections(text),
            [
                (
                    "Examples",
                    vec![entry("it --now", "", false), entry("it --then", "Later, once", true)]
                ),
                (
                    "Exit status",
                    vec![entry("0", "done", false), entry("1", "not done: broken", false)]
                ),
            ]
        );
    }
}
