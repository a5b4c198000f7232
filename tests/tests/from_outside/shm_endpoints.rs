//! Several endpoints: of one application at one address, and of two that do not know each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use vmsgr_messenger::client::{Endpoint, Event};
use vmsgr_tests::application::{attach, listen, listen_at};
use vmsgr_tests::sockets::{
    check_pattern_to_end, connect, connect_with_small_window, half_close, ping, write_until_stuck,
};
use vmsgr_tests::{Application, Pattern, SEEDS, Vmsgrd, report, resident_bytes, two_cores};

const RESUMING: &str = env!("CARGO_BIN_EXE_resuming");

fn daemon() -> Vmsgrd {
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    Vmsgrd::start(&["--core-mask", &cores, "-l", "127.0.0.1:0=echo"])
}

#[test]
fn two_threads_at_one_address_share_the_connections_evenly() {
    const CONNECTIONS: usize = 200;
    let daemon = daemon();
    let mut endpoints = [attach(&daemon, "thread.0"), attach(&daemon, "thread.1")];
    let address = listen(&mut endpoints[0]);
    assert_eq!(listen_at(&mut endpoints[1], address), address);
    let done = AtomicBool::new(false);
    let shares = thread::scope(|scope| {
        let threads = endpoints.map(|endpoint| scope.spawn(|| echo(endpoint, &done)));
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| connect(address)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            ping(client, &number.to_le_bytes());
        }
        done.store(true, Ordering::Relaxed);
        threads.map(|thread| thread.join().expect("it echoes"))
    });
    report(&format!("{CONNECTIONS} connections: {shares:?}"));
    assert_eq!(shares.iter().sum::<usize>(), CONNECTIONS);
    // Two cores that accept at the same time may both see the same one as the emptier.
    assert!(shares.iter().all(|share| share.abs_diff(CONNECTIONS / 2) <= 4), "{shares:?}");
}

/// Echoes until told to stop; how many connections it was given.
fn echo(mut endpoint: Endpoint, done: &AtomicBool) -> usize {
    let mut accepted = 0;
    while !done.load(Ordering::Relaxed) {
        while let Some(event) = endpoint.next_event() {
            match event {
                Event::Accepted { .. } => accepted += 1,
                Event::Readable(id) | Event::Writable(id) => {
                    if let Some(mut connection) = endpoint.connection(id) {
                        connection.forward(usize::MAX);
                    }
                }
                _ => {}
            }
        }
        endpoint.wait(Some(Duration::from_millis(20))).expect("it is attached");
    }
    accepted
}

#[test]
fn an_application_that_hangs_does_not_hold_up_another() {
    const LIMIT: u64 = 64 << 20;
    let daemon = daemon();
    let good = Application::example("echo", &daemon, &["127.0.0.1:0"]);
    let bad = Application::start(RESUMING, &daemon, &["127.0.0.1:0"]);
    let (good_address, bad_address) = (good.listening(0), bad.listening(0));
    let mut client = connect(good_address);
    pings(&mut client);
    let turns = || daemon.counters().total.turns;
    let start = turns();
    let before = pings(&mut client);
    let turns_before = turns() - start;

    bad.signal(Signal::SIGSTOP);
    let mut stuck: Vec<_> =
        (0..4).map(|_| (connect_with_small_window(bad_address), Pattern::new(SEEDS[0]))).collect();
    let taken: u64 = stuck.iter_mut().map(|(to, it)| write_until_stuck(to, it, LIMIT)).sum();
    let (memory, came) = (resident_bytes(daemon.pid()), daemon.counters().total.bytes_in);
    let start = turns();
    let during = pings(&mut client);
    let turns_during = turns() - start;
    let more: u64 = stuck.iter_mut().map(|(to, it)| write_until_stuck(to, it, LIMIT)).sum();
    let grown = resident_bytes(daemon.pid()).saturating_sub(memory);
    report(&format!(
        "p50 and p99 before {before:?}, beside one that hangs {during:?}, in {turns_before} and \
         {turns_during} turns; its peers got rid of {taken} bytes and then {more}; the daemon grew by \
         {grown}"
    ));
    // Times are those of the machine; what the loop does for the pings is not.
    assert!(turns_during <= turns_before + turns_before / 10, "{turns_before} {turns_during}");
    // What comes in now is the pings', and nothing else: the kernel may still have taken a little.
    let came = daemon.counters().total.bytes_in - came;
    assert_eq!(came, (PINGS * PING.len()) as u64, "bytes read for nobody");
    assert!(grown < 1 << 20, "{grown} bytes");

    bad.signal(Signal::SIGCONT);
    for (stream, pattern) in &mut stuck {
        half_close(stream);
        let got = check_pattern_to_end(stream, &mut Pattern::new(SEEDS[1]));
        let address = stream.local_addr().expect("it is connected");
        bad.expect(0, &format!("ended {address} {} {got}", pattern.position()));
    }
    report(&format!("and when it goes on again {:?}", pings(&mut client)));
}

const PINGS: usize = 3000;
const PING: [u8; 64] = [7; 64];

/// Pings; the median and the 99th of 100.
fn pings(client: &mut std::net::TcpStream) -> [Duration; 2] {
    let mut times: Vec<_> = (0..PINGS)
        .map(|_| {
            let started = Instant::now();
            ping(client, &PING);
            started.elapsed()
        })
        .collect();
    times.sort();
    [times[PINGS / 2], times[PINGS * 99 / 100]]
}
