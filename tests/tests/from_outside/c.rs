//! The C face, as somebody uses it who has installed it: the header, both libraries, pkg-config.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use vmsgr_messenger::msgr2::{
    AuthNone, Config, Endpoint, EntityAddr, EntityType, Event, Message, MessageHeader, Policy,
    SessionId,
};
use vmsgr_tests::sockets::{self, check_pattern_to_end, connect, half_close, write_pattern};
use vmsgr_tests::{
    Cutter, Delivery, Driver, PATIENCE, Pattern, Peer, Process, Random, Vmsgrd, libvmsgr, peer,
    report, run,
};

const FACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../messenger/c");

/// What install.sh has made of a prefix.
struct Installed {
    prefix: TempDir,
    cc: Peer,
    pkg_config: Peer,
}

impl Installed {
    fn new() -> Option<Self> {
        let (cc, pkg_config) = (peer("cc")?, peer("pkg-config")?);
        let prefix = tempfile::tempdir().expect("a temporary folder");
        let mut install = Command::new(Path::new(FACE).join("install.sh"));
        succeeds(install.arg(prefix.path()).env("VMSGR_LIBRARIES", libvmsgr()));
        Some(Self { prefix, cc, pkg_config })
    }

    fn lib(&self) -> PathBuf {
        self.prefix.path().join("lib")
    }

    /// What pkg-config says that a compiler has to be told.
    fn flags(&self, asked: &[&str]) -> Vec<String> {
        let mut command = self.pkg_config.command();
        command.args(asked).arg("vmsgr").env("PKG_CONFIG_PATH", self.lib().join("pkgconfig"));
        succeeds(&mut command).split_whitespace().map(str::to_owned).collect()
    }

    /// Builds an example, under a name.
    fn build(&self, example: &str, name: &str, libraries: &[String]) -> PathBuf {
        self.compile(&Path::new(FACE).join("examples").join(example), name, libraries)
    }

    fn compile(&self, source: &Path, name: &str, libraries: &[String]) -> PathBuf {
        let program = self.prefix.path().join(name);
        let mut command = self.cc.command();
        command.args(["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror"]);
        command.arg("-pedantic").args(self.flags(&["--cflags"]));
        command.arg(source).arg("-o").arg(&program);
        succeeds(command.args(libraries));
        program
    }
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = run(command, b"", PATIENCE * 4);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A daemon to which applications can attach, and where.
fn daemon() -> (Vmsgrd, TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("vmsgrd.sock");
    let text = socket.to_str().expect("a path of letters").to_owned();
    (Vmsgrd::start(&["-l", "127.0.0.1:0=echo", "--socket", &text]), folder, socket)
}

/// Waits until the example says where it listens.
#[track_caller]
fn address(echo: &Process) -> SocketAddr {
    let line = echo.stdout().wait_from(0, PATIENCE * 4, |line| line.starts_with("listening on "));
    let line = line.unwrap_or_else(|| panic!("{:#?}", echo.stderr().all()));
    line["listening on ".len()..].parse().expect("an address")
}

/// Several streams go there and come back.
fn talk(address: SocketAddr, bytes: u64) {
    thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let stream = connect(address);
                thread::scope(|scope| {
                    scope.spawn(|| {
                        write_pattern(&stream, &mut Pattern::new(seed), bytes);
                        half_close(&stream);
                    });
                    let came = check_pattern_to_end(&stream, &mut Pattern::new(seed));
                    assert_eq!(came, bytes);
                });
            });
        }
    });
}

fn command(program: &Path, socket: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["127.0.0.1", "0"]).arg(socket);
    command
}

#[test]
fn an_echo_in_c_is_built_with_either_library_and_serves() {
    let Some(installed) = Installed::new() else { return };
    let shared = installed.flags(&["--libs"]);
    // As the linker takes the static one where there is no other, and what that one needs.
    let mut fixed = vec![installed.lib().join("libvmsgr.a").display().to_string()];
    fixed.extend(installed.flags(&["--static", "--libs-only-l"]).into_iter().skip(1));
    assert!(fixed.iter().all(|flag| flag != "-lvmsgr"), "{fixed:?}");
    let (daemon, _folder, socket) = daemon();
    for (name, libraries) in [("shared", shared), ("static", fixed)] {
        let program = installed.build("echo.c", name, &libraries);
        let mut command = command(&program, &socket);
        if name == "shared" {
            command.env("LD_LIBRARY_PATH", installed.lib());
        }
        let mut echo = Process::spawn(&mut command);
        talk(address(&echo), 8 << 20);
        echo.signal(Signal::SIGTERM);
        assert!(echo.wait(PATIENCE).success(), "{name}");
        daemon.expect_log(&["name=echo.c", "pid=", &format!("{}", echo.pid())]);
    }
}

