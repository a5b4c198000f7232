//! `vmsgrctl ceph-tap`: captures of real sessions.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use vmsgr_tests::vmsgrctl;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/");

/// Operations in each of the captures and their bytes, from clients and from servers.
const OPERATIONS: [&str; 4] = ["20", "17021", "0", "0"];

fn tap(file: &str) -> Output {
    vmsgrctl(&[], &["ceph-tap", file])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The words of the first line that begins with these.
fn row(output: &Output, start: &str) -> Vec<String> {
    let text = text(&output.stdout);
    let line = text.lines().find(|line| line.starts_with(start));
    let line = line.unwrap_or_else(|| panic!("no {start} in {text}"));
    line[start.len()..].split_whitespace().map(str::to_owned).collect()
}

#[test]
fn everything_in_a_capture_is_counted() {
    // Messages and bytes, both ways, as another program listed the frames.
    for (run, control) in
        [("none-crc", ["44", "4103", "44", "3476"]), ("cephx-crc", ["55", "5809", "55", "7522"])]
    {
        let output = tap(&format!("{FOLDER}{run}.pcap"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
        let first = text(&output.stdout);
        assert!(first.starts_with("11 connections, of them 0 encrypted"), "{first}");
        for (name, wanted) in [
            ("mon_map ", ["0", "0", "16", "4160"]),
            ("mon_get_map ", ["8", "616", "0", "0"]),
            ("mon_subscribe ", ["14", "1818", "0", "0"]),
            ("osd_map ", ["0", "0", "3", "4782"]),
            ("osd_op ", OPERATIONS),
            ("osd_op_reply ", ["0", "0", "20", "14875"]),
            ("config ", ["0", "0", "8", "752"]),
            ("mgr_map ", ["0", "0", "3", "1755"]),
            ("(control frames)", control),
        ] {
            assert_eq!(row(&output, name), wanted, "{run}: {name}");
        }
        assert_eq!(row(&output, "read ")[..3], ["4", "1", "10014"]);
        assert_eq!(row(&output, "write ")[..3], ["12", "0", "10864"]);
        assert_eq!(row(&output, "other ")[..2], ["4", "0"]);
        assert_eq!(row(&output, "in flight ")[0], "0,");
        assert!(first.contains("vec-full") && first.contains("writefull"), "{first}");
    }
}

/// What is printed with --json.
fn tap_json(file: &str) -> Value {
    let output = vmsgrctl(&[], &["ceph-tap", "--json", file]);
    let said = text(&output.stdout);
    assert_eq!(said.lines().count(), 1, "{said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn number(text: &str) -> f64 {
    text.trim_matches(',').parse().unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn json_has_the_facts_of_the_table() {
    for run in ["none-crc", "cephx-crc", "cephx-secure"] {
        let file = format!("{FOLDER}{run}.pcap");
        let (table, json) = (tap(&file), tap_json(&file));
        let first = row(&table, &format!("{} connections, of them ", json["connections"]));
        assert_eq!(first[0], json["blind"]["secure"].to_string(), "{json}");
        let mut types = json["messages"].as_object().expect("an object").clone();
        types.insert("(control frames)".to_owned(), json["control_frames"].clone());
        for (name, traffic) in &types {
            let of = |from: &str, what: &str| traffic[from][what].to_string();
            let wanted = [
                of("from_client", "messages"),
                of("from_client", "bytes"),
                of("from_server", "messages"),
                of("from_server", "bytes"),
            ];
            assert_eq!(row(&table, &format!("{name} ")), wanted, "{run}: {name}");
        }
        // Every row of messages is an entry, and none is missing.
        let table_text = text(&table.stdout);
        let rows = table_text.lines().skip_while(|line| !line.starts_with("messages")).skip(1);
        assert_eq!(rows.take_while(|line| !line.is_empty()).count(), types.len(), "{table_text}");
        for kind in ["read", "write", "other"] {
            let (row, of) = (row(&table, &format!("{kind} ")), &json["operations"][kind]);
            for (cell, name) in row.iter().zip(["operations", "errors", "bytes"]) {
                assert_eq!(*cell, of[name].to_string(), "{run}: {kind}");
            }
            for (cell, name) in
                row[3..].iter().zip(["mean_us", "p50_us", "p90_us", "p99_us", "max_us"])
            {
                match of[name].as_u64() {
                    // The table rounds, and the object cuts.
                    Some(us) => {
                        assert!((number(cell) * 1e3 - us as f64).abs() < 1.6, "{kind} {name}")
                    }
                    None => assert_eq!(cell, "-", "{run}: {kind} {name}"),
                }
            }
        }
        let slowest = json["slowest"].as_array().expect("a list");
        let rows = table_text.lines().skip_while(|line| !line.contains("slowest ms")).skip(1);
        assert_eq!(rows.count(), slowest.len(), "{table_text}");
        for slow in slowest {
            let (object, operation) = (slow["object"].as_str(), slow["operation"].as_str());
            let (object, operation) = (object.expect("a name"), operation.expect("a name"));
            let found = |line: &str| line.contains(operation) && line.ends_with(object);
            assert!(table_text.lines().any(found), "{slow} in {table_text}");
        }
        let nothing = json!({ "gaps": 0, "strays": 0, "too_many": 0, "error": null });
        assert_eq!(json["capture"], nothing, "{run}");
    }
    let none = &tap_json(&format!("{FOLDER}none-crc.pcap"));
    let operations = &none["operations"]["write"]["operations"];
    assert_eq!((operations, &none["connections"]), (&json!(12), &json!(11)));
    let help = text(&vmsgrctl(&[], &["ceph-tap", "--help"]).stdout);
    assert!(help.contains("ceph-tap --json osd.pcap | jq"), "{help}");
}

#[test]
fn encrypted_connections_are_named_once_each() {
    let output = tap(&format!("{FOLDER}cephx-secure.pcap"));
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    assert_eq!(said.lines().filter(|line| line.contains("agreed on encryption")).count(), 11);
    assert_eq!(said.lines().count(), 11, "{said}");
    let shown = text(&output.stdout);
    assert!(shown.starts_with("11 connections, of them 11 encrypted"), "{shown}");
}

/// A capture without the packets that `drop` names by their number, 0 being the first.
fn without(
    run: &str,
    mut packets: impl FnMut(Vec<Vec<u8>>) -> Vec<Vec<u8>>,
) -> tempfile::NamedTempFile {
    let bytes = fs::read(format!("{FOLDER}{run}.pcap")).expect("the capture");
    let (header, mut rest) = bytes.split_at(24);
    let mut all = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
        let (packet, behind) = rest.split_at(16 + length);
        all.push(packet.to_vec());
        rest = behind;
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    let kept = [vec![header.to_vec()], packets(all)].concat().concat();
    fs::write(file.path(), kept).expect("the file can be written");
    file
}

/// Bytes of data in a captured packet, of Ethernet and IPv4.
fn payload_bytes(packet: &[u8]) -> usize {
    let ip = &packet[16 + 14..];
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let header = usize::from(ip[0] & 0xf) * 4;
    total - header - usize::from(ip[header + 12] >> 4) * 4
}

#[test]
fn repeated_and_swapped_packets_change_nothing_and_lost_ones_are_said() {
    let repeated = without("none-crc", |packets| {
        packets.into_iter().flat_map(|packet| [packet.clone(), packet]).collect()
    });
    let output = tap(&repeated.path().display().to_string());
    assert_eq!(row(&output, "osd_op "), OPERATIONS);
    assert!(text(&output.stdout).starts_with("11 connections"), "{}", text(&output.stdout));

    // Each packet with data after the one that follows it, but for the ends of connections.
    let swapped = without("none-crc", |mut packets| {
        let mut at = 0;
        while at + 1 < packets.len() {
            if payload_bytes(&packets[at]) > 0 && payload_bytes(&packets[at + 1]) > 0 {
                packets.swap(at, at + 1);
                at += 1;
            }
            at += 1;
        }
        packets
    });
    let output = tap(&swapped.path().display().to_string());
    assert_eq!(row(&output, "osd_op "), OPERATIONS);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));

    // The largest packet carries an object to the OSD or from it.
    let lost = without("none-crc", |mut packets| {
        let largest = packets.iter().map(|packet| packet.len()).max();
        let at = packets.iter().position(|packet| Some(packet.len()) == largest);
        packets.remove(at.expect("a largest one"));
        packets
    });
    let output = tap(&lost.path().display().to_string());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("1 connections of which bytes are missing"));
    assert_eq!(tap_json(&lost.path().display().to_string())["capture"]["gaps"], 1);

    // The same one, of which tcpdump kept the beginning.
    let cut = without("none-crc", |mut packets| {
        let largest = packets.iter_mut().max_by_key(|packet| packet.len()).expect("some");
        largest.truncate(16 + 96);
        largest[8..12].copy_from_slice(&96_u32.to_le_bytes());
        packets
    });
    let output = tap(&cut.path().display().to_string());
    assert!(text(&output.stdout).contains("1 connections of which bytes are missing"));
    assert!(text(&output.stderr).contains("bytes are missing"), "{}", text(&output.stderr));

    // Without its beginning a connection is none.
    let headless = without("none-crc", |packets| packets[3..].to_vec());
    let output = tap(&headless.path().display().to_string());
    assert!(text(&output.stdout).starts_with("10 connections"), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("segments of connections whose beginning"));
}

#[test]
fn a_damaged_capture_is_said_and_what_came_before_is_shown() {
    let bytes = fs::read(format!("{FOLDER}none-crc.pcap")).expect("the capture");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().display().to_string();
    fs::write(&path, &bytes[..bytes.len() - 7]).expect("the file can be written");
    let output = tap(&path);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("ends within a packet"), "{}", text(&output.stderr));
    assert_eq!(row(&output, "osd_op ")[0], "20");
    let json = tap_json(&path);
    assert_eq!(json["messages"]["osd_op"]["from_client"]["messages"], 20, "{json}");
    assert_eq!(json["capture"]["error"], "it ends within a packet", "{json}");

    fs::write(&path, b"nothing of the kind").expect("the file can be written");
    let output = tap(&path);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("neither pcap nor pcapng"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "", "a table of nothing");
    assert_eq!(tap("/no/such/file").status.code(), Some(2));
}

#[test]
fn a_folder_is_no_capture_and_standard_input_may_be_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().display().to_string();
    let capture = format!("{FOLDER}none-crc.pcap");
    // The tool has what its shell reads.
    let from = |path: &str| {
        vmsgrctl(&["sh", "-c", &format!("exec \"$0\" \"$@\" < '{path}'")], &["ceph-tap", "-"])
    };
    for output in [tap(&path), from(&path)] {
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).ends_with(": it is a directory\n"), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    assert_eq!(row(&from(&capture), "osd_op "), OPERATIONS);
}
