//! HTTP keep-alive traffic through the relay to nginx.

use std::process::Output;
use std::time::Duration;

use vmsgr_tests::{Nginx, Vmsgrd, peer, relay_to, report, run};

const DEADLINE: Duration = Duration::from_secs(90);

#[test]
fn wrk_sees_no_failed_request() {
    let (Some(nginx), Some(wrk)) = (peer("nginx"), peer("wrk")) else { return };
    let server = Nginx::start(&nginx);
    let daemon = Vmsgrd::start(&["-l", &relay_to(server.address())]);

    for (path, seconds) in [("small", "3s"), ("large", "2s")] {
        let url = format!("http://{}/{path}", daemon.address(0));
        let output = run(wrk.command().args(["-t1", "-c50", "-d", seconds, &url]), &[], DEADLINE);
        let text = successful(&output);
        // wrk prints these lines only when there is something to count in them.
        for failure in ["Socket errors", "Non-2xx"] {
            assert!(!text.contains(failure), "{text}");
        }
        let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        let rate = rate.unwrap_or_else(|| panic!("no rate in {text}")).trim();
        assert!(rate.parse::<f64>().is_ok_and(|rate| rate > 0.0), "{text}");
        report(&format!("/{path}: {rate} requests/s through the relay"));
    }
}

#[test]
fn ab_gets_every_byte_of_every_request() {
    let (Some(nginx), Some(ab)) = (peer("nginx"), peer("ab")) else { return };
    let server = Nginx::start(&nginx);
    let daemon = Vmsgrd::start(&["-l", &relay_to(server.address())]);

    for (path, bytes, requests) in
        [("small", Nginx::SMALL_BYTES, 10_000), ("large", Nginx::LARGE_BYTES, 1_000)]
    {
        let url = format!("http://{}/{path}", daemon.address(0));
        let requests_argument = requests.to_string();
        let output = run(
            ab.command().args(["-k", "-q", "-c50", "-n", &requests_argument, &url]),
            &[],
            DEADLINE,
        );
        let text = successful(&output);
        assert_eq!(number(&text, "Complete requests:"), requests);
        assert_eq!(number(&text, "Keep-Alive requests:"), requests);
        assert_eq!(number(&text, "Failed requests:"), 0);
        assert_eq!(number(&text, "HTML transferred:"), requests * bytes);
    }
}

#[test]
fn connections_that_come_and_go_are_all_served() {
    let (Some(nginx), Some(ab)) = (peer("nginx"), peer("ab")) else { return };
    let server = Nginx::start(&nginx);
    let daemon = Vmsgrd::start(&["-l", &relay_to(server.address())]);

    let url = format!("http://{}/small", daemon.address(0));
    let output = run(ab.command().args(["-q", "-c20", "-n", "5000", &url]), &[], DEADLINE);
    let text = successful(&output);
    assert_eq!(number(&text, "Complete requests:"), 5_000);
    assert_eq!(number(&text, "Failed requests:"), 0);
    daemon.eventually("no connection is left over", |now| {
        now.total.connections == 0 && now.total.pending_bytes == 0
    });
}

fn successful(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    text
}

fn number(text: &str, label: &str) -> usize {
    let value = text.lines().find_map(|line| line.strip_prefix(label));
    let value = value.unwrap_or_else(|| panic!("no line {label} in {text}"));
    let digits = value.split_whitespace().next().and_then(|word| word.parse().ok());
    digits.unwrap_or_else(|| panic!("no number behind {label} in {text}"))
}
