//! `vmsgrctl ceph-ping`: a real monitor and OSD, and all that is not one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use vmsgr_messenger::msgr2::{
    AuthBadMethod, AuthDone, Banner, Control, EntityAddr, EntityType, FLAG_LOSSY, FrameDecoder,
    Hello, Limits, MessageHeader, ServerIdent, Tag, Timestamp, control_frame, crc_frame,
};
use vmsgr_tests::sockets::{Refusing, Unanswering};
use vmsgr_tests::{
    Launch, MiniCeph, Namespace, Nginx, PATIENCE, Process, eventually, peer, run, vmsgrctl,
};

/// Asks, and returns the exit code and the object that was printed.
fn ask(wrapper: &[&str], target: &str) -> (Option<i32>, Value) {
    let words = ["ceph-ping", "--json", "--interval", "0.01", "--timeout", "2", target];
    let output = vmsgrctl(wrapper, &words);
    let text = String::from_utf8(output.stdout).expect("text");
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code(), json)
}

fn expect_daemon(answer: &Value, entity: &str, method: &str) {
    let daemon = &answer["daemon"];
    assert_eq!(daemon["entity"], entity, "{answer}");
    assert_eq!(daemon["methods"], serde_json::json!([method]), "{answer}");
    assert_eq!(daemon["modes"], serde_json::json!(["crc"]), "{answer}");
    assert_eq!(daemon["features"]["supported"].as_u64().map(|bits| bits & 1), Some(1), "{answer}");
    let seen_as = daemon["seen_as"].as_str().expect("an address");
    assert!(seen_as.contains(":127.0.0.1:"), "{answer}");
    assert!(daemon["connect_ms"].as_f64().is_some_and(|time| time > 0.0), "{answer}");
}

fn expect_round_trips(answer: &Value) {
    let keepalive = &answer["keepalive"];
    assert_eq!((&keepalive["sent"], &keepalive["answered"]), (&4.into(), &4.into()), "{answer}");
    let of = |name: &str| keepalive[name].as_f64().expect("a time");
    assert!(0.0 < of("min_ms") && of("min_ms") <= of("avg_ms") && of("avg_ms") <= of("max_ms"));
    let daemon = ["connect_ms", "handshake_ms"].map(|name| &answer["daemon"][name]);
    let trips = ["min_ms", "avg_ms", "max_ms", "mdev_ms"].map(|name| &keepalive[name]);
    for time in daemon.iter().chain(&trips) {
        let text = time.to_string();
        let (_, behind_the_point) = text.split_once('.').expect("a number with a point");
        assert!(behind_the_point.len() <= 3, "to the microsecond: {answer}");
    }
}

