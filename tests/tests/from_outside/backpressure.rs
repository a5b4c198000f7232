//! Who does not read stops who writes, and nothing piles up in between.

use std::net::TcpStream;

use vmsgr_tests::sockets::{
    accept, check_pattern, check_pattern_to_end, connect, connect_with_small_window, half_close,
    listen, ping, write_until_stuck,
};
use vmsgr_tests::{Pattern, Vmsgrd, relay_to, resident_bytes};

/// The most that may go in while nobody reads: the daemon's own share and, far larger, what the
/// kernel keeps in the buffers of up to four sockets.
const OFFERED_LIMIT_BYTES: u64 = 64 << 20;
/// The high-water mark of one direction, the daemon's default.
const HIGH_WATER_BYTES: u64 = 256 << 10;

#[test]
fn a_client_that_does_not_read_stops_the_upstream() {
    let (daemon, client, server) = relayed();
    slow_reader(&daemon, &client, &server);
}

#[test]
fn an_upstream_that_does_not_read_stops_the_client() {
    let (daemon, client, server) = relayed();
    slow_reader(&daemon, &server, &client);
}

/// Fills the relay from `writer` towards `reader`, looks at what the daemon holds meanwhile, and then
/// reads everything.
fn slow_reader(daemon: &Vmsgrd, reader: &TcpStream, writer: &TcpStream) {
    let resident = resident_bytes(daemon.pid());
    let mut sent = Pattern::new(1);
    let offered = write_until_stuck(writer, &mut sent, OFFERED_LIMIT_BYTES);
    let stuck = daemon.eventually("the reading has stopped", |now| now.total.paused > 0);
    let pending = stuck.total.pending_bytes;
    assert!(pending > 0, "{offered} bytes were offered, and none waits");
    assert!(pending <= 2 * HIGH_WATER_BYTES, "{pending} of {offered} bytes wait in the daemon");
    let grown = resident_bytes(daemon.pid()).saturating_sub(resident);
    assert!(grown <= 16 * HIGH_WATER_BYTES, "the daemon grew by {grown} bytes");
    daemon.asleep();

    let mut received = Pattern::new(1);
    check_pattern(reader, &mut received, offered);
    // It goes on as before, and nothing was remembered wrongly.
    let mut more = vec![0; 1 << 20];
    sent.fill(&mut more);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::io::Write::write_all(&mut &*writer, &more).expect("the relay takes bytes again");
            half_close(writer);
        });
        assert_eq!(check_pattern_to_end(reader, &mut received), 1 << 20);
    });
    let resumed = daemon.eventually("nobody is paused", |now| now.total.paused == 0);
    assert_eq!(resumed.total.pending_bytes, 0);
    assert_eq!(resumed.total.writable_armed, resumed.total.writable_disarmed);
}

#[test]
fn both_directions_full_at_once_come_free_again() {
    let (daemon, client, server) = relayed();
    let (mut up, mut down) = (Pattern::new(1), Pattern::new(2));
    let offered_up = write_until_stuck(&client, &mut up, OFFERED_LIMIT_BYTES);
    let offered_down = write_until_stuck(&server, &mut down, OFFERED_LIMIT_BYTES);
    let stuck = daemon.eventually("both sides have stopped", |now| now.total.paused >= 2);
    assert!(stuck.total.pending_bytes <= 4 * HIGH_WATER_BYTES, "{stuck:#?}");
    check_pattern(&server, &mut Pattern::new(1), offered_up);
    check_pattern(&client, &mut Pattern::new(2), offered_down);
    daemon.eventually("nothing waits", |now| now.total.paused == 0 && now.total.pending_bytes == 0);
}

#[test]
fn an_echo_client_that_never_reads_is_stopped_and_nobody_else() {
    let daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo"]);
    let mut polite = connect(daemon.address(0));
    ping(&mut polite, b"before");
    let greedy = connect_with_small_window(daemon.address(0));
    let offered = write_until_stuck(&greedy, &mut Pattern::new(5), OFFERED_LIMIT_BYTES);
    let stuck = daemon.eventually("it is stopped", |now| now.total.paused == 1);
    let pending = stuck.total.pending_bytes;
    assert!(pending > 0 && pending <= 2 * HIGH_WATER_BYTES, "{pending} of {offered} bytes wait");
    ping(&mut polite, b"meanwhile");
    check_pattern(&greedy, &mut Pattern::new(5), offered);
    daemon.eventually("it is free again", |now| {
        now.total.paused == 0 && now.total.pending_bytes == 0
    });
    ping(&mut polite, b"after");
}

#[test]
fn a_hundred_clients_that_never_read_cost_a_hundred_high_water_marks_at_most() {
    const CLIENTS: u64 = 100;
    let daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo"]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = connect_with_small_window(daemon.address(0));
            client.set_nonblocking(true).expect("a stream can be made non-blocking");
            client
        })
        .collect();
    // Everybody pushes until nobody gets anything in, seen over and over again.
    let block = vec![0; 64 * 1024];
    daemon.eventually("all are stopped", |now| {
        for client in &clients {
            while std::io::Write::write(&mut &*client, &block).is_ok() {}
        }
        now.total.paused == CLIENTS
    });
    let pending = daemon.counters().total.pending_bytes;
    assert!(pending <= CLIENTS * 2 * HIGH_WATER_BYTES, "{pending} bytes wait");
    drop(clients);
    daemon.eventually("nothing is left", |now| {
        now.total.connections == 0 && now.total.pending_bytes == 0 && now.total.paused == 0
    });
}

fn relayed() -> (Vmsgrd, TcpStream, TcpStream) {
    let upstream = listen();
    let daemon = Vmsgrd::start(&["-l", &relay_to(upstream.local_addr().expect("an address"))]);
    let client = connect_with_small_window(daemon.address(0));
    let server = accept(&upstream);
    (daemon, client, server)
}
