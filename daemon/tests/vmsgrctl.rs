//! The built tool, as far as a user meets it who has made a mistake.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn vmsgrctl(words: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmsgrctl"));
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    // Who refuses its command line does not wait for input.
    let _ = process.stdin.take().unwrap().write_all(input);
    process.wait_with_output().unwrap()
}

/// What it says to stderr when it ends with this code, having said nothing else.
fn refused(words: &[&str], input: &[u8], code: i32) -> String {
    let output = vmsgrctl(words, input);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{words:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_is_no_capture_is_told_how_to_make_one() {
    // Shorter than a header of either kind, and longer.
    for input in ["hello\n", &"no packets ".repeat(1000)] {
        let said = refused(&["ceph-tap", "-"], input.as_bytes(), 1);
        let wanted = "vmsgrctl: standard input: it is no capture, neither pcap nor pcapng; make \
                      one with tcpdump -s 0 -w FILE tcp port PORT\n";
        assert_eq!(said, wanted);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(input.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        let said = refused(&["ceph-tap", path], b"", 1);
        assert_eq!(said, wanted.replace("standard input", path));
    }
    let said = refused(&["ceph-tap", "-"], b"", 1);
    assert!(said.starts_with("vmsgrctl: standard input: it is empty; make one with"), "{said}");
}

/// A capture of Ethernet in which there are no packets.
fn empty_capture() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let words = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1_u32];
    file.write_all(words.map(u32::to_le_bytes).as_flattened()).unwrap();
    file
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure_and_a_reader_who_has_gone_is_none() {
    let capture = empty_capture();
    let path = capture.path().to_str().unwrap();
    for words in [&["ceph-tap", path][..], &["ceph-tap", "--json", path], &["--generate", "man"]] {
        let with = |stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_vmsgrctl"));
            command.args(words).stdout(stdout).output().unwrap()
        };
        let full = with(OpenOptions::new().write(true).open("/dev/full").unwrap().into());
        let said = String::from_utf8_lossy(&full.stderr);
        assert_eq!(full.status.code(), Some(1), "{words:?}: {full:?}");
        let wanted = "vmsgrctl: standard output: No space left on device (os error 28)\n";
        assert_eq!(said, wanted, "{words:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let gone = with(writer.into());
        assert!(gone.status.success() && gone.stderr.is_empty(), "{words:?}: {gone:?}");
    }
}

#[test]
fn where_nothing_can_be_said_the_exit_code_is_still_the_listed_one() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = listener.local_addr().unwrap().to_string();
    drop(listener);
    let nonsense = tempfile::NamedTempFile::new().unwrap();
    let nonsense = nonsense.path().to_str().unwrap();
    for (words, code) in [
        (&["ceph-ping", &refused][..], 3),
        (&["ceph-ping", "--json", &refused], 1),
        (&["ceph-tap", "/nonexistent.pcap"], 2),
        (&["ceph-tap", nonsense], 1),
        (&["--generate", "man"], 1),
        (&["foo"], 2),
    ] {
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmsgrctl"));
        let status = command.args(words).stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{words:?}");
    }
}

#[test]
fn a_url_is_no_address() {
    for url in ["http://127.0.0.1:1", "v2://127.0.0.1:3300/0"] {
        let said = refused(&["ceph-ping", url], b"", 2);
        assert!(said.contains("a URL is no address; write HOST:PORT, or v2:HOST:PORT/0"), "{said}");
        assert!(said.contains(url) && !said.contains("nonce"), "{said}");
    }
}

#[test]
fn a_port_that_there_is_not_is_told_the_range() {
    let said = refused(&["ceph-ping", "127.0.0.1:70000"], b"", 2);
    assert!(said.contains("a port is 1 to 65535"), "{said}");
}

#[test]
fn who_asks_for_an_unknown_subcommand_is_told_those_that_there_are() {
    let said = refused(&["foo"], b"", 2);
    assert!(said.contains("unrecognized subcommand 'foo'"), "{said}");
    assert!(said.contains("subcommands are ceph-ping, ceph-tap\n"), "{said}");
    let said = refused(&["ceph-pin"], b"", 2);
    assert!(said.contains("'ceph-ping'") && said.contains("subcommands are"), "{said}");
}
