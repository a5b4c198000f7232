//! What a command line names and is not there, or cannot be.

use std::fs::OpenOptions;
use std::net::TcpListener;

use crate::run::{bench, failure, load, osd, refusal, success};

#[test]
fn nobody_listening_is_an_error_that_names_the_address() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stderr = failure(&load(address, "--duration 0.1"));
    assert!(stderr.contains(&format!("connection 0 to {address}: Connection refused")), "{stderr}");
    let way_out = format!(
        "; nothing listens there; start a server: vmsgrd --listen {address}=echo, or vmsgr-bench \
         serve epoll --listen {address}\n"
    );
    assert!(stderr.ends_with(&way_out), "{stderr}");
    assert!(failure(&load(address, "--churn --duration 0.1")).ends_with(&way_out));
    let stderr = failure(&osd(address, "--duration 0.1"));
    let way_out = format!("=osd-null, or vmsgr-bench serve osd-null --listen {address}\n");
    assert!(stderr.ends_with(&way_out), "{stderr}");
}

#[test]
fn what_a_command_line_names_and_is_not_there_is_said_once_before_anything_is_begun() {
    let nobody = "127.0.0.1:1".parse().unwrap();
    let stderr = refusal(&load(nobody, "--pid 2147483646"));
    assert_eq!(stderr, "vmsgr-bench: --pid: no process 2147483646\n");
    let stderr = refusal(&load(nobody, "--core 100000"));
    assert!(stderr.contains("--core: core 100000 is not one this process may use"), "{stderr}");
    let unix = bench(&["serve", "epoll", "--listen", "unix:/nonexistent/s"]).output().unwrap();
    assert!(refusal(&unix).contains("only app-epoll listens on a Unix socket"));
}

#[test]
fn a_port_and_a_ring_that_cannot_be_are_told_the_range_once() {
    for port in ["0", "99999"] {
        let output = bench(&["load", &format!("127.0.0.1:{port}")]).output().unwrap();
        let stderr = refusal(&output);
        assert!(stderr.contains("write HOST:PORT, with a port from 1 to 65535"), "{stderr}");
    }
    let output = bench(&["serve", "epoll", "--listen", "127.0.0.1:99999"]).output().unwrap();
    assert!(refusal(&output).contains("with a port from 0 to 65535"));
    let app_shm = ["serve", "app-shm", "--listen", "127.0.0.1:0", "--ring-bytes", "1000"];
    let stderr = refusal(&bench(&app_shm).output().unwrap());
    assert_eq!(stderr.matches("power of two from 4096 to 16777216").count(), 1, "{stderr}");
}

#[test]
fn who_asks_for_an_unknown_command_is_told_those_that_there_are_and_the_help_its_exit_codes() {
    let stderr = refusal(&bench(&["foo"]).output().unwrap());
    assert!(stderr.contains("subcommands are load, osd, suite, "), "{stderr}");
    let help = success(&bench(&["--help"]).output().unwrap());
    for code in ["Exit codes:", "  0  done", "  1  failed or interrupted", "  2  bad command line"]
    {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn a_core_is_handed_over_and_back() {
    let output = success(&bench(&["hand-over", "--rounds", "1"]).output().unwrap());
    assert_eq!(output.lines().count(), 2 + 5, "{output}");
    let error = refusal(&bench(&["hand-over", "--core", "100000"]).output().unwrap());
    assert!(error.contains("core 100000 is not one this process may use"), "{error}");
}

#[test]
fn an_output_that_cannot_be_written_is_a_failure() {
    for words in [&["hand-over", "--rounds", "1"][..], &["--generate", "man"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let stderr = failure(&bench(words).stdout(full).output().unwrap());
        let wanted = "vmsgr-bench: standard output: No space left on device (os error 28)\n";
        assert!(stderr.ends_with(wanted), "{words:?}: {stderr}");
    }
}

#[test]
fn where_nothing_can_be_said_the_exit_code_is_still_the_listed_one() {
    for (words, code) in [
        (&["compare", "/nonexistent.json", "/nonexistent.json"][..], 2),
        (&["hand-over", "--rounds", "1"], 1),
        (&["foo"], 2),
    ] {
        let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = bench(words).stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{words:?}");
    }
}