#[test]
fn daemons_without_authentication_say_all_and_answer_keepalives() {
    let Some(namespace) = Namespace::new() else { return };
    let Some(cluster) = MiniCeph::start(&namespace, "none", "crc") else { return };
    let (code, answer) = ask(&namespace.exec(), cluster.env("CEPH_MON_ADDR"));
    assert_eq!(code, Some(0), "{answer}");
    expect_daemon(&answer, "mon", "none");
    expect_round_trips(&answer);

    // Which process it is only its map tells; without that there is no session.
    let osd = cluster.osd_with_nonce();
    let (code, answer) = ask(&namespace.exec(), &osd);
    assert_eq!(code, Some(0), "{answer}");
    expect_daemon(&answer, "osd", "none");
    expect_round_trips(&answer);
    let (code, answer) = ask(&namespace.exec(), cluster.env("CEPH_OSD_ADDR"));
    assert_eq!(code, Some(0), "{answer}");
    expect_daemon(&answer, "osd", "none");
    assert!(answer["note"].as_str().is_some_and(|note| note.contains("nonce")), "{answer}");
    let (code, answer) = ask(&namespace.exec(), &format!("{}/1", cluster.env("CEPH_OSD_ADDR")));
    assert!(answer["target"].as_str().is_some_and(|target| target.ends_with("/1")), "{answer}");
    assert_eq!((code, &answer["error"]["kind"]), (Some(1), &"nonce".into()), "{answer}");

    let words = ["ceph-ping", "-c2", "-i0", cluster.env("CEPH_MON_ADDR")];
    let text = String::from_utf8(vmsgrctl(&namespace.exec(), &words).stdout).expect("text");
    for part in ["is a Ceph mon", "authentication none", "2 sent, 2 answered", "/max/mdev = "] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn daemons_with_cephx_say_what_they_offer() {
    let Some(namespace) = Namespace::new() else { return };
    let Some(cluster) = MiniCeph::start(&namespace, "cephx", "crc") else { return };
    for (variable, entity) in [("CEPH_MON_ADDR", "mon"), ("CEPH_OSD_ADDR", "osd")] {
        let (code, answer) = ask(&namespace.exec(), cluster.env(variable));
        assert_eq!(code, Some(0), "{answer}");
        expect_daemon(&answer, entity, "cephx");
        assert!(answer["note"].as_str().is_some_and(|note| note.contains("'none'")), "{answer}");
        assert_eq!(answer["keepalive"], Value::Null);
    }
}

/// A server that reads once and then says this, to two clients.
fn saying(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    // It ends with the test process, which may not come to its second client.
    thread::spawn(move || {
        for _ in 0..2 {
            let (mut client, _) = listener.accept().expect("a client");
            let mut said = [0; 100];
            let count = client.read(&mut said).unwrap_or(0);
            let _ = client.write_all(&answer(&said[..count]));
        }
    });
    address
}

fn banner(supported: u64, required: u64) -> Vec<u8> {
    [b"ceph v2\n\x10\0", &supported.to_le_bytes()[..], &required.to_le_bytes()[..]].concat()
}

#[test]
fn what_is_no_ceph_daemon_is_named() {
    let tls = |said: &[u8]| match said.first() {
        Some(0x16) => b"\x15\x03\x01\0\x02\x02\x28".to_vec(),
        _ => Vec::new(),
    };
    let tls_12 = |said: &[u8]| match said.first() {
        Some(0x16) => b"\x16\x03\x03\0\x7a".to_vec(),
        _ => Vec::new(),
    };
    let html = b"<html>\r\n<head><title>400 Bad Request".to_vec();
    for (address, kind) in [
        (saying(|_| b"ceph v027\0\0\0\0".to_vec()), "legacy"),
        (saying(|_| banner(0, 0)), "revision-0"),
        (saying(|_| banner(9, 8)), "features"),
        (saying(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), "http"),
        (saying(move |_| html.clone()), "http"),
        (saying(tls), "tls"),
        (saying(tls_12), "tls"),
        (saying(|_| b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "not-ceph"),
        (saying(|_| Vec::new()), "closed"),
    ] {
        let (code, answer) = ask(&[], &address.to_string());
        assert_eq!((code, &answer["error"]["kind"]), (Some(4), &kind.into()), "{answer}");
    }
}

/// A server that says this to one client, all at once or a byte at a time, and then keeps the
/// connection for as long as the client does.
fn stalling(says: Vec<u8>, piece: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        client.set_nodelay(true).expect("a TCP socket has this option");
        let between = Some(Duration::from_millis(50));
        client.set_read_timeout(between).expect("a TCP socket has this option");
        let mut pieces = says.chunks(piece);
        loop {
            // The client's banner comes first, and its end last.
            match client.read(&mut [0; 100]) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = pieces.next().map(|piece| client.write_all(piece));
                }
                Ok(0) | Err(_) => return,
            }
        }
    });
    address
}

#[test]
fn who_stops_within_a_banner_has_said_nothing_foreign() {
    let whole = banner(1, 0);
    for (says, piece, code, kind, part) in [
        (&whole[..4], 4, 4, "silent", "as Ceph's banner does, with 4 bytes"),
        (&whole[..20], 20, 1, "handshake", "20 bytes of one"),
        (&whole[..], 1, 1, "handshake", "no whole banner within 0.5 s"),
    ] {
        let address = stalling(says.to_vec(), piece).to_string();
        let output = vmsgrctl(&[], &["ceph-ping", "--json", "-t0.5", &address]);
        let answer: Value = serde_json::from_slice(&output.stdout).expect("an object");
        let error = &answer["error"];
        assert_eq!((output.status.code(), &error["kind"]), (Some(code), &kind.into()), "{answer}");
        assert!(error["text"].as_str().is_some_and(|text| text.contains(part)), "{answer}");
    }
    for (length, code, kind) in [(4, 4, "closed"), (20, 1, "handshake")] {
        let said = whole[..length].to_vec();
        let (rc, answer) = ask(&[], &saying(move |_| said.clone()).to_string());
        assert_eq!((rc, &answer["error"]["kind"]), (Some(code), &kind.into()), "{answer}");
    }
}

