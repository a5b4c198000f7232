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

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use vmsgr_messenger::client::{
    AttachOptions, ConnectionId, Endpoint, EntityOptions, EntityPolicy, Event, Incoming, Message,
    Messages, Progress, SendError,
};
use vmsgr_messenger::msgr2::{self, EntityType, OsdNull};

const USAGE: &str = "usage: osd_null ADDRESS:PORT [--socket PATH] [--id ID] [--object-bytes N] \
                     [--spin-us N]";

/// Operations that write up to nearly 128 KiB lie in a ring of this size; larger ones come in parts.
const RING: u32 = 256 << 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("osd_null: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut address = None;
    let mut options = AttachOptions::new("osd_null").receive_ring(RING).send_ring(RING);
    let (mut id, mut object_bytes) = ("0".to_owned(), 4 << 20);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--socket" => options = options.socket(value()?),
            "--id" => id = value()?,
            "--object-bytes" => object_bytes = value()?.parse()?,
            "--spin-us" => options = options.spin(Duration::from_micros(value()?.parse()?)),
            other => address = Some(other.parse::<SocketAddr>().map_err(|_| USAGE)?),
        }
    }
    let address = address.ok_or(USAGE)?;
    let mut endpoint = Endpoint::attach(&options)?;
    let osd = EntityOptions::new(EntityType::OSD, id).policy(EntityPolicy::StatelessServer);
    let entity = endpoint.entity(&osd)?;
    endpoint.listen_as(entity, address)?;
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
