//! The binaries under test.

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The daemon's binary: the one that `VMSGRD_BIN` names, or else the workspace's own, built once per
/// test process with the profile that the tests were built with.
pub(crate) fn vmsgrd() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let own = || build(&["--package", "vmsgrd", "--bin", "vmsgrd"]);
        env::var_os("VMSGRD_BIN").map_or_else(own, PathBuf::from)
    })
}

/// An example of the messenger's, built once per test process.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let binary = || build(&["--package", "vmsgr-messenger", "--example", name]);
    built.get_or_insert_default().entry(name.to_owned()).or_insert_with(binary).clone()
}

fn build(what: &[&str]) -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .arg("build")
        .args(what)
        .args(["--profile", &profile(), "--message-format", "json-render-diagnostics"])
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "{what:?} does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Cargo says itself where it put the binary, so target directories and triples need no guessing.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .expect("cargo names the executable that it built")
}

/// A test binary lies in `target/[TRIPLE/]PROFILE/deps/`.
fn profile() -> String {
    let test = env::current_exe().expect("a test knows its own binary");
    let folder = test.parent().and_then(Path::parent).and_then(Path::file_name);
    match folder.and_then(|name| name.to_str()) {
        None | Some("debug") => "dev".to_owned(),
        Some(profile) => profile.to_owned(),
    }
}