#[test]
fn an_echo_is_no_ceph_daemon() {
    let daemon = Launch::new(&["-l", "127.0.0.1:0=echo"]).start();
    let address = daemon.address(0).to_string();
    expect_kind(&[], &address, "echo");
    let text = String::from_utf8(vmsgrctl(&[], &["ceph-ping", &address]).stderr).expect("text");
    assert!(text.contains("not Ceph: it echoes"), "{text}");
}

#[test]
fn what_a_firewall_drops_or_turns_away_and_what_has_no_route_are_told_apart() {
    if peer("nft").is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    // All of them would be taken.
    let ports = [3300, 3301, 3302];
    let listeners = namespace.enter(|| {
        ports.map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a port of its own"))
    });
    namespace.run(&["nft", "add", "table", "inet", "vmsgr"]);
    let chain = "{ type filter hook input priority 0; }";
    namespace.run(&["nft", "add", "chain", "inet", "vmsgr", "input", chain]);
    for rule in [
        "tcp dport 3300 drop",
        "tcp dport 3301 reject with icmpx admin-prohibited",
        "tcp dport 3302 reject with tcp reset",
    ] {
        namespace.run(&["nft", "add", "rule", "inet", "vmsgr", "input", rule]);
    }
    for (target, code, kind) in [
        ("127.0.0.1", 3, "filtered"),
        ("[v2:127.0.0.1:3300/0,v1:127.0.0.1:3302/0]", 3, "filtered"),
        ("127.0.0.1:3301", 3, "unreachable"),
        ("127.0.0.1:3302", 3, "refused"),
        ("10.99.0.1:3300", 3, "unreachable"),
    ] {
        let words = ["ceph-ping", "--json", "-t0.5", target];
        let output = vmsgrctl(&namespace.exec(), &words);
        let answer: Value = serde_json::from_slice(&output.stdout).expect("an object");
        let got = (output.status.code(), &answer["error"]["kind"]);
        assert_eq!(got, (Some(code), &kind.into()), "{target}: {answer}");
    }
    // It was the rules.
    namespace.run(&["nft", "flush", "ruleset"]);
    let output = vmsgrctl(&namespace.exec(), &["ceph-ping", "-t0.5", "127.0.0.1"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("silent: it accepts connections"), "{text}");
    drop(listeners);
}

fn expect_kind(wrapper: &[&str], target: &str, kind: &str) {
    let (code, answer) = ask(wrapper, target);
    assert_eq!((code, &answer["error"]["kind"]), (Some(4), &kind.into()), "{answer}");
}

#[test]
fn a_monitors_legacy_port_is_named_and_its_other_one_answers() {
    let Some(namespace) = Namespace::new() else { return };
    let variables = [("MINI_CEPH_V1_PORT", "16789")];
    let cluster = MiniCeph::start_with(&namespace, "none", "crc", &variables);
    let Some(cluster) = cluster else { return };
    expect_kind(&namespace.exec(), cluster.env("CEPH_MON_V1_ADDR"), "legacy");
    let (code, answer) = ask(&namespace.exec(), cluster.env("CEPH_MON_ADDR"));
    assert_eq!(code, Some(0), "{answer}");
}

/// What a server said on its standard output that follows `before`, up to the next space.
fn said(process: &Process, before: &str) -> String {
    let found = || {
        let lines = process.stdout().all();
        let rest = lines.iter().find_map(|line| Some(line.split_once(before)?.1.to_owned()))?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    eventually(&format!("it says `{before}`"), PATIENCE, || found().is_some());
    found().expect("it was there")
}

#[test]
fn web_servers_are_named() {
    if let Some(nginx) = peer("nginx") {
        expect_kind(&[], &Nginx::start(&nginx).address().to_string(), "http");
    }
    if let Some(python) = peer("python3") {
        let mut command = python.command();
        let folder = tempfile::tempdir().expect("a temporary folder");
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]);
        let server = Process::spawn(command.current_dir(folder.path()));
        expect_kind(&[], &format!("127.0.0.1:{}", said(&server, " port ")), "http");
    }
}

