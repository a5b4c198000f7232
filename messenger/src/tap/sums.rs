//! What the taps of a core have seen, all together.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::operation::Kind;
use super::slowest::{Slow, Slowest};
use crate::msgr2::Side;

/// Types of messages that are told apart; Ceph has not so many between a client and an OSD.
const MOST_TYPES: usize = 128;

/// Latencies are told apart from a microsecond to an hour, to one part in a hundred.
const SHORTEST_NS: u64 = 1_000;
const LONGEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 2;

/// Messages in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// How many.
    pub messages: u64,
    /// Their bytes, as they were sent: with preamble and checksums.
    pub bytes: u64,
}

/// Messages in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From who connected.
    pub from_client: Flow,
    /// From who was connected to.
    pub from_server: Flow,
}

impl Traffic {
    pub(crate) fn add(&mut self, from: Side, bytes: u64) {
        let flow = match from {
            Side::Initiator => &mut self.from_client,
            Side::Acceptor => &mut self.from_server,
        };
        flow.messages += 1;
        flow.bytes += bytes;
    }

    fn merge(&mut self, other: &Self) {
        for (flow, other) in
            [(&mut self.from_client, other.from_client), (&mut self.from_server, other.from_server)]
        {
            flow.messages += other.messages;
            flow.bytes += other.bytes;
        }
    }
}

/// Connections that are relayed without looking, by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Blind {
    /// The peers encrypt.
    pub secure: u64,
    /// The peers compress.
    pub compressed: u64,
    /// It is another protocol or revision, or makes no sense.
    pub broken: u64,
}

/// Operations of one kind.
#[derive(Debug, Clone, Default)]
pub struct KindSums {
    /// Operations that were answered.
    pub operations: u64,
    /// Of those, the ones that failed.
    pub errors: u64,
    /// Bytes of their data, of both directions.
    pub bytes: u64,
    /// From the operation to its reply, in nanoseconds; `None` while there was none.
    latency: Option<Box<Histogram<u64>>>,
}

impl KindSums {
    fn latency_mut(&mut self) -> &mut Histogram<u64> {
        self.latency.get_or_insert_with(|| {
            let histogram = Histogram::new_with_bounds(SHORTEST_NS, LONGEST_NS, DIGITS);
            Box::new(histogram.expect("the bounds are constant, and good"))
        })
    }

    pub(crate) fn add(&mut self, latency: Duration, bytes: u64, failed: bool) {
        self.operations += 1;
        self.errors += u64::from(failed);
        self.bytes += bytes;
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency_mut().saturating_record(nanoseconds);
    }

    /// How long operations took, if there were any: so many of a hundred took no longer.
    pub fn percentile(&self, percentile: f64) -> Option<Duration> {
        let histogram = self.latency.as_ref()?;
        Some(Duration::from_nanos(histogram.value_at_percentile(percentile)))
    }

    /// How long they took on average, if there were any.
    pub fn mean(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.latency.as_ref()?.mean() as u64))
    }

    /// How long the slowest took, if there was one.
    pub fn max(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.latency.as_ref()?.max()))
    }

    fn merge(&mut self, other: &Self) {
        self.operations += other.operations;
        self.errors += other.errors;
        self.bytes += other.bytes;
        if let Some(latency) = &other.latency {
            self.latency_mut().add(&**latency).expect("all have the same bounds");
        }
    }
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// Connections that were or are looked at.
    pub connections: u64,
    /// Connections of those that turned out to be such that nothing can be seen.
    pub blind: Blind,
    /// Messages by type.
    pub messages: BTreeMap<u16, Traffic>,
    /// Messages of still more types.
    pub other_messages: Traffic,
    /// Control frames.
    pub control_frames: Traffic,
    /// Operations that were answered, by [`Kind`].
    pub kinds: [KindSums; Kind::ALL.len()],
    /// Operations that wait for their reply now.
    pub in_flight: u64,
    /// The most that waited at the same time on one core.
    pub most_in_flight: u64,
    /// Operations that were not followed, since too many were in flight.
    pub untracked: u64,
    /// Replies to operations that were not followed.
    pub unmatched: u64,
    /// Operations whose connection ended, or turned unreadable, before the reply.
    pub abandoned: u64,
    /// Operations that were sent again before the reply.
    pub repeated: u64,
    pub(crate) slowest: Slowest,
}

impl Sums {
    pub(crate) fn message(&mut self, kind: u16, from: Side, bytes: u64) {
        if let Some(traffic) = self.messages.get_mut(&kind) {
            traffic.add(from, bytes);
        } else if self.messages.len() < MOST_TYPES {
            self.messages.entry(kind).or_default().add(from, bytes);
        } else {
            self.other_messages.add(from, bytes);
        }
    }

