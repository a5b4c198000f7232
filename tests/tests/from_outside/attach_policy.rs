//! Who may attach, and what becomes of those who may not or who do not know how.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Uid;
use socket2::{Domain, SockAddr, Socket, Type};
use vmsgr_messenger::shm::{
    Attached, ExchangeError, Hello, Refusal, attach, receive_answer, send_hello,
};
use vmsgr_tests::{Launch, PATIENCE, Vmsgrd, eventually, is_root, open_descriptors, skip};

const ECHO: &str = "127.0.0.1:0=echo";

/// nobody, on Debian and everywhere else.
const NOBODY: u32 = 65_534;

/// How long the daemon waits for a hello.
const SILENCE: Duration = Duration::from_secs(5);

/// How many of one user may be silent at the same time.
const SILENT: usize = 16;

/// A connection to the socket that has not said anything.
fn silent(daemon: &Vmsgrd) -> Socket {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET.cloexec(), None).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    socket.connect(&SockAddr::unix(daemon.socket()).expect("a path")).expect("the daemon listens");
    socket
}

/// The daemon's refusal, after which it has hung up.
#[track_caller]
fn expect_refusal(socket: &Socket) -> Refusal {
    let refusal = match receive_answer(socket) {
        Err(ExchangeError::Refused(refusal)) => refusal,
        other => panic!("no refusal but {other:?}"),
    };
    match receive_answer(socket) {
        Err(ExchangeError::HungUp) => refusal,
        other => panic!("no hang-up after the refusal but {other:?}"),
    }
}

fn small() -> Hello {
    Hello { slots: 2, ..Hello::default() }
}

