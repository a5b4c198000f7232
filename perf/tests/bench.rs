//! The program as one uses it: its servers, the load on them, and its errors.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::thread;

use vmsgr_perf::server::Server;

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmsgr-bench"));
    command.args(arguments);
    command
}

fn serve(server: &str) -> Server {
    Server::start(bench(&["serve", server, "--listen", "127.0.0.1:0"])).unwrap()
}

fn load(address: SocketAddr, arguments: &str) -> Output {
    let address = address.to_string();
    let mut command = bench(&["load", &address]);
    command.args(arguments.split_whitespace()).output().unwrap()
}

/// The standard output of a run that succeeded.
fn success(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The standard error of a run that failed with exit code 1.
fn failure(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    stderr
}

#[test]
fn every_server_echoes_byte_for_byte() {
    for name in ["epoll", "epoll-spin", "tokio"] {
        let server = serve(name);
        // The last two do not fit into the sockets' buffers: short writes and EPOLLOUT, on both
        // sides.
        for shape in [
            "--connections 1 --size 1",
            "--connections 20 --depth 16 --size 64",
            "--connections 3 --depth 3 --size 100003",
            "--connections 2 --depth 4 --size 3000000",
        ] {
            let output = load(
                server.address(),
                &format!("{shape} --verify --duration 0.2 --pid {}", server.pid()),
            );
            let text = success(&output);
            assert!(text.contains("msgs/s") && text.contains("us CPU"), "{name} {shape}\n{text}");
            assert!(!text.contains("no reply"), "{name} {shape}\n{text}");
        }
    }
}

#[test]
fn an_idle_server_does_nothing() {
    for name in ["epoll", "tokio"] {
        let server = serve(name);
        let arguments = format!("--idle --connections 50 --duration 0.3 --pid {}", server.pid());
        let nothing = "server: 0.000000 s CPU, 0 voluntary and 0 involuntary context switches";
        let at_rest = || success(&load(server.address(), &arguments)).contains(nothing);
        // On a busy machine it may take the server longer than the warm-up to accept them all.
        assert!((0..5).any(|_| at_rest()), "{name}");
    }
}

#[test]
fn json_holds_what_was_measured() {
    let server = serve("epoll");
    let file = tempfile::NamedTempFile::new().unwrap();
    let arguments = format!("--duration 0.1 --json {}", file.path().display());
    success(&load(server.address(), &arguments));
    let json: serde_json::Value = serde_json::from_reader(file).unwrap();
    assert!(json["messages"].as_u64().unwrap() > 0, "{json}");
    assert!(json["latency"]["p99_us"].as_f64().unwrap() > 0.0, "{json}");
}

#[test]
fn compare_ends_its_servers_and_writes_its_files() {
    // The tables need two cores; on one there is nothing to compare, and it says so.
    let folder = tempfile::tempdir().unwrap();
    let (json, markdown) = (folder.path().join("f.json"), folder.path().join("f.md"));
    let output = bench(&["compare", "--rounds", "1", "--seconds", "0.05", "--only", "ping,idle"])
        .args(["--peers", "epoll,tokio", "--json"])
        .arg(&json)
        .arg("--markdown")
        .arg(&markdown)
        .output()
        .unwrap();
    if thread::available_parallelism().unwrap().get() < 2 {
        assert!(failure(&output).contains("--load-core"));
        return;
    }
    let text = success(&output);
    assert!(text.contains("## ping: 1 connection, 1 in flight, 64 B"), "{text}");
    assert!(std::fs::read_to_string(markdown).unwrap().contains("| tokio |"));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(json["sections"][0]["rounds"][0].as_array().unwrap().len(), 2);
}

#[test]
fn a_missing_daemon_is_named_with_the_way_to_build_it() {
    let output = bench(&["compare", "--vmsgrd", "/nonexistent/vmsgrd"]).output().unwrap();
    let stderr = failure(&output);
    assert!(stderr.contains("/nonexistent/vmsgrd is not there"), "{stderr}");
    assert!(stderr.contains("cargo build --release --workspace"), "{stderr}");
}

#[test]
fn nobody_listening_is_an_error_that_names_the_address() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stderr = failure(&load(address, "--duration 0.1"));
    assert!(stderr.contains(&format!("connection 0 to {address}: Connection refused")), "{stderr}");
}

#[test]
fn a_server_that_closes_is_an_error() {
    let stderr = against_one_connection(|stream| {
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
        stream.write_all(&message[..32]).unwrap();
    });
    assert!(stderr.contains("closed by the server after 32 bytes came back"), "{stderr}");
}

#[test]
fn a_server_that_answers_something_else_is_an_error() {
    let stderr = against_one_connection(|stream| {
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
        message[40] ^= 1;
        stream.write_all(&message).unwrap();
        stream.read_exact(&mut message).ok();
    });
    assert!(stderr.contains("differs from what was sent at offset 40"), "{stderr}");
}

#[test]
fn a_server_that_never_answers_is_an_error_after_five_seconds() {
    let stderr = against_one_connection(|stream| {
        std::io::copy(stream, &mut std::io::sink()).ok();
    });
    assert!(stderr.contains("completed no message for 5 s; 1 are in flight"), "{stderr}");
}

/// Loads a server that has `answer` do what it likes with one connection; returns the error that
/// comes of it.
fn against_one_connection(
    answer: impl FnOnce(&mut std::net::TcpStream) + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || answer(&mut listener.accept().unwrap().0));
    let stderr = failure(&load(address, "--verify --duration 10"));
    server.join().unwrap();
    stderr
}
