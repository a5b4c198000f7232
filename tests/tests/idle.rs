//! What connections cost that say nothing.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use vmsgr_tests::sockets::{connect, expect, ping};
use vmsgr_tests::{
    PATIENCE, Process, Vmsgrd, eventually, peer, raise_descriptor_limit, report, resident_bytes,
    skip, two_cores,
};

/// These tests hold thousands of descriptors, and measure: one after the other.
static ALONE: Mutex<()> = Mutex::new(());

const ECHO: &str = "127.0.0.1:0=echo";

#[test]
fn ten_thousand_idle_connections_then_one_ping_on_each() {
    const CONNECTIONS: usize = 10_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if raise_descriptor_limit() < CONNECTIONS as u64 + 500 {
        return skip("needs a limit of 10,500 descriptors (ulimit -Hn)");
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
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    raise_descriptor_limit();
    let (daemon, _clients) = a_thousand_idle_connections();
    daemon.expect_idle(Duration::from_secs(10));
}

#[test]
fn a_thousand_idle_connections_make_no_system_call_for_ten_seconds() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(strace) = peer("strace") else { return };
    raise_descriptor_limit();
    let (daemon, mut clients) = a_thousand_idle_connections();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("trace");
    let mut tracer = Process::spawn(
        strace
            .command()
            .args(["-f", "-p", &daemon.pid().to_string(), "-o"])
            .arg(&trace)
            .env("LC_ALL", "C"),
    );
    let attached = tracer.stderr().wait_from(0, PATIENCE, |line| line.contains("attached"));
    assert!(attached.is_some(), "strace does not attach: {:?}", tracer.stderr().all());

    // To attach interrupts each thread once; wait until they are back in their sleep.
    let length = || fs::metadata(&trace).map(|file| file.len()).unwrap_or_default();
    let mut before = length();
    eventually("the traced threads sleep", PATIENCE, || {
        thread::sleep(Duration::from_millis(500));
        let after = length();
        let still = before == after;
        before = after;
        still
    });
    thread::sleep(Duration::from_secs(10));
    let written = fs::read(&trace).expect("the trace");
    let calls = String::from_utf8_lossy(&written[usize::try_from(before).expect("a length")..]);
    assert!(calls.is_empty(), "system calls while idle:\n{calls}");

    // The tracer was not deaf: it sees what serving one connection takes.
    ping(&mut clients[500], b"still there?");
    eventually("the trace of a ping", PATIENCE, || length() > before);
    tracer.signal(Signal::SIGINT);
    tracer.wait(PATIENCE);
}

#[test]
fn a_daemon_that_nobody_ever_connected_to_sleeps_as_well() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let daemon = Vmsgrd::start(&["-l", ECHO]);
    daemon.expect_idle(Duration::from_secs(2));
}

#[test]
fn a_burst_is_followed_by_sleep() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
