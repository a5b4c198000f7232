//! A small key-value server that speaks the Redis protocol, and whose sockets are the daemon's.
//!
//! ```text
//! vmsgrd &
//! cargo run --release -p vmsgr-messenger --example kv -- 127.0.0.1:7501
//! redis-cli -p 7501 set answer 42
//! redis-benchmark -p 7501 -q -P 16 -t set,get,incr
//! ```
//!
//! What it holds is gone when it dies. But its connections are not: who starts it again goes on with
//! them, and PING and ECHO are answered exactly once whenever it was killed (see `session.rs`).
//!
//! `request.rs` reads commands, `store.rs` has the data, `command.rs` does what is asked and
//! `answer.rs` writes what is answered, `session.rs` is one connection, and this file the loop.

mod answer;
#[path = "../arguments/mod.rs"]
mod arguments;
mod command;
mod request;
mod session;
mod store;

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use vmsgr_messenger::client::{ConnectionId, Endpoint, Event};

use arguments::Attach;
use session::{RING, Scratch, Session};
use store::Store;

const EXAMPLE: &str = "\
Example:
  vmsgrd &
  kv 127.0.0.1:7402 &
  redis-cli -p 7402 set answer 42
  redis-benchmark -p 7402 -q -P 16 -t set,get,incr
      Kill kv with SIGKILL and start it again meanwhile: its clients stay connected

Exit codes:
  1  it cannot attach or listen
  2  bad command line";

/// A small key-value server that speaks the Redis protocol, and whose sockets are a vmsgrd's.
///
/// What it holds is gone when it ends; its connections are not, if it is started again in time.
#[derive(Debug, Parser)]
#[command(name = "kv", max_term_width = 100, after_help = EXAMPLE)]
struct Arguments {
    #[command(flatten)]
    attach: Attach,
    /// Bytes that keys and values may take
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    maxmemory: usize,
    /// Connections at the same time
    #[arg(long, value_name = "N", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    slots: u32,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { attach, maxmemory, slots } = arguments;
    let options = attach.options("kv").receive_ring(RING).send_ring(RING).slots(*slots);
    let mut endpoint = Endpoint::attach(&options)?;
    endpoint.listen(attach.address)?;
    Server {
        endpoint,
        store: Store::new(*maxmemory),
        sessions: Vec::new(),
        scratch: Scratch::new(),
    }
    .run()
}

struct Server {
    endpoint: Endpoint,
    store: Store,
    /// By the slot of the connection: it is below the number of slots, and nobody else's.
    sessions: Vec<Session>,
    scratch: Scratch,
}

impl Server {
    fn run(mut self) -> Result<(), Box<dyn Error>> {
        loop {
            while let Some(event) = self.endpoint.next_event() {
                match event {
                    Event::Listening { address, .. } => println!("listening on {address}"),
                    Event::Failed { error, .. } => return Err(error.into()),
                    Event::Accepted { connection, .. } => self.begin(connection),
                    Event::Resumed { connection, .. } => self.resume(connection),
                    Event::Readable(connection)
                    | Event::Writable(connection)
                    | Event::PeerEnded(connection) => self.serve(connection),
                    Event::Closed { connection, .. } => self.end(connection),
                    Event::Detached { reason } => {
                        eprintln!("{reason}");
                        self.sessions.iter_mut().for_each(|it| it.end(&mut self.store));
                        while self.endpoint.reattach().is_err() {
                            thread::sleep(Duration::from_millis(200));
                        }
                    }
                    _ => {}
                }
            }
            self.endpoint.wait(None)?;
        }
    }

    fn begin(&mut self, id: ConnectionId) {
        if self.sessions.len() <= id.slot() {
            self.sessions.resize_with(id.slot() + 1, Session::default);
        }
        self.sessions[id.slot()].end(&mut self.store);
    }

    fn resume(&mut self, id: ConnectionId) {
        self.begin(id);
        if let Some(connection) = self.endpoint.connection(id)
            && Session::was_torn(&connection)
        {
            return connection.reset();
        }
        self.serve(id);
    }

    fn serve(&mut self, id: ConnectionId) {
        let Some(mut connection) = self.endpoint.connection(id) else { return };
        let session = &mut self.sessions[id.slot()];
        if session.serve(&mut connection, &mut self.store, &mut self.scratch).is_over() {
            connection.close();
            session.end(&mut self.store);
        }
    }

    fn end(&mut self, id: ConnectionId) {
        if let Some(connection) = self.endpoint.connection(id) {
            connection.close();
        }
        self.sessions[id.slot()].end(&mut self.store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_help_says_what_it_is_and_how_to_try_it() {
        Arguments::command().debug_assert();
        let help = Arguments::command().render_long_help().to_string();
        for part in ["Redis protocol", "--maxmemory", "--slots", "redis-cli -p 7402", "Exit codes:"]
        {
            assert!(help.contains(part), "{help}");
        }
    }

    #[test]
    fn who_has_no_daemon_is_told_how_to_start_one() {
        let line = ["kv", "127.0.0.1:0", "--socket", "/nonexistent/s"];
        let error = run(&Arguments::parse_from(line)).unwrap_err().to_string();
        assert!(error.contains("start one with `vmsgrd --socket /nonexistent/s`"), "{error}");
    }

    #[test]
    fn a_bad_value_is_told_what_is_allowed() {
        for (word, part) in [
            ("127.0.0.1:70000", "a port to 65535"),
            ("127.0.0.1", "ADDRESS:PORT"),
            ("--slot", "'--slots'"),
        ] {
            let error = Arguments::try_parse_from(["kv", word]).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(part), "{error}");
        }
    }
}
