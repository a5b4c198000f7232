//! What applications and their connections take, the daemon gets back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use vmsgr_messenger::client::{Endpoint, Event};
use vmsgr_tests::application::{attach, attach_with, listen, named};
use vmsgr_tests::sockets::{connect, expect, expect_end, half_close, reset};
use vmsgr_tests::{
    PATIENCE, Vmsgrd, eventually, open_descriptors, report, resident_bytes, two_cores,
};

fn daemon() -> Vmsgrd {
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    Vmsgrd::start(&["--core-mask", &cores, "-l", "127.0.0.1:0=echo"])
}

#[test]
fn five_hundred_applications_come_and_go() {
    let daemon = daemon();
    let come_and_go = |number: usize| {
        let mut endpoint = match number % 3 {
            0 => attach(&daemon, ""),
            1 => attach(&daemon, "once"),
            _ => attach_with(&named(&daemon, "dies").linger(Duration::ZERO)),
        };
        if number.is_multiple_of(5) {
            listen(&mut endpoint);
        }
        if number % 3 == 2 { endpoint.detach() } else { drop(endpoint) }
    };
    let attached_again = |name: &str| {
        eventually("the name is free", PATIENCE, || {
            Endpoint::attach(&named(&daemon, name)).is_ok()
        });
    };
    (0..50).for_each(|number| {
        come_and_go(number);
        attached_again("once");
        attached_again("dies");
    });
    let settled = || {
        daemon.eventually("nothing goes on", |now| now.total.connections == 0);
        daemon.asleep();
        (open_descriptors(daemon.pid()), resident_bytes(daemon.pid()))
    };
    let before = settled();
    (0..500).for_each(|number| {
        come_and_go(number);
        attached_again("once");
        attached_again("dies");
    });
    let after = settled();
    report(&format!("descriptors and resident bytes: {before:?}, then {after:?}"));
    assert_eq!(before.0, after.0, "descriptors");
    assert!(after.1 < before.1 + (2 << 20), "{before:?} {after:?}");
}

#[test]
fn twenty_thousand_connections_come_and_go() {
    const CONNECTIONS: usize = 20_000;
    let daemon = daemon();
    let mut endpoint = attach_with(&named(&daemon, "churn").slots(64));
    let address = listen(&mut endpoint);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = scope.spawn(|| greet(endpoint, &done));
        let churn = |count: usize| {
            thread::scope(|scope| {
                for part in 0..4 {
                    scope.spawn(move || {
                        for number in 0..count / 4 {
                            let mut client = connect(address);
                            match (number + part) % 4 {
                                0 => reset(client),
                                1 => drop(client),
                                2 => {
                                    half_close(&client);
                                    expect(&mut client, b"hello");
                                    expect_end(&mut client);
                                }
                                _ => expect(&mut client, b"hello"),
                            }
                        }
                    });
                }
            });
            let counters = daemon.eventually("all are gone", |now| now.total.connections == 0);
            daemon.asleep();
            let timers = daemon.counters().total.timers;
            assert_eq!(counters.total.pending_bytes, 0);
            (open_descriptors(daemon.pid()), timers, resident_bytes(daemon.pid()))
        };
        let before = churn(2000);
        let after = churn(CONNECTIONS);
        done.store(true, Ordering::Relaxed);
        report(&format!("descriptors, timers, resident bytes: {before:?}, then {after:?}"));
        let greeted = server.join().expect("it greets");
        assert_eq!(greeted, CONNECTIONS + 2000, "every one was accepted and told of");
        assert_eq!((before.0, before.1), (after.0, after.1), "descriptors and timers");
        assert!(after.2 < before.2 + (1 << 20), "{before:?} {after:?}");
    });
}

/// Greets whoever comes, and closes at once; how many came.
fn greet(mut endpoint: Endpoint, done: &AtomicBool) -> usize {
    let mut greeted = 0;
    while !done.load(Ordering::Relaxed) {
        while let Some(event) = endpoint.next_event() {
            if let Event::Accepted { connection, .. } = event {
                greeted += 1;
                let mut connection = endpoint.connection(connection).expect("it is there");
                connection.send(b"hello");
                connection.close();
            }
        }
        endpoint.wait(Some(Duration::from_millis(20))).expect("it is attached");
    }
    greeted
}
