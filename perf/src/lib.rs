//! How fast is `vmsgrd`, and beside whom?
//!
//! ```text
//!   vmsgr-bench suite
//!        |
//!        |  for every workload, for every round, each peer in turn:
//!        |
//!        +-- server ------- a fresh process on one core: vmsgrd, or one of peers/
//!        |                       ^
//!        |                       | loopback TCP: messages out, the same bytes back
//!        |                       v
//!        +-- load --------- one thread on another core, a loop over epoll
//!        |                  latency: an HdrHistogram     proc: the server's CPU and switches
//!        v
//!     summary, report: medians, ratios within a round, verdicts
//! ```
//!
//! The words: a *message* is so many bytes, answered when as many came back; a connection has a
//! number of messages *in flight* (its depth); a *workload* is connections, depth and size; a
//! *peer* is a server that is compared; a *sample* is one peer under one workload once, a *round*
//! one sample of each peer; a sample is *clean* when nobody else used the two cores meanwhile.
//!
//! What is compared is a ratio within a round: the machines are shared and drift, the ratio stays.
//!
//! ```
//! use std::{net::TcpListener, sync::atomic::AtomicBool, time::Duration};
//! use vmsgr_perf::{load, peers::epoll, probe::Watched};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! listener.set_nonblocking(true)?;
//! let address = listener.local_addr()?;
//! std::thread::spawn(move || {
//!     epoll::serve(&listener, epoll::Wait::Sleep, epoll::BUFFER_BYTES)
//! });
//!
//! let options = load::Options {
//!     address,
//!     connections: 4,
//!     depth: 8,
//!     size: 64,
//!     duration: Duration::from_millis(50),
//!     warm_up: Duration::from_millis(10),
//!     verify: true,
//!     core: None,
//!     server_core: None,
//!     servers: vec![Watched { pid: std::process::id(), reports: None }],
//!     probe: None,
//!     rate: None,
//!     slow: 0,
//! };
//! let outcome = load::run(&options, &AtomicBool::new(false))?;
//! println!("{:.0} messages/s, p99 {} us", outcome.messages_per_s(), outcome.latency.p99_us);
//! assert!(outcome.messages > 0 && outcome.silent_connections == 0);
//! # Ok::<(), anyhow::Error>(())
//! ```

pub mod compare;
pub mod cores;
pub mod distance;
pub mod frames;
pub mod hand_over;
pub mod latency;
pub mod load;
pub mod msgr2_stream;
pub mod peers;
pub mod picture;
pub mod probe;
pub mod proc;
pub mod server;
pub mod spin;
// As vmsgrd has it.
#[path = "../../daemon/src/standard_streams.rs"]
pub mod standard_streams;
pub mod suite;
pub mod system_calls;
pub mod table;
pub mod workload;
