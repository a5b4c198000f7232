//! Peers that break off, descriptors that run out: each ends what it concerns, and nothing spins.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use vmsgr_tests::sockets::{
    Refusing, accept, connect, connect_with_small_window, expect, expect_turned_away, half_close,
    listen, ping, reset, write_until_stuck,
};
use vmsgr_tests::{Launch, PATIENCE, Pattern, Vmsgrd, eventually, relay_to, two_cores};

const ECHO: &str = "127.0.0.1:0=echo";
const LIMIT_BYTES: u64 = 64 << 20;
/// A window in which nothing should happen: long enough for a spin to show beyond doubt.
const WINDOW: Duration = Duration::from_secs(1);

fn expect_only(daemon: &Vmsgrd, connections: u64) {
    daemon.eventually("nothing is left of the broken ones", |now| {
        now.total.connections == connections
            && now.total.pending_bytes == 0
            && now.total.paused == 0
            && now.total.pending_streams == 0
    });
}

#[test]
fn a_peer_that_resets_in_the_middle_of_a_send_ends_alone() {
    let daemon = Vmsgrd::start(&["-l", ECHO]);
    let mut bystander = connect(daemon.address(0));
    ping(&mut bystander, b"before");
    for _ in 0..10 {
        let client = connect_with_small_window(daemon.address(0));
        write_until_stuck(&client, &mut Pattern::new(1), LIMIT_BYTES);
        daemon
            .eventually("the daemon is in the middle of a send", |now| now.total.pending_bytes > 0);
        reset(client);
        expect_only(&daemon, 1);
    }
    ping(&mut bystander, b"after");
    daemon.expect_idle(WINDOW);
}

#[test]
fn a_reset_of_a_connection_that_is_being_drained_ends_it() {
    let upstream = listen();
    let daemon = Vmsgrd::start(&["-l", &relay_to(upstream.local_addr().expect("an address"))]);
    let client = connect_with_small_window(daemon.address(0));
    let server = accept(&upstream);
    // The upstream has said all and gone; the daemon only has to hand out the rest.
    write_until_stuck(&server, &mut Pattern::new(2), LIMIT_BYTES);
    drop(server);
    daemon.eventually("the rest waits", |now| now.total.pending_bytes > 0);
    daemon.expect_idle(WINDOW);
    reset(client);
    expect_only(&daemon, 0);
    daemon.expect_idle(WINDOW);
}

#[test]
fn a_reset_is_noticed_though_the_connection_is_not_being_read() {
    let upstream = listen();
    let daemon = Vmsgrd::start(&["-l", &relay_to(upstream.local_addr().expect("an address"))]);
    let client = connect(daemon.address(0));
    let _never_reads = accept(&upstream);
    write_until_stuck(&client, &mut Pattern::new(3), LIMIT_BYTES);
    daemon.eventually("the client is stopped", |now| now.total.paused == 1);
    reset(client);
    expect_only(&daemon, 0);
}

#[test]
fn a_reset_behind_bytes_that_find_no_room_is_noticed() {
    let upstream = listen();
    let daemon = Launch::new(&["-l", &relay_to(upstream.local_addr().expect("an address"))])
        .configured("[socket]\nreceive_buffer_bytes = 4194304\nsend_buffer_bytes = 4096\n")
        .start();
    let client = connect(daemon.address(0));
    let _never_reads = accept(&upstream);
    // While the daemon stands still, bytes and reset come together, so that it learns of both at
    // once: and stops reading, for want of room, before it has come to the reset.
    stand_still(&daemon);
    write_until_stuck(&client, &mut Pattern::new(4), LIMIT_BYTES);
    reset(client);
    daemon.signal(Signal::SIGCONT);
    expect_only(&daemon, 0);
}

