//! Servers side by side.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use vmsgr_perf::server::Server;
use vmsgr_perf::suite::peer::Peer;

use crate::run::{bench, read_json, refusal, success};

/// The suite on one workload or two; `None` on a machine with one core, where there is nothing to
/// compare, as the suite says.
fn suite(arguments: &[&str], out: &Path) -> Option<String> {
    suite_of("1", arguments, out)
}

/// The same, of more rounds.
fn suite_of(rounds: &str, arguments: &[&str], out: &Path) -> Option<String> {
    let mut command =
        bench(&["suite", "--rounds", rounds, "--seconds", "0.05", "--idle-seconds", "0.05"]);
    let output = command.args(arguments).arg("--out").arg(out).output().unwrap();
    if thread::available_parallelism().unwrap().get() < 2 {
        assert!(refusal(&output).contains("--load-core"));
        return None;
    }
    Some(success(&output))
}

#[test]
fn the_suite_ends_its_servers_and_writes_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--only", "ping,steady,idle", "--peers", "epoll,tokio"];
    let Some(text) = suite(&arguments, folder.path()) else { return };
    assert!(text.contains("## ping: 1 connection, 1 in flight, 64 B"), "{text}");
    assert!(
        text.contains("open loop: 50000 msgs/s are due") && text.contains("p99.9 us"),
        "{text}"
    );
    let markdown = std::fs::read_to_string(folder.path().join("results.md")).unwrap();
    assert!(markdown.contains("| tokio |"), "{markdown}");
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 3);
    for text in [&text, &markdown, &page] {
        assert!(text.contains("Seastar, for which there is no package"), "{text}");
    }
    for picture in ["echo-throughput.svg", "echo-latency.svg", "echo-cpu.svg"] {
        assert!(std::fs::read_to_string(folder.path().join(picture)).unwrap().contains("tokio"));
    }
    let results = folder.path().join("results.json");
    let steady = &read_json(&results)["sections"][1]["rounds"][0][0]["measured"]["load"];
    assert_eq!(steady["open_loop"]["rate"], 50_000.0, "{steady}");
    assert_eq!(read_json(&results)["sections"][0]["rounds"][0].as_array().unwrap().len(), 2);

    let against_itself = bench(&["compare"]).args([&results, &results]).output().unwrap();
    let text = success(&against_itself);
    assert!(text.contains("| one round |") && !text.contains("WORSE"), "{text}");
    let steady = text.split("## steady").nth(1).unwrap();
    assert!(steady.contains(" p99.9 us |") && !steady.contains("msgs/s |"), "{text}");
    let compressed = folder.path().join("results.json.gz");
    std::fs::write(&compressed, [0x1f, 0x8b, 8]).unwrap();
    let unread = bench(&["compare"]).args([&results, &compressed]).output().unwrap();
    assert!(refusal(&unread).contains("is compressed: give <(zcat "), "{unread:?}");
    // A reader that has seen enough is no error, and of a suite all files are written.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let again = folder.path().join("again");
    let mut unheard = bench(&["suite", "--rounds", "1", "--seconds", "0.05", "--only", "ping"]);
    unheard.args(["--peers", "epoll", "--out"]).arg(&again).stdout(writer.try_clone().unwrap());
    assert!(unheard.status().unwrap().success());
    assert!(again.join("results.json").is_file());
    let mut unheard = bench(&["compare"]);
    assert!(unheard.args([&results, &results]).stdout(writer).status().unwrap().success());
    let nothing = bench(&["compare", "/nonexistent.json"]).arg(&results).output().unwrap();
    assert!(refusal(&nothing).contains("cannot read /nonexistent.json"));
}

/// Before and after each sample, whoever makes the load; and what was seen is judged.
#[test]
fn it_is_looked_how_far_the_cores_are_from_each_other() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, only, peer) in [("echo", "ping,churn", "epoll"), ("msgr2", "write64", "osd-null")] {
        let out = folder.path().join(kind);
        let arguments = ["--kind", kind, "--only", only, "--peers", peer];
        if suite_of("3", &arguments, &out).is_none() {
            return;
        }
        let results = read_json(&out.join("results.json"));
        for section in results["sections"].as_array().unwrap() {
            let samples: Vec<_> =
                section["rounds"].as_array().unwrap().iter().map(|round| &round[0]).collect();
            let looks = |sample: &Value| {
                sample["measured"]["load"]["round_trips_ns"].as_array().unwrap().len()
            };
            // From a core that somebody else keeps, nobody may answer in time; not all the time.
            assert!(samples.iter().any(|sample| looks(sample) == 2), "{section}");
            for sample in samples {
                let apart = sample["disturbance"]["apart"].as_f64().unwrap();
                assert_eq!(apart >= 1.0, looks(sample) > 0, "{sample}");
            }
        }
    }
}

