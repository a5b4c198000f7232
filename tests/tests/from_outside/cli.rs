//! What vmsgrd says on its command line, and what it refuses.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use vmsgr_tests::sockets::{connect, listen, ping};
use vmsgr_tests::{Launch, Namespace, PATIENCE, Refusal, Vmsgrd};

const ECHO: &str = "127.0.0.1:0=echo";

#[test]
fn with_no_arguments_it_serves_echo_and_says_so() {
    // The default is a fixed port; a namespace has it free, whatever else runs on this machine.
    let Some(namespace) = Namespace::new() else { return };
    let mut daemon = Launch::new(&[]).under(&namespace.exec()).start();
    assert_eq!(daemon.stdout().all(), ["listening 127.0.0.1:7400 echo", "ready"]);
    daemon.expect_log(&["127.0.0.1:7400", "nc "]);
    let mut client = namespace.enter(|| connect(daemon.address(0)));
    ping(&mut client, b"hello");
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn every_listener_is_announced_with_the_port_that_was_bound() {
    let upstream = listen();
    let upstream = upstream.local_addr().expect("an address");
    let relay = format!("relay:{upstream}");
    let daemon = Vmsgrd::start(&[
        "-l",
        ECHO,
        "-l",
        "127.0.0.1:0=discard",
        "-l",
        &format!("127.0.0.1:0={relay}"),
        "-l",
        "[::1]:0=echo",
    ]);
    let services: Vec<_> = daemon.listening().iter().map(|listening| &*listening.service).collect();
    assert_eq!(services, ["echo", "discard", &relay, "echo"]);
    for listening in daemon.listening() {
        assert_ne!(listening.address.port(), 0, "{listening:?}");
        connect(listening.address);
    }
    ping(&mut connect(daemon.address(3)), b"over IPv6");
    assert_eq!(daemon.stdout().all().last().map(String::as_str), Some("ready"));
}

#[test]
fn the_counters_are_all_there_and_add_up() {
    let cores = vmsgr_tests::two_cores().unwrap_or_else(|| "all".to_owned());
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "-l", ECHO]);
    let mut clients: Vec<_> = (0..4).map(|_| connect(daemon.address(0))).collect();
    for client in &mut clients {
        ping(client, &[0; 1000]);
    }
    // Parsing them is the check that none is missing.
    let counters = daemon.counters();
    let numbers: Vec<u64> = cores.split(',').filter_map(|core| core.parse().ok()).collect();
    if !numbers.is_empty() {
        let named: Vec<u64> = counters.cores.iter().filter_map(|counts| counts.core).collect();
        assert_eq!(named, numbers);
    }
    let total = &counters.total;
    assert_eq!((total.connections, total.accepted), (4, 4));
    assert_eq!((total.bytes_in, total.bytes_out), (4_000, 4_000));
    assert_eq!(counters.cores.iter().map(|core| core.bytes_in).sum::<u64>(), total.bytes_in);
    assert!(total.turns > 0 && total.messages_in >= 4 && total.messages_out >= 4, "{total:#?}");
    assert!(total.spin_hits <= total.spins && total.wakeups_empty <= total.wakeups, "{total:#?}");
    assert_eq!((total.pending_bytes, total.pending_streams, total.paused), (0, 0, 0));
}

#[test]
fn the_service_manager_is_told_when_it_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket in the temporary folder");
    manager.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let path = path.to_str().expect("a path that is text");
    let mut daemon = Launch::new(&["-l", ECHO]).env("NOTIFY_SOCKET", path).start();
    expect_notice(&manager, "READY=1");
    assert_eq!(daemon.terminate().code(), Some(0));
    expect_notice(&manager, "STOPPING=1");
}

/// Waits for a datagram with this line in it.
fn expect_notice(manager: &UnixDatagram, notice: &str) {
    let mut datagram = [0; 4096];
    loop {
        let length = manager.recv(&mut datagram).unwrap_or_else(|e| panic!("no {notice}: {e}"));
        if String::from_utf8_lossy(&datagram[..length]).lines().any(|line| line == notice) {
            return;
        }
    }
}

/// Checks that the daemon refused: exit code 2, nothing on standard output, and one line that names
/// all of `words`.
#[track_caller]
fn assert_refused(refusal: &Refusal, words: &[&str]) {
    assert_eq!(refusal.code, Some(2), "{refusal:#?}");
    assert!(refusal.stdout.is_empty(), "{refusal:#?}");
    let [line] = &refusal.stderr[..] else { panic!("not one line: {refusal:#?}") };
    for word in words {
        assert!(line.contains(word), "no {word} in: {line}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let refusal = Launch::new(&["-l", &format!("{taken}=echo")]).run_to_end();
    assert_refused(&refusal, &[&taken, "in use"]);
}

#[test]
fn an_upstream_that_cannot_be_resolved_is_named() {
    let refusal = Launch::new(&["-l", "127.0.0.1:0=relay:no-such-host.invalid:6379"]).run_to_end();
    assert_refused(&refusal, &["no-such-host.invalid"]);
}

#[test]
fn bad_arguments_are_named_with_what_is_allowed() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--core-mask", "4095", "-l", ECHO], &["4095"]),
        (&["--core-mask", "0x0", "-l", ECHO], &["0x0"]),
        (&["--core-mask", "", "-l", ECHO], &["mask"]),
        (&["-l", "127.0.0.1=echo"], &["127.0.0.1"]),
        (&["-l", "127.0.0.1:99999=echo"], &["127.0.0.1:99999"]),
        (&["-l", "127.0.0.1:0=ecco"], &["ecco", "echo", "discard", "relay:"]),
        (&["-l", "127.0.0.1:0"], &["127.0.0.1:0"]),
        (&["--placement", "anywhere"], &["anywhere", "balanced", "reuseport", "round-robin"]),
        (&["--spin-us", "soon"], &["soon", "auto"]),
        (&["--max-connections", "0"], &["0"]),
        (&["--log-level", "loud"], &["loud", "info"]),
    ];
    for (arguments, words) in cases {
        assert_refused(&Launch::new(arguments).run_to_end(), words);
    }
}

#[test]
fn a_bad_configuration_is_named_with_its_place() {
    let unknown =
        Launch::new(&["--check"]).configured("\n  placment = \"balanced\"\n").run_to_end();
    assert_refused(&unknown, &["placment", "2", "3"]);
    let broken = Launch::new(&["--check"]).configured("placement = \n").run_to_end();
    assert_refused(&broken, &["1"]);
    let range =
        Launch::new(&["--check", "-l", ECHO]).configured("max_connections = -5\n").run_to_end();
    assert_refused(&range, &["max_connections"]);
    let missing = Launch::new(&["-c", "/nonexistent/vmsgrd.toml"]).run_to_end();
    assert_refused(&missing, &["/nonexistent/vmsgrd.toml"]);
}

#[test]
fn check_accepts_what_is_good_and_starts_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address");
    let checked = Launch::new(&["--check", "-l", &format!("{taken}=echo")]).run_to_end();
    assert_eq!(checked.code, Some(0), "{checked:#?}");
}

#[test]
fn the_command_line_wins_over_the_file() {
    let toml =
        "placement = \"reuseport\"\n[[listen]]\naddress = \"127.0.0.1:0\"\nservice = \"discard\"\n";
    let from_file = Launch::new(&[]).configured(toml).start();
    assert_eq!(from_file.listening()[0].service, "discard");
    let from_line = Launch::new(&["-l", ECHO]).configured(toml).start();
    assert_eq!(from_line.listening()[0].service, "echo");
    ping(&mut connect(from_line.address(0)), b"hello");
}
