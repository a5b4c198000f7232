//! Man pages and completions: as `--help` says it, and as groff and the shells take it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::{NamedTempFile, TempDir};
use vmsgr_tests::{PATIENCE, peer, programs, run};

/// What the program prints, which is all that it says.
fn printed(program: &Path, arguments: &[&str]) -> String {
    let output = run(Command::new(program).args(arguments), &[], PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    assert_eq!(output.stderr, b"", "{arguments:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// A shell's script in a file of its own.
fn script(program: &Path, shell: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(printed(program, &["--generate", shell]).as_bytes()).expect("a disk");
    file
}

/// The help's own, and those of its subcommands.
fn helps(program: &Path) -> Vec<String> {
    let help = printed(program, &["--help"]);
    let subcommands = subcommands(&help);
    let of_subcommands = subcommands.iter().map(|name| printed(program, &[name, "--help"]));
    [help.clone()].into_iter().chain(of_subcommands).collect()
}

fn subcommands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    // A description that does not fit goes on in a line that is indented more.
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?;
        name.split_whitespace().next()
    });
    names.filter(|name| *name != "help").collect()
}

/// The options' names without their dashes, as often as there are helps with them.
fn long_options(helps: &[String]) -> Vec<String> {
    let lines = helps.iter().flat_map(|help| help.lines()).map(str::trim_start);
    let mut options: Vec<_> = lines
        // A dash alone is before one of the values that an option may have.
        .filter(|line| line.starts_with('-') && !line.starts_with("- "))
        .filter_map(|line| line.split([' ', ',']).find_map(|word| word.strip_prefix("--")))
        .map(str::to_owned)
        .collect();
    options.sort();
    assert!(options.contains(&"generate".to_owned()), "{helps:?}");
    options
}

/// What the heads of the entries in a man page's lists name in bold, each as often as it stands there.
fn long_options_of_page(page: &str) -> Vec<String> {
    let lines = page.lines().collect::<Vec<_>>();
    let heads = lines.windows(2).filter(|pair| pair[0] == ".TP").map(|pair| pair[1]);
    let mut options: Vec<_> = heads
        .flat_map(|head| head.split("\\fB"))
        .filter_map(|bold| bold.split_once("\\fR")?.0.strip_prefix("\\-\\-"))
        .map(|name| name.replace("\\-", "-"))
        .collect();
    options.sort();
    options
}

#[test]
fn a_man_page_has_every_option_of_the_help_and_of_every_subcommand() {
    for (name, program) in programs() {
        let page = printed(program, &["--generate", "man"]);
        let helps = helps(program);
        assert_eq!(long_options_of_page(&page), long_options(&helps), "{name}");
        let page = page.replace("\\-", "-");
        for subcommand in subcommands(&helps[0]) {
            let heading = format!(".SS \"{name} {subcommand} ");
            assert!(page.contains(&heading), "{heading}: {page}");
        }
    }
}

