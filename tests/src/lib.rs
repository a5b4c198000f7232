//! End-to-end tests of vmsgrd: the real daemon, real peers, everything seen from outside.
//!
//! ```text
//!   test (this crate)  ──starts──▶  vmsgrd        stdout: listening …, ready
//!      │   ▲                         ▲ │          stderr: log lines, counters on SIGUSR1
//!      │   └── /proc, strace ────────┘ │
//!      └── sockets, redis-benchmark,   └──▶ redis-server, nginx, iperf3, the test's own listener
//!          wrk, ab, iperf3
//! ```
//!
//! The subjects are in `tests/from_outside/`, one file each; this library is what they are written with:
//!
//! - [`Vmsgrd`] starts the daemon, knows the ports it bound, reads its log and its [`Counters`];
//! - [`Application`] is a process that is attached to it, [`application`] what a test is one with;
//! - [`peer()`] finds a program of Debian's, or reports the test as skipped;
//! - [`RedisServer`], [`Nginx`], [`MiniCeph`] and [`Namespace`] are guards: what they start ends with them;
//! - [`Cutter`] is a way to an address that can be cut at any moment;
//! - [`sockets`] holds the clients' manners (ping, half-close, reset, never read), [`Pattern`] the
//!   bytes that they send;
//! - [`Activity`] is what the kernel says a process did: switches, CPU time, memory; [`SystemCalls`]
//!   what strace sees of it.
//!
//! A test waits for a condition with a deadline ([`eventually`]), never for a time; the exceptions are
//! the windows in which nothing may happen, which are the measurement itself.
//!
//! ```
//! use std::time::Duration;
//!
//! let mut polls = 0;
//! vmsgr_tests::eventually("the third poll", Duration::from_secs(1), || {
//!     polls += 1;
//!     polls == 3
//! });
//! ```

#![forbid(unsafe_code)]

mod activity;
pub mod application;
mod binary;
mod ceph;
mod ceph_ping;
mod counters;
mod cutter;
mod descriptors;
mod driver;
mod eventually;
mod lines;
mod namespace;
mod nginx;
mod pattern;
mod peer;
mod peers;
mod process;
mod random;
mod redis;
pub mod sockets;
mod system_calls;
mod traced;
mod vmsgrctl;
mod vmsgrd;

pub use activity::{Activity, allowed_cores, open_descriptors, resident_bytes};
pub use application::Application;
pub use binary::{libvmsgr, programs};
pub use ceph::{MiniCeph, rados_said};
pub use ceph_ping::{Pinged, ceph_ping};
pub use counters::{Counters, Counts};
pub use cutter::Cutter;
pub use descriptors::{OTHERS, raise_descriptor_limit, ten_thousand};
pub use driver::{Delivery, Driver};
pub use eventually::{PATIENCE, eventually};
pub use lines::Lines;
pub use namespace::Namespace;
pub use nginx::Nginx;
pub use pattern::Pattern;
pub use peer::{PACKAGES, Peer, is_root, peer, report, skip, two_cores};
pub use peers::{ANSWER_BYTES, PatternPeer, REQUEST_BYTES, SEEDS};
pub use process::{Process, run};
pub use random::Random;
pub use redis::RedisServer;
pub use system_calls::SystemCalls;
pub use traced::Traced;
pub use vmsgrctl::vmsgrctl;
pub use vmsgrd::{Launch, Listening, Refusal, Vmsgrd, relay_to};
