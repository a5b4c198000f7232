//! The relay passes on how a connection ends, not only its bytes.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use vmsgr_tests::sockets::{
    Refusing, Unanswering, accept, connect, expect, expect_end, expect_reset, expect_turned_away,
    half_close, listen, ping, reset,
};
use vmsgr_tests::{Launch, Vmsgrd, relay_to};

/// A relay with one connection through it: the daemon, the client's end, the upstream's end.
fn relayed() -> (Vmsgrd, TcpStream, TcpStream, TcpListener) {
    let upstream = listen();
    let daemon = Vmsgrd::start(&["-l", &relay_to(upstream.local_addr().expect("an address"))]);
    let mut client = connect(daemon.address(0));
    let mut server = accept(&upstream);
    say(&mut client, &mut server, b"hello");
    say(&mut server, &mut client, b"welcome");
    (daemon, client, server, upstream)
}

fn say(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    std::io::Write::write_all(from, bytes).expect("the bytes go out");
    expect(to, bytes);
}

fn expect_nothing_left(daemon: &Vmsgrd) {
    daemon.eventually("nothing is left of the connection", |now| {
        now.total.connections == 0 && now.total.pending_bytes == 0 && now.total.timers == 0
    });
}

#[test]
fn a_half_close_by_the_client_reaches_the_upstream_which_still_answers() {
    let (daemon, mut client, mut server, _upstream) = relayed();
    half_close(&client);
    expect_end(&mut server);
    say(&mut server, &mut client, b"the answer to everything you asked");
    half_close(&server);
    expect_end(&mut client);
    expect_nothing_left(&daemon);
}

#[test]
fn a_half_close_by_the_upstream_reaches_the_client_which_still_speaks() {
    let (daemon, mut client, mut server, _upstream) = relayed();
    half_close(&server);
    expect_end(&mut client);
    say(&mut client, &mut server, b"one more thing");
    half_close(&client);
    expect_end(&mut server);
    expect_nothing_left(&daemon);
}

#[test]
fn a_half_close_with_the_last_bytes_does_not_overtake_them() {
    let upstream = listen();
    let daemon = Vmsgrd::start(&["-l", &relay_to(upstream.local_addr().expect("an address"))]);
    for round in 0..50_u8 {
        let mut client = connect(daemon.address(0));
        // All of it may be there before the upstream's connection is.
        std::io::Write::write_all(&mut client, &[round; 3000]).expect("the bytes go out");
        half_close(&client);
        let mut server = accept(&upstream);
        expect(&mut server, &[round; 3000]);
        expect_end(&mut server);
        std::io::Write::write_all(&mut server, &[round; 3000]).expect("the bytes go out");
        drop(server);
        expect(&mut client, &[round; 3000]);
        expect_end(&mut client);
    }
    expect_nothing_left(&daemon);
}

#[test]
fn a_reset_by_the_client_resets_the_upstream() {
    let (daemon, client, mut server, _upstream) = relayed();
    reset(client);
    expect_reset(&mut server);
    expect_nothing_left(&daemon);
}

#[test]
fn a_reset_by_the_upstream_resets_the_client() {
    let (daemon, mut client, server, _upstream) = relayed();
    reset(server);
    expect_reset(&mut client);
    expect_nothing_left(&daemon);
}

#[test]
fn a_reset_after_a_half_close_is_passed_on_as_well() {
    let (daemon, mut client, mut server, _upstream) = relayed();
    half_close(&client);
    expect_end(&mut server);
    reset(server);
    expect_reset(&mut client);
    expect_nothing_left(&daemon);
}

#[test]
fn an_upstream_that_refuses_is_reported_and_ends_the_client() {
    let refusing = Refusing::new();
    let daemon = Vmsgrd::start(&["-l", &relay_to(refusing.address()), "-l", "127.0.0.1:0=echo"]);
    expect_turned_away(daemon.address(0));
    let line = daemon.expect_log(&["refused", &refusing.address().to_string()]);
    assert!(line.contains("conn="), "which connection? {line}");
    expect_nothing_left(&daemon);
    ping(&mut connect(daemon.address(1)), b"nobody else noticed");
}

#[test]
fn an_upstream_that_never_answers_times_out_is_reported_and_ends_the_client() {
    let unanswering = Unanswering::new();
    let daemon = Launch::new(&["-l", &relay_to(unanswering.address())])
        .configured("[relay]\nconnect_timeout_ms = 700\n")
        .start();
    let started = std::time::Instant::now();
    expect_turned_away(daemon.address(0));
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(700), "given up after {elapsed:?}, too early");
    daemon.expect_log(&["timed out", &unanswering.address().to_string()]);
    expect_nothing_left(&daemon);
    daemon.expect_idle(Duration::from_secs(1));
}

#[test]
fn a_client_that_leaves_before_the_upstream_has_answered_ends_both() {
    let unanswering = Unanswering::new();
    let daemon = Launch::new(&["-l", &relay_to(unanswering.address())])
        .configured("[relay]\nconnect_timeout_ms = 600_000\n")
        .start();
    let client = connect(daemon.address(0));
    daemon.eventually("the client is there", |now| now.total.accepted == 1);
    reset(client);
    expect_nothing_left(&daemon);
}

#[test]
fn the_upstream_sees_the_source_address_that_was_configured() {
    let upstream = listen();
    let daemon = Launch::new(&["-l", &relay_to(upstream.local_addr().expect("an address"))])
        .configured("[relay]\nsource = \"127.0.0.77\"\n")
        .start();
    let mut client = connect(daemon.address(0));
    let mut server = accept(&upstream);
    assert_eq!(server.peer_addr().expect("a peer").ip().to_string(), "127.0.0.77");
    say(&mut client, &mut server, b"hello");
}

#[test]
fn an_upstream_by_name_is_resolved() {
    let upstream = listen();
    let port = upstream.local_addr().expect("an address").port();
    let daemon = Vmsgrd::start(&["-l", &format!("127.0.0.1:0=relay:localhost:{port}")]);
    let mut client = connect(daemon.address(0));
    let mut server = accept(&upstream);
    say(&mut client, &mut server, b"hello");
}