#[test]
fn connections_in_every_state_of_ending_do_not_spin() {
    let upstream = listen();
    let relay = relay_to(upstream.local_addr().expect("an address"));
    let daemon = Vmsgrd::start(&["-l", ECHO, "-l", &relay]);

    // Half-closed, with bytes to come that it does not read.
    let half_closed = connect_with_small_window(daemon.address(0));
    write_until_stuck(&half_closed, &mut Pattern::new(1), LIMIT_BYTES);
    half_close(&half_closed);
    // Reset while the daemon does not read from it, for its peer does not read either.
    let aborted = connect_with_small_window(daemon.address(1));
    let unread = accept(&upstream);
    write_until_stuck(&aborted, &mut Pattern::new(2), LIMIT_BYTES);
    daemon.eventually("both are stopped", |now| now.total.paused >= 2);
    reset(aborted);
    // Half-closed through the relay, from either side, and then silent.
    let left = connect(daemon.address(1));
    let left_peer = accept(&upstream);
    half_close(&left);
    let right = connect(daemon.address(1));
    let right_peer = accept(&upstream);
    half_close(&right_peer);
    // Gone before it said anything.
    reset(connect(daemon.address(0)));
    reset(connect(daemon.address(1)));

    daemon.expect_idle(WINDOW);
    drop((half_closed, unread, left, left_peer, right, right_peer));
    expect_only(&daemon, 0);
    daemon.expect_idle(WINDOW);
}

#[test]
fn a_connection_reset_before_it_was_accepted_does_no_harm() {
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "--placement", "round-robin", "-l", ECHO]);
    for _ in 0..3 {
        // While the daemon stands still the kernel goes on shaking hands for it.
        stand_still(&daemon);
        for _ in 0..20 {
            reset(connect(daemon.address(0)));
        }
        let mut waiting = connect(daemon.address(0));
        daemon.signal(Signal::SIGCONT);
        ping(&mut waiting, b"the one that waited");
    }
    expect_only(&daemon, 0);
    daemon.expect_idle(WINDOW);
}

#[test]
fn without_descriptors_it_waits_quietly_and_then_serves_everybody() {
    without_descriptors(&["-l", ECHO]);
}

#[test]
fn without_descriptors_two_cores_wait_quietly_and_then_serve_everybody() {
    let Some(cores) = two_cores() else { return };
    without_descriptors(&["--core-mask", &cores, "-l", ECHO]);
}

fn without_descriptors(arguments: &[&str]) {
    const CLIENTS: usize = 200;
    let daemon = Launch::new(arguments).under(&["prlimit", "--nofile=64:64"]).start();
    let mut waiting: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut client = connect(daemon.address(0));
            client.write_all(&number.to_le_bytes()).expect("a ping goes out");
            client.set_nonblocking(true).expect("a stream can be made non-blocking");
            (number, client)
        })
        .collect();
    let full = daemon.eventually("some are served", |now| now.total.connections > 0);
    assert!(full.total.connections < 64, "more connections than descriptors: {full:#?}");
    daemon.expect_log(&["too many open files"]);

    let mut served = Vec::new();
    served.extend(take_answered(&mut waiting));
    // Who waits for a descriptor may look for one now and then, but not all the time.
    let before = daemon.activity();
    thread::sleep(WINDOW);
    let after = daemon.activity();
    let cpu = after.on_cpu() - before.on_cpu();
    assert!(cpu < WINDOW / 20, "{cpu:?} of CPU time in {WINDOW:?} without a descriptor");
    served.extend(take_answered(&mut waiting));
    assert!(!waiting.is_empty(), "64 descriptors for {CLIENTS} clients");

    // Each that leaves makes room for one that waits, until all were served.
    eventually("everybody is served", PATIENCE, || {
        served.clear();
        served.extend(take_answered(&mut waiting));
        waiting.is_empty()
    });
    served.clear();
    expect_only(&daemon, 0);
    ping(&mut connect(daemon.address(0)), b"and one more");
}

#[test]
fn without_descriptors_for_upstreams_a_relay_recovers_as_well() {
    let upstream = listen();
    let relay = relay_to(upstream.local_addr().expect("an address"));
    let daemon = Launch::new(&["-l", &relay]).under(&["prlimit", "--nofile=64:64"]).start();
    let clients: Vec<_> = (0..100).map(|_| connect(daemon.address(0))).collect();
    daemon.expect_log(&["too many open files"]);
    let before = daemon.activity();
    thread::sleep(WINDOW);
    let cpu = daemon.activity().on_cpu() - before.on_cpu();
    assert!(cpu < WINDOW / 20, "{cpu:?} of CPU time in {WINDOW:?} without a descriptor");

    drop(clients);
    // Those that reached the upstream wait in its backlog; it has to see them end.
    upstream.set_nonblocking(true).expect("a listener can be made non-blocking");
    daemon.eventually("nothing is left", |now| {
        while upstream.accept().is_ok() {}
        now.total.connections == 0
    });
    let mut client = connect(daemon.address(0));
    let mut server = accept(&upstream);
    client.write_all(b"hello").expect("the bytes go out");
    expect(&mut server, b"hello");
}

