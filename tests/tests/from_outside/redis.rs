//! Redis through the relay: many small requests, pipelines, and one very large value.

use std::time::Duration;

use vmsgr_tests::{Pattern, Peer, RedisServer, Vmsgrd, peer, relay_to, run, two_cores};

const VALUE_BYTES: usize = 64 << 20;
const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn benchmark_without_pipelining() {
    benchmark(1, 3_000);
}

#[test]
fn benchmark_with_pipelines_of_16() {
    benchmark(16, 20_000);
}

fn benchmark(pipeline: u32, requests: u32) {
    let (Some(server), Some(benchmark), Some(cli)) =
        (peer("redis-server"), peer("redis-benchmark"), peer("redis-cli"))
    else {
        return;
    };
    let server = RedisServer::start(&server);
    let daemon = Vmsgrd::start(&["-l", &relay_to(server.address())]);

    run_benchmark(&benchmark, &daemon, pipeline, requests, "set,get,lrange,mset");

    // The server's own books: every request reached it, and it refused none.
    let stats = redis_cli(&cli, &daemon, &["INFO", "commandstats"]);
    let stats = String::from_utf8(stats).expect("statistics are text");
    for (command, least) in [("set", requests), ("get", requests), ("lrange", 4 * requests)] {
        let calls = field(&stats, command, "calls");
        assert!(calls >= least, "{calls} calls of {command}, at least {least} were made");
        for failure in ["rejected_calls", "failed_calls"] {
            assert_eq!(field(&stats, command, failure), 0, "{failure} of {command}");
        }
    }
}

#[test]
fn every_placement_on_two_cores() {
    let (Some(server), Some(benchmark), Some(cores)) =
        (peer("redis-server"), peer("redis-benchmark"), two_cores())
    else {
        return;
    };
    let server = RedisServer::start(&server);
    let relay = relay_to(server.address());
    for placement in ["balanced", "reuseport", "round-robin"] {
        let daemon =
            Vmsgrd::start(&["--core-mask", &cores, "--placement", placement, "-l", &relay]);
        run_benchmark(&benchmark, &daemon, 4, 20_000, "set,get");
        let counters = daemon.counters();
        for core in &counters.cores {
            assert!(core.bytes_out > 0, "{placement}: a core without work, {counters:#?}");
        }
    }
}

#[test]
fn a_value_of_64_mib_comes_back_byte_for_byte() {
    let (Some(server), Some(cli)) = (peer("redis-server"), peer("redis-cli")) else { return };
    let server = RedisServer::start(&server);
    let daemon = Vmsgrd::start(&["-l", &relay_to(server.address())]);

    let mut value = vec![0; VALUE_BYTES];
    Pattern::new(64).fill(&mut value);
    let written = run(at(&cli, &daemon).args(["-x", "SET", "large"]), &value, DEADLINE);
    assert_eq!(String::from_utf8_lossy(&written.stdout).trim(), "OK");

    let mut read = redis_cli(&cli, &daemon, &["--raw", "GET", "large"]);
    assert_eq!(read.pop(), Some(b'\n'), "redis-cli ends its output with a newline");
    assert_eq!(read.len(), value.len(), "bytes read back");
    Pattern::new(64).check(&read);
}

/// Runs redis-benchmark with 50 connections and checks that it measured something and saw no error.
fn run_benchmark(benchmark: &Peer, daemon: &Vmsgrd, pipeline: u32, requests: u32, tests: &str) {
    let mut command = at(benchmark, daemon);
    command.args(["-c", "50", "-t", tests, "--csv"]);
    command.args(["-n", &requests.to_string(), "-P", &pipeline.to_string()]);
    let output = run(&mut command, &[], DEADLINE);
    let table = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "redis-benchmark: {}\n{table}\n{errors}", output.status);
    assert!(errors.is_empty(), "redis-benchmark: {errors}");
    for test in tests.split(',') {
        let row = table.lines().find(|row| row.to_lowercase().starts_with(&format!("\"{test}")));
        let row = row.unwrap_or_else(|| panic!("no row for {test} in {table}"));
        let rate = row.split(',').nth(1).map(|rate| rate.trim_matches('"').parse::<f64>());
        assert!(matches!(rate, Some(Ok(rate)) if rate > 0.0), "no rate in {row}");
    }
}

fn redis_cli(cli: &Peer, daemon: &Vmsgrd, arguments: &[&str]) -> Vec<u8> {
    let output = run(at(cli, daemon).args(arguments), &[], DEADLINE);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "redis-cli {arguments:?}: {errors}");
    output.stdout
}

fn at(program: &Peer, daemon: &Vmsgrd) -> std::process::Command {
    let address = daemon.address(0);
    let mut command = program.command();
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command
}

/// One number of `cmdstat_set:calls=3,usec=…,rejected_calls=0,failed_calls=0`.
fn field(stats: &str, command: &str, name: &str) -> u32 {
    stats
        .lines()
        .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")))
        .and_then(|fields| {
            fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        })
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {name} of {command} in {stats}"))
}