#[test]
fn a_man_page_has_the_sections_that_one_expects() {
    for (name, program) in programs() {
        let page = printed(program, &["--generate", "man"]);
        let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        let all = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"];
        assert_eq!(headings[..4], all, "{name}");
        let more: &[&str] = match name {
            "vmsgrd" => &["EXAMPLES", "SIGNALS", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES"],
            "vmsgrctl" => &["SUBCOMMANDS", "EXAMPLES", "\"EXIT STATUS\""],
            _ => &["SUBCOMMANDS", "EXAMPLES", "\"EXIT STATUS\"", "SIGNALS", "FILES"],
        };
        assert_eq!(headings[4..], [more, &["\"SEE ALSO\""]].concat(), "{name}");
        assert!(page.contains(&format!("\n{} \\- ", name.replace('-', "\\-"))), "{page}");
    }
}

#[test]
fn groff_renders_the_man_pages_without_a_warning() {
    let Some(groff) = peer("groff") else { return };
    for (name, program) in programs() {
        let page = printed(program, &["--generate", "man"]);
        let mut groff = groff.command();
        let rendered = run(groff.args(["-man", "-ww", "-Tascii"]), page.as_bytes(), PATIENCE);
        assert!(rendered.status.success(), "{name}: {rendered:?}");
        assert_eq!(String::from_utf8_lossy(&rendered.stderr), "", "{name}");
    }
}

#[test]
fn completions_have_every_option_of_the_help() {
    for (name, program) in programs() {
        let options: BTreeSet<_> = long_options(&helps(program)).into_iter().collect();
        for shell in ["bash", "zsh", "fish"] {
            let script = printed(program, &["--generate", shell]);
            let is_part_of_a_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let mut words = BTreeSet::new();
            for line in script.lines() {
                // fish has names without dashes, each behind "-l".
                let names = line.split(" -l ").skip(1).filter_map(|rest| rest.split(' ').next());
                words.extend(names.map(|name| format!("--{name}")));
                words.extend(line.split(|c| !is_part_of_a_word(c)).map(str::to_owned));
            }
            for option in &options {
                assert!(words.contains(&format!("--{option}")), "{name}, {shell}: --{option}");
            }
        }
    }
}

/// What the shell says, to which its user's own configuration is hidden.
fn told(shell: &mut Command, home: &TempDir) -> Output {
    let output = run(shell.env("HOME", home.path()).env_remove("XDG_CONFIG_HOME"), &[], PATIENCE);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    output
}

#[test]
fn shells_take_their_completions() {
    let home = TempDir::new().expect("a folder");
    for (shell, arguments) in
        [("bash", &["-n"][..]), ("zsh", &["-f", "-n"]), ("fish", &["--no-execute"])]
    {
        let Some(peer) = peer(shell) else { continue };
        for (_, program) in programs() {
            let script = script(program, shell);
            told(peer.command().args(arguments).arg(script.path()), &home);
        }
    }
}

/// Words of each program up to the cursor, and what alone the last can become.
const UNFINISHED: [(&[&str], &str); 3] = [
    (&["--pla"], "--placement"),
    (&["ceph-t"], "ceph-tap"),
    (&["load", "--conn"], "--connections"),
];

#[test]
fn bash_completes() {
    let Some(bash) = peer("bash") else { return };
    let home = TempDir::new().expect("a folder");
    for ((name, program), (words, whole)) in programs().into_iter().zip(UNFINISHED) {
        let script = script(program, "bash");
        // As bash itself does: the words, which of them the cursor is in, that one and the one before.
        let ask = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                   $(complete -p \"$1\" | sed 's/.*-F \\([^ ]*\\) .*/\\1/') \
                   \"$1\" \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; \
                   echo \"${COMPREPLY[@]}\"";
        let mut bash = bash.command();
        let bash = bash.args(["-c", ask, "bash"]).arg(script.path()).arg(name).args(words);
        assert_eq!(String::from_utf8_lossy(&told(bash, &home).stdout), format!("{whole}\n"));
    }
}

#[test]
fn fish_completes() {
    let Some(fish) = peer("fish") else { return };
    let home = TempDir::new().expect("a folder");
    for ((name, program), (words, whole)) in programs().into_iter().zip(UNFINISHED) {
        let script = script(program, "fish");
        let ask = format!("source $argv[1]; complete -C '{name} {}'", words.join(" "));
        let mut fish = fish.command();
        let fish = fish.args(["-N", "-c", &ask]).arg(script.path());
        let output = told(fish, &home);
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let found: Vec<_> = lines.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(found, [whole]);
    }
}

#[test]
fn generating_goes_with_nothing_else() {
    for (name, program) in programs() {
        let other = match name {
            "vmsgrd" => "--check",
            "vmsgrctl" => "ceph-tap",
            _ => "frames",
        };
        for arguments in
            [&["--generate", "pdf"][..], &["--generate"], &["--generate", "man", other]]
        {
            let output = run(Command::new(program).args(arguments), &[], PATIENCE);
            assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {output:?}");
            assert_eq!(output.stdout, b"", "{name} {arguments:?}");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("--generate"), "{text}");
        }
    }
}
