//! Load on a server, and servers that do not do what they should.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use crate::run::{failure, load, osd, read_json, refusal, serve, success};

#[test]
fn json_holds_what_was_measured() {
    let server = serve("epoll");
    let file = tempfile::NamedTempFile::new().unwrap();
    let arguments = format!("--duration 0.1 --json {}", file.path().display());
    success(&load(server.address(), &arguments));
    let json: serde_json::Value = serde_json::from_reader(file).unwrap();
    assert!(json["messages"].as_u64().unwrap() > 0, "{json}");
    assert!(json["latency"]["p99_us"].as_f64().unwrap() > 0.0, "{json}");
    // And what it was measured with, also what nobody said.
    assert_eq!(json["options"]["duration"], 0.1, "{json}");
    assert_eq!(json["options"]["connections"], 1, "{json}");
    assert!(json["command"].as_str().unwrap().starts_with("vmsgr-bench load "), "{json}");
    assert!(!json["machine"]["commit"].as_str().unwrap().is_empty(), "{json}");
}

#[test]
fn it_is_told_how_far_from_each_other_the_cores_are() {
    let server = serve("epoll");
    let address = server.address();
    let osds = serve("osd-null");
    let arguments = "--core 0 --server-core 1 --duration 0.05";
    let deadline = Instant::now() + Duration::from_secs(30);
    // Where others use that core all the time nobody may answer.
    let told = |run: &dyn Fn() -> Output| {
        while !success(&run()).contains("cores: a cache line took ") {
            assert!(Instant::now() < deadline, "nobody answered in all that time");
        }
    };
    for words in ["", "--churn", "--rate 100"] {
        told(&|| load(address, &format!("{arguments} {words}")));
    }
    told(&|| osd(osds.address(), arguments));
    let text = success(&load(address, "--core 0 --duration 0.05"));
    assert!(!text.contains("cores:"), "nobody said where the server is: {text}");
    let error = refusal(&load(address, "--core 0 --server-core 0"));
    assert!(error.contains("--server-core: is --core, too: 0 is as near as can be"), "{error}");
    let error = refusal(&load(address, "--core 0 --server-core 100000"));
    assert!(error.contains("--server-core: core 100000 is not one"), "{error}");
    let error = refusal(&load(address, "--server-core 1"));
    assert!(error.contains("--core <N>"), "{error}");
}

#[test]
fn a_file_that_cannot_be_written_is_found_before_it_is_measured() {
    // Nobody listens there, which would be found next.
    let nobody = "127.0.0.1:1".parse().unwrap();
    let error = refusal(&load(nobody, "--json /nonexistent/load.json"));
    assert!(error.contains("cannot write /nonexistent/load.json"), "{error}");
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let server = serve("epoll");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("open.json");
    let arguments =
        format!("--rate 500 --connections 3 --duration 1 --verify --json {}", file.display());
    let text = success(&load(server.address(), &arguments));
    assert!(text.contains("open loop: 500 msgs/s were due"), "{text}");
    let messages = read_json(&file)["messages"].as_u64().unwrap();
    assert!((450..=550).contains(&messages), "{messages}");
}

#[test]
fn an_open_loop_counts_what_a_stalled_server_made_late() {
    // For 300 ms nobody answers. A closed loop would see one slow message; here each of those that
    // were due meanwhile is late, and half of all are later than 20 ms.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let (mut buffer, started, mut stalled) = ([0; 4096], Instant::now(), false);
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if !stalled && started.elapsed() > Duration::from_millis(400) {
                thread::sleep(Duration::from_millis(300));
                stalled = true;
            }
            stream.write_all(&buffer[..read]).unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("open.json");
    let arguments = format!("--rate 1000 --duration 0.5 --json {}", file.display());
    success(&load(address, &arguments));
    server.join().unwrap();
    let json = read_json(&file);
    assert!(json["latency"]["p50_us"].as_f64().unwrap() > 20_000.0, "{json}");
}

#[test]
fn system_calls_are_counted_or_it_is_said_why_not() {
    let server = serve("epoll");
    let file = tempfile::NamedTempFile::new().unwrap();
    let arguments = format!(
        "--connections 64 --duration 0.1 --pid {} --json {}",
        server.pid(),
        file.path().display()
    );
    let text = success(&load(server.address(), &arguments));
    let counted = text.contains("server, system calls per message: ");
    assert!(counted || text.contains("not counted: no tracepoints"), "{text}");
    let probed = &read_json(file.path())["probed"];
    if let Some(calls) = probed["parts"][0]["system_calls"].as_u64() {
        // A read and a write for each, of what is under way when the counting begins and ends, too.
        assert!(calls >= 2 * probed["messages"].as_u64().unwrap(), "{probed}");
    }
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
