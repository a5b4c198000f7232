//! Tells the program which commit it is built of: what the working directory is when it runs may be
//! anything.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rustc-env=VMSGR_COMMIT={}", commit());
    println!("cargo::rerun-if-changed=build.rs");
    // Each commit and each checkout adds to the second.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    // What the daemon and this program are made of.
    for source in ["src", "../daemon", "../messenger/src", "../reactor/src", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={source}");
    }
}

/// With a `+` when there were changes on top of it; `unknown` without a repository, or if it is
/// that of somebody else in whose folder this lies.
fn commit() -> String {
    if git(&["ls-files", "--error-unmatch", "Cargo.toml"]).is_none() {
        return "unknown".into();
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let changes = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    format!("{commit}{}", if changes { "+" } else { "" })
}

fn git(arguments: &[&str]) -> Option<String> {
    // Without the locks that nobody needs to look: it would write the index.
    let output =
        Command::new("git").env("GIT_OPTIONAL_LOCKS", "0").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
