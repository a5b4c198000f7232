//! The echo as an application of `vmsgrd`: what `app-epoll` is with sockets of its own, attached
//! over shared memory.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use vmsgr_messenger::client::{AttachOptions, ConnectionId, Endpoint, Event};

use super::announce_at;
use crate::standard_streams::say;

/// How it is attached.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the daemon shall listen for it.
    pub listen: SocketAddr,
    /// The daemon's Unix socket; if it is not said, where daemons have it by default.
    pub socket: Option<PathBuf>,
    /// Bytes of each connection's ring, in each direction; a power of two.
    pub ring_bytes: u32,
    /// For how long it looks again before it sleeps, at most.
    pub spin: Duration,
}

/// Echoes whatever arrives, until the daemon goes; tells its counters on stderr whenever `report`
/// is set.
///
/// # Errors
/// When it cannot attach or listen, and when the daemon has gone.
pub fn serve(options: &Options, report: &AtomicBool) -> Result<()> {
    let attach = AttachOptions::new("vmsgr-bench.echo")
        .receive_ring(options.ring_bytes)
        .send_ring(options.ring_bytes)
        .linger(Duration::ZERO)
        .spin(options.spin);
    let attach = match &options.socket {
        Some(path) => attach.socket(path),
        None => attach,
    };
    let mut endpoint = Endpoint::attach(&attach).context("cannot attach")?;
    endpoint.listen(options.listen)?;
    let asked = || report.load(Ordering::Relaxed) && report.swap(false, Ordering::Relaxed);
    loop {
        while let Some(event) = endpoint.next_event() {
            match event {
                Event::Readable(connection)
                | Event::Writable(connection)
                | Event::PeerEnded(connection) => send_back(&mut endpoint, connection),
                Event::Closed { connection, .. } => {
                    if let Some(connection) = endpoint.connection(connection) {
                        connection.close();
                    }
                }
                Event::Listening { address, .. } => announce_at(&address, "echo")?,
                Event::Failed { error, .. } => {
                    return Err(error)
                        .with_context(|| format!("cannot listen on {}", options.listen));
                }
                Event::Detached { reason } => bail!("{reason}"),
                _ => {}
            }
            // There may always be another one.
            if asked() {
                tell(&endpoint);
            }
        }
        endpoint.wait(None)?;
        if asked() {
            tell(&endpoint);
        }
    }
}

fn send_back(endpoint: &mut Endpoint, connection: ConnectionId) {
    let Some(mut connection) = endpoint.connection(connection) else { return };
    connection.forward(usize::MAX);
    if connection.peer_has_ended() && connection.unread() == 0 {
        connection.close();
    }
}

/// A line of JSON, as `vmsgrd` tells its own.
fn tell(endpoint: &Endpoint) {
    let counters = endpoint.counters();
    let total = json!({
        "ready": counters.ready,
        "doorbells_rung": counters.doorbells_rung,
        "doorbells_saved": counters.doorbells_saved,
        "sleeps": counters.sleeps,
        "sleeps_saved": counters.sleeps_saved,
    });
    say(json!({ "total": total }));
}