#[test]
fn connections_above_the_maximum_wait_their_turn() {
    let daemon = Vmsgrd::start(&["-l", ECHO, "--max-connections", "4"]);
    let mut served: Vec<_> = (0..4).map(|_| connect(daemon.address(0))).collect();
    for client in &mut served {
        ping(client, b"within the maximum");
    }
    let mut waiting: Vec<_> = (0..3)
        .map(|number| {
            let mut client = connect(daemon.address(0));
            client.write_all(&[number]).expect("the kernel takes it for the daemon");
            client
        })
        .collect();
    daemon.expect_idle(WINDOW);
    let full = daemon.counters().total;
    assert_eq!((full.connections, full.accepted), (4, 4), "{full:#?}");

    for (number, client) in (0..).zip(&mut waiting) {
        expect_silence(client);
        served.pop();
        // Which of them is next is the backlog's order, which is theirs.
        expect(client, &[number]);
    }
    let total = daemon.counters().total;
    assert!(total.connections <= 4, "{total:#?}");
    for client in &mut waiting {
        ping(client, b"served at last");
    }
}

#[test]
fn the_maximum_holds_for_all_cores_together() {
    let Some(cores) = two_cores() else { return };
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "-l", ECHO, "--max-connections", "10"]);
    let mut waiting: Vec<_> = (0..40_usize)
        .map(|number| {
            let mut client = connect(daemon.address(0));
            client.write_all(&number.to_le_bytes()).expect("the kernel takes it for the daemon");
            client.set_nonblocking(true).expect("a stream can be made non-blocking");
            (number, client)
        })
        .collect();
    let mut served = Vec::new();
    eventually("everybody had a turn", PATIENCE, || {
        let total = daemon.counters().total;
        assert!(total.connections <= 10, "{total:#?}");
        served.clear();
        served.extend(take_answered(&mut waiting));
        waiting.is_empty()
    });
}

#[test]
fn a_flood_of_failing_connections_does_not_flood_the_log() {
    let refusing = Refusing::new();
    let daemon = Vmsgrd::start(&["-l", &relay_to(refusing.address())]);
    for _ in 0..500 {
        expect_turned_away(daemon.address(0));
    }
    daemon.expect_log(&["refused"]);
    let lines = daemon.log().count();
    assert!(lines < 250, "{lines} log lines for 500 failures that a client caused");
}

/// Takes those out of `waiting` whose ping was answered.
fn take_answered(waiting: &mut Vec<(usize, TcpStream)>) -> Vec<TcpStream> {
    let mut answered = Vec::new();
    waiting.retain_mut(|(number, client)| {
        let mut answer = [0; size_of::<usize>()];
        match client.read(&mut answer) {
            Ok(count) => {
                assert_eq!(count, answer.len(), "a connection was closed instead of served");
                assert_eq!(usize::from_le_bytes(answer), *number, "somebody else's answer");
                answered.push(client.try_clone().expect("a stream can be cloned"));
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "client {number}: {error}");
                true
            }
        }
    });
    answered
}

/// Checks that nothing has come on this connection so far.
fn expect_silence(client: &TcpStream) {
    client.set_nonblocking(true).expect("a stream can be made non-blocking");
    let heard = (&*client).read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(heard, Err(ErrorKind::WouldBlock), "served above the maximum");
    client.set_nonblocking(false).expect("a stream can be made blocking");
}

fn stand_still(daemon: &Vmsgrd) {
    daemon.signal(Signal::SIGSTOP);
    eventually("the daemon stands still", PATIENCE, || is_stopped(daemon.pid()));
}

fn is_stopped(pid: u32) -> bool {
    // Behind the name in parentheses comes the state; T is stopped.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}
