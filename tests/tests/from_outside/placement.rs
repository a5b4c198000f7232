//! Where connections go when there are two cores.

use std::net::TcpStream;

use vmsgr_tests::sockets::{connect, ping};
use vmsgr_tests::{Counters, Vmsgrd, allowed_cores, two_cores};

const ECHO: &str = "127.0.0.1:0=echo";

fn clients(daemon: &Vmsgrd, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| connect(daemon.address(0))).collect()
}

fn ping_all(clients: &mut [TcpStream]) {
    for client in clients {
        ping(client, b"where am I?");
    }
}

fn per_core(counters: &Counters) -> Vec<u64> {
    counters.cores.iter().map(|core| core.connections).collect()
}

#[test]
fn balanced_is_the_default_and_splits_ten_connections_in_halves() {
    let Some(cores) = two_cores() else { return };
    // The kernel deals connections out by a hash of their ports: some of these deals are lopsided.
    for _ in 0..5 {
        let daemon = Vmsgrd::start(&["--core-mask", &cores, "-l", ECHO]);
        let mut clients = clients(&daemon, 10);
        ping_all(&mut clients);
        daemon.eventually("five and five", |now| per_core(now) == [5, 5]);
    }
}

#[test]
fn balanced_splits_connections_that_come_one_at_a_time() {
    let Some(cores) = two_cores() else { return };
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "--placement", "balanced", "-l", ECHO]);
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = connect(daemon.address(0));
        ping(&mut client, b"next");
        clients.push(client);
    }
    daemon.eventually("five and five", |now| per_core(now) == [5, 5]);
}

#[test]
fn balanced_stays_in_balance_under_churn() {
    let Some(cores) = two_cores() else { return };
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "--placement", "balanced", "-l", ECHO]);
    let mut clients = clients(&daemon, 40);
    ping_all(&mut clients);
    for _ in 0..20 {
        // The oldest ten leave, ten others come.
        clients.drain(..10);
        clients.extend((0..10).map(|_| connect(daemon.address(0))));
        ping_all(&mut clients);
    }
    let settled = daemon.eventually("40 are left", |now| now.total.connections == 40);
    let split = per_core(&settled);
    assert!(split.iter().all(|connections| (13..=27).contains(connections)), "{split:?} of 40");
}

#[test]
fn round_robin_deals_connections_out_in_turn() {
    let Some(cores) = two_cores() else { return };
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "--placement", "round-robin", "-l", ECHO]);
    let mut clients = clients(&daemon, 20);
    ping_all(&mut clients);
    let counters = daemon.eventually("all are placed", |now| now.total.connections == 20);
    // Each core deals out in turn what it accepts itself, so each may have one left over.
    let split = per_core(&counters);
    assert!(split.iter().all(|connections| (9..=11).contains(connections)), "{split:?} of 20");
    assert!(counters.total.handed_over > 0, "dealt out without handing over");
}

#[test]
fn reuseport_leaves_connections_where_the_kernel_put_them() {
    let Some(cores) = two_cores() else { return };
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "--placement", "reuseport", "-l", ECHO]);
    let mut clients = clients(&daemon, 60);
    ping_all(&mut clients);
    let counters = daemon.eventually("all are placed", |now| now.total.connections == 60);
    assert_eq!(counters.total.handed_over, 0, "nothing is handed over");
    for core in &counters.cores {
        assert_eq!(core.accepted, core.connections, "who accepted it has it");
        // With 60 ports the kernel's hash leaves a core out once in 2^59.
        assert!(core.connections > 0, "{:?} of 60", per_core(&counters));
    }
}

#[test]
fn a_connection_keeps_its_answers_apart_when_it_was_handed_over() {
    let Some(cores) = two_cores() else { return };
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "--placement", "round-robin", "-l", ECHO]);
    // The first bytes are under way before the connection has found its core.
    let mut clients: Vec<_> = (0..100_u64)
        .map(|number| {
            let mut client = connect(daemon.address(0));
            std::io::Write::write_all(&mut client, &number.to_le_bytes()).expect("a ping goes out");
            client
        })
        .collect();
    for (number, client) in (0..100_u64).zip(&mut clients) {
        vmsgr_tests::sockets::expect(client, &number.to_le_bytes());
    }
}

#[test]
fn each_loop_is_a_thread_with_a_name_pinned_to_its_core() {
    let Some(cores) = two_cores() else { return };
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "-l", ECHO]);
    let allowed = allowed_cores(daemon.pid());
    for core in cores.split(',') {
        let thread = format!("vmsgr/{core}");
        assert_eq!(allowed.get(&thread).map(String::as_str), Some(core), "{thread} of {allowed:?}");
    }
}
