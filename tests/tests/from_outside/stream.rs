//! Large streams through the relay, checked byte for byte, and what they leave to the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vmsgr_tests::sockets::{
    accept, check_pattern_to_end, connect, expect_end, half_close, listen, ping, write_pattern,
};
use vmsgr_tests::{Pattern, Peer, Process, Vmsgrd, peer, relay_to, report, run};

const GIB: u64 = 1 << 30;

#[test]
fn a_ping_stays_served_while_one_gib_goes_by() {
    let upstream = listen();
    let relay = relay_to(upstream.local_addr().expect("an address"));
    // Without a core mask there is one loop, which both are on.
    let daemon = Vmsgrd::start(&["-l", &relay, "-l", "127.0.0.1:0=echo"]);

    let client = connect(daemon.address(0));
    let mut server = accept(&upstream);
    let mut pinging = connect(daemon.address(1));
    ping(&mut pinging, &[1; 64]);

    let streaming = AtomicBool::new(true);
    let started = Instant::now();
    let (streamed, mut round_trips) = thread::scope(|scope| {
        scope.spawn(|| {
            write_pattern(&client, &mut Pattern::new(1), GIB);
            half_close(&client);
        });
        let receiver = scope.spawn(|| {
            let received = check_pattern_to_end(&server, &mut Pattern::new(1));
            assert_eq!(received, GIB);
            streaming.store(false, Ordering::Release);
            started.elapsed()
        });
        let mut round_trips = Vec::new();
        while streaming.load(Ordering::Acquire) && !receiver.is_finished() {
            let sent = Instant::now();
            ping(&mut pinging, &[7; 64]);
            round_trips.push(sent.elapsed());
        }
        (receiver.join().expect("the receiver"), round_trips)
    });

    assert!(round_trips.len() > 10, "only {} pings were served", round_trips.len());
    round_trips.sort_unstable();
    let at = |part: f64| round_trips[((round_trips.len() - 1) as f64 * part) as usize];
    report(&format!(
        "1 GiB in {streamed:.1?}; meanwhile {} pings, p50 {:.0?}, p99 {:.0?}, longest {:.0?}",
        round_trips.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    ));
    let total = daemon.counters().total;
    assert!(total.bytes_in >= GIB && total.bytes_out >= GIB, "{total:#?}");

    // The other direction was open all the while.
    half_close(&server);
    expect_end(&mut { client });
    expect_end(&mut server);
}

#[test]
fn both_directions_at_once_do_not_stall_each_other() {
    const BYTES: u64 = 128 << 20;
    let upstream = listen();
    let relay = relay_to(upstream.local_addr().expect("an address"));
    let daemon = Vmsgrd::start(&["-l", &relay]);
    let client = connect(daemon.address(0));
    let server = accept(&upstream);

    thread::scope(|scope| {
        for (side, seeds) in [(&client, (1, 2)), (&server, (2, 1))] {
            scope.spawn(move || {
                write_pattern(side, &mut Pattern::new(seeds.0), BYTES);
                half_close(side);
            });
            scope.spawn(move || {
                assert_eq!(check_pattern_to_end(side, &mut Pattern::new(seeds.1)), BYTES);
            });
        }
    });
    daemon.eventually("both sides are gone", |now| now.total.connections == 0);
}

#[test]
fn echo_returns_a_stream_whole() {
    const BYTES: u64 = 128 << 20;
    let daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo"]);
    let client = connect(daemon.address(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            write_pattern(&client, &mut Pattern::new(3), BYTES);
            half_close(&client);
        });
        assert_eq!(check_pattern_to_end(&client, &mut Pattern::new(3)), BYTES);
    });
}

#[test]
fn discard_takes_everything_and_answers_nothing() {
    const BYTES: u64 = 256 << 20;
    let daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=discard"]);
    let mut client = connect(daemon.address(0));
    write_pattern(&client, &mut Pattern::new(4), BYTES);
    half_close(&client);
    expect_end(&mut client);
    daemon.eventually("all of it was read", |now| now.total.bytes_in == BYTES);
    assert_eq!(daemon.counters().total.bytes_out, 0);
}

#[test]
fn iperf3_runs_in_both_directions() {
    let Some(iperf3) = peer("iperf3") else { return };
    for direction in [None, Some("--reverse")] {
        let (_server, address) = iperf3_server(&iperf3);
        let daemon = Vmsgrd::start(&["-l", &relay_to(address)]);
        let port = daemon.address(0).port().to_string();
        let mut client = iperf3.command();
        client.args(["--client", "127.0.0.1", "--port", &port, "--json", "--parallel", "2"]);
        client.args(["--time", "2"]).args(direction);

        let output = run(&mut client, &[], Duration::from_secs(60));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "iperf3: {text}");
        let json: serde_json::Value = serde_json::from_str(&text).expect("iperf3 prints JSON");
        assert!(json.get("error").is_none(), "iperf3: {text}");
        let end = |name: &str| json["end"][name]["bytes"].as_u64().unwrap_or_default();
        let (sent, received) = (end("sum_sent"), end("sum_received"));
        assert!(received > 0, "iperf3 received nothing: {text}");
        report(&format!(
            "{} MiB sent, {} MiB received{}",
            sent >> 20,
            received >> 20,
            if direction.is_some() { ", from server to client" } else { "" }
        ));
    }
}

/// An iperf3 server for one run.
fn iperf3_server(iperf3: &Peer) -> (Process, std::net::SocketAddr) {
    // iperf3 cannot take any free port; see the other servers.
    (0..5)
        .find_map(|_| {
            let address = vmsgr_tests::sockets::Refusing::new().address();
            let mut command = iperf3.command();
            command.args(["--server", "--one-off", "--forceflush", "--bind", "127.0.0.1"]);
            command.args(["--port", &address.port().to_string()]);
            let server = Process::spawn(&mut command);
            // It must not be tried by connecting: that would be the one run.
            let listens = |line: &str| line.contains("Server listening");
            server.stdout().wait_from(0, vmsgr_tests::PATIENCE, listens).map(|_| (server, address))
        })
        .expect("iperf3 starts")
}