#[track_caller]
fn attached(path: &Path) -> Attached {
    attach(path, &small(), PATIENCE).unwrap_or_else(|error| panic!("does not attach: {error}"))
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// The test of that name in this file, run by nobody, who finds the socket in an environment
/// variable. The program is copied to where nobody may read it, too.
fn run_as_nobody(name: &str, socket: &Path) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let program = folder.path().join("test");
    fs::copy(std::env::current_exe().expect("a program"), &program).expect("a copy");
    let user = NOBODY.to_string();
    let (_program, file) = module_path!().split_once("::").expect("a file of a program");
    let output = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(&program)
        .args(["--exact", &format!("{file}::{name}"), "--ignored", "--nocapture"])
        .env(NOBODYS_SOCKET, socket)
        .current_dir("/")
        .output()
        .expect("setpriv (util-linux) runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

const NOBODYS_SOCKET: &str = "VMSGR_TEST_NOBODYS_SOCKET";

/// `None` if it is not another test that runs this one.
fn nobodys_socket() -> Option<PathBuf> {
    let Some(path) = std::env::var_os(NOBODYS_SOCKET) else {
        skip("only means something to the test above it");
        return None;
    };
    assert_eq!(Uid::effective().as_raw(), NOBODY);
    Some(path.into())
}

/// A daemon whose socket lies where others can look, too.
fn in_the_open(toml: &str) -> (Vmsgrd, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = folder.path().join("vmsgrd.sock");
    let arguments = ["-l", ECHO, "--socket", path.to_str().expect("a path that is text")];
    (Launch::new(&arguments).configured(toml).start(), folder)
}

#[test]
fn the_daemons_own_user_attaches_and_the_daemon_notices_when_it_goes() {
    let daemon = Vmsgrd::start(&["-l", ECHO]);
    assert_eq!(mode(daemon.socket()), 0o600);
    let hello = Hello { name: "kv".into(), linger: Duration::ZERO, ..small() };
    let attached = attach(daemon.socket(), &hello, PATIENCE).expect("attaches");
    assert_eq!(attached.descriptors.len(), 3 + usize::from(attached.welcome.cores));
    assert!(!attached.welcome.resumed);
    daemon.expect_log(&["name=kv", "has attached"]);
    drop(attached);
    daemon.expect_log(&["name=kv", "has hung up"]);
}

#[test]
fn another_user_cannot_even_knock_where_only_the_own_user_may_attach() {
    if !is_root() {
        return skip("needs root, to become another user");
    }
    let (_daemon, folder) = in_the_open("");
    run_as_nobody("nobody_cannot_connect", &folder.path().join("vmsgrd.sock"));
}

#[test]
#[ignore = "run by the one above"]
fn nobody_cannot_connect() {
    let Some(socket) = nobodys_socket() else { return };
    match attach(&socket, &small(), PATIENCE) {
        Err(ExchangeError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_user_that_the_policy_does_not_name_is_refused() {
    if !is_root() {
        return skip("needs root, to become another user");
    }
    let toml = "[[applications.allow]]\n[[applications.allow]]\nuser = 65533\n";
    let (daemon, folder) = in_the_open(toml);
    assert_eq!(mode(daemon.socket()), 0o666);
    run_as_nobody("nobody_is_refused", &folder.path().join("vmsgrd.sock"));
    daemon.expect_log(&["uid=65534", "is refused", "user 65534 may not attach"]);
    attached(daemon.socket());
}

#[test]
#[ignore = "run by the one above"]
fn nobody_is_refused() {
    let Some(socket) = nobodys_socket() else { return };
    match attach(&socket, &small(), PATIENCE) {
        Err(ExchangeError::Refused(refusal)) => {
            assert_eq!(refusal, Refusal::new(Errno::EACCES, "user 65534 may not attach"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_user_that_the_policy_names_attaches() {
    if !is_root() {
        return skip("needs root, to become another user");
    }
    let (daemon, folder) = in_the_open("[[applications.allow]]\nuser = \"nobody\"\n");
    run_as_nobody("nobody_attaches", &folder.path().join("vmsgrd.sock"));
    daemon.expect_log(&["uid=65534", "has attached"]);
    match attach(daemon.socket(), &small(), PATIENCE) {
        Err(ExchangeError::Refused(refusal)) => assert_eq!(refusal.errno, Errno::EACCES),
        other => panic!("root is not named: {other:?}"),
    }
}

#[test]
#[ignore = "run by the one above"]
fn nobody_attaches() {
    let Some(socket) = nobodys_socket() else { return };
    attached(&socket);
}

#[test]
fn what_is_no_hello_is_answered_with_what_is_wrong() {
    let daemon = Vmsgrd::start(&["-l", ECHO]);
    let garbage = silent(&daemon);
    garbage.send(b"GET / HTTP/1.1\r\nHost: vmsgr\r\n\r\n").expect("it is sent");
    let refusal = expect_refusal(&garbage);
    assert_eq!(refusal.errno, Errno::EBADMSG);
    assert!(refusal.reason.contains("not a hello"), "{refusal}");
    daemon.expect_log(&["is refused", "not a hello"]);

    let mut newer = small().encode().expect("a hello");
    newer[8] = 2;
    let newer_one = silent(&daemon);
    newer_one.send(&newer).expect("it is sent");
    assert_eq!(expect_refusal(&newer_one).errno, Errno::EPROTONOSUPPORT);
    attached(daemon.socket());
}

#[test]
fn more_than_a_hello_is_the_end_of_the_attachment() {
    let daemon = Vmsgrd::start(&["-l", ECHO]);
    let talkative = silent(&daemon);
    send_hello(&talkative, &small()).expect("it is sent");
    receive_answer(&talkative).expect("it is welcomed");
    talkative.send(b"and another thing").expect("it is sent");
    match receive_answer(&talkative) {
        Err(ExchangeError::HungUp) => {}
        other => panic!("{other:?}"),
    }
    daemon.expect_log(&["has sent something after its hello"]);
    attached(daemon.socket());
}

#[test]
fn silence_is_ended_after_its_time_and_the_daemon_sleeps_before_and_after() {
    let daemon = Vmsgrd::start(&["-l", ECHO]);
    let (started, descriptors) = (Instant::now(), open_descriptors(daemon.pid()));
    let silent = silent(&daemon);
    let refusal = expect_refusal(&silent);
    let waited = started.elapsed();
    assert_eq!((refusal.errno, &*refusal.reason), (Errno::ETIMEDOUT, "no hello in 5 s"));
    assert!(waited >= SILENCE, "after {waited:?}");
    daemon.expect_log(&["is refused", "no hello in 5 s"]);
    eventually("its descriptor is closed", PATIENCE, || {
        open_descriptors(daemon.pid()) == descriptors
    });
    // Neither time-out nor silent one is left that could wake the main thread.
    let main = || vmsgr_tests::Activity::of(daemon.pid(), "vmsgrd");
    let mut before = main();
    eventually("the main thread sleeps", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(100));
        let after = main();
        std::mem::replace(&mut before, after.clone()) == after
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(before, main(), "the main thread woke up with nothing to do");
}

#[test]
fn too_many_silent_ones_are_refused_and_keep_out_nobody_for_long() {
    let daemon = Vmsgrd::start(&["-l", ECHO]);
    let crowd: Vec<_> = (0..SILENT).map(|_| silent(&daemon)).collect();
    let over = silent(&daemon);
    let refusal = expect_refusal(&over);
    assert_eq!(refusal.errno, Errno::EBUSY, "{refusal}");
    daemon.expect_log(&["is refused", "16 others of user"]);
    // One of them speaks up, and so makes room for another.
    send_hello(&crowd[9], &small()).expect("it is sent");
    receive_answer(&crowd[9]).expect("it is welcomed");
    attached(daemon.socket());
    drop(crowd);
    attached(daemon.socket());
}

#[test]
fn endpoints_and_their_segments_are_limited() {
    let toml = "[applications]\nmax_endpoints = 1\nmax_segment_bytes = 1048576\n";
    let daemon = Launch::new(&["-l", ECHO]).configured(toml).start();
    let large = silent(&daemon);
    send_hello(&large, &Hello::default()).expect("it is sent");
    let refusal = expect_refusal(&large);
    assert_eq!(refusal.errno, Errno::EFBIG, "{refusal}");
    let first = silent(&daemon);
    send_hello(&first, &Hello { linger: Duration::ZERO, ..small() }).expect("it is sent");
    receive_answer(&first).expect("it is welcomed");
    let second = silent(&daemon);
    send_hello(&second, &small()).expect("it is sent");
    assert_eq!(expect_refusal(&second).errno, Errno::EUSERS);
    drop(first);
    daemon.expect_log(&["has hung up"]);
    eventually("there is room again", PATIENCE, || {
        attach(daemon.socket(), &small(), PATIENCE).is_ok()
    });
}

#[test]
fn the_socket_of_a_dead_daemon_is_replaced_and_that_of_a_live_one_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("vmsgr/vmsgrd.sock");
    let arguments = ["-l", ECHO, "--socket", path.to_str().expect("a path that is text")];
    let mut first = Vmsgrd::start(&arguments);
    assert_eq!(mode(path.parent().expect("a folder")), 0o700);

    let refusal = Launch::new(&arguments).run_to_end();
    assert_eq!(refusal.code, Some(2), "{refusal:#?}");
    assert!(refusal.stdout.is_empty(), "nothing is served: {refusal:#?}");
    let [line] = &refusal.stderr[..] else { panic!("not one line: {refusal:#?}") };
    let expected = format!(
        "socket {}: another vmsgrd serves applications there; name another with --socket PATH, or \
         have no applications: --socket none",
        path.display()
    );
    assert!(line.ends_with(&expected), "{line}");
    attached(&path);

    first.signal(nix::sys::signal::Signal::SIGKILL);
    first.wait(PATIENCE);
    assert!(path.exists(), "nobody could remove it");
    let mut second = Vmsgrd::start(&arguments);
    attached(&path);
    assert_eq!(second.terminate().code(), Some(0));
    assert!(!path.exists(), "it is removed at the end");
}

#[test]
fn a_path_that_was_asked_for_must_be_usable() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "precious").expect("a file");
    for (path, part) in [
        (file.clone(), "it is there and is not a socket"),
        (folder.path().join("no/such/s"), "cannot be made"),
        (file.join("s"), "Not a directory"),
    ] {
        let path = path.display().to_string();
        let refusal = Launch::new(&["-l", ECHO, "--socket", &path]).run_to_end();
        assert_eq!(refusal.code, Some(2), "{refusal:#?}");
        let [line] = &refusal.stderr[..] else { panic!("not one line: {refusal:#?}") };
        assert!(line.contains(&path) && line.contains(part), "{line}");
    }
    assert_eq!(fs::read(&file).expect("the file"), b"precious");
}
