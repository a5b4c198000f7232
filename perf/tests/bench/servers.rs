//! The servers that come with the program.

use std::net::TcpListener;

use clap::ValueEnum;
use vmsgr_perf::server::Server;
use vmsgr_perf::suite::peer::Peer;
use vmsgr_perf::workload::Kind;

use crate::run::{bench, failure, load, read_json, serve, success};

fn relay(name: &str, upstream: &Server) -> Server {
    let upstream = upstream.address().to_string();
    let command = ["serve", name, "--listen", "127.0.0.1:0", "--upstream", &upstream];
    Server::start(bench(&command)).unwrap()
}

/// Every built-in server that this machine can run.
fn builtins() -> Vec<&'static str> {
    let echoes = Peer::value_variants().iter().filter(|peer| peer.takes_part_in(Kind::Echo));
    let builtins = echoes.filter(|peer| !peer.is_vmsgrd() && peer.absence().is_none());
    builtins.map(|peer| peer.name()).collect()
}

/// The last two do not fit into the sockets' buffers: short writes and EPOLLOUT, on both sides.
fn brings_back_what_it_is_sent(name: &str, server: &Server) {
    for shape in [
        "--connections 1 --size 1",
        "--connections 20 --depth 16 --size 64",
        "--connections 3 --depth 3 --size 100003",
        "--connections 2 --depth 4 --size 3000000",
    ] {
        let arguments = format!("{shape} --verify --duration 0.2 --pid {}", server.pid());
        let text = success(&load(server.address(), &arguments));
        assert!(text.contains("msgs/s") && text.contains("us CPU"), "{name} {shape}\n{text}");
        assert!(!text.contains("no reply"), "{name} {shape}\n{text}");
    }
}

#[test]
fn every_server_echoes_byte_for_byte() {
    assert!(builtins().len() >= 6, "{:?}", builtins());
    for name in builtins() {
        brings_back_what_it_is_sent(name, &serve(name));
    }
}

#[test]
fn the_plain_relays_relay_byte_for_byte() {
    let upstream = serve("epoll");
    for name in ["epoll-relay", "splice-relay"] {
        brings_back_what_it_is_sent(name, &relay(name, &upstream));
        let alone = bench(&["serve", name, "--listen", "127.0.0.1:0"]).output().unwrap();
        assert_eq!(alone.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&alone.stderr).contains("--upstream"));
    }
}

#[test]
fn an_idle_server_does_nothing() {
    // The other two are made never to rest.
    for name in builtins().into_iter().filter(|name| !["epoll-spin", "sleep-poll"].contains(name)) {
        let server = serve(name);
        let arguments = format!("--idle --connections 50 --duration 0.3 --pid {}", server.pid());
        let nothing = "server: 0.000000 s CPU, 0 voluntary and 0 involuntary context switches";
        let at_rest = || success(&load(server.address(), &arguments)).contains(nothing);
        // On a busy machine it may take the server longer than the warm-up to accept them all.
        assert!((0..5).any(|_| at_rest()), "{name}");
    }
}

#[test]
fn churn_makes_a_connection_for_every_message() {
    for name in builtins() {
        let server = serve(name);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("churn.json");
        let arguments = format!(
            "--churn --connections 16 --verify --duration 0.2 --pid {} --json {}",
            server.pid(),
            file.display()
        );
        success(&load(server.address(), &arguments));
        let json = read_json(&file);
        assert!(json["messages"].as_u64().unwrap() > 16, "{name} {json}");
    }
}

#[test]
fn those_who_do_not_read_do_not_stop_those_who_do() {
    for name in builtins() {
        let server = serve(name);
        let arguments = "--slow 3 --connections 5 --duration 0.3 --verify";
        let text = success(&load(server.address(), arguments));
        assert!(!text.contains("no reply"), "{name}\n{text}");
    }
}

#[test]
fn an_address_in_use_is_told_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let stderr = failure(&bench(&["serve", "epoll", "--listen", &address]).output().unwrap());
    let start = format!("vmsgr-bench: cannot listen on {address}: Address already in use");
    assert!(stderr.starts_with(&start) && stderr.contains("or 0 for any free one"), "{stderr}");
}

#[test]
fn an_application_without_its_daemon_is_told_how_to_start_one() {
    let app_shm = ["serve", "app-shm", "--listen", "127.0.0.1:0", "--socket", "/nonexistent/s"];
    let stderr = failure(&bench(&app_shm).output().unwrap());
    assert_eq!(stderr.matches("vmsgrd --socket /nonexistent/s").count(), 1, "{stderr}");
}