#[test]
fn an_osd_in_c_answers_pings_and_whoever_comes_after_it_goes_on() {
    const PING: u16 = 2;
    let Some(installed) = Installed::new() else { return };
    let program = installed.build("pong.c", "pong", &installed.flags(&["--libs"]));
    let (daemon, _folder, socket) = daemon();
    let start = |port: &str| {
        let mut command = Command::new(&program);
        command.args(["127.0.0.1", port]).arg(&socket);
        Process::spawn(command.env("LD_LIBRARY_PATH", installed.lib()))
    };
    let mut pong = start("0");
    let address = address(&pong);
    let (mut driver, session) = Driver::client(address, EntityType::OSD);
    let ping = |driver: &mut Driver, tid| {
        let header = MessageHeader { kind: PING, tid, ..MessageHeader::default() };
        let (front, middle) = (Bytes::new(), Bytes::new());
        // It takes many parts.
        let data = Bytes::from(vec![1; 1 << 20]);
        let message = Message { header, front, middle, data };
        driver.endpoint.send(session, message, Instant::now()).expect("there is room");
    };
    let pong_of = |driver: &mut Driver, tid| {
        let answer = driver.message(PING, PATIENCE);
        assert_eq!(answer.header.tid, tid);
        assert_eq!(answer.front[..4], (answer.front.len() as u32 - 4).to_le_bytes());
        assert!(String::from_utf8_lossy(&answer.front).contains("pong.c"), "{answer:?}");
    };
    for tid in 1..=100 {
        ping(&mut driver, tid);
        pong_of(&mut driver, tid);
    }
    let who = |line: &str| line == "session with number 4123 of type 8";
    assert!(pong.stdout().wait_from(0, PATIENCE, who).is_some(), "{:#?}", pong.stdout().all());
    pong.signal(Signal::SIGKILL);
    pong.wait(PATIENCE);
    ping(&mut driver, 101);
    pong = start(&address.port().to_string());
    pong_of(&mut driver, 101);
    // In order: whoever has a session with it sees its end.
    pong.signal(Signal::SIGTERM);
    assert!(pong.wait(PATIENCE).success());
    driver.until("the end of the session", PATIENCE, |driver| {
        let ended = |event: &Event| matches!(event, Event::Ended { .. });
        driver.events.iter().any(ended).then_some(())
    });
    assert!(driver.deliveries.is_empty(), "each is answered once");
    daemon.eventually("the client is gone", |now| now.total.connections == 0);
}

#[test]
fn a_session_that_nobody_answers_is_given_up_or_gets_its_time() {
    let Some(installed) = Installed::new() else { return };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/giving_up.c");
    let program = installed.compile(&source, "giving_up", &installed.flags(&["--libs"]));
    let (_daemon, _folder, socket) = daemon();
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = mute.local_addr().expect("it is bound").port().to_string();
    let mut command = Command::new(program);
    command.args(["127.0.0.1", &port]).arg(&socket).env("LD_LIBRARY_PATH", installed.lib());
    assert_eq!(succeeds(&mut command), "given up: ECANCELED\ntimed: ETIMEDOUT\n");
}

/// An OSD that has sessions of this policy.
fn listening(policy: Policy) -> Driver {
    let listener = sockets::listen();
    let address = listener.local_addr().expect("it is bound");
    let mut config = Config::new(EntityType::OSD, EntityAddr::msgr2(address, 0).into());
    config.policy = policy;
    let auth = Box::new(AuthNone::new(EntityType::OSD, "8", 0));
    Driver::new(Endpoint::new(config, auth, Instant::now()), Some(listener))
}

