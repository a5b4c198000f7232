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
mod command;
mod request;
mod session;
mod store;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use vmsgr_messenger::client::{AttachOptions, ConnectionId, Endpoint, Event};

use session::{RING, Scratch, Session};
use store::Store;

const USAGE: &str = "usage: kv ADDRESS:PORT [--socket PATH] [--maxmemory BYTES] [--slots N]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kv: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut address = None;
    let mut options = AttachOptions::new("kv").receive_ring(RING).send_ring(RING);
    let mut maxmemory = 256 << 20;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--socket" => options = options.socket(value()?),
            "--maxmemory" => maxmemory = value()?.parse()?,
            "--slots" => options = options.slots(value()?.parse()?),
            other => address = Some(other.parse::<SocketAddr>().map_err(|_| USAGE)?),
        }
    }
    let address = address.ok_or(USAGE)?;
    let mut endpoint = Endpoint::attach(&options)?;
    endpoint.listen(address)?;
    Server { endpoint, store: Store::new(maxmemory), sessions: Vec::new(), scratch: Scratch::new() }
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
