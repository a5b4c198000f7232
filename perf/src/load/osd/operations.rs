//! The operations of one client: those that are due, those in flight, and the next one.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use slab::Slab;
use vmsgr_messenger::msgr2::{Message, OSD_OP_REPLY, OsdRequest, Received, Timestamp, osd_result};

use super::OsdOptions;

/// Operations in flight, each in a place. The low half of an operation's number is its place, so
/// replies are found in whichever order they come.
#[derive(Debug)]
pub struct Operations {
    /// When each that was not asked for yet was due.
    due: VecDeque<Instant>,
    /// Number of those in flight, and when each was due.
    places: Slab<(u64, Instant)>,
    write: Message,
    read: Message,
    /// Operations that were made, and those of them that read.
    made: u64,
    reads: u64,
    read_fraction: f64,
}

impl Operations {
    /// None in flight yet, of the client with this index, which writes this.
    pub fn new(index: usize, options: &OsdOptions, data: Bytes) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = Timestamp { seconds: since.as_secs() as u32, nanoseconds: since.subsec_nanos() };
        let object = format!("bench-{index}").into_bytes();
        let request = OsdRequest { pool: 1, hash: index as u32, group: 0, epoch: 1, object, time };
        Self {
            due: VecDeque::new(),
            places: Slab::new(),
            read: request.read(0, 0, data.len() as u64),
            write: request.write(0, 0, data),
            made: 0,
            reads: 0,
            read_fraction: options.read_fraction,
        }
    }

    /// One more is due at this time.
    pub fn schedule(&mut self, due: Instant) {
        self.due.push_back(due);
    }

    /// Those that are due.
    pub fn due(&self) -> usize {
        self.due.len()
    }

    /// Those that are due never are.
    pub fn forget_due(&mut self) {
        self.due.clear();
    }

    /// Those that were asked for and are not answered.
    pub fn in_flight(&self) -> usize {
        self.places.len()
    }

    /// The operation that has been due for the longest, if one is: it is in flight then.
    pub fn next(&mut self) -> Option<Message> {
        let due = self.due.pop_front()?;
        let place = self.places.vacant_entry();
        let tid = self.made << 32 | place.key() as u64;
        place.insert((tid, due));
        self.made += 1;
        // Spread evenly, without chance.
        let read = (self.reads as f64) < (self.made as f64 * self.read_fraction).floor();
        self.reads += u64::from(read);
        // Everything else of the message is the same each time, and shared.
        let mut message = if read { self.read.clone() } else { self.write.clone() };
        message.header.tid = tid;
        Some(message)
    }

    /// Takes a reply: how long it came after its operation was due.
    ///
    /// # Errors
    /// When it answers nothing that is in flight, or says that the operation failed.
    pub fn answered(&mut self, received: &Received<'_>, now: Instant) -> Result<Duration> {
        let (kind, tid) = (received.header.kind, received.header.tid);
        ensure!(kind == OSD_OP_REPLY, "a message of type {kind} came instead of a reply");
        self.complete(tid, &received.front, now)
    }

    fn complete(&mut self, tid: u64, front: &[u8], now: Instant) -> Result<Duration> {
        let place = tid as u32 as usize;
        let Some(&(_, due)) = self.places.get(place).filter(|(sent, _)| *sent == tid) else {
            bail!("a reply to operation {tid}, which is not in flight");
        };
        self.places.remove(place);
        let result = osd_result(front)?;
        ensure!(result == 0, "operation {tid} failed with {result}");
        Ok(now.duration_since(due))
    }
}

#[cfg(test)]
mod tests {
    use vmsgr_messenger::msgr2::OsdNull;

    use super::*;

    fn operations(read_fraction: f64) -> Operations {
        let options = OsdOptions {
            address: "127.0.0.1:1".parse().unwrap(),
            connections: 1,
            depth: 1,
            rate: None,
            size: 4,
            read_fraction,
            duration: Duration::ZERO,
            warm_up: Duration::ZERO,
            core: None,
            server_core: None,
            servers: Vec::new(),
            probe: None,
        };
        Operations::new(0, &options, Bytes::from_static(b"data"))
    }

    fn reply(message: &Message) -> Message {
        OsdNull::new(0).answer(&message.header, &message.front).unwrap().unwrap()
    }

    #[test]
    fn replies_are_found_in_any_order_and_once() {
        let (mut operations, now) = (operations(0.0), Instant::now());
        let next = |operations: &mut Operations, ms| {
            operations.schedule(now + Duration::from_millis(ms));
            operations.next().unwrap()
        };
        let messages = [0, 1, 2, 3].map(|ms| next(&mut operations, ms));
        let answer = |operations: &mut Operations, message: &Message| {
            let reply = reply(message);
            operations.complete(reply.header.tid, &reply.front, now + Duration::from_millis(10))
        };
        for (ms, message) in messages.iter().enumerate().rev() {
            let took = answer(&mut operations, message).unwrap();
            assert_eq!(took, Duration::from_millis(10 - ms as u64));
        }
        assert_eq!(operations.in_flight(), 0);
        // The next in the same place has another number.
        next(&mut operations, 0);
        let error = answer(&mut operations, &messages[0]).unwrap_err().to_string();
        assert_eq!(error, "a reply to operation 0, which is not in flight");
        assert_eq!(operations.in_flight(), 1);
    }

    #[test]
    fn a_failure_is_one() {
        let (mut operations, now) = (operations(0.0), Instant::now());
        operations.schedule(now);
        let mut front = reply(&operations.next().unwrap()).front.to_vec();
        // Behind the object's name, its placement group and the flags.
        let at = 4 + "bench-0".len() + 17 + 8;
        front[at] = 5;
        let error = operations.complete(0, &front, now).unwrap_err().to_string();
        assert_eq!(error, "operation 0 failed with 5");
    }

    #[test]
    fn reads_are_spread_evenly() {
        let reads = |fraction| {
            let mut operations = operations(fraction);
            (0..8).for_each(|_| operations.schedule(Instant::now()));
            let messages = std::iter::from_fn(|| operations.next());
            messages.map(|message| message.data.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(reads(0.0), [false; 8]);
        assert_eq!(reads(1.0), [true; 8]);
        assert_eq!(reads(0.25), [false, false, false, true, false, false, false, true]);
    }
}