#[test]
fn whoever_comes_first_has_its_own_place() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--only", "ping", "--peers", "epoll,epoll-spin"];
    if suite_of("2", &arguments, folder.path()).is_none() {
        return;
    }
    let results = read_json(&folder.path().join("results.json"));
    for round in results["sections"][0]["rounds"].as_array().unwrap() {
        // One sleeps for every message, the other never.
        let sleeps =
            |peer: usize| round[peer]["measured"]["load"]["server"]["voluntary_switches"].as_u64();
        assert!(sleeps(0) > sleeps(1), "{round}");
    }
}

#[test]
fn the_rate_of_an_open_loop_is_chosen_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = |rate: &str| {
        let out = folder.path().join(rate);
        let arguments = ["--only", "ping,steady", "--peers", "epoll", "--rate", rate];
        suite(&arguments, &out).map(|text| (text, out))
    };
    let (Some((text, one)), Some((_, other))) = (run("3000"), run("4000")) else { return };
    let title = "steady: 64 connections, 64 B, open loop: 3000 msgs/s are due";
    let page = std::fs::read_to_string(one.join("index.html")).unwrap();
    let picture = std::fs::read_to_string(one.join("echo-latency.svg")).unwrap();
    assert!(text.contains(title) && page.contains(title), "{text}\n{page}");
    assert!(picture.contains("open loop: 3000 msgs/s"), "{picture}");
    let [one, other] = [one, other].map(|folder| folder.join("results.json"));
    let json = read_json(&one);
    let [ping, steady] = [0, 1].map(|number| &json["sections"][number]);
    assert_eq!(steady["rate"], 3000, "{steady}");
    let of_load = &steady["rounds"][0][0]["measured"]["load"]["open_loop"]["rate"];
    assert_eq!(of_load, 3000.0, "{steady}");
    // It is said of no closed loop.
    assert!(ping["rate"].is_null(), "{ping}");
    // What is due at another rate is another load.
    let text = success(&bench(&["compare"]).args([&one, &other]).output().unwrap());
    let after = |title: &str| text.split(title).nth(1).unwrap().lines().nth(2).unwrap();
    assert_eq!(after("open loop: 4000 msgs/s"), "not in the old results");
    assert_eq!(after("open loop: 3000 msgs/s"), "not in the new results");
}

#[test]
fn a_rate_that_nothing_is_sent_at_is_an_error() {
    for rate in ["0", "-1", "1.5", "10000001", "many"] {
        let output = bench(&["suite", "--rate", rate]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{rate}\n{stderr}");
        assert!(stderr.contains("'--rate <R>'"), "{stderr}");
    }
    for other in [["--only", "ping"], ["--kind", "msgr2"]] {
        let output = bench(&["suite", "--rate", "10"]).args(other).output().unwrap();
        assert!(refusal(&output).contains("--rate is that of steady"));
    }
}

#[test]
fn peers_beside_the_usual_ones_are_measured_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--only", "ping", "--peers", "epoll-beside,splice-relay"];
    let Some(text) = suite(&arguments, folder.path()) else { return };
    let kinds: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
    assert!(kinds[0].starts_with("## ping") && kinds[1].starts_with("## relay ping"), "{text}");
    for peer in ["epoll-beside", "splice-relay"] {
        let row = text.lines().find(|line| line.starts_with(&format!("| {peer} "))).unwrap();
        assert!(row.contains("0/1") || row.contains("1/1"), "{row}");
    }
}

#[test]
fn a_peer_of_another_kind_is_an_error_that_names_those_of_this_one() {
    let output = bench(&["suite", "--kind", "relay", "--peers", "haproxy,vmsgrd"]).output();
    let wanted = "vmsgrd takes no part in --kind relay; these do: vmsgrd-relay, haproxy, \
                  epoll-relay, splice-relay";
    let stderr = refusal(&output.unwrap());
    assert!(stderr.contains(wanted), "{stderr}");
}

