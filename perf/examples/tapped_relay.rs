//! What a tap costs a relay: OSD operations of 4 KiB through `vmsgrd`, with a tap and without.
//!
//! ```sh
//! cargo build --release -p vmsgrd
//! cargo run --release -p vmsgr-perf --example tapped_relay -- target/release/vmsgrd
//! ```
//!
//! The daemon runs on core 0, client and server on core 1. Each round is one second of either.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vmsgr_messenger::msgr2::{Banner, Envelope, MessageHeader, Tag};

const CONNECTIONS: usize = 4;
const DEPTH: usize = 32;
const ROUNDS: usize = 7;

/// As Ceph 16.2 sends it, of a write of an object named `benchmark_data_object1234`.
fn front() -> Vec<u8> {
    let mut front = vec![1, 1, 18, 0, 0, 0];
    front.extend([0; 18]);
    front.extend([0; 8]);
    front.extend(0x24_u32.to_le_bytes());
    front.extend([2, 2, 21, 0, 0, 0]);
    front.extend([0; 21 + 36]);
    front.extend([6, 3, 28, 0, 0, 0]);
    front.extend([0; 28]);
    front.extend([25, 0, 0, 0]);
    front.extend(b"benchmark_data_object1234");
    front.extend([1, 0, 1, 0x22]);
    front.extend([0; 36 + 40]);
    front
}

fn frames(kind: u16, front: &[u8], data: &[u8]) -> Vec<Vec<u8>> {
    let frame = |tid| {
        let header = MessageHeader { kind, tid, version: 8, ..Default::default() }.encode();
        let segments: [&[u8]; 4] = [&header, front, &[], data];
        let envelope = Envelope::new(Tag::Message, &segments);
        envelope.slices(&segments).iter().flat_map(|slice| slice.to_vec()).collect()
    };
    (0..DEPTH as u64).map(frame).collect()
}

/// Sends a frame for each one of `length` bytes that comes, until the end.
fn answer(mut stream: TcpStream, length: usize, frames: &[Vec<u8>], count: &AtomicU64) {
    let mut buffer = vec![0; 256 << 10];
    let (mut bytes, mut next) = (0, 0);
    let mut out = Vec::new();
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        bytes += read;
        out.clear();
        for _ in 0..bytes / length {
            out.extend_from_slice(&frames[next]);
            next = (next + 1) % frames.len();
            count.fetch_add(1, Ordering::Relaxed);
        }
        bytes %= length;
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

fn serve(requests: usize, replies: Arc<Vec<Vec<u8>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let replies = Arc::clone(&replies);
            thread::spawn(move || {
                let mut stream = stream.expect("a connection");
                stream.set_nodelay(true).expect("TCP");
                let mut banner = [0; Banner::BYTES];
                let _ = stream.read_exact(&mut banner);
                let _ = stream.write_all(&banner);
                answer(stream, requests, &replies, &AtomicU64::new(0));
            });
        }
    });
    address
}

fn daemon(binary: &str, upstream: SocketAddr, tap: &str) -> (Child, SocketAddr) {
    let listen = format!("127.0.0.1:0=relay:{upstream}{tap}");
    let mut child = Command::new(binary)
        .args(["--core-mask", "0", "--socket", "none", "-l", &listen])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the daemon starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let line = stdout.lines().next().expect("a line").expect("text");
    let address = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    (child, address.expect("an address"))
}

/// CPU time of a process in ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let behind = stat.rsplit(')').next().expect("a name");
    let fields: Vec<_> = behind.split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

/// Operations in a second, and the daemon's CPU time for each in microseconds.
fn round(pid: u32, address: SocketAddr, requests: &Arc<Vec<Vec<u8>>>, reply: usize) -> (f64, f64) {
    let count = Arc::new(AtomicU64::new(0));
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(address).expect("the relay");
        stream.set_nodelay(true).expect("TCP");
        let mut banner = Banner::OURS.encode();
        stream.write_all(&banner).expect("the banner");
        stream.read_exact(&mut banner).expect("a banner");
        stream.write_all(&requests.concat()).expect("the first requests");
        streams.push(stream.try_clone().expect("a descriptor"));
        let (requests, count) = (Arc::clone(requests), Arc::clone(&count));
        thread::spawn(move || answer(stream, reply, &requests, &count));
    }
    thread::sleep(Duration::from_millis(200));
    let (begun, from, cpu) = (Instant::now(), count.load(Ordering::Relaxed), ticks(pid));
    thread::sleep(Duration::from_secs(1));
    let operations = (count.load(Ordering::Relaxed) - from) as f64;
    let cpu = (ticks(pid) - cpu) as f64 * 1e4;
    let seconds = begun.elapsed().as_secs_f64();
    for stream in streams {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
    (operations / seconds, cpu / operations)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let binary = std::env::args().nth(1).expect("the daemon's binary");
    if let Some(core) = core_affinity::get_core_ids().and_then(|ids| ids.get(1).copied()) {
        core_affinity::set_for_current(core);
    }
    let requests = Arc::new(frames(42, &front(), &[7; 4096]));
    let replies = Arc::new(frames(43, &[0; 152], &[]));
    let upstream = serve(requests[0].len(), Arc::clone(&replies));
    let (mut plain, plain_address) = daemon(&binary, upstream, "");
    let (mut tapped, tapped_address) = daemon(&binary, upstream, ",tap=msgr2");
    let mut results = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for _ in 0..ROUNDS {
        let sides = [(plain.id(), plain_address), (tapped.id(), tapped_address)];
        for ((pid, address), (rates, costs)) in sides.into_iter().zip(&mut results) {
            let (rate, cost) = round(pid, address, &requests, replies[0].len());
            rates.push(rate);
            costs.push(cost);
        }
    }
    for child in [&mut plain, &mut tapped] {
        let _ = child.kill();
        let _ = child.wait();
    }
    let [(plain, plain_cost), (tapped, tapped_cost)] = results;
    let (plain, tapped) = (median(plain), median(tapped));
    println!("without tap: {plain:.0} operations/s, {:.2} us of CPU each", median(plain_cost));
    println!("with tap:    {tapped:.0} operations/s, {:.2} us of CPU each", median(tapped_cost));
    println!("the tap costs {:.1}% of the operations", 100.0 * (1.0 - tapped / plain));
}
