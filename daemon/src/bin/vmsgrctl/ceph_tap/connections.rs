//! The captured connections, each with a tap.

use super::direction::{Direction, Gap};
use super::segment::Segment;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use vmsgr_messenger::msgr2::{CannotFollow, Side};
use vmsgr_messenger::tap::{Sums, Tap, TappedConnection};

/// Connections that are followed at the same time.
const MOST: usize = 65_536;

/// A connection whose beginning was captured.
#[derive(Debug)]
struct Connection {
    tapped: TappedConnection,
    /// The number of its first segment.
    first: u32,
    from_client: Direction,
    from_server: Direction,
    client_ended: bool,
    server_ended: bool,
}

/// All connections of a capture.
#[derive(Debug, Default)]
pub struct Connections {
    tap: Tap,
    /// By client and server.
    open: HashMap<(SocketAddr, SocketAddr), Connection>,
    /// Connections whose segments have a gap in what was captured.
    pub gaps: u64,
    /// Segments of connections whose beginning was not captured.
    pub strays: u64,
    /// Connections that were not followed, since too many were open.
    pub too_many: u64,
}

/// What is to be said about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Bytes are missing in the capture.
    Gap,
    /// It cannot be followed any further.
    Blind(CannotFollow),
}

impl Connections {
    /// Takes a segment that was captured at `time`; what is to be said, once for a connection.
    pub fn take(&mut self, time: Duration, segment: &Segment<'_>) -> Option<Said> {
        let (from, to) = (segment.from, segment.to);
        if segment.syn && !segment.ack {
            return self.begin(segment);
        }
        let (key, side) = match self.open.contains_key(&(from, to)) {
            true => ((from, to), Side::Initiator),
            false => ((to, from), Side::Acceptor),
        };
        let Some(connection) = self.open.get_mut(&key) else {
            self.strays += u64::from(segment.length > 0);
            return None;
        };
        let said = connection.take(time, side, segment);
        let ended = connection.client_ended && connection.server_ended;
        let missing = connection.is_waiting();
        if segment.rst || (ended && !missing) {
            self.open.remove(&key);
        }
        self.note(said)
    }

    fn note(&mut self, said: Option<Said>) -> Option<Said> {
        self.gaps += u64::from(said == Some(Said::Gap));
        said
    }

    fn begin(&mut self, segment: &Segment<'_>) -> Option<Said> {
        let key = (segment.from, segment.to);
        if self.open.get(&key).is_some_and(|open| open.first == segment.sequence) {
            // The same once more.
            return None;
        }
        let before = self.open.remove(&key);
        let said = before.filter(Connection::is_waiting).map(|_| Said::Gap);
        if self.open.len() < MOST {
            let mut connection = Connection {
                tapped: self.tap.connection(Some(segment.from)),
                first: segment.sequence,
                from_client: Direction::new(),
                from_server: Direction::new(),
                client_ended: false,
                server_ended: false,
            };
            connection.from_client.begin(segment.sequence);
            self.open.insert(key, connection);
        } else {
            self.too_many += 1;
        }
        self.note(said)
    }

    /// The capture is at its end: what has been seen.
    pub fn end(&mut self) -> Sums {
        self.gaps += self.open.values().filter(|open| open.is_waiting()).count() as u64;
        // What is in flight still is so: the capture ended, not the connection.
        self.tap.sums()
    }
}

impl Connection {
    fn is_waiting(&self) -> bool {
        self.from_client.is_waiting() || self.from_server.is_waiting()
    }

    fn take(&mut self, time: Duration, side: Side, segment: &Segment<'_>) -> Option<Said> {
        let (direction, ended) = match side {
            Side::Initiator => (&mut self.from_client, &mut self.client_ended),
            Side::Acceptor => (&mut self.from_server, &mut self.server_ended),
        };
        *ended |= segment.fin;
        if segment.syn {
            direction.begin(segment.sequence);
        }
        let mut said = None;
        let tapped = &mut self.tapped;
        let taken = direction.take(segment.sequence, segment.payload, segment.length, |bytes| {
            said = said.or(tapped.pass(side, time, bytes).map(Said::Blind));
        });
        if taken == Err(Gap) && self.tapped.lose() {
            // From here on nothing is known; what still comes of it is not looked at.
            said = said.or(Some(Said::Gap));
        }
        said
    }
}
