//! A key-value server without sockets, and the programs that come with Redis.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use vmsgr_tests::{Application, Peer, Process, Vmsgrd, eventually, peer, report, run, two_cores};

const DEADLINE: Duration = Duration::from_secs(120);

struct Served {
    daemon: Vmsgrd,
    kv: Application,
    address: SocketAddr,
}

fn serve() -> Served {
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "-l", "127.0.0.1:0=echo"]);
    let kv = Application::example("kv", &daemon, &["127.0.0.1:0"]);
    let address = kv.listening(0);
    Served { daemon, kv, address }
}

#[test]
fn fifty_connections_without_pipelining() {
    benchmark(50, 1, 10_000);
}

#[test]
fn fifty_connections_with_pipelines_of_16() {
    benchmark(50, 16, 100_000);
}

#[test]
fn five_hundred_connections() {
    benchmark(500, 1, 10_000);
    benchmark(500, 16, 100_000);
}

fn benchmark(connections: u32, pipeline: u32, requests: u32) {
    let (Some(benchmark), Some(cli)) = (peer("redis-benchmark"), peer("redis-cli")) else {
        return;
    };
    let served = serve();
    let mut command = at(&benchmark, served.address);
    command.args(["-t", "set,get,incr,lrange", "--csv", "-c", &connections.to_string()]);
    command.args(["-n", &requests.to_string(), "-P", &pipeline.to_string()]);
    let output = run(&mut command, &[], DEADLINE);
    let table = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {table}{errors}", output.status);
    for test in ["SET", "GET", "INCR", "LRANGE_100", "LRANGE_600"] {
        assert!(table.contains(&format!("\"{test}")), "{test} is missing in {table}");
    }

    let ask = |words: &[&str]| {
        let output = run(at(&cli, served.address).args(words), &[], DEADLINE);
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    // Each of the commands was done, and done once.
    assert_eq!(ask(&["get", "counter:__rand_int__"]), requests.to_string());
    // What redis-benchmark takes for random bytes is the same each time.
    const VALUE: &str = "VXK";
    assert_eq!(ask(&["get", "key:__rand_int__"]), VALUE);
    let list = ask(&["lrange", "mylist", "0", "99"]);
    assert_eq!(list.lines().count(), 100);
    // With numbers before them, as for people.
    assert!(list.lines().all(|line| line.contains(VALUE)), "{list}");
    assert_eq!(ask(&["set", "answer", "42"]), "OK");
    assert_eq!(ask(&["get", "answer"]), "42");
    drop(served.kv);
    served.daemon.counters();
}

#[test]
fn ping_is_answered_once_whenever_the_server_is_killed() {
    killed_five_times(&["PING"], 14);
}

#[test]
fn echo_is_answered_once_whenever_the_server_is_killed() {
    killed_five_times(&["ECHO", "a message of some length, sent back"], 14 + 5 + 36 + 2);
}

/// Every client waits for exactly as many answers as it has sent commands: with one too few the
/// benchmark never ends, with one too many it complains.
fn killed_five_times(words: &[&str], request_bytes: u64) {
    const REQUESTS: u64 = 600_000;
    let Some(benchmark) = peer("redis-benchmark") else { return };
    let Served { daemon, mut kv, address } = serve();
    let mut command = at(&benchmark, address);
    command.args(["--csv", "-c", "50", "-P", "16", "-n", &REQUESTS.to_string()]).args(words);
    let mut benchmark = Process::spawn(&mut command);
    let (started, total) = (Instant::now(), REQUESTS * request_bytes);
    for number in 1..=5 {
        eventually("requests come in", DEADLINE, || {
            assert!(benchmark.exited().is_none(), "it is over after {} kills", number - 1);
            daemon.counters().total.bytes_in > number * total / 7
        });
        kv.kill();
        kv = Application::example("kv", &daemon, &[&address.to_string()]);
    }
    let status = benchmark.wait(DEADLINE);
    let (table, errors) = (benchmark.stdout().all(), benchmark.stderr().all());
    assert!(status.success() && errors.is_empty(), "{status}: {table:#?} {errors:#?}");
    assert!(table.iter().any(|row| row.starts_with(&format!("\"{}", words[0]))), "{table:#?}");
    report(&format!("{REQUESTS} requests, five kills: {:?}", started.elapsed()));
    assert!(kv.exited().is_none(), "{:?}", kv.stderr().all());
}

fn at(program: &Peer, address: SocketAddr) -> Command {
    let mut command = program.command();
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command
}
