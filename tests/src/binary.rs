//! What is under test: binaries, and libvmsgr.

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

/// The tool's binary, which `VMSGRCTL_BIN` may name.
pub(crate) fn vmsgrctl() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let own = || build(&["--package", "vmsgrd", "--bin", "vmsgrctl"]);
        env::var_os("VMSGRCTL_BIN").map_or_else(own, PathBuf::from)
    })
}

/// The load generator's binary, which `VMSGR_BENCH_BIN` may name.
fn vmsgr_bench() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let own = || build(&["--package", "vmsgr-perf", "--bin", "vmsgr-bench"]);
        env::var_os("VMSGR_BENCH_BIN").map_or_else(own, PathBuf::from)
    })
}

/// All programs, by their names.
pub fn programs() -> [(&'static str, &'static Path); 3] {
    [("vmsgrd", vmsgrd()), ("vmsgrctl", vmsgrctl()), ("vmsgr-bench", vmsgr_bench())]
}

/// An example of the messenger's, built once per test process.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let binary = || build(&["--package", "vmsgr-messenger", "--example", name]);
    built.get_or_insert_default().entry(name.to_owned()).or_insert_with(binary).clone()
}

/// The folder with libvmsgr.so and libvmsgr.a, built once per test process in the same way.
pub fn libvmsgr() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let messages = cargo_build(&["--package", "vmsgr", "--lib"]);
        let library = messages
            .iter()
            .filter_map(|message| message["filenames"].as_array())
            .flatten()
            .filter_map(|file| file.as_str().map(PathBuf::from))
            .rfind(|file| file.ends_with("libvmsgr.so"))
            .expect("cargo names the library that it built");
        library.parent().expect("it lies in a folder").to_owned()
    })
}

fn build(what: &[&str]) -> PathBuf {
    cargo_build(what)
        .iter()
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .expect("cargo names the executable that it built")
}

/// Builds, and returns what cargo tells: it says itself where it put things, so target directories
/// and triples need no guessing.
fn cargo_build(what: &[&str]) -> Vec<serde_json::Value> {
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
    let messages = String::from_utf8_lossy(&output.stdout);
    messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
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