#[test]
fn a_server_of_tls_is_named() {
    let Some(openssl) = peer("openssl") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = ["key.pem", "cert.pem"].map(|name| folder.path().join(name));
    let mut command = openssl.command();
    command.args(["req", "-x509", "-nodes", "-subj", "/CN=localhost", "-newkey", "ec"]);
    command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout"]).arg(&files[0]);
    let made = run(command.arg("-out").arg(&files[1]), &[], PATIENCE);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut command = openssl.command();
    command.args(["s_server", "-www", "-accept", "127.0.0.1:0", "-key"]).arg(&files[0]);
    let server = Process::spawn(command.arg("-cert").arg(&files[1]));
    expect_kind(&[], &said(&server, "ACCEPT "), "tls");
}

fn say(client: &mut TcpStream, said: &Control) {
    client.write_all(&control_frame(said)).expect("the client listens");
}

/// A monitor without authentication that does with keepalives what the test wants; the keepalives
/// and the acknowledgements of its own that it got. It does not wait for a HELLO to say its own,
/// which comes together with its banner.
fn monitor(
    keepalive: impl Fn(&mut TcpStream, Timestamp) + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<[Vec<Timestamp>; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let played = thread::spawn(move || {
        let (mut client, peer) = listener.accept().expect("a client");
        // What is said in two pieces comes at once, and round trips take no time.
        client.set_nodelay(true).expect("a TCP socket has this option");
        let peer = EntityAddr::client(peer.ip(), 0);
        let hello = control_frame(&Control::Hello(Hello { entity: EntityType::MON, peer }));
        let first = [&Banner::OURS.encode()[..], &hello].concat();
        client.write_all(&first).expect("the client listens");
        let mut banner = [0; Banner::BYTES];
        client.read_exact(&mut banner).expect("a banner");
        let mut decoder = FrameDecoder::new(Limits::default());
        let (mut asked, mut acknowledged, mut piece) = (Vec::new(), Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = client.read(&mut piece) {
            let mut input = &piece[..count];
            while let Some(frame) = decoder.decode(&mut input).expect("a frame") {
                match Control::decode(frame.tag, &frame.segments[0]).expect("a control frame") {
                    Control::Hello(_) => {}
                    Control::AuthRequest(request) if request.method == 1 => {
                        let done = AuthDone { global_id: 1, mode: 1, payload: Default::default() };
                        say(&mut client, &Control::AuthDone(done));
                    }
                    Control::AuthRequest(request) => {
                        let (method, one) = (request.method, vec![1]);
                        let bad =
                            AuthBadMethod { method, result: -95, methods: one.clone(), modes: one };
                        say(&mut client, &Control::AuthBadMethod(bad));
                    }
                    Control::AuthSignature(_) => {
                        say(&mut client, &Control::AuthSignature([0; 32]));
                    }
                    Control::ClientIdent(ident) => {
                        assert_eq!(ident.flags & FLAG_LOSSY, FLAG_LOSSY, "no session is kept");
                        let ident = ServerIdent {
                            addresses: ident.target.into(),
                            gid: 0,
                            global_seq: 1,
                            supported: u64::MAX,
                            required: 0,
                            flags: 1,
                            cookie: 0,
                        };
                        say(&mut client, &Control::ServerIdent(ident));
                    }
                    Control::Keepalive2(time) => {
                        asked.push(time);
                        keepalive(&mut client, time);
                    }
                    Control::Keepalive2Ack(time) => acknowledged.push(time),
                    other => panic!("{other:?}"),
                }
            }
        }
        [asked, acknowledged]
    });
    (address, played)
}

#[test]
fn only_the_answer_to_a_keepalive_is_one() {
    const THEIRS: Timestamp = Timestamp { seconds: 7, nanoseconds: 8 };
    let (address, played) = monitor(|client, time| {
        let another = Timestamp { seconds: time.seconds ^ 1, ..time };
        say(client, &Control::Keepalive2Ack(another));
        say(client, &Control::Keepalive2(THEIRS));
    });
    let words = ["ceph-ping", "--json", "-c1", "-t0.5", &address.to_string()];
    let output = vmsgrctl(&[], &words);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an object");
    assert_eq!(output.status.code(), Some(1), "{answer}");
    let keepalive = &answer["keepalive"];
    assert_eq!((&keepalive["sent"], &keepalive["answered"]), (&1.into(), &0.into()), "{answer}");
    let [asked, acknowledged] = played.join().expect("the client has gone");
    assert_eq!((asked.len(), &acknowledged[..]), (1, &[THEIRS][..]));

    let (address, played) = monitor(|client, time| {
        // What it has to say besides is passed over.
        let header = MessageHeader { kind: 4, seq: 1, ..Default::default() }.encode();
        let map = crc_frame(Tag::Message, &[&header, b"a map", &[], &[]]);
        client.write_all(&map).expect("the client listens");
        say(client, &Control::Keepalive2Ack(time));
    });
    let (code, answer) = ask(&[], &format!("[v2:{address}/0,v1:127.0.0.1:1/0]"));
    assert_eq!(code, Some(0), "{answer}");
    expect_round_trips(&answer);
    assert_eq!(answer["target"], format!("v2:{address}/0"), "{answer}");
    let [asked, _] = played.join().expect("the client has gone");
    assert_eq!(asked.len(), 4);
    let at = |time: &Timestamp| Duration::new(time.seconds.into(), time.nanoseconds);
    let least = asked.windows(2).map(|two| at(&two[1]) - at(&two[0])).min();
    assert!(least >= Some(Duration::from_millis(10)), "as it was told to wait: {asked:?}");
}

#[test]
fn where_nobody_answers_is_told_apart() {
    let refusing = Refusing::new();
    let (code, answer) = ask(&[], &refusing.address().to_string());
    assert_eq!((code, &answer["error"]["kind"]), (Some(3), &"refused".into()), "{answer}");

    let unanswering = Unanswering::new();
    let words = ["ceph-ping", "-t0.5", &unanswering.address().to_string()];
    let output = vmsgrctl(&[], &words);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(3));
    assert!(text.contains("filtered: no answer within 0.5 s"), "{text}");

    // Connections are taken by the kernel; nobody speaks on them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let words = ["ceph-ping", "-t0.3", &silent.local_addr().expect("an address").to_string()];
    let output = vmsgrctl(&[], &words);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(4));
    assert!(text.contains("silent"), "{text}");

    // A daemon that stops in the middle has answered, and failed.
    let (code, answer) = ask(&[], &saying(|_| banner(1, 0)).to_string());
    assert_eq!((code, &answer["error"]["kind"]), (Some(1), &"handshake".into()), "{answer}");
}

