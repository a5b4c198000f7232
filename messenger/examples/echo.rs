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

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use vmsgr_messenger::client::{AttachOptions, ConnectionId, Endpoint, Event};

const USAGE: &str = "usage: echo ADDRESS:PORT [--socket PATH] [--threads N] [--spin-us N]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut address = None;
    let (mut socket, mut threads, mut spin) = (None, 1, Duration::ZERO);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--socket" => socket = Some(value()?),
            "--threads" => threads = value()?.parse()?,
            "--spin-us" => spin = Duration::from_micros(value()?.parse()?),
            other => address = Some(other.parse::<SocketAddr>().map_err(|_| USAGE)?),
        }
    }
    let address = address.ok_or(USAGE)?;
    let options = move |thread: usize| {
        // Each thread has an endpoint of its own, and finds it again by its name.
        let options = AttachOptions::new(format!("echo.{thread}")).spin(spin);
        match &socket {
            Some(path) => options.socket(path),
            None => options,
        }
    };
    let running: Vec<_> = (0..threads)
        .map(|thread| {
            let options = options(thread);
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
