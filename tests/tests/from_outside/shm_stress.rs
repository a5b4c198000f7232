//! Rings and doorbells between two real processes, the daemon and an application, under all the
//! rhythms that sizes and rests by chance make.

use std::time::{Duration, Instant};

use vmsgr_tests::sockets::{connect, ping};
use vmsgr_tests::{
    Application, Pattern, PatternPeer, REQUEST_BYTES, Random, Vmsgrd, report, two_cores,
};

const RESUMING: &str = env!("CARGO_BIN_EXE_resuming");

#[test]
fn rings_that_wrap_all_the_time_keep_every_byte_for_ten_seconds() {
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "-l", "127.0.0.1:0=echo"]);
    let arguments = ["127.0.0.1:0", "127.0.0.1:0", "--ring", "4096", "--pauses"];
    let application = Application::start(RESUMING, &daemon, &arguments);
    let (stream, answers) = (application.listening(0), application.listening(1));

    let started = Instant::now();
    let (none, short) = (Duration::ZERO, Duration::from_millis(2));
    let peers = [
        PatternPeer::begin(stream, (1, 16 * 1024), none, 1),
        PatternPeer::begin(stream, (1, 200), none, 2),
        PatternPeer::begin(stream, (1, 6000), short, 3),
        PatternPeer::begin(answers, (REQUEST_BYTES, 300), none, 4),
        PatternPeer::begin(answers, (REQUEST_BYTES, 2), short, 5),
    ];
    // One message at a time: a doorbell that is lost here has nobody else to make up for it.
    let mut alone = connect(daemon.address(0));
    while started.elapsed() < Duration::from_secs(10) {
        assert!(peers.iter().all(PatternPeer::goes_on), "after {:?}", started.elapsed());
        ping(&mut alone, b"the daemon's own connections go on");
    }
    for peer in peers {
        let address = peer.address;
        let (sent, got) = peer.finish();
        application.expect(0, &format!("ended {address} {sent} {got}"));
        report(&format!("{sent} bytes to the application, {got} from it"));
        assert!(sent > 100 * 4096 || got > 100 * 4096, "the rings went round");
    }
}

#[test]
fn no_doorbell_is_lost_when_one_message_is_on_its_way() {
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    for spin in ["0", "auto"] {
        let arguments = ["--core-mask", &cores, "--spin-us", spin, "-l", "127.0.0.1:0=echo"];
        let daemon = Vmsgrd::start(&arguments);
        let application = Application::example("echo", &daemon, &["127.0.0.1:0"]);
        let mut client = connect(application.listening(0));
        let (mut random, mut pattern) = (Random::new(8), Pattern::new(8));
        let (started, mut messages) = (Instant::now(), 0);
        while started.elapsed() < Duration::from_secs(3) {
            let mut message = vec![0; random.length(2000)];
            pattern.fill(&mut message);
            ping(&mut client, &message);
            messages += 1;
            if random.below(16) == 0 {
                std::thread::sleep(Duration::from_micros(random.below(500)));
            }
        }
        report(&format!("spin {spin}: {messages} messages there and back"));
    }
}
