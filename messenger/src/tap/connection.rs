//! The tap of one connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::operation::{self, Kind, Operation};
use super::sums::Sums;
use crate::msgr2::{CannotFollow, Followed, Follower, Limits, Side};

/// Types of messages: an operation on an object, and its reply.
const OSD_OP: u16 = 42;
const OSD_OP_REPLY: u16 = 43;

/// Bytes of a front that are looked at: enough for the longest name of an object and dozens of
/// operations on it.
const FRONT_KEPT: usize = 4096;

/// Operations in flight that are followed: of one connection, and of all those of a core. A client
/// has at most 1,024 in flight, unless it is told otherwise.
const IN_FLIGHT_OF_CONNECTION: usize = 4096;
const IN_FLIGHT_OF_CORE: u64 = 65_536;

/// An operation that waits for its reply.
#[derive(Debug)]
struct InFlight {
    since: Duration,
    operation: Operation,
    bytes: u32,
}

/// Looks at the bytes of one connection as they pass.
#[derive(Debug)]
pub struct TappedConnection {
    from_client: Follower,
    from_server: Follower,
    state: State,
}

#[derive(Debug)]
struct State {
    /// Nothing can be seen any more.
    blind: bool,
    in_flight: HashMap<u64, InFlight>,
    sums: Rc<RefCell<Sums>>,
    client: Option<SocketAddr>,
}

impl TappedConnection {
    pub(crate) fn new(sums: Rc<RefCell<Sums>>, client: Option<SocketAddr>) -> Self {
        sums.borrow_mut().connections += 1;
        let follower = || Follower::new(Limits::default(), FRONT_KEPT);
        let state = State { blind: false, in_flight: HashMap::new(), sums, client };
        Self { from_client: follower(), from_server: follower(), state }
    }

    /// Looks at bytes that `from` has sent, all of them, in order, from the first one on; `now` is
    /// the time since a moment of the caller's. If nothing can be seen from here on that is said
    /// once, with the reason.
    pub fn pass(&mut self, from: Side, now: Duration, mut bytes: &[u8]) -> Option<CannotFollow> {
        if self.state.blind {
            return None;
        }
        let follower = match from {
            Side::Initiator => &mut self.from_client,
            Side::Acceptor => &mut self.from_server,
        };
        loop {
            match follower.follow(&mut bytes) {
                Ok(Some(frame)) => self.state.see(from, now, &frame),
                Ok(None) => return None,
                Err(reason) => {
                    self.state.give_up(reason);
                    return Some(reason);
                }
            }
        }
    }

    /// Some of the bytes that pass are not known: nothing can be seen from here on. Whether it
    /// could until now.
    pub fn lose(&mut self) -> bool {
        let could = !self.state.blind;
        if could {
            self.state.blind = true;
            self.state.sums.borrow_mut().blind.broken += 1;
            self.state.abandon();
        }
        could
    }
}

impl State {
    fn see(&mut self, from: Side, now: Duration, frame: &Followed<'_>) {
        let sums = &mut *self.sums.borrow_mut();
        let Some(header) = &frame.header else {
            return sums.control_frames.add(from, frame.frame_bytes);
        };
        sums.message(header.kind, from, frame.frame_bytes);
        match (header.kind, from) {
            (OSD_OP, Side::Initiator) => {
                let full = self.in_flight.len() == IN_FLIGHT_OF_CONNECTION
                    || sums.in_flight == IN_FLIGHT_OF_CORE;
                if full && !self.in_flight.contains_key(&header.tid) {
                    sums.untracked += 1;
                    return;
                }
                let operation = Operation::decode(header, frame.front);
                let bytes = frame.data_length;
                let begun = InFlight { since: now, operation, bytes };
                match self.in_flight.insert(header.tid, begun) {
                    // To its client it takes as long as from the first time on.
                    Some(before) => {
                        sums.repeated += 1;
                        if let Some(again) = self.in_flight.get_mut(&header.tid) {
                            again.since = before.since;
                        }
                    }
                    None => {
                        sums.in_flight += 1;
                        sums.most_in_flight = sums.most_in_flight.max(sums.in_flight);
                    }
                }
            }
            (OSD_OP_REPLY, Side::Acceptor) => {
                let Some(InFlight { since, operation, bytes }) = self.in_flight.remove(&header.tid)
                else {
                    sums.unmatched += 1;
                    return;
                };
                sums.in_flight -= 1;
                let latency = now.saturating_sub(since);
                // What a write's reply carries is none of its data.
                let answered = match operation.kind {
                    Kind::Write => 0,
                    Kind::Read | Kind::Other => frame.data_length,
                };
                let bytes = u64::from(bytes) + u64::from(answered);
                let failed =
                    operation::result(header, frame.front).is_some_and(|result| result < 0);
                sums.kinds[operation.kind as usize].add(latency, bytes, failed);
                sums.slowest.add(latency, &operation, bytes, self.client);
            }
            _ => {}
        }
    }

    fn give_up(&mut self, reason: CannotFollow) {
        self.blind = true;
        {
            let blind = &mut self.sums.borrow_mut().blind;
            match reason {
                CannotFollow::Secure => blind.secure += 1,
                CannotFollow::Compressed => blind.compressed += 1,
                CannotFollow::Violation(_) => blind.broken += 1,
            }
        }
        self.abandon();
    }

    /// What is in flight will not be seen to be answered.
    fn abandon(&mut self) {
        let in_flight = std::mem::take(&mut self.in_flight).len() as u64;
        let mut sums = self.sums.borrow_mut();
        sums.in_flight -= in_flight;
        sums.abandoned += in_flight;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.abandon();
    }
}