#[test]
fn haproxy_runs_on_the_core_that_it_is_given() {
    if let Some(absent) = Peer::Haproxy.absence() {
        assert!(std::env::var_os("VMSGR_REQUIRE_PEERS").is_none(), "haproxy: {}", absent.reason);
        eprintln!("skipped: haproxy: {}", absent.reason);
        return;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("haproxy.cfg");
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
    let core = core_affinity::get_core_ids().unwrap().pop().unwrap().id.to_string();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut haproxy = Command::new("haproxy");
    haproxy.env("PATH", path).env("CORE", &core).args(["-db", "-f"]).arg(file);
    haproxy.env("LISTEN", address.to_string()).env("UPSTREAM", "127.0.0.1:1");
    let server = Server::start_listening(haproxy, address).unwrap();
    let status = format!("/proc/{}/status", server.pid());
    let allowed = |status: String| {
        let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let end = Instant::now() + Duration::from_secs(5);
    while allowed(std::fs::read_to_string(&status).unwrap()) != core {
        assert!(Instant::now() < end, "{}", std::fs::read_to_string(&status).unwrap());
        thread::yield_now();
    }
}

#[test]
fn haproxy_is_measured_as_a_relay_or_said_to_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--only", "ping", "--peers", "haproxy"];
    let Some(text) = suite(&arguments, folder.path()) else { return };
    let row = text.lines().find(|line| line.starts_with("| haproxy")).unwrap();
    let measured = row.contains("1/1") || row.contains("0/1");
    assert!(measured || row.contains("not installed: apt-get install haproxy"), "{text}");
}

#[test]
fn an_application_is_measured_apart_from_who_stands_before_it() {
    let folder = tempfile::tempdir().unwrap();
    // Built by whoever builds the whole workspace.
    let daemon = Path::new(env!("CARGO_BIN_EXE_vmsgr-bench")).with_file_name("vmsgrd");
    let peers =
        if daemon.is_file() { "app-epoll,app-haproxy,app-shm" } else { "app-epoll,app-haproxy" };
    let arguments = ["--kind", "app", "--only", "ping", "--peers", peers];
    let Some(text) = suite(&arguments, folder.path()) else { return };
    assert!(text.contains("## app ping") && text.contains("## app-apart ping"), "{text}");
    let results = folder.path().join("results.json");
    let json = read_json(&results);
    for section in json["sections"].as_array().unwrap() {
        let peers = section["peers"].as_array().unwrap();
        for (peer, sample) in peers.iter().zip(section["rounds"][0].as_array().unwrap()) {
            let load = &sample["measured"]["load"];
            let processes = if peer == "app-epoll" { 1 } else { 2 };
            assert_eq!(load["parts"].as_array().unwrap().len(), processes, "{peer}\n{load}");
            let parts = load["probed"]["parts"].as_array().unwrap();
            let tells = parts.iter().all(|part| part["doorbells"]["rung"].is_u64());
            assert_eq!(tells, peer == "app-shm", "{peer}\n{load}");
        }
    }
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 6);

    let merged = folder.path().join("merged");
    let mut merge = bench(&["merge", "--out"]);
    success(&merge.arg(&merged).args([&results, &results]).output().unwrap());
    let json = read_json(&merged.join("results.json"));
    assert_eq!(json["sections"][0]["rounds"].as_array().unwrap().len(), 2);
}

#[test]
fn operations_are_compared_with_what_the_protocol_alone_costs() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--kind", "msgr2", "--only", "write64,write64k-deep", "--peers", "osd-null"];
    let Some(text) = suite(&arguments, folder.path()) else { return };
    let title = "## msgr2 write64k-deep: 1 client, 32 operations in flight, each writes 65536 B";
    assert!(text.contains(title) && text.contains("ops/s"), "{text}");
    let picture = std::fs::read_to_string(folder.path().join("msgr2-throughput.svg")).unwrap();
    assert!(picture.contains("operations per second"), "{picture}");
}

#[test]
fn peers_that_no_chosen_workload_measures_are_an_error() {
    let output = bench(&["suite", "--only", "write64", "--peers", "haproxy"]).output().unwrap();
    let stderr = refusal(&output);
    assert!(stderr.contains("none of these peers") || stderr.contains("--load-core"), "{stderr}");
}

#[test]
fn a_missing_daemon_is_named_with_the_way_to_build_it() {
    let output = bench(&["suite", "--vmsgrd", "/nonexistent/vmsgrd"]).output().unwrap();
    let stderr = refusal(&output);
    assert!(stderr.contains("/nonexistent/vmsgrd is not there"), "{stderr}");
    assert!(stderr.contains("cargo build --release --workspace"), "{stderr}");
    assert!(stderr.contains("or leave it out with --peers"), "{stderr}");
    if thread::available_parallelism().unwrap().get() >= 2 {
        let folder = tempfile::tempdir().unwrap();
        let mut spin = bench(&["spin", "--vmsgrd", "/nonexistent/vmsgrd", "--out"]);
        let stderr = refusal(&spin.arg(folder.path()).output().unwrap());
        assert!(stderr.contains("/nonexistent/vmsgrd is not there"), "{stderr}");
        // It measures the daemon, whatever else.
        assert!(stderr.contains("or name another") && !stderr.contains("--peers"), "{stderr}");
    }
}
