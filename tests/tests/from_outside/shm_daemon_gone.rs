//! The daemon dies: its applications see it at once, and come back to the next one.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use vmsgr_messenger::client::{AttachError, DetachReason, Event};
use vmsgr_tests::application::{accepted, attach, listen, until};
use vmsgr_tests::sockets::{connect, expect, expect_closed};
use vmsgr_tests::{PATIENCE, Vmsgrd, report};

#[test]
fn the_next_daemon_listens_where_the_one_before_did() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("vmsgrd.sock").display().to_string();
        let arguments = ["-l", "127.0.0.1:0=echo", "--socket", &socket];
        let mut daemon = Vmsgrd::start(&arguments);
        let mut endpoint = attach(&daemon, "a");
        let addresses = [listen(&mut endpoint), listen(&mut endpoint)];
        let mut client = connect(addresses[0]);
        let id = accepted(&mut endpoint);

        let died = Instant::now();
        daemon.signal(signal);
        let reason = until(&mut endpoint, "the daemon has gone", |_, event| match event {
            Event::Detached { reason } => Some(*reason),
            _ => None,
        });
        report(&format!("{signal}: seen after {:?}", died.elapsed()));
        assert_eq!(reason, DetachReason::HungUp);
        assert!(endpoint.connection(id).is_none(), "it has gone with the daemon");
        assert!(endpoint.listen(addresses[0]).is_err() && endpoint.connect(addresses[0]).is_err());
        assert!(endpoint.wait(Some(Duration::ZERO)).is_err(), "nobody would end this sleep");
        assert!(endpoint.next_event().is_none(), "it is told once");
        expect_closed(&mut client);
        daemon.wait(PATIENCE);
        assert!(matches!(endpoint.reattach(), Err(AttachError::NoDaemon { .. })));

        let _next = Vmsgrd::start(&arguments);
        endpoint.reattach().expect("there is a daemon again");
        assert!(!endpoint.has_taken_over());
        let mut listening = Vec::new();
        until(&mut endpoint, "both listeners", |_, event| {
            match event {
                Event::Listening { address, .. } => listening.push(*address),
                other => panic!("{other:?}"),
            }
            (listening.len() == 2).then_some(())
        });
        listening.sort();
        let mut before = addresses.to_vec();
        before.sort();
        assert_eq!(listening, before);
        let mut client = connect(addresses[1]);
        let id = accepted(&mut endpoint);
        endpoint.connection(id).unwrap().send(b"here again");
        endpoint.flush();
        expect(&mut client, b"here again");
    }
}

#[test]
fn who_never_says_goodbye_to_a_dead_daemon_can_be_dropped() {
    let daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo"]);
    let mut endpoint = attach(&daemon, "a");
    listen(&mut endpoint);
    drop(daemon);
    // It has not heard of it yet.
    drop(endpoint);
}
