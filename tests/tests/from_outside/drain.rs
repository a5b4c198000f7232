//! The end of the daemon: what it has taken is delivered first.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use vmsgr_tests::sockets::{
    accept, check_pattern_to_end, connect, connect_with_small_window, expect_closed, half_close,
    listen, ping, reset, write_until_stuck,
};
use vmsgr_tests::{PATIENCE, Pattern, Vmsgrd, eventually, relay_to};

const LIMIT_BYTES: u64 = 64 << 20;

#[test]
fn without_connections_it_ends_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo", "--drain-timeout", "600"]);
        daemon.signal(signal);
        assert_eq!(daemon.wait(PATIENCE).code(), Some(0), "after {signal}");
    }
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let mut daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo", "--drain-timeout", "600"]);
    let mut client = connect(daemon.address(0));
    ping(&mut client, b"hello");
    assert_eq!(daemon.terminate().code(), Some(0));
    expect_closed(&mut client);
}

#[test]
fn a_slow_reader_of_an_echo_still_gets_what_was_taken() {
    let mut daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo", "--drain-timeout", "60"]);
    let client = connect_with_small_window(daemon.address(0));
    let mut sent = Pattern::new(1);
    // More than the daemon takes: some of it is still unread in its socket when the end comes, and a
    // socket closed with unread bytes would reset the connection and lose the sent ones.
    write_until_stuck(&client, &mut sent, LIMIT_BYTES);
    let taken = daemon.eventually("bytes wait", |now| now.total.pending_bytes > 0).total.bytes_in;

    daemon.signal(Signal::SIGTERM);
    expect_no_more_connections(&daemon);
    assert!(daemon.is_running(), "it ended with bytes to deliver");
    let received = check_pattern_to_end(&client, &mut Pattern::new(1));
    assert!(received >= taken, "{taken} bytes were taken, {received} came back");
    drop(client);
    assert_eq!(daemon.wait(PATIENCE).code(), Some(0));
}

#[test]
fn a_slow_reader_behind_the_relay_still_gets_what_was_taken() {
    let (mut daemon, client, server) = relayed("60");
    let mut sent = Pattern::new(2);
    write_until_stuck(&server, &mut sent, LIMIT_BYTES);
    // The upstream is done; what the daemon has not read yet is in its socket's buffer.
    half_close(&server);
    let waiting = daemon.eventually("bytes wait", |now| now.total.pending_bytes > 0);

    daemon.signal(Signal::SIGTERM);
    expect_no_more_connections(&daemon);
    assert!(daemon.is_running(), "it ended with bytes to deliver");
    let received = check_pattern_to_end(&client, &mut Pattern::new(2));
    let taken = waiting.total.bytes_in;
    assert!(received >= taken, "{taken} bytes were taken, {received} were delivered");
    drop((client, server));
    assert_eq!(daemon.wait(PATIENCE).code(), Some(0));
}

#[test]
fn a_reader_that_never_reads_is_given_up_at_the_deadline() {
    let (mut daemon, _client, server) = relayed("1");
    write_until_stuck(&server, &mut Pattern::new(3), LIMIT_BYTES);
    daemon.eventually("bytes wait", |now| now.total.pending_bytes > 0);
    let started = Instant::now();
    assert_eq!(daemon.terminate().code(), Some(0));
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_secs(1), "given up after {elapsed:?}, before the deadline");
}

#[test]
fn a_reset_while_draining_ends_it() {
    let (mut daemon, client, server) = relayed("600");
    write_until_stuck(&server, &mut Pattern::new(4), LIMIT_BYTES);
    daemon.eventually("bytes wait", |now| now.total.pending_bytes > 0);
    daemon.signal(Signal::SIGTERM);
    expect_no_more_connections(&daemon);
    assert!(daemon.is_running(), "it ended with bytes to deliver");
    reset(client);
    assert_eq!(daemon.wait(PATIENCE).code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (mut daemon, _client, server) = relayed("600");
    write_until_stuck(&server, &mut Pattern::new(5), LIMIT_BYTES);
    daemon.eventually("bytes wait", |now| now.total.pending_bytes > 0);
    daemon.signal(Signal::SIGTERM);
    expect_no_more_connections(&daemon);
    assert!(daemon.is_running(), "the first signal drains");
    daemon.signal(Signal::SIGTERM);
    daemon.wait(Duration::from_secs(10));
}

/// Waits until the daemon has closed its listener, the first thing that the end does.
fn expect_no_more_connections(daemon: &Vmsgrd) {
    eventually("the listener is closed", PATIENCE, || {
        TcpStream::connect(daemon.address(0)).is_err()
    });
}

fn relayed(drain_timeout: &str) -> (Vmsgrd, TcpStream, TcpStream) {
    let upstream = listen();
    let relay = relay_to(upstream.local_addr().expect("an address"));
    let daemon = Vmsgrd::start(&["-l", &relay, "--drain-timeout", drain_timeout]);
    let client = connect_with_small_window(daemon.address(0));
    let server = accept(&upstream);
    (daemon, client, server)
}