/// FNV-1a.
fn checksum(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// So many bytes that repeat nowhere near: of a large message of the client's from 0 on.
fn content(from: u32, bytes: usize) -> Bytes {
    let byte = |n: usize| (from.wrapping_add(n as u32).wrapping_mul(2_654_435_761) >> 24) as u8;
    (0..bytes).map(byte).collect()
}

/// Front of all that the client sends, and of what it gets.
const FRONT: &[u8] = b"larger than its ring";

#[test]
fn a_client_in_c_sends_more_than_its_ring_abandons_some_and_gets_as_much() {
    exchange_large(8 << 20);
}

#[test]
fn a_client_in_c_sends_and_gets_the_largest_messages_there_are() {
    exchange_large((128 << 20) - FRONT.len());
}

/// With so many bytes of data.
fn exchange_large(bytes: usize) {
    let Some(installed) = Installed::new() else { return };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/larger.c");
    let flags = [vec![format!("-DLARGE={bytes}u")], installed.flags(&["--libs"])].concat();
    let program = installed.compile(&source, "larger", &flags);
    let (_daemon, _folder, socket) = daemon();
    let mut osd = Driver::osd(7);
    let mut command = Command::new(program);
    command.args(["127.0.0.1", &osd.address().port().to_string()]).arg(&socket);
    let mut client = Process::spawn(command.env("LD_LIBRARY_PATH", installed.lib()));
    let small = osd.message(1000, PATIENCE);
    let whole = osd.message(1000, PATIENCE * 2);
    let tids = [small.header.tid, whole.header.tid];
    assert_eq!(tids, [4, 5], "nothing is seen of what was refused or abandoned");
    assert_eq!((&small.data[..], &small.front[..]), (&[0][..], FRONT));
    assert!(whole.front == FRONT && whole.data == content(0, bytes));
    let (front, data) = (Bytes::from_static(FRONT), content(99, bytes));
    let expected = checksum(front.iter().chain(&data).copied());
    let header = MessageHeader { kind: 1000, tid: 5, ..MessageHeader::default() };
    osd.send(whole.session, Message { header, front, middle: Bytes::new(), data });
    osd.until("the client's end", PATIENCE * 2, |_| client.exited());
    assert!(client.wait(PATIENCE).success(), "{:#?}", client.stderr().all());
    let said = [
        "connected to number 7 of type 4",
        "too large: EMSGSIZE",
        "in part: EAGAIN",
        "another: EBUSY",
        "small: sent",
        "large: sent",
        &format!("reply to 5: {bytes} bytes, {expected:016x}"),
    ];
    assert_eq!(client.stdout().all(), said);
    assert!(osd.deliveries.is_empty());
}

/// The kinds of message of a lossless peer: one, and the last one of a side.
const NUMBERED: u16 = 1000;
const LAST: u16 = 1001;

/// Messages under way to the peer at most: sent, and not yet taken by it.
const UNDER_WAY: u64 = 1000;

/// What the message with this number carries.
fn numbered(number: u64) -> Bytes {
    let from = (number as u32).wrapping_mul(2_654_435_761);
    content(from, from as usize % 5001)
}

/// The other side of a session of a peer in C, which is to last: what it has sent and taken in it.
#[derive(Default)]
struct Exchange {
    session: Option<SessionId>,
    sent: u64,
    taken: u64,
    /// What the peer has taken, as it says.
    peer_taken: u64,
    /// Whether each side has sent its last.
    finished: bool,
    peer_finished: bool,
}

impl Exchange {
    /// Takes what has come, and answers each with a message until we have finished, unless too many
    /// are under way.
    fn turn(&mut self, osd: &mut Driver) {
        for came in std::mem::take(&mut osd.deliveries) {
            let Delivery { session, header, front, data } = came;
            assert_eq!(*self.session.get_or_insert(session), session, "one session");
            assert_eq!(header.tid, self.taken, "in order, each once");
            assert!([NUMBERED, LAST].contains(&header.kind), "kind of {}: {header:?}", self.taken);
            assert!(data == numbered(self.taken), "data of {}", self.taken);
            self.peer_taken = u64::from_ne_bytes(front.try_into().expect("a number"));
            self.taken += 1;
            assert!(!self.peer_finished, "nothing is behind the last");
            self.peer_finished = header.kind == LAST;
            if !self.finished && self.sent < self.peer_taken + UNDER_WAY {
                self.send(osd, NUMBERED);
            }
        }
    }

    fn send(&mut self, osd: &mut Driver, kind: u16) {
        let header = MessageHeader { kind, tid: self.sent, ..MessageHeader::default() };
        let message = Message { header, data: numbered(self.sent), ..Message::default() };
        osd.send(self.session.expect("a session"), message);
        self.sent += 1;
        self.finished = kind == LAST;
    }
}

#[test]
fn a_lossless_peer_in_c_whose_path_is_cut_again_and_again_loses_and_doubles_nothing() {
    const CUTS: usize = 20;
    let Some(installed) = Installed::new() else { return };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/lossless.c");
    let program = installed.compile(&source, "lossless", &installed.flags(&["--libs"]));
    let (_daemon, _folder, socket) = daemon();
    let mut osd = listening(Policy::LOSSLESS_PEER);
    let cutter = Cutter::new(osd.address());
    let mut command = Command::new(program);
    command.args(["127.0.0.1", &cutter.address().port().to_string()]).arg(&socket);
    let mut client = Process::spawn(command.env("LD_LIBRARY_PATH", installed.lib()));
    let (mut exchange, mut random) = (Exchange::default(), Random::of_this_run());
    let (mut cuts, mut next, mut streams) = (0, (0, 0), 0);
    osd.until("all cuts", PATIENCE * 2, |osd| {
        assert!(client.exited().is_none(), "{:#?}", client.stderr().all());
        exchange.turn(osd);
        // Both ways something has come since the last one, after which there is another stream.
        let now = (exchange.taken, exchange.peer_taken);
        if now.0 <= next.0 || now.1 <= next.1 {
            return None;
        }
        let opened = opened(osd).len();
        if opened > streams && cutter.cut() > 0 {
            (cuts, streams) = (cuts + 1, opened);
            next = (now.0 + random.below(500), now.1 + random.below(500));
        }
        (cuts == CUTS).then_some(())
    });
    exchange.send(&mut osd, LAST);
    let last = exchange.sent;
    osd.until("the client's end", PATIENCE, |osd| {
        exchange.turn(osd);
        (exchange.peer_finished && client.exited().is_some()).then_some(())
    });
    assert!(client.wait(PATIENCE).success(), "{:#?}", client.stderr().all());
    let said = client.stdout().all();
    report(&format!("{cuts} cuts; {} messages came here, and there {said:?}", exchange.taken));
    let lost = said[0].strip_prefix(&format!("{last} came, and the stream was lost "));
    let lost = lost.and_then(|rest| rest.strip_suffix(" times")).expect("all came");
    // It may not be told of a stream that is back before there was room to tell of its loss.
    assert!((1..=CUTS).contains(&lost.parse().expect("a number")), "{lost}");
    let opened = opened(&osd);
    assert!(opened.len() > CUTS, "a stream after each cut: {opened:?}");
    assert!(!opened[0] && opened[1..].iter().all(|resumed| *resumed), "one session: {opened:?}");
}

/// Streams on which messages could pass: whether each has resumed a session.
fn opened(osd: &Driver) -> Vec<bool> {
    let events = osd.events.iter();
    events
        .filter_map(|event| match event {
            Event::Opened { resumed, .. } => Some(*resumed),
            _ => None,
        })
        .collect()
}

#[test]
fn a_session_asks_a_silent_peer_when_it_was_told_to() {
    let Some(installed) = Installed::new() else { return };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/keepalive.c");
    let program = installed.compile(&source, "keepalive", &installed.flags(&["--libs"]));
    let (_daemon, _folder, socket) = daemon();
    let mut server = listening(Policy::STATEFUL_SERVER);
    let mut command = Command::new(program);
    command.args(["127.0.0.1", &server.address().port().to_string()]).arg(&socket);
    let mut asking = Process::spawn(command.env("LD_LIBRARY_PATH", installed.lib()));
    server.until("a session", PATIENCE, |_| {
        assert!(asking.exited().is_none(), "{:#?}", asking.stderr().all());
        asking.stdout().all().contains(&"open".to_owned()).then_some(())
    });
    // Nobody drives the server from here on.
    assert!(asking.wait(PATIENCE).success(), "{:#?}", asking.stderr().all());
    assert_eq!(asking.stdout().all(), ["open", "missed"]);
}

#[test]
fn a_failure_is_said_in_words() {
    let Some(installed) = Installed::new() else { return };
    for example in ["echo.c", "pong.c"] {
        let program = installed.build(example, "example", &installed.flags(&["--libs"]));
        let nowhere = installed.prefix.path().join("nobody.sock");
        let mut command = command(&program, &nowhere);
        let output = run(command.env("LD_LIBRARY_PATH", installed.lib()), b"", PATIENCE);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains("no vmsgrd answers at") && said.contains("nobody.sock"), "{said}");
    }
}

#[test]
fn the_echo_in_c_touches_no_memory_that_is_not_its_own() {
    let Some(valgrind) = peer("valgrind") else { return };
    let Some(installed) = Installed::new() else { return };
    let program = installed.build("echo.c", "echo", &installed.flags(&["--libs"]));
    let (_daemon, _folder, socket) = daemon();
    let mut command = valgrind.command();
    command.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]).arg(&program);
    command.args(["127.0.0.1", "0"]).arg(&socket).env("LD_LIBRARY_PATH", installed.lib());
    let mut echo = Process::spawn(&mut command);
    talk(address(&echo), 1 << 20);
    echo.signal(Signal::SIGTERM);
    let status = echo.wait(PATIENCE * 4);
    assert!(status.success(), "{:#?}", echo.stderr().all());
}

#[test]
fn the_header_is_one_for_cpp_too() {
    let Some(cc) = peer("cc") else { return };
    let mut command = cc.command();
    command.args(["-x", "c++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
    succeeds(command.arg(Path::new(FACE).join("vmsgr.h")));
}
