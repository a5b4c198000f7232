//! The operations of one client: those in flight, and the next one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use vmsgr_messenger::msgr2::{Message, OSD_OP_REPLY, OsdRequest, Received, Timestamp, osd_result};

use super::OsdOptions;

/// Operations in flight, each in a place. The number of the one in place `p` of `n` leaves the
/// remainder `p`, so replies are found in whichever order they come.
#[derive(Debug)]
pub struct Operations {
    /// Number and beginning of those in flight.
    places: Vec<Option<(u64, Instant)>>,
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
            places: vec![None; options.depth],
            read: request.read(0, 0, data.len() as u64),
            write: request.write(0, 0, data),
            made: 0,
            reads: 0,
            read_fraction: options.read_fraction,
        }
    }

    /// Places.
    pub fn depth(&self) -> usize {
        self.places.len()
    }

    /// Places with an operation.
    pub fn in_flight(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// The next operation, for a place that is free.
    pub fn next(&mut self, place: usize, now: Instant) -> Message {
        let tid = self.made * self.places.len() as u64 + place as u64;
        self.made += 1;
        // Spread evenly, without chance.
        let read = (self.reads as f64) < (self.made as f64 * self.read_fraction).floor();
        self.reads += u64::from(read);
        self.places[place] = Some((tid, now));
        // Everything else of the message is the same each time, and shared.
        let mut message = if read { self.read.clone() } else { self.write.clone() };
        message.header.tid = tid;
        message
    }

    /// Takes a reply: the place that is free again, and how long it took.
    ///
    /// # Errors
    /// When it answers nothing that is in flight, or says that the operation failed.
    pub fn answered(&mut self, received: &Received<'_>, now: Instant) -> Result<(usize, Duration)> {
        let (kind, tid) = (received.header.kind, received.header.tid);
        ensure!(kind == OSD_OP_REPLY, "a message of type {kind} came instead of a reply");
        self.complete(tid, &received.front, now)
    }

    fn complete(&mut self, tid: u64, front: &[u8], now: Instant) -> Result<(usize, Duration)> {
        let place = (tid % self.places.len() as u64) as usize;
        let Some((_, at)) = self.places[place].take_if(|(sent, _)| *sent == tid) else {
            bail!("a reply to operation {tid}, which is not in flight");
        };
        let result = osd_result(front)?;
        ensure!(result == 0, "operation {tid} failed with {result}");
        Ok((place, now.duration_since(at)))
    }
}

#[cfg(test)]
mod tests {
    use vmsgr_messenger::msgr2::OsdNull;

    use super::*;

    fn operations(depth: usize, read_fraction: f64) -> Operations {
        let options = OsdOptions {
            address: "127.0.0.1:1".parse().unwrap(),
            connections: 1,
            depth,
            size: 4,
            read_fraction,
            duration: Duration::ZERO,
            warm_up: Duration::ZERO,
            core: None,
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
        let (mut operations, now) = (operations(4, 0.0), Instant::now());
        let messages = [0, 1, 2, 3].map(|place| operations.next(place, now));
        let answer = |operations: &mut Operations, message: &Message| {
            let reply = reply(message);
            operations.complete(reply.header.tid, &reply.front, now + Duration::from_millis(2))
        };
        for (place, message) in messages.iter().enumerate().rev() {
            let (freed, took) = answer(&mut operations, message).unwrap();
            assert_eq!((freed, took), (place, Duration::from_millis(2)));
        }
        assert_eq!(operations.in_flight(), 0);
        // The next in the same place has another number.
        operations.next(2, now);
        let error = answer(&mut operations, &messages[2]).unwrap_err().to_string();
        assert_eq!(error, "a reply to operation 10, which is not in flight");
        assert_eq!(operations.in_flight(), 1);
    }

    #[test]
    fn a_failure_is_one() {
        let (mut operations, now) = (operations(1, 0.0), Instant::now());
        let mut front = reply(&operations.next(0, now)).front.to_vec();
        // Behind the object's name, its placement group and the flags.
        let at = 4 + "bench-0".len() + 17 + 8;
        front[at] = 5;
        let error = operations.complete(0, &front, now).unwrap_err().to_string();
        assert_eq!(error, "operation 0 failed with 5");
    }

    #[test]
    fn reads_are_spread_evenly() {
        let reads = |fraction| {
            let mut operations = operations(1, fraction);
            let messages = (0..8).map(|_| operations.next(0, Instant::now()));
            messages.map(|message| message.data.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(reads(0.0), [false; 8]);
        assert_eq!(reads(1.0), [true; 8]);
        assert_eq!(reads(0.25), [false, false, false, true, false, false, false, true]);
    }
}
