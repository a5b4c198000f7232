//! The client against a daemon that is played by hand.

use std::io;
use std::time::Duration;

use super::double::{Daemon, RING};
use super::{AttachOptions, ConnectionId, Endpoint, Event};

mod connections;
mod entities;
mod jobs;
mod messages;
mod rings;
mod sleep;
mod takeover;

/// Nothing here takes as long.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

fn attached(cores: u32, slots: u32) -> (Daemon, Endpoint) {
    let mut daemon = Daemon::new(cores, slots);
    let endpoint = daemon.attach(&AttachOptions::new("test"));
    (daemon, endpoint)
}

/// What has happened, as text.
fn told(endpoint: &mut Endpoint) -> Vec<String> {
    std::iter::from_fn(|| endpoint.next_event()).map(|event| brief(&event)).collect()
}

fn brief(event: &Event) -> String {
    let errno = |error: &io::Error| error.raw_os_error().unwrap_or(-1);
    match event {
        Event::Listening { job, address } => format!("{job} listening {address}"),
        Event::Unlistened { job } => format!("{job} unlistened"),
        Event::Failed { job, error } => format!("{job} failed {}", errno(error)),
        Event::Accepted { connection, job, peer, local } => {
            format!("{connection} accepted {job} {peer} {local}")
        }
        Event::Connected { connection, job, .. } => format!("{connection} connected {job}"),
        Event::Resumed { connection, job, .. } => format!("{connection} resumed {job}"),
        Event::Readable(connection) => format!("{connection} readable"),
        Event::Writable(connection) => format!("{connection} writable"),
        Event::PeerEnded(connection) => format!("{connection} ended"),
        Event::Closed { connection, error } => {
            format!("{connection} closed {}", error.as_ref().map_or(0, errno))
        }
        Event::Detached { .. } => "detached".to_owned(),
    }
}

/// A daemon, an endpoint, and a connection that it has heard of.
fn open() -> (Daemon, Endpoint, ConnectionId) {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let id = daemon.accept(2, 7, 0);
    assert_eq!(told(&mut endpoint), ["2.7 accepted 77 10.0.0.1:999 [::1]:7"]);
    (daemon, endpoint, id)
}

/// Bytes that say where they are from.
fn pattern(from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64).map(|n| (n % 251) as u8).collect()
}

fn received(endpoint: &mut Endpoint, id: ConnectionId) -> Vec<u8> {
    let mut bytes = vec![0; RING as usize];
    let n = endpoint.connection(id).unwrap().recv(&mut bytes);
    bytes.truncate(n);
    bytes
}
