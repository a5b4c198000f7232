//! An echo whose sockets are the daemon's.
//!
//! ```text
//! vmsgrd &
//! cargo run --release -p vmsgr-messenger --example echo -- 127.0.0.1:7500
//! printf 'hello\n' | nc -N 127.0.0.1 7500
//! ```
//!
//! Kill it with SIGKILL under load and start it again: its connections go on where they were, and
//! not a byte is lost or sent back twice.

#[path = "arguments/mod.rs"]
mod arguments;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use vmsgr_messenger::client::{AttachOptions, ConnectionId, Endpoint, Event};

use arguments::Attach;

const EXAMPLE: &str = "\
Example:
  vmsgrd &
  echo 127.0.0.1:7500 &
  printf 'hello\\n' | nc -N 127.0.0.1 7500

Exit codes:
  1  it cannot attach or listen
  2  bad command line";

/// An echo whose sockets are a vmsgrd's.
#[derive(Debug, Parser)]
#[command(name = "echo", max_term_width = 100, after_help = EXAMPLE)]
struct Arguments {
    #[command(flatten)]
    attach: Attach,
    /// Threads, each with an endpoint of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// For how long each looks again before it sleeps, at most, in microseconds
    #[arg(long, value_name = "N", default_value_t = 0)]
    spin_us: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { attach, threads, spin_us } = arguments;
    let address = attach.address;
    let running: Vec<_> = (0..*threads)
        .map(|thread| {
            // Each thread has an endpoint of its own, and finds it again by its name.
            let options = attach.options(format!("echo.{thread}"));
            let options = options.spin(Duration::from_micros(*spin_us));
            thread::spawn(move || echo(&options, address).map_err(|error| error.to_string()))
        })
        .collect();
    for thread in running {
        thread.join().map_err(|_| "a thread has panicked")??;
    }
    Ok(())
}

fn echo(options: &AttachOptions, address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut endpoint = Endpoint::attach(options)?;
    endpoint.listen(address)?;
    loop {
        while let Some(event) = endpoint.next_event() {
            match event {
                Event::Listening { address, .. } => println!("listening on {address}"),
                Event::Failed { error, .. } => return Err(error.into()),
                Event::Resumed { connection, .. }
                | Event::Readable(connection)
                | Event::Writable(connection)
                | Event::PeerEnded(connection) => send_back(&mut endpoint, connection),
                Event::Closed { connection, .. } => {
                    if let Some(connection) = endpoint.connection(connection) {
                        connection.close();
                    }
                }
                Event::Detached { reason } => {
                    eprintln!("{reason}");
                    come_back(&mut endpoint);
                }
                _ => {}
            }
        }
        endpoint.wait(None)?;
    }
}

/// What has come is sent back; if there is no room for all of it, `Writable` brings us here again.
fn send_back(endpoint: &mut Endpoint, connection: ConnectionId) {
    let Some(mut connection) = endpoint.connection(connection) else { return };
    connection.forward(usize::MAX);
    if connection.peer_has_ended() && connection.unread() == 0 {
        connection.close();
    }
}

/// The daemon is restarted, some day.
fn come_back(endpoint: &mut Endpoint) {
    while endpoint.reattach().is_err() {
        thread::sleep(Duration::from_millis(200));
    }
}
