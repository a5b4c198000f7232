//! The program as one uses it: its servers, the load on them, and its errors.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use vmsgr_perf::server::Server;
use vmsgr_perf::suite::peer::Peer;
use vmsgr_perf::workload::Kind;

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmsgr-bench"));
    command.args(arguments);
    command
}

fn serve(server: &str) -> Server {
    Server::start(bench(&["serve", server, "--listen", "127.0.0.1:0"])).unwrap()
}

fn load(address: SocketAddr, arguments: &str) -> Output {
    let address = address.to_string();
    let mut command = bench(&["load", &address]);
    command.args(arguments.split_whitespace()).output().unwrap()
}

/// The standard output of a run that succeeded.
fn success(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The standard error of a run that failed with exit code 1.
fn failure(output: &Output) -> String {
    said(output, 1)
}

/// The standard error of what was refused with exit code 2, since the command line names what there
/// is not.
fn refusal(output: &Output) -> String {
    said(output, 2)
}

fn said(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

fn relay(name: &str, upstream: &Server) -> Server {
    let upstream = upstream.address().to_string();
    let command = ["serve", name, "--listen", "127.0.0.1:0", "--upstream", &upstream];
    Server::start(bench(&command)).unwrap()
}

/// Every built-in server that this machine can run.
fn builtins() -> Vec<&'static str> {
    let echoes = Peer::value_variants().iter().filter(|peer| peer.takes_part_in(Kind::Echo));
    let builtins = echoes.filter(|peer| !peer.is_vmsgrd() && peer.absence().is_none());
    builtins.map(|peer| peer.name()).collect()
}

/// The last two do not fit into the sockets' buffers: short writes and EPOLLOUT, on both sides.
fn brings_back_what_it_is_sent(name: &str, server: &Server) {
    for shape in [
        "--connections 1 --size 1",
        "--connections 20 --depth 16 --size 64",
        "--connections 3 --depth 3 --size 100003",
        "--connections 2 --depth 4 --size 3000000",
    ] {
        let arguments = format!("{shape} --verify --duration 0.2 --pid {}", server.pid());
        let text = success(&load(server.address(), &arguments));
        assert!(text.contains("msgs/s") && text.contains("us CPU"), "{name} {shape}\n{text}");
        assert!(!text.contains("no reply"), "{name} {shape}\n{text}");
    }
}

#[test]
fn every_server_echoes_byte_for_byte() {
    assert!(builtins().len() >= 6, "{:?}", builtins());
    for name in builtins() {
        brings_back_what_it_is_sent(name, &serve(name));
    }
}

#[test]
fn the_plain_relays_relay_byte_for_byte() {
    let upstream = serve("epoll");
    for name in ["epoll-relay", "splice-relay"] {
        brings_back_what_it_is_sent(name, &relay(name, &upstream));
        let alone = bench(&["serve", name, "--listen", "127.0.0.1:0"]).output().unwrap();
        assert_eq!(alone.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&alone.stderr).contains("--upstream"));
    }
}

#[test]
fn an_idle_server_does_nothing() {
    // The other two are made never to rest.
    for name in builtins().into_iter().filter(|name| !["epoll-spin", "sleep-poll"].contains(name)) {
        let server = serve(name);
        let arguments = format!("--idle --connections 50 --duration 0.3 --pid {}", server.pid());
        let nothing = "server: 0.000000 s CPU, 0 voluntary and 0 involuntary context switches";
        let at_rest = || success(&load(server.address(), &arguments)).contains(nothing);
        // On a busy machine it may take the server longer than the warm-up to accept them all.
        assert!((0..5).any(|_| at_rest()), "{name}");
    }
}

#[test]
fn json_holds_what_was_measured() {
    let server = serve("epoll");
    let file = tempfile::NamedTempFile::new().unwrap();
    let arguments = format!("--duration 0.1 --json {}", file.path().display());
    success(&load(server.address(), &arguments));
    let json: serde_json::Value = serde_json::from_reader(file).unwrap();
    assert!(json["messages"].as_u64().unwrap() > 0, "{json}");
    assert!(json["latency"]["p99_us"].as_f64().unwrap() > 0.0, "{json}");
    // And what it was measured with, also what nobody said.
    assert_eq!(json["options"]["duration"], 0.1, "{json}");
    assert_eq!(json["options"]["connections"], 1, "{json}");
    assert!(json["command"].as_str().unwrap().starts_with("vmsgr-bench load "), "{json}");
    assert!(!json["machine"]["commit"].as_str().unwrap().is_empty(), "{json}");
}

#[test]
fn a_file_that_cannot_be_written_is_found_before_it_is_measured() {
    // Nobody listens there, which would be found next.
    let nobody = "127.0.0.1:1".parse().unwrap();
    let error = refusal(&load(nobody, "--json /nonexistent/load.json"));
    assert!(error.contains("cannot write /nonexistent/load.json"), "{error}");
}

