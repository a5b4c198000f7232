//! The programs under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The daemon's binary: the one that `VMSGRD_BIN` names, or else the workspace's own, built once per
/// test process with the profile that the tests were built with.
pub(crate) fn vmsgrd() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("VMSGRD_BIN").map_or_else(|| build("vmsgrd"), PathBuf::from))
}

/// The tool's binary, which `VMSGRCTL_BIN` may name.
pub(crate) fn vmsgrctl() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        env::var_os("VMSGRCTL_BIN").map_or_else(|| build("vmsgrctl"), PathBuf::from)
    })
}

fn build(name: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--package", "vmsgrd", "--bin", name, "--profile", &profile()])
        .args(["--message-format", "json-render-diagnostics"])
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "{name} does not build:\n{}",
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
