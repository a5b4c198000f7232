//! The tap, with Ceph's own client on the one side and a real OSD on the other.

use std::io::Write;

use serde_json::Value;
use vmsgr_messenger::msgr2::Banner;
use vmsgr_tests::sockets::{connect, expect, expect_end, half_close, ping};
use vmsgr_tests::{Launch, MiniCeph, Namespace, Pattern, Vmsgrd, peer, rados_said, relay_to};

/// The cluster's OSD listens for clients here, and is reached through the daemon.
const OSD_PORT: &str = "13301";
const RELAY: &str = "127.0.0.1:14301=relay:original-dst,tap=msgr2";
const MARKED: &str = "[relay]\nmark = 77\n";

/// A namespace, for a cluster whose clients are redirected to the daemon; and who opens the way.
fn namespace() -> Option<Namespace> {
    peer("nft")?;
    Namespace::new()
}

/// From here on, whoever connects to the OSD comes to the daemon, unless it is that itself.
fn redirect(namespace: &Namespace) {
    namespace.redirect(&format!("tcp dport {OSD_PORT} meta mark != 77"), 14301);
}

fn relay_in(namespace: &Namespace) -> Vmsgrd {
    Launch::new(&["-l", RELAY]).configured(MARKED).under(&namespace.exec()).start()
}

/// What the daemon's taps have seen, once all connections have ended.
fn tap(daemon: &Vmsgrd) -> Value {
    daemon.eventually("the clients are gone", |now| now.total.connections == 0).tap.expect("a tap")
}

fn count(tap: &Value, kind: &str, what: &str) -> u64 {
    tap["operations"][kind][what].as_u64().unwrap_or_else(|| panic!("no {kind} {what}: {tap}"))
}

/// A bench of a second; what it says.
fn rados_bench(cluster: &MiniCeph<'_>, words: &[&str]) -> Vec<u8> {
    let all = [&["-p", "test", "bench", "1"], words, &["-t", "16", "--no-hints"]].concat();
    cluster.client("rados", &all, &[])
}

/// Benches with objects of this size, and checks that the tap counts what the bench does.
fn bench(cluster: &MiniCeph<'_>, daemon: &Vmsgrd, size: &str) {
    let bytes: u64 = size.parse().expect("a size");
    let rados = |words: &[&str]| rados_bench(cluster, words);
    let before = tap(daemon);
    let output = rados(&["write", "-b", size, "-O", size, "--no-cleanup"]);
    let written = rados_said(&output, "Total writes made");
    let after = tap(daemon);
    let more = |kind: &str, what: &str| count(&after, kind, what) - count(&before, kind, what);
    // One more: the bench remembers what it did, in an object of its own.
    assert_eq!(more("write", "operations"), written + 1, "{after}");
    let data = more("write", "bytes");
    assert!((written * bytes..written * bytes + 4096).contains(&data), "{data} of {written}");
    assert_eq!(more("write", "errors"), 0, "{after}");

    for how in ["seq", "rand"] {
        let before = tap(daemon);
        let read = rados_said(&rados(&[how]), "Total reads made");
        let after = tap(daemon);
        let more = |kind: &str, what: &str| count(&after, kind, what) - count(&before, kind, what);
        // One more, again: what the write remembered.
        assert_eq!(more("read", "operations"), read + 1, "{how}: {after}");
        assert_eq!(more("read", "errors"), 0, "{how}: {after}");
        let data = more("read", "bytes");
        assert!((read * bytes..read * bytes + 4096).contains(&data), "{how}: {data} of {read}");
    }
    cluster.client("rados", &["-p", "test", "cleanup"], &[]);
}

/// Benches with objects of this size, of which the tap sees nothing: that what was read is what was
/// written is the bench's own account. All of it comes through the daemon.
fn bench_unseen(cluster: &MiniCeph<'_>, daemon: &Vmsgrd, size: &str) {
    let bytes: u64 = size.parse().expect("a size");
    let relayed = || {
        let gone = daemon.eventually("the clients are gone", |now| now.total.connections == 0);
        gone.total.bytes_in
    };
    let write = ["write", "-b", size, "-O", size, "--no-cleanup"];
    for (how, label) in [
        (&write[..], "Total writes made"),
        (&["seq"], "Total reads made"),
        (&["rand"], "Total reads made"),
    ] {
        let before = relayed();
        let moved = rados_said(&rados_bench(cluster, how), label);
        assert!(moved > 0, "{how:?}");
        let through = relayed() - before;
        assert!(through > moved * bytes, "{how:?}: {through} bytes of {moved} objects");
    }
    cluster.client("rados", &["-p", "test", "cleanup"], &[]);
}

/// Bytes of objects: what rados moves at once (4 MiB), one more and one less of it, several of it,
/// and what fits nowhere.
const SIZES: [usize; 7] = [1, 4095, 65_537, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9_000_001];

/// Puts an object and gets it back.
fn put_and_get(cluster: &MiniCeph<'_>, size: usize) {
    let byte = |n: usize| ((n + size) as u32).wrapping_mul(2_654_435_761) >> 24;
    let data: Vec<u8> = (0..size).map(|n| byte(n) as u8).collect();
    let object = format!("large-{size}");
    cluster.client("rados", &["-p", "test", "put", &object, "-"], &data);
    let back = cluster.client("rados", &["-p", "test", "get", &object, "-"], &[]);
    // Bytes themselves, of which checksums would be a part.
    assert!(back == data, "{object}: {} bytes came back, and not the same", back.len());
}