#[test]
fn churn_makes_a_connection_for_every_message() {
    for name in builtins() {
        let server = serve(name);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("churn.json");
        let arguments = format!(
            "--churn --connections 16 --verify --duration 0.2 --pid {} --json {}",
            server.pid(),
            file.display()
        );
        success(&load(server.address(), &arguments));
        let json = read_json(&file);
        assert!(json["messages"].as_u64().unwrap() > 16, "{name} {json}");
    }
}

#[test]
fn those_who_do_not_read_do_not_stop_those_who_do() {
    for name in builtins() {
        let server = serve(name);
        let arguments = "--slow 3 --connections 5 --duration 0.3 --verify";
        let text = success(&load(server.address(), arguments));
        assert!(!text.contains("no reply"), "{name}\n{text}");
    }
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let server = serve("epoll");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("open.json");
    let arguments =
        format!("--rate 500 --connections 3 --duration 1 --verify --json {}", file.display());
    let text = success(&load(server.address(), &arguments));
    assert!(text.contains("open loop: 500 msgs/s were due"), "{text}");
    let messages = read_json(&file)["messages"].as_u64().unwrap();
    assert!((450..=550).contains(&messages), "{messages}");
}

#[test]
fn an_open_loop_counts_what_a_stalled_server_made_late() {
    // For 300 ms nobody answers. A closed loop would see one slow message; here each of those that
    // were due meanwhile is late, and half of all are later than 20 ms.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let (mut buffer, started, mut stalled) = ([0; 4096], Instant::now(), false);
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if !stalled && started.elapsed() > Duration::from_millis(400) {
                thread::sleep(Duration::from_millis(300));
                stalled = true;
            }
            stream.write_all(&buffer[..read]).unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("open.json");
    let arguments = format!("--rate 1000 --duration 0.5 --json {}", file.display());
    success(&load(address, &arguments));
    server.join().unwrap();
    let json = read_json(&file);
    assert!(json["latency"]["p50_us"].as_f64().unwrap() > 20_000.0, "{json}");
}

/// The suite on one workload or two; `None` on a machine with one core, where there is nothing to
/// compare, as the suite says.
fn suite(arguments: &[&str], out: &Path) -> Option<String> {
    let mut command =
        bench(&["suite", "--rounds", "1", "--seconds", "0.05", "--idle-seconds", "0.05"]);
    let output = command.args(arguments).arg("--out").arg(out).output().unwrap();
    if thread::available_parallelism().unwrap().get() < 2 {
        assert!(refusal(&output).contains("--load-core"));
        return None;
    }
    Some(success(&output))
}

fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
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
    // A reader that has seen enough is no error.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut unheard = bench(&["compare"]);
    assert!(unheard.args([&results, &results]).stdout(writer).status().unwrap().success());
    let nothing = bench(&["compare", "/nonexistent.json"]).arg(&results).output().unwrap();
    assert!(refusal(&nothing).contains("cannot read /nonexistent.json"));
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
    if Peer::Haproxy.absence().is_some() {
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

fn osd(address: SocketAddr, arguments: &str) -> Output {
    let address = address.to_string();
    bench(&["osd", &address]).args(arguments.split_whitespace()).output().unwrap()
}

/// The last ones do not fit into the sockets' buffers: short writes and EPOLLOUT, on both sides.
#[test]
fn operations_of_every_shape_are_answered_and_told() {
    let server = serve("osd-null");
    let file = tempfile::NamedTempFile::new().unwrap();
    for shape in [
        "--size 1",
        "--connections 20 --depth 16 --size 64",
        "--connections 3 --depth 3 --size 100003 --read-fraction 0.5",
        "--depth 4 --size 4194304 --read-fraction 1",
        "--connections 2 --depth 4 --size 3000000",
    ] {
        let more =
            format!("--duration 0.2 --pid {} --json {}", server.pid(), file.path().display());
        let text = success(&osd(server.address(), &format!("{shape} {more}")));
        for part in ["ops/s", "p99 us", "server, per operation: ", "generator, per operation: "] {
            assert!(text.contains(part), "{shape}\n{text}");
        }
        assert!(!text.contains("no reply"), "{shape}\n{text}");
        let json = read_json(file.path());
        assert!(json["messages"].as_u64().unwrap() > 0, "{shape} {json}");
        assert!(json["server"]["cpu_s"].as_f64().unwrap() > 0.0, "{shape} {json}");
    }
}

#[test]
fn an_open_loop_of_operations_keeps_its_rate_and_counts_from_when_they_were_due() {
    let server = serve("osd-null");
    let file = tempfile::NamedTempFile::new().unwrap();
    let run = |arguments: &str| {
        let arguments = format!("{arguments} --json {}", file.path().display());
        (success(&osd(server.address(), &arguments)), read_json(file.path()))
    };
    let (text, json) = run("--rate 500 --connections 3 --size 64 --duration 1");
    assert!(text.contains("open loop: 500 ops/s were due"), "{text}");
    assert!((450..=550).contains(&json["messages"].as_u64().unwrap()), "{json}");
    // 60 GB/s nobody takes: what waits for its turn was due long before it is asked for.
    let (text, json) = run("--rate 1000000 --connections 2 --size 60000 --duration 0.2");
    assert!(text.contains("unanswered at the end"), "{text}");
    assert!(json["open_loop"]["unanswered"].as_u64().unwrap() > 10_000, "{json}");
    assert!(json["latency"]["p50_us"].as_f64().unwrap() > 50_000.0, "{json}");
    assert_eq!(json["silent_connections"], 0, "{json}");
}

#[test]
fn who_is_no_osd_is_an_error_that_says_so() {
    // An echo says our own banner back, and our own frames, which a server does not say.
    let stderr = failure(&osd(serve("epoll").address(), "--duration 1"));
    assert!(stderr.contains("client 0 of 127.0.0.1:"), "{stderr}");
    assert!(stderr.contains("the session is over"), "{stderr}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let stderr = failure(&osd(silent.local_addr().unwrap(), "--duration 10 --connections 2"));
    let wanted = "completed no operation for 5 s; 0 are in flight on 2 connections, 0 of which";
    assert!(stderr.contains(wanted), "{stderr}");
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
fn system_calls_are_counted_or_it_is_said_why_not() {
    let server = serve("epoll");
    let arguments = format!("--duration 0.1 --pid {}", server.pid());
    let text = success(&load(server.address(), &arguments));
    let counted = text.contains("server, system calls per message: ");
    assert!(counted || text.contains("not counted: no tracepoints"), "{text}");
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
    if thread::available_parallelism().unwrap().get() >= 2 {
        let folder = tempfile::tempdir().unwrap();
        let mut spin = bench(&["spin", "--vmsgrd", "/nonexistent/vmsgrd", "--out"]);
        let stderr = refusal(&spin.arg(folder.path()).output().unwrap());
        assert!(stderr.contains("/nonexistent/vmsgrd is not there"), "{stderr}");
    }
}

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
fn an_address_in_use_is_told_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let stderr = failure(&bench(&["serve", "epoll", "--listen", &address]).output().unwrap());
    let start = format!("vmsgr-bench: cannot listen on {address}: Address already in use");
    assert!(stderr.starts_with(&start) && stderr.contains("or 0 for any free one"), "{stderr}");
}

#[test]
fn an_application_without_its_daemon_is_told_how_to_start_one() {
    let app_shm = ["serve", "app-shm", "--listen", "127.0.0.1:0", "--socket", "/nonexistent/s"];
    let stderr = failure(&bench(&app_shm).output().unwrap());
    assert_eq!(stderr.matches("vmsgrd --socket /nonexistent/s").count(), 1, "{stderr}");
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
fn a_server_that_closes_is_an_error() {
    let stderr = against_one_connection(|stream| {
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
        stream.write_all(&message[..32]).unwrap();
    });
    assert!(stderr.contains("closed by the server after 32 bytes came back"), "{stderr}");
}

#[test]
fn a_server_that_answers_something_else_is_an_error() {
    let stderr = against_one_connection(|stream| {
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
        message[40] ^= 1;
        stream.write_all(&message).unwrap();
        stream.read_exact(&mut message).ok();
    });
    assert!(stderr.contains("differs from what was sent at offset 40"), "{stderr}");
}

#[test]
fn a_server_that_never_answers_is_an_error_after_five_seconds() {
    let stderr = against_one_connection(|stream| {
        std::io::copy(stream, &mut std::io::sink()).ok();
    });
    assert!(stderr.contains("completed no message for 5 s; 1 are in flight"), "{stderr}");
}

/// Loads a server that has `answer` do what it likes with one connection; returns the error that
/// comes of it.
fn against_one_connection(
    answer: impl FnOnce(&mut std::net::TcpStream) + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || answer(&mut listener.accept().unwrap().0));
    let stderr = failure(&load(address, "--verify --duration 10"));
    server.join().unwrap();
    stderr
}

#[test]
fn a_core_is_handed_over_and_back() {
    let output = success(&bench(&["hand-over", "--rounds", "1"]).output().unwrap());
    assert_eq!(output.lines().count(), 2 + 5, "{output}");
    let error = refusal(&bench(&["hand-over", "--core", "100000"]).output().unwrap());
    assert!(error.contains("core 100000 is not one this process may use"), "{error}");
}
