//! An OSD that stores nothing, whose sockets and sessions are the daemon's: every operation
//! succeeds at once.
//!
//! ```text
//! vmsgrd &
//! cargo run --release -p vmsgr-messenger --example osd_null -- 127.0.0.1:6800
//! vmsgrctl ceph-ping v2:127.0.0.1:6800/0
//! ```
//!
//! It answers pings, and operations on objects as if they had been done; every object seems to have
//! 4 MiB of zeros. Kill it and start it again: every operation that lay in a ring is answered
//! exactly once.

#[path = "arguments/mod.rs"]
mod arguments;

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use vmsgr_messenger::client::{
    ConnectionId, Endpoint, EntityOptions, EntityPolicy, Event, Incoming, Message, Messages,
    Progress, SendError,
};
use vmsgr_messenger::msgr2::{self, EntityType, OsdNull};

use arguments::Attach;

const EXAMPLE: &str = "\
Example:
  vmsgrd &
  osd_null 127.0.0.1:6800 &
  vmsgrctl ceph-ping v2:127.0.0.1:6800/0
  vmsgr-bench osd 127.0.0.1:6800 --depth 32
      Kill osd_null and start it again meanwhile: what lay in a ring is answered exactly once

Exit codes:
  1  it cannot attach or listen
  2  bad command line";

/// A Ceph OSD that stores nothing, whose sockets and sessions are a vmsgrd's: every operation succeeds
/// at once.
#[derive(Debug, Parser)]
#[command(name = "osd_null", max_term_width = 100, after_help = EXAMPLE)]
struct Arguments {
    #[command(flatten)]
    attach: Attach,
    /// Which OSD it is: osd.ID
    #[arg(long, value_name = "ID", default_value = "0")]
    id: String,
    /// Size of every object
    #[arg(long, value_name = "N", default_value_t = 4 << 20)]
    object_bytes: u64,
    /// For how long it looks again before it sleeps, at most, in microseconds
    #[arg(long, value_name = "N", default_value_t = 0)]
    spin_us: u64,
}

/// Operations that write up to nearly 128 KiB lie in a ring of this size; larger ones come in parts.
const RING: u32 = 256 << 10;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("osd_null: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { attach, id, object_bytes, spin_us } = arguments;
    let options = attach.options("osd_null").receive_ring(RING).send_ring(RING);
    let options = options.spin(Duration::from_micros(spin_us));
    let mut endpoint = Endpoint::attach(&options)?;
    let osd = EntityOptions::new(EntityType::OSD, id).policy(EntityPolicy::StatelessServer);
    let entity = endpoint.entity(&osd)?;
    endpoint.listen_as(entity, attach.address)?;
    serve(endpoint, &mut Osd::new(object_bytes))
}

fn serve(mut endpoint: Endpoint, osd: &mut Osd) -> Result<(), Box<dyn Error>> {
    loop {
        while let Some(event) = endpoint.next_event() {
            match event {
                Event::Listening { address, .. } => println!("listening on {address}"),
                Event::Failed { error, .. } => return Err(error.into()),
                Event::Resumed { connection, .. }
                | Event::Readable(connection)
                | Event::Writable(connection) => osd.answer(&mut endpoint, connection),
                Event::PeerEnded(connection) | Event::Closed { connection, .. } => {
                    if let Some(connection) = endpoint.connection(connection) {
                        connection.close();
                    }
                }
                Event::Detached { reason } => {
                    eprintln!("{reason}");
                    while endpoint.reattach().is_err() {
                        thread::sleep(Duration::from_millis(200));
                    }
                }
                _ => {}
            }
        }
        endpoint.wait(None)?;
    }
}

/// The OSD, and what it is sending.
struct Osd {
    osd: OsdNull,
    /// Answers that are larger than the ring, by the slot of their connection: on their way.
    large: HashMap<usize, Large>,
}

struct Large {
    connection: ConnectionId,
    answer: msgr2::Message,
    progress: Progress,
}

impl Osd {
    fn new(object_bytes: u64) -> Self {
        Self { osd: OsdNull::new(object_bytes), large: HashMap::new() }
    }

    /// Answers what lies there, until there is nothing more, or no room for an answer.
    fn answer(&mut self, endpoint: &mut Endpoint, id: ConnectionId) {
        let Some(mut connection) = endpoint.connection(id) else { return };
        let Some(mut messages) = connection.messages() else { return };
        if let Err(error) = self.answer_all(id, &mut messages) {
            eprintln!("connection {id}: {error}");
            connection.reset();
        }
    }

    fn answer_all(
        &mut self,
        id: ConnectionId,
        messages: &mut Messages<'_>,
    ) -> Result<(), Box<dyn Error>> {
        while self.send_large(id, messages)? {
            let answer = match messages.peek() {
                Some(Incoming::Message(message)) => {
                    self.osd.answer(&message.header, &message.front.contiguous())?
                }
                Some(Incoming::Notice(_)) => None,
                None => return Ok(()),
            };
            let Some(answer) = answer else {
                messages.consume();
                continue;
            };
            match messages.reply(&Message::from(&answer)) {
                Ok(true) => {}
                // It is made anew when there is room.
                Ok(false) => return Ok(()),
                Err(SendError::LargerThanRing { .. }) => {
                    messages.consume();
                    let progress = Progress::default();
                    self.large.insert(id.slot(), Large { connection: id, answer, progress });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends more of what is on its way; true if nothing is any more.
    fn send_large(
        &mut self,
        id: ConnectionId,
        messages: &mut Messages<'_>,
    ) -> Result<bool, SendError> {
        if let Some(large) = self.large.get_mut(&id.slot()).filter(|it| it.connection == id)
            && !messages.send_some(&Message::from(&large.answer), &mut large.progress)?
        {
            return Ok(false);
        }
        self.large.remove(&id.slot());
        Ok(true)
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
        for part in ["stores nothing", "--object-bytes", "vmsgrctl ceph-ping v2:", "Exit codes:"] {
            assert!(help.contains(part), "{help}");
        }
    }

    #[test]
    fn who_has_no_daemon_is_told_how_to_start_one() {
        let line = ["osd_null", "127.0.0.1:0", "--socket", "/nonexistent/s"];
        let error = run(Arguments::parse_from(line)).unwrap_err().to_string();
        assert!(error.contains("start one with `vmsgrd --socket /nonexistent/s`"), "{error}");
    }

    #[test]
    fn a_bad_value_is_told_what_is_allowed() {
        for (word, part) in [
            ("127.0.0.1:70000", "a port to 65535"),
            ("127.0.0.1", "ADDRESS:PORT"),
            ("--object", "'--object-bytes'"),
        ] {
            let error = Arguments::try_parse_from(["osd_null", word]).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(part), "{error}");
        }
    }
}
