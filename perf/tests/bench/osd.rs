//! Load on an OSD.

use std::net::TcpListener;

use crate::run::{failure, osd, read_json, serve, success};

/// The last ones do not fit into the sockets' buffers: short writes and EPOLLOUT, on both sides.
#[test]
fn operations_of_every_shape_are_answered_and_told() {
    let server = serve("osd-null");
    let file = tempfile::NamedTempFile::new().unwrap();
    for shape in [
        "--size 1",
        "--connections 20 --depth 16 --size 64",
        "--connections 3 --depth 3 --size 100003 --read-fraction 0.5",
        "--depth 4 --size 4194304 --read-fraction 1",
        "--connections 2 --depth 4 --size 3000000",
    ] {
        let more =
            format!("--duration 0.2 --pid {} --json {}", server.pid(), file.path().display());
        let text = success(&osd(server.address(), &format!("{shape} {more}")));
        for part in ["ops/s", "p99 us", "server, per operation: ", "generator, per operation: "] {
            assert!(text.contains(part), "{shape}\n{text}");
        }
        assert!(!text.contains("no reply"), "{shape}\n{text}");
        let json = read_json(file.path());
        assert!(json["messages"].as_u64().unwrap() > 0, "{shape} {json}");
        assert!(json["server"]["cpu_s"].as_f64().unwrap() > 0.0, "{shape} {json}");
    }
}

#[test]
fn an_open_loop_of_operations_keeps_its_rate_and_counts_from_when_they_were_due() {
    let server = serve("osd-null");
    let file = tempfile::NamedTempFile::new().unwrap();
    let run = |arguments: &str| {
        let arguments = format!("{arguments} --json {}", file.path().display());
        (success(&osd(server.address(), &arguments)), read_json(file.path()))
    };
    let (text, json) = run("--rate 500 --connections 3 --size 64 --duration 1");
    assert!(text.contains("open loop: 500 ops/s were due"), "{text}");
    assert!((450..=550).contains(&json["messages"].as_u64().unwrap()), "{json}");
    // 60 GB/s nobody takes: what waits for its turn was due long before it is asked for.
    let (text, json) = run("--rate 1000000 --connections 2 --size 60000 --duration 0.2");
    assert!(text.contains("unanswered at the end"), "{text}");
    assert!(json["open_loop"]["unanswered"].as_u64().unwrap() > 10_000, "{json}");
    assert!(json["latency"]["p50_us"].as_f64().unwrap() > 50_000.0, "{json}");
    assert_eq!(json["silent_connections"], 0, "{json}");
}

#[test]
fn who_is_no_osd_is_an_error_that_says_so() {
    // An echo says our own banner back, and our own frames, which a server does not say.
    let stderr = failure(&osd(serve("epoll").address(), "--duration 1"));
    assert!(stderr.contains("client 0 of 127.0.0.1:"), "{stderr}");
    assert!(stderr.contains("the session is over"), "{stderr}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let stderr = failure(&osd(silent.local_addr().unwrap(), "--duration 10 --connections 2"));
    let wanted = "completed no operation for 5 s; 0 are in flight on 2 connections, 0 of which";
    assert!(stderr.contains(wanted), "{stderr}");
}
