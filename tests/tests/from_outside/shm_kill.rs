//! An application that is killed at any moment loses nothing, and does nothing twice.

use std::thread;
use std::time::{Duration, Instant};

use vmsgr_tests::{
    Application, PATIENCE, PatternPeer, REQUEST_BYTES, Random, Vmsgrd, eventually, report,
    two_cores,
};

const RESUMING: &str = env!("CARGO_BIN_EXE_resuming");

#[test]
fn two_hundred_kills_under_load_lose_and_double_nothing() {
    const KILLS: usize = 200;
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "-l", "127.0.0.1:0=echo"]);
    let started = Instant::now();
    let mut application = Application::start(RESUMING, &daemon, &["127.0.0.1:0", "127.0.0.1:0"]);
    let (stream, answers) = (application.listening(0), application.listening(1));
    let peers: Vec<_> = (0..4)
        .map(|number| match number % 2 {
            0 => PatternPeer::begin(stream, (1, 16 * 1024), Duration::ZERO, number),
            _ => PatternPeer::begin(answers, (REQUEST_BYTES, 300), Duration::ZERO, number),
        })
        .collect();

    let arguments = [stream.to_string(), answers.to_string()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut random = Random::new(200);
    for number in 0..KILLS {
        if number % 2 == 0 {
            // Else it may not even have attached.
            application.expect(0, "serving");
        }
        // The moment is what is chosen by chance.
        thread::sleep(Duration::from_micros(random.below(15_000)));
        application.kill();
        assert!(peers.iter().all(PatternPeer::goes_on), "after {number} kills");
        application = Application::start(RESUMING, &daemon, &arguments);
    }
    application.expect(0, "serving");
    let killed = started.elapsed();

    let mut moved = [0, 0];
    for peer in peers {
        let address = peer.address;
        let (sent, got) = peer.finish();
        let ended = format!("ended {address} {sent} {got}");
        application.expect(0, &ended);
        moved = [moved[0] + sent, moved[1] + got];
    }
    daemon.eventually("all are gone", |now| now.total.connections == 0);
    report(&format!("{KILLS} kills in {killed:?}; {moved:?} bytes to and from the application"));
    eventually("it lives", PATIENCE, || application.exited().is_none());
}
