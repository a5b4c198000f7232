//! The built binary, as far as a user meets it before it serves anything: help, check, refusals,
//! and what it says to a service manager and to the journal.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::{NamedTempFile, TempDir};

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

fn vmsgrd(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmsgrd"));
    command.args(words).stdin(Stdio::null()).env_remove("NOTIFY_SOCKET");
    command
}

/// All that it says until it ends; it is killed if it does not, having found nothing to refuse.
fn output(words: &[&str]) -> Output {
    let mut command = vmsgrd(words);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while process.try_wait().unwrap().is_none() {
        if started.elapsed() > DEADLINE {
            process.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    process.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The one line of a refusal, without the program's name.
fn refused(words: &[&str]) -> String {
    let output = output(words);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{words:?}: {output:?}");
    let line = text(&output.stderr).strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{line}");
    line.strip_prefix("vmsgrd: ").unwrap().to_owned()
}

fn config(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::with_suffix(".toml").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// The refusal of a file, without its name.
fn refused_config(text: &str) -> String {
    let file = config(text);
    let path = file.path().to_str().unwrap();
    // Both ways of starting must refuse alike.
    let line = refused(&["-c", path]);
    assert_eq!(line, refused(&["--check", "-c", path]));
    line.strip_prefix(path).unwrap().trim_start_matches(':').trim_start().to_owned()
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = output(&["--help"]);
    assert!(help.status.success() && help.stderr.is_empty());
    for part in ["--max-connections <N>", "1 to 10000000 connections", "Examples:", "Exit codes:"] {
        assert!(text(&help.stdout).contains(part), "{part}");
    }
    let version = output(&["--version"]);
    assert_eq!(text(&version.stdout), concat!("vmsgrd ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn check_prints_a_configuration_that_brings_about_the_same() {
    let first = output(&["--check", "--spin-us", "50", "-l", "127.0.0.1:0=relay:127.0.0.1:6379"]);
    assert!(first.status.success(), "{first:?}");
    assert!(text(&first.stdout).starts_with("# configuration ok\n"), "{first:?}");
    assert!(text(&first.stdout).contains("spin_us = 50\n"), "{first:?}");
    let file = config(text(&first.stdout));
    let again = output(&["--check", "-c", file.path().to_str().unwrap()]);
    assert_eq!(again, first);
}

#[test]
fn the_example_checks() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vmsgrd.example.toml");
    assert_eq!(output(&["--check", "-c", path]), output(&["--check"]));
}

#[test]
fn a_bad_command_line_is_one_line_and_exit_code_2() {
    for (words, start, part) in [
        (&["--core-mask", "4095"][..], "--core-mask: core 4095 is not one", "it may use"),
        (&["--core-mask", "0x0"], "--core-mask: ", "empty"),
        (&["--core-mask", ""], "--core-mask: ", "a mask like 0x3"),
        (&["--core-mask", "a\nb"], "--core-mask: core mask 'a\\nb'", "'all'"),
        (&["--placement", "best"], "--placement: there is no placement 'best'", "round-robin"),
        (&["--spin-us", "-1"], "--spin-us: ", "0 to 10000"),
        (&["--spin-us", "soon"], "--spin-us: ", "'auto'"),
        (&["--max-connections", "0"], "--max-connections: ", "1 to 10000000 connections"),
        (&["--drain-timeout", "3601"], "--drain-timeout: ", "0 to 3600 seconds"),
        (&["--socket", ""], "--socket: '' is not a path", "'none' for no applications"),
        (&["--log-level", "loud"], "--log-level: there is no log level 'loud'", "off, error"),
        (&["-l", "127.0.0.1=echo"], "--listen: '127.0.0.1' is not an address", "HOST:PORT"),
        (
            &["-l", "127.0.0.1:70000=echo"],
            "--listen: there is no port 70000, which '127.0.",
            "0 to 65535",
        ),
        (&["-l", "127.0.0.1:1"], "--listen: '127.0.0.1:1' is not ADDR=SERVICE", "=echo"),
        (&["-l", "127.0.0.1:0=ehco"], "--listen: there is no service 'ehco'", "echo, discard"),
        (&["-l", "127.0.0.1:0=relay:x"], "--listen: relay upstream 'x'", "HOST:PORT"),
        (
            &["-l", "127.0.0.1:0=relay:no-such-host.invalid:1"],
            "--listen: relay upstream 'no-such-host.invalid:1' cannot be resolved",
            "",
        ),
        (
            &["-l", "127.0.0.1:7401=echo", "-l", "127.0.0.1:7401=discard"],
            "--listen: 127.0.0.1:7401 has a listener already",
            "",
        ),
        (
            &["-l", "127.0.0.1:7401=relay:127.0.0.1:7401"],
            "listen 127.0.0.1:7401: relay:127.0.0.1:7401 leads back to this listener: ",
            "name an upstream that is no relay of this daemon",
        ),
        (
            &["-l", "0.0.0.0:7401=relay:127.0.0.2:7402", "-l", "0.0.0.0:7402=relay:127.0.0.1:7401"],
            "listen 0.0.0.0:7401: relay:127.0.0.2:7402 leads back to this listener, \
             through 0.0.0.0:7",
            "name an upstream that is no relay of this daemon",
        ),
        (&["-c", "/no/such/file.toml"], "/no/such/file.toml: ", "No such file"),
        (&["--core-mask"], "a value is required for '--core-mask <MASK>'", "--help"),
        (&["--core-msk", "0x1"], "unexpected argument '--core-msk'", "'--core-mask'"),
        (&["echo"], "unexpected argument 'echo' found; to listen: --listen ADDR=SERVICE", "--help"),
    ] {
        let line = refused(words);
        assert!(line.starts_with(start) && line.contains(part), "{words:?}: {line}");
        if !words.contains(&"--core-mask") {
            let checked = refused(&[&["--check"], words].concat());
            assert_eq!(checked, line);
        }
    }
}

#[test]
fn a_bad_configuration_is_one_line_with_its_place_and_exit_code_2() {
    const ECHO: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\nservice = \"echo\"\n";
    for (keys, start, part) in [
        ("core_msk = \"0x1\"", "1:1: unknown key `core_msk`; did you mean `core_mask`?", ""),
        (
            "xyz = 1",
            "1:1: unknown key `xyz`; keys here are core_mask, ",
            "connection, applications",
        ),
        ("core_mask = \"4095\"", "1:13: core_mask: core 4095", "it may use"),
        ("core_mask = \"0x0\"", "1:13: core_mask: ", "empty"),
        ("placement = \"best\"", "1:13: placement: ", "balanced, reuseport"),
        ("spin_us = -1", "1:11: spin_us: ", "0 to 10000"),
        ("max_connections = 0", "1:19: max_connections: 0 is not allowed", "1 to 10000000"),
        ("drain_timeout_secs = 1.5", "1:22: drain_timeout_secs: 1.5 is not", "0 to 3600"),
        ("log_level = 3", "1:13: log_level: 3 is not a string", ""),
        ("[socket]\nbacklog = 65536", "2:11: socket.backlog: ", "1 to 65535"),
        ("[socket]\nkeepalive = 1", "2:1: unknown key `keepalive`", "`keepalive_secs`"),
        ("[relay]\nconnect_timeout_ms = 0", "2:22: relay.connect_timeout_ms: ", "600000"),
        ("[relay]\nmark = -1", "2:8: relay.mark: ", "0 (none)"),
        ("[relay]\nsource = \"x\"", "2:10: relay.source: 'x' is not an IP address", ""),
        ("[connection]\nlow_water_bytes = 262144", "2:19: connection.low_water", "raise"),
        ("[applications]\nmax_endpoints = 0", "2:17: applications.max_endpoints: ", "16384"),
        (
            "[[applications.allow]]\nuser = \"no-such-user\"",
            "2:8: applications.allow.user: there is no user 'no-such-user'",
            "a name, a number",
        ),
        (
            "[[applications.allow]]\nlisten = [\"*:*\", \"10.0.0.0/33:*\"]",
            "2:18: applications.allow.listen: '10.0.0.0/33:*' is not ADDRESS:PORT",
            "10.0.0.0/8",
        ),
        ("max_connections = ", "1:19: ", ""),
        ("[[listen]]\naddress = \"127.0.0.1:0\"", "1:1: missing key `service`", ""),
        (
            "[[listen]]\naddress = \"[::1]:70000\"\nservice = \"echo\"",
            "2:11: listen.address: there is no port 70000, which '[::1]:70000' has",
            "0 to 65535",
        ),
        (
            "[[listen]]\naddress = \"::1:1\"\nservice = \"echo\"",
            "2:11: listen.address: '::1:1' is not an address",
            "[::1]:7400",
        ),
        (
            "[[listen]]\naddress = \"127.0.0.1:0\"\nservice = \"http\"",
            "3:11: listen.service: there is no service 'http'",
            "echo, discard",
        ),
    ] {
        let line = refused_config(&format!("{keys}\n{ECHO}"));
        assert!(line.starts_with(start) && line.contains(part), "{keys:?}: {line}");
    }
    assert!(refused_config("").starts_with("no listener; add a [[listen]] table"));
    // An address that no machine has: 192.0.2.0/24 is for documentation (RFC 5737).
    let file = config(&format!("[relay]\nsource = \"192.0.2.1\"\n{ECHO}"));
    let line = refused(&["-c", file.path().to_str().unwrap()]);
    assert!(line.starts_with("relay.source: 192.0.2.1 cannot be bound to"), "{line}");
}

#[test]
fn an_address_that_cannot_be_bound_is_told_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let line = refused(&["-l", &format!("{address}=echo"), "--socket", "none"]);
    assert!(line.starts_with(&format!("listen {address}: Address already in use")), "{line}");
    let who = format!("ss -ltnp 'sport = :{}'", address.port());
    assert!(line.contains("another port, or 0") && line.contains(&who), "{line}");
    // No machine has it: 192.0.2.0/24 is for documentation (RFC 5737).
    let line = refused(&["-l", "192.0.2.1:0=echo", "--socket", "none"]);
    assert!(line.contains("an address of this machine (ip addr shows them)"), "{line}");
}

#[test]
fn a_socket_that_cannot_be_made_is_told_the_way_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    let line = refused(&["-l", "127.0.0.1:0=echo", "--socket", path]);
    let way_out = "name another with --socket PATH, or have no applications: --socket none";
    let wanted = format!("socket {path}: it is there and is not a socket; {way_out}");
    assert_eq!(line, wanted);
}

/// A daemon whose service manager is this test; ready.
struct Managed {
    daemon: Child,
    socket: UnixDatagram,
    _folder: TempDir,
}

impl Managed {
    fn start(command: &mut Command) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        command.args(["-l", "127.0.0.1:0=echo", "--socket", "none"]).env("NOTIFY_SOCKET", path);
        let daemon = command.stdout(Stdio::null()).spawn().unwrap();
        let managed = Self { daemon, socket, _folder: folder };
        assert_eq!(managed.told(), "READY=1\n");
        managed
    }

    fn told(&self) -> String {
        let mut message = [0; 256];
        let length = self.socket.recv(&mut message).expect("the daemon says something in time");
        text(&message[..length]).to_owned()
    }

    /// Sends SIGTERM and waits for the exit code.
    fn stop(&mut self) -> Option<i32> {
        let kill = Command::new("kill").arg(self.daemon.id().to_string()).status().unwrap();
        assert!(kill.success());
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            if let Some(status) = self.daemon.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the daemon did not stop");
    }
}

impl Drop for Managed {
    /// A test that fails leaves no daemon behind.
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn the_service_manager_is_told_and_a_signal_ends_it_well() {
    let mut managed = Managed::start(&mut vmsgrd(&["--log-level", "off"]));
    assert_eq!(managed.stop(), Some(0));
    assert_eq!(managed.told(), "STOPPING=1\n");
}

/// What the daemon logs, with stderr a file that the environment says is the journal, or not.
fn log_of(stderr_is_the_journal: bool) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("stderr");
    let file = File::create(&path).unwrap();
    let stat = file.metadata().unwrap();
    let inode = if stderr_is_the_journal { stat.st_ino() } else { stat.st_ino() + 1 };
    let mut command = vmsgrd(&[]);
    command.env("JOURNAL_STREAM", format!("{}:{inode}", stat.st_dev())).stderr(file);
    assert_eq!(Managed::start(&mut command).stop(), Some(0));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_journal_gets_priorities_and_a_file_gets_timestamps() {
    let journal = log_of(true);
    let expected = "<6>INFO vmsgrd: limit of open descriptors: ";
    assert!(journal.lines().any(|line| line.starts_with(expected)), "{journal}");

    let file = log_of(false);
    let line = file.lines().find(|line| line.contains("limit of open descriptors")).unwrap();
    let (timestamp, rest) = line.split_once(' ').unwrap();
    assert!(rest.starts_with("INFO vmsgrd: limit of open descriptors: "), "{line}");
    assert_eq!((timestamp.len(), timestamp.as_bytes()[10]), (24, b'T'), "{line}");
}
