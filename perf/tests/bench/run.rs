//! Runs of the program, and what they said.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use vmsgr_perf::server::Server;

pub fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmsgr-bench"));
    command.args(arguments);
    command
}

pub fn serve(server: &str) -> Server {
    Server::start(bench(&["serve", server, "--listen", "127.0.0.1:0"])).unwrap()
}

pub fn load(address: SocketAddr, arguments: &str) -> Output {
    let address = address.to_string();
    let mut command = bench(&["load", &address]);
    command.args(arguments.split_whitespace()).output().unwrap()
}

pub fn osd(address: SocketAddr, arguments: &str) -> Output {
    let address = address.to_string();
    bench(&["osd", &address]).args(arguments.split_whitespace()).output().unwrap()
}

/// The standard output of a run that succeeded.
pub fn success(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The standard error of a run that failed with exit code 1.
pub fn failure(output: &Output) -> String {
    said(output, 1)
}

/// The standard error of what was refused with exit code 2, since the command line names what there
/// is not.
pub fn refusal(output: &Output) -> String {
    said(output, 2)
}

pub fn said(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

pub fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
