//! What connections cost that say nothing.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use vmsgr_tests::sockets::{connect, expect, ping};
use vmsgr_tests::{
    OTHERS, SystemCalls, Vmsgrd, raise_descriptor_limit, report, resident_bytes, skip,
    ten_thousand, two_cores,
};

const ECHO: &str = "127.0.0.1:0=echo";

#[test]
fn ten_thousand_idle_connections_then_one_ping_on_each() {
    const CONNECTIONS: usize = 10_000;
    let _alone = ten_thousand();
    if raise_descriptor_limit() < CONNECTIONS as u64 + OTHERS {
        return skip("needs a limit of 15,000 descriptors (ulimit -Hn)");
    }
    let daemon = Vmsgrd::start(&["-l", ECHO]);
    // One connection has gone its whole way before, so that code and buffers of the loop count as the
    // daemon's and not as the connections'.
    ping(&mut connect(daemon.address(0)), b"warm");
    daemon.eventually("it is gone again", |now| now.total.connections == 0);
    let before = resident_bytes(daemon.pid());

    let mut clients = connect_many(daemon.address(0), CONNECTIONS);
    daemon.eventually("all are accepted", |now| now.total.connections == CONNECTIONS as u64);
    let idle = resident_bytes(daemon.pid());

    for (number, client) in clients.iter_mut().enumerate() {
        std::io::Write::write_all(client, &number.to_le_bytes()).expect("a ping goes out");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        expect(client, &number.to_le_bytes());
    }
    let served = resident_bytes(daemon.pid());

    let each = |now: u64| now.saturating_sub(before) / CONNECTIONS as u64;
    report(&format!(
        "{} bytes resident per idle connection, {} after each was served once",
        each(idle),
        each(served)
    ));
    assert!(each(idle) < 1024, "{} bytes resident per idle connection", each(idle));
    assert!(each(served) < 1024, "{} bytes resident per connection once served", each(served));
    drop(clients);
    daemon.eventually("all are gone", |now| now.total.connections == 0);
}

#[test]
fn a_thousand_idle_connections_wake_nobody_up_for_ten_seconds() {
    raise_descriptor_limit();
    let (daemon, _clients) = a_thousand_idle_connections();
    daemon.expect_idle(Duration::from_secs(10));
}

#[test]
fn a_thousand_idle_connections_make_no_system_call_for_ten_seconds() {
    raise_descriptor_limit();
    let (daemon, mut clients) = a_thousand_idle_connections();
    let Some(mut calls) = SystemCalls::of(&[daemon.pid()]) else { return };
    calls.expect_none(Duration::from_secs(10));
    ping(&mut clients[500], b"still there?");
    calls.expect_some();
}

#[test]
fn a_daemon_that_nobody_ever_connected_to_sleeps_as_well() {
    let daemon = Vmsgrd::start(&["-l", ECHO]);
    daemon.expect_idle(Duration::from_secs(2));
}

#[test]
fn a_burst_is_followed_by_sleep() {
    let daemon = Vmsgrd::start(&["-l", ECHO]);
    let mut client = connect(daemon.address(0));
    // Enough of them, close enough, for an adaptive spin to think that it pays.
    for number in 0..20_000_u64 {
        ping(&mut client, &number.to_le_bytes());
    }
    daemon.expect_idle(Duration::from_secs(2));
}

/// A daemon on two cores where there are two, with a thousand connections that all were served.
fn a_thousand_idle_connections() -> (Vmsgrd, Vec<TcpStream>) {
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "-l", ECHO]);
    let mut clients = connect_many(daemon.address(0), 1_000);
    for client in &mut clients {
        ping(client, b"hello");
    }
    (daemon, clients)
}

fn connect_many(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| connect(address)).collect()
}