#[test]
fn bad_usage_is_refused_and_the_help_shows_how() {
    for words in [&["ceph-ping"][..], &["ceph-ping", "h:0"], &["ceph-ping", "-i-1", "h"], &[]] {
        assert_eq!(vmsgrctl(&[], words).status.code(), Some(2), "{words:?}");
    }
    for (target, hint) in [
        ("::1", "[::1]:3300"),
        ("v1:10.0.0.1:6789/0", "legacy"),
        ("[v1:10.0.0.1:6789/0]", "legacy"),
        ("10.0.0.1:99999", "1 to 65535"),
        ("v2:10.0.0.1:6801/x", "0 to 4294967295"),
        ("[v2:10.0.0.1:3300/0],[v2:10.0.0.2:3300/0]", "one of them"),
        ("", "HOST:PORT"),
    ] {
        let output = vmsgrctl(&[], &["ceph-ping", target]);
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{target}: {text}");
        assert!(text.contains(hint), "{target}: {text}");
    }
    let help = String::from_utf8(vmsgrctl(&[], &["ceph-ping", "--help"]).stdout).expect("text");
    for part in [
        "Examples:",
        "v2:10.0.0.1:6801/3142",
        "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]",
        "Exit codes:",
    ] {
        assert!(help.contains(part), "{help}");
    }
}
