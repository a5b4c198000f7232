//! An application that can be killed at any moment: all that it knows of a connection is how far its
//! bytes have come, and from there the next one that is started goes on.
//!
//! It listens at two addresses. At the first, `stream`, it checks a pattern that its peer sends, and
//! sends one of its own, both a function of the position. At the second, `answers`, each request of
//! 13 bytes is answered with 37, in one step: so that at any moment, as a successor finds it, so many
//! have been answered as were consumed.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use vmsgr_messenger::client::{AttachOptions, Connection, ConnectionId, Endpoint, Event, JobId};
use vmsgr_tests::{ANSWER_BYTES, Pattern, REQUEST_BYTES, Random, SEEDS};

/// What one connection gets before others have their turn.
const ROUNDS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stream,
    Answers,
}

struct Served {
    kind: Kind,
    from_peer: Pattern,
    to_peer: Pattern,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut addresses = Vec::new();
    let mut options = AttachOptions::new("resuming");
    let mut random = Random::new(std::process::id().into());
    let mut pauses = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--socket" => options = options.socket(arguments.next().ok_or("a path")?),
            "--ring" => {
                let bytes = arguments.next().ok_or("a size")?.parse()?;
                options = options.receive_ring(bytes).send_ring(bytes);
            }
            "--pauses" => pauses = true,
            address => addresses.push(address.parse::<SocketAddr>()?),
        }
    }
    let mut endpoint = Endpoint::attach(&options)?;
    let mut kinds: HashMap<JobId, Kind> = HashMap::new();
    for (address, kind) in addresses.into_iter().zip([Kind::Stream, Kind::Answers]) {
        kinds.insert(endpoint.listen(address)?, kind);
    }
    let mut served: HashMap<ConnectionId, Served> = HashMap::new();
    // Those for which there is more to do than was done.
    let mut again: VecDeque<ConnectionId> = VecDeque::new();
    let mut told = false;
    loop {
        while let Some(event) = endpoint.next_event() {
            let connection = match event {
                Event::Listening { job, address } => {
                    println!("listening on {address} for {:?}", kinds[&job]);
                    continue;
                }
                Event::Accepted { connection, job, .. }
                | Event::Resumed { connection, job, .. } => {
                    let held = endpoint.connection(connection).ok_or("it is there")?;
                    served.insert(connection, Served::begin(kinds[&job], &held));
                    connection
                }
                Event::Readable(connection)
                | Event::Writable(connection)
                | Event::PeerEnded(connection) => connection,
                Event::Closed { connection, error } => {
                    return Err(format!("{connection} is closed: {error:?}").into());
                }
                other => return Err(format!("{other:?}").into()),
            };
            if !again.contains(&connection) {
                again.push_back(connection);
            }
        }
        for _ in 0..again.len() {
            let Some(id) = again.pop_front() else { break };
            let Some(it) = served.get_mut(&id) else { continue };
            let mut connection = endpoint.connection(id).ok_or("it is there")?;
            let more = match it.kind {
                Kind::Stream => it.stream(&mut connection, &mut random),
                Kind::Answers => it.answer(&mut connection),
            };
            if more {
                again.push_back(id);
            } else if connection.peer_has_ended() && connection.unread() == 0 {
                let (peer, positions) = (connection.peer(), connection.positions());
                println!("ended {peer} {} {}", positions.consumed, positions.committed);
                connection.close();
                served.remove(&id);
            }
            if !std::mem::replace(&mut told, true) {
                println!("serving");
            }
        }
        if pauses && random.below(8) == 0 {
            thread::sleep(Duration::from_micros(random.below(1000)));
        }
        if again.is_empty() {
            // The time-out is a part of the test: it ends a sleep without a ring.
            let most = pauses.then(|| Duration::from_micros(random.below(20_000)));
            endpoint.wait(most)?;
        }
    }
}

impl Served {
    fn begin(kind: Kind, connection: &Connection<'_>) -> Self {
        let positions = connection.positions();
        if kind == Kind::Answers {
            let requests = positions.consumed / REQUEST_BYTES as u64;
            assert_eq!(
                positions.consumed % REQUEST_BYTES as u64,
                0,
                "half a request: {positions:?}"
            );
            assert_eq!(positions.committed, requests * ANSWER_BYTES as u64, "{positions:?}");
        }
        let [from_peer, to_peer] = SEEDS;
        Self {
            kind,
            from_peer: Pattern::at(from_peer, positions.consumed),
            to_peer: Pattern::at(to_peer, positions.committed),
        }
    }

    /// Checks and sends pieces of any size; whether there is more to be done.
    fn stream(&mut self, connection: &mut Connection<'_>, random: &mut Random) -> bool {
        for _ in 0..ROUNDS {
            let (front, back) = connection.peek();
            let unread = front.len() + back.len();
            if unread > 0 {
                let count = random.length(unread);
                self.from_peer.check(&front[..count.min(front.len())]);
                self.from_peer.check(&back[..count.saturating_sub(front.len())]);
                connection.consume(count);
            }
            let sent = if connection.peer_has_ended() { 0 } else { self.send(connection, random) };
            if unread == 0 && sent == 0 {
                return false;
            }
        }
        true
    }

    fn send(&mut self, connection: &mut Connection<'_>, random: &mut Random) -> usize {
        let (front, back) = connection.reserve(random.length(8 * 1024));
        let count = front.len() + back.len();
        self.to_peer.fill(front);
        self.to_peer.fill(back);
        connection.commit(count);
        count
    }

    /// Answers requests one by one; whether there is more to be done.
    fn answer(&mut self, connection: &mut Connection<'_>) -> bool {
        for _ in 0..ROUNDS {
            let (front, back) = connection.peek();
            if front.len() + back.len() < REQUEST_BYTES {
                return false;
            }
            let mut request = [0; REQUEST_BYTES];
            let in_front = front.len().min(REQUEST_BYTES);
            request[..in_front].copy_from_slice(&front[..in_front]);
            request[in_front..].copy_from_slice(&back[..REQUEST_BYTES - in_front]);
            let (front, back) = connection.reserve(ANSWER_BYTES);
            if front.len() + back.len() < ANSWER_BYTES {
                return false;
            }
            self.from_peer.check(&request);
            self.to_peer.fill(front);
            self.to_peer.fill(back);
            connection.reply(REQUEST_BYTES, ANSWER_BYTES);
        }
        true
    }
}