    /// Operations of one kind.
    pub fn kind(&self, kind: Kind) -> &KindSums {
        &self.kinds[kind as usize]
    }

    /// The slowest operations, the slowest first.
    pub fn slowest(&self) -> &[Slow] {
        self.slowest.kept()
    }

    /// Adds what was seen elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.blind.secure += other.blind.secure;
        self.blind.compressed += other.blind.compressed;
        self.blind.broken += other.blind.broken;
        for (kind, traffic) in &other.messages {
            if self.messages.len() < MOST_TYPES || self.messages.contains_key(kind) {
                self.messages.entry(*kind).or_default().merge(traffic);
            } else {
                self.other_messages.merge(traffic);
            }
        }
        self.other_messages.merge(&other.other_messages);
        self.control_frames.merge(&other.control_frames);
        for (kind, other) in self.kinds.iter_mut().zip(&other.kinds) {
            kind.merge(other);
        }
        self.in_flight += other.in_flight;
        self.most_in_flight = self.most_in_flight.max(other.most_in_flight);
        self.untracked += other.untracked;
        self.unmatched += other.unmatched;
        self.abandoned += other.abandoned;
        self.repeated += other.repeated;
        self.slowest.merge(&other.slowest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_messages_are_bounded_also_when_added_up() {
        let (mut one, mut other) = (Sums::default(), Sums::default());
        for kind in 0..1000 {
            one.message(kind, Side::Initiator, 10);
            other.message(kind + 500, Side::Acceptor, 1);
        }
        assert_eq!(one.messages.len(), MOST_TYPES);
        assert_eq!(one.other_messages.from_client, Flow { messages: 872, bytes: 8720 });
        one.merge(&other);
        assert_eq!(one.messages.len(), MOST_TYPES);
        let all = |of: fn(&Traffic) -> Flow| {
            one.messages.values().chain([&one.other_messages]).map(|t| of(t).messages).sum::<u64>()
        };
        assert_eq!((all(|t| t.from_client), all(|t| t.from_server)), (1000, 1000));
    }

    #[test]
    fn counts_of_cores_add_up() {
        let flow = Flow { messages: 1, bytes: 100 };
        let traffic = Traffic { from_client: flow, from_server: Flow { messages: 2, bytes: 200 } };
        let of_one = || Sums {
            connections: 1,
            blind: Blind { secure: 2, compressed: 3, broken: 4 },
            messages: [(42, traffic)].into(),
            control_frames: traffic,
            in_flight: 5,
            most_in_flight: 9,
            untracked: 6,
            unmatched: 7,
            abandoned: 8,
            repeated: 10,
            ..Sums::default()
        };
        let mut sums = of_one();
        sums.merge(&Sums { most_in_flight: 11, ..of_one() });
        assert_eq!(sums.connections, 2);
        assert_eq!(sums.blind, Blind { secure: 4, compressed: 6, broken: 8 });
        for traffic in [sums.messages[&42], sums.control_frames] {
            assert_eq!(traffic.from_client, Flow { messages: 2, bytes: 200 });
            assert_eq!(traffic.from_server, Flow { messages: 4, bytes: 400 });
        }
        assert_eq!((sums.in_flight, sums.most_in_flight, sums.untracked), (10, 11, 12));
        assert_eq!((sums.unmatched, sums.abandoned, sums.repeated), (14, 16, 20));
    }

    #[test]
    fn latencies_of_cores_add_up() {
        let (mut one, mut other) = (Sums::default(), Sums::default());
        for n in 1..=100 {
            let sums = if n <= 50 { &mut one } else { &mut other };
            sums.kinds[Kind::Write as usize].add(Duration::from_millis(n), 4096, n == 1);
        }
        one.merge(&other);
        let writes = one.kind(Kind::Write);
        assert_eq!((writes.operations, writes.errors, writes.bytes), (100, 1, 409_600));
        let median = writes.percentile(50.0).unwrap().as_secs_f64() * 1e3;
        assert!((49.0..52.0).contains(&median), "{median}");
        let max = writes.max().unwrap().as_secs_f64() * 1e3;
        assert!((99.0..102.0).contains(&max), "{max}");
        assert_eq!(one.kind(Kind::Read).percentile(50.0), None);
        // A clock that stands still, and one that leaps.
        one.kinds[0].add(Duration::ZERO, 0, false);
        one.kinds[0].add(Duration::MAX, 0, false);
        assert_eq!(one.kinds[0].operations, 2);
    }
}