/// Objects of all sizes, and checks that the tap counts their bytes, both ways.
fn put_and_get_all(cluster: &MiniCeph<'_>, daemon: &Vmsgrd) {
    for size in SIZES {
        let before = tap(daemon);
        put_and_get(cluster, size);
        let after = tap(daemon);
        let more = |kind: &str| count(&after, kind, "bytes") - count(&before, kind, "bytes");
        assert_eq!((more("write"), more("read")), (size as u64, size as u64), "{after}");
    }
}

fn check_seen(tap: &Value) {
    let none = Value::from(0);
    for what in ["in_flight", "untracked", "unmatched", "abandoned", "repeated"] {
        assert_eq!(tap[what], none, "{what}: {tap}");
    }
    for why in ["secure", "compressed", "broken"] {
        assert_eq!(tap["blind"][why], none, "{tap}");
    }
    let (op, reply) = (&tap["messages"]["osd_op"], &tap["messages"]["osd_op_reply"]);
    assert_eq!(op["from_client"]["messages"], reply["from_server"]["messages"], "{tap}");
    let slowest = tap["slowest"].as_array().expect("a list");
    assert_eq!(slowest.len(), 16, "{tap}");
    for slow in slowest {
        let object = slow["object"].as_str().expect("a name");
        let known = ["benchmark_", "large", "4096", "4194304", ""];
        assert!(known.iter().any(|start| object.starts_with(start)), "{slow}");
        assert!(slow["us"].as_u64().is_some_and(|time| time > 0), "{slow}");
    }
    assert!(slowest.iter().any(|slow| slow["object"] != ""), "{tap}");
}

#[test]
fn operations_without_authentication_are_counted_as_the_client_counts_them() {
    let Some(namespace) = namespace() else { return };
    let Some(cluster) = MiniCeph::start(&namespace, "none", "crc") else { return };
    let mut daemon = relay_in(&namespace);
    redirect(&namespace);
    for size in ["4096", "4194304"] {
        bench(&cluster, &daemon, size);
    }
    put_and_get_all(&cluster, &daemon);
    check_seen(&tap(&daemon));
    // At the end it is told without being asked for.
    let from = daemon.log().count();
    assert!(daemon.terminate().success());
    let lines = daemon.log().all();
    assert!(lines[from..].iter().any(|line| line.contains("\"tap\":{")), "{:?}", &lines[from..]);
}

#[test]
fn operations_with_cephx_are_counted_without_its_keys() {
    let Some(namespace) = namespace() else { return };
    let Some(cluster) = MiniCeph::start(&namespace, "cephx", "crc") else { return };
    let daemon = relay_in(&namespace);
    redirect(&namespace);
    for size in ["4096", "4194304"] {
        bench(&cluster, &daemon, size);
    }
    put_and_get_all(&cluster, &daemon);
    check_seen(&tap(&daemon));
}

#[test]
fn encrypted_connections_are_relayed_without_looking_which_is_said_once() {
    let Some(namespace) = namespace() else { return };
    let Some(cluster) = MiniCeph::start(&namespace, "cephx", "secure") else { return };
    let daemon = relay_in(&namespace);
    redirect(&namespace);
    // Each command is a client, with a connection of its own.
    let mut clients = 0;
    for size in SIZES {
        put_and_get(&cluster, size);
        clients += 2;
    }
    for size in ["4096", "4194304"] {
        bench_unseen(&cluster, &daemon, size);
        clients += 4;
    }
    let tap = tap(&daemon);
    assert_eq!(tap["connections"], clients, "{tap}");
    assert_eq!(tap["blind"]["secure"], clients, "{tap}");
    for kind in ["write", "read"] {
        assert_eq!(count(&tap, kind, "operations"), 0, "{tap}");
    }
    let said = |line: &&String| line.contains("without looking") && line.contains("encryption");
    assert_eq!(daemon.log().all().iter().filter(said).count(), clients, "once for each connection");
}

/// What begins like this is nothing that the tap can follow; each is relayed as if there were none.
#[test]
fn what_is_not_the_protocol_or_not_its_revision_is_relayed_without_looking_which_is_said_once() {
    let echo = Vmsgrd::start(&["-l", "127.0.0.1:0=echo"]);
    let relay = format!("{},tap=msgr2", relay_to(echo.address(0)));
    let daemon = Vmsgrd::start(&["-l", &relay]);
    let other_revision = Banner { supported: Banner::COMPRESSION, required: 0 }.encode();
    let no_frame = [&Banner::OURS.encode()[..], &[0xee; 32]].concat();
    let beginnings: [(&[u8], &str); 3] = [
        (b"GET / HTTP/1.1\r\n\r\n", "a stream begins with the banner"),
        (&other_revision, "revision 0"),
        (&no_frame, "the preamble's crc is"),
    ];
    let mut pattern = Pattern::new(12);
    for (n, (beginning, reason)) in (1..).zip(beginnings) {
        let mut stream = connect(daemon.address(0));
        // In two pieces, neither of which says enough.
        let (first, rest) = beginning.split_at(4);
        ping(&mut stream, first);
        ping(&mut stream, rest);
        let line = daemon.expect_log(&["is relayed without looking", reason]);
        for _ in 0..64 {
            let mut bytes = vec![0; 16 << 10];
            pattern.fill(&mut bytes);
            ping(&mut stream, &bytes);
        }
        // Another banner does not open its eyes again.
        stream.write_all(&Banner::OURS.encode()).expect("it is open");
        expect(&mut stream, &Banner::OURS.encode());
        half_close(&stream);
        expect_end(&mut stream);
        let seen = tap(&daemon);
        assert_eq!(
            (&seen["connections"], &seen["blind"]["broken"]),
            (&n.into(), &n.into()),
            "{seen}"
        );
        let said = daemon.log().all();
        let said = said.iter().filter(|line| line.contains("without looking"));
        assert_eq!(said.count(), n, "once for each connection, last: {line}");
    }
}
