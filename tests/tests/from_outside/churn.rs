//! Clients of every manner at once, and then none: nothing of them may be left.

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use vmsgr_tests::sockets::{
    check_pattern, check_pattern_to_end, connect, connect_with_small_window, half_close, reset,
    write_pattern,
};
use vmsgr_tests::{Pattern, Vmsgrd, open_descriptors, relay_to, report, two_cores};

const THREADS: u64 = 8;
const DURATION: Duration = Duration::from_secs(3);

#[test]
fn after_churn_on_one_core_nothing_is_left() {
    churn(&[]);
}

#[test]
fn after_churn_on_two_cores_nothing_is_left() {
    let Some(cores) = two_cores() else { return };
    churn(&["--core-mask", &cores, "--placement", "round-robin"]);
}

#[test]
fn after_churn_with_balancing_nothing_is_left() {
    let Some(cores) = two_cores() else { return };
    churn(&["--core-mask", &cores, "--placement", "balanced"]);
}

/// Clients at a relay in front of an echo, both of them daemons with `arguments`.
fn churn(arguments: &[&str]) {
    let echo = Vmsgrd::start(&[arguments, &["-l", "127.0.0.1:0=echo"]].concat());
    let relay = relay_to(echo.address(0));
    let daemon = Vmsgrd::start(&[arguments, &["-l", &relay, "-l", "127.0.0.1:0=echo"]].concat());
    let before = [open_descriptors(daemon.pid()), open_descriptors(echo.pid())];

    let started = Instant::now();
    let clients: u64 = thread::scope(|scope| {
        let daemon = &daemon;
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut client = thread;
                    while started.elapsed() < DURATION {
                        one_client(daemon.address((client % 2) as usize), client);
                        client += THREADS + 1;
                    }
                    client / (THREADS + 1)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a client's checks hold")).sum()
    });
    report(&format!("{clients} clients came and went"));

    for (daemon, before) in [&daemon, &echo].into_iter().zip(before) {
        let after = daemon.eventually("nothing is left", |now| {
            let now = &now.total;
            [now.connections, now.pending_bytes, now.pending_streams, now.paused, now.timers]
                == [0; 5]
        });
        assert_eq!(open_descriptors(daemon.pid()), before, "descriptors, {after:#?}");
        daemon.expect_idle(Duration::from_millis(500));
    }
}

/// A client whose manners depend on its number.
fn one_client(address: SocketAddr, number: u64) {
    // A few sizes on either side of what fits in one read, one write and one high-water mark.
    let sizes = [1, 64, 4096, 65_537, 300_000, 1 << 20];
    let bytes = sizes[(number / 7 % 6) as usize];
    match number % 7 {
        // Sends, reads everything back, and closes.
        0 | 1 => {
            let client = connect(address);
            exchange(&client, number, bytes);
        }
        // Sends and half-closes at once; the answer has to come whole nevertheless.
        2 => {
            let client = connect(address);
            thread::scope(|scope| {
                scope.spawn(|| {
                    write_pattern(&client, &mut Pattern::new(number), bytes);
                    half_close(&client);
                });
                let received = check_pattern_to_end(&client, &mut Pattern::new(number));
                assert_eq!(received, bytes);
            });
        }
        // Sends, reads half of it, and is gone with a reset.
        3 => {
            let client = connect(address);
            thread::scope(|scope| {
                scope.spawn(|| write_pattern(&client, &mut Pattern::new(number), bytes));
                check_pattern(&client, &mut Pattern::new(number), bytes / 2);
            });
            reset(client);
        }
        // Pushes without reading, until it is stopped, and resets.
        4 => {
            let client = connect_with_small_window(address);
            client.set_nonblocking(true).expect("a stream can be made non-blocking");
            let block = vec![0; 64 * 1024];
            let mut left = 64;
            while left > 0 && (&client).write(&block).is_ok() {
                left -= 1;
            }
            reset(client);
        }
        // Closes, or resets, without a word.
        5 => drop(connect(address)),
        _ => reset(connect(address)),
    }
}

fn exchange(client: &std::net::TcpStream, seed: u64, bytes: u64) {
    thread::scope(|scope| {
        scope.spawn(|| write_pattern(client, &mut Pattern::new(seed), bytes));
        check_pattern(client, &mut Pattern::new(seed), bytes);
    });
}
