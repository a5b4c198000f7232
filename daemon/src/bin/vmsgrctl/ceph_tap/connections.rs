//! The captured connections, each with a tap.

use super::direction::{Direction, Gap};
use super::segment::Segment;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use vmsgr_messenger::msgr2::{CannotFollow, Side};
use vmsgr_messenger::tap::{Sums, Tap, TappedConnection};

/// Connections that are followed at the same time.
const MOST: usize = if cfg!(test) { 16 } else { 65_536 };

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap_report;
    use vmsgr_messenger::msgr2::{Banner, MessageHeader, OSD_OP, OSD_OP_REPLY, Tag, crc_frame};

    const SERVER: ([u8; 4], u16) = ([10, 0, 0, 1], 6800);

    /// Connections from ports of one client, and how far their bytes have come.
    #[derive(Default)]
    struct Capture {
        connections: Connections,
        /// By port: the numbers of the next bytes of client and server.
        next: HashMap<u16, [u32; 2]>,
    }

    impl Capture {
        fn segment<'a>(port: u16, side: Side, sequence: u32, payload: &'a [u8]) -> Segment<'a> {
            let (client, server) = (([10, 0, 0, 2], port).into(), SERVER.into());
            let (from, to) = match side {
                Side::Initiator => (client, server),
                Side::Acceptor => (server, client),
            };
            let (syn, ack, fin, rst) = (false, true, false, false);
            Segment { from, to, sequence, syn, ack, fin, rst, payload, length: payload.len() }
        }

        fn take(&mut self, segment: &Segment<'_>) -> Option<Said> {
            self.connections.take(Duration::ZERO, segment)
        }

        /// Both say that they begin, with numbers of their own.
        fn begin(&mut self, port: u16, first: u32) -> Option<Said> {
            self.next.insert(port, [first.wrapping_add(1), 1]);
            let syn = Self::segment(port, Side::Initiator, first, b"");
            let said = self.take(&Segment { syn: true, ack: false, ..syn });
            let answer = Self::segment(port, Side::Acceptor, 0, b"");
            self.take(&Segment { syn: true, ..answer });
            said
        }

        fn say(&mut self, port: u16, side: Side, ms: u64, bytes: &[u8]) -> Option<Said> {
            let next = &mut self.next.get_mut(&port).unwrap()[side as usize];
            let segment = Self::segment(port, side, *next, bytes);
            *next = next.wrapping_add(bytes.len() as u32);
            self.connections.take(Duration::from_millis(ms), &segment)
        }

        /// Bytes of one side that were sent and are not in the capture.
        fn lose(&mut self, port: u16, side: Side) {
            let next = &mut self.next.get_mut(&port).unwrap()[side as usize];
            *next = next.wrapping_add(10);
        }

        fn end(&mut self, port: u16, side: Side) {
            let sequence = self.next[&port][side as usize];
            self.take(&Segment { fin: true, ..Self::segment(port, side, sequence, b"") });
        }

        fn open(&self) -> usize {
            self.connections.open.len()
        }
    }

    const SIDES: [Side; 2] = [Side::Initiator, Side::Acceptor];

    fn message(kind: u16, tid: u64) -> Vec<u8> {
        let header = MessageHeader { kind, tid, ..Default::default() }.encode();
        crc_frame(Tag::Message, &[&header, b"front", &[], &[]])
    }

    #[test]
    fn operations_take_the_time_between_their_packets() {
        let mut capture = Capture::default();
        capture.begin(1, u32::MAX - 40);
        for side in SIDES {
            assert_eq!(capture.say(1, side, 0, &Banner::OURS.encode()), None);
        }
        // All but the last five of a thousand take a millisecond more each.
        for tid in 1..=1000 {
            let took = if tid > 995 { 10_000 } else { tid };
            capture.say(1, Side::Initiator, 5000, &message(OSD_OP, tid));
            capture.say(1, Side::Acceptor, 5000 + took, &message(OSD_OP_REPLY, tid));
        }
        let json = tap_report::json(&capture.connections.end());
        let other = &json["operations"]["other"];
        assert_eq!(other["operations"], 1000, "{json}");
        for (name, ms) in [
            ("p50_us", 500.0),
            ("p90_us", 900.0),
            ("p99_us", 990.0),
            ("p999_us", 10_000.0),
            ("max_us", 10_000.0),
        ] {
            let us = other[name].as_f64().unwrap();
            assert!((us / (ms * 1e3) - 1.0).abs() < 0.011, "{name}: {json}");
        }
    }

    #[test]
    fn a_connection_is_over_with_a_reset_or_both_ends_and_what_is_behind_it_is_none() {
        let mut capture = Capture::default();
        capture.begin(1, 7);
        let reset = Capture::segment(1, Side::Acceptor, 1, b"");
        capture.take(&Segment { rst: true, ..reset });
        assert_eq!(capture.open(), 0);
        for first in SIDES {
            capture.begin(2, 7);
            capture.end(2, first);
            capture.end(2, first);
            assert_eq!(capture.open(), 1, "the other one goes on");
            capture.end(2, if first == SIDES[0] { SIDES[1] } else { SIDES[0] });
            assert_eq!(capture.open(), 0);
        }
        assert_eq!(capture.connections.strays, 0);
        capture.say(2, Side::Initiator, 0, b"x");
        assert_eq!((capture.open(), capture.connections.strays), (0, 1));
    }

    #[test]
    fn ports_that_are_used_again_are_another_connection() {
        let mut capture = Capture::default();
        capture.begin(1, 7);
        assert_eq!(capture.say(1, Side::Initiator, 0, &Banner::OURS.encode()), None);
        // The same once more changes nothing; another one begins with a banner again.
        let next = capture.next[&1];
        capture.begin(1, 7);
        assert_eq!(capture.connections.end().connections, 1);
        capture.next.insert(1, next);
        assert_eq!(capture.say(1, Side::Initiator, 0, &message(OSD_OP, 1)), None);
        assert_eq!(capture.begin(1, 99), None);
        assert_eq!(capture.say(1, Side::Initiator, 0, &Banner::OURS.encode()), None);
        assert_eq!((capture.connections.end().connections, capture.open()), (2, 1));
        // Of the one before something was still missing.
        capture.lose(1, Side::Acceptor);
        assert_eq!(capture.say(1, Side::Acceptor, 0, b"early"), None);
        assert_eq!(capture.begin(1, 5), Some(Said::Gap));
        assert_eq!(capture.connections.gaps, 1);
    }

    #[test]
    fn a_gap_is_said_once_and_nothing_behind_it_is_looked_at() {
        let mut capture = Capture::default();
        capture.begin(1, 7);
        assert_eq!(capture.say(1, Side::Initiator, 0, &Banner::OURS.encode()), None);
        let operation = message(OSD_OP, 1);
        let sequence = capture.next[&1][0];
        let cut = Capture::segment(1, Side::Initiator, sequence, &operation[..9]);
        let length = operation.len();
        assert_eq!(capture.take(&Segment { length, ..cut }), Some(Said::Gap));
        assert_eq!(capture.take(&Segment { length: 2 * length, ..cut }), None);
        capture.next.get_mut(&1).unwrap()[0] += length as u32;
        assert_eq!(capture.say(1, Side::Initiator, 0, &message(OSD_OP, 2)), None);
        let sums = capture.connections.end();
        assert_eq!((sums.blind.broken, sums.in_flight, capture.connections.gaps), (1, 0, 1));
    }

    #[test]
    fn so_many_are_followed_at_a_time() {
        let mut capture = Capture::default();
        (0..MOST as u16 + 2).for_each(|port| assert_eq!(capture.begin(1 + port, 7), None));
        assert_eq!((capture.open(), capture.connections.too_many), (MOST, 2));
        assert_eq!(capture.connections.end().connections, MOST as u64);
    }
}
