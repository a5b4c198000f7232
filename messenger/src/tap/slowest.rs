//! The slowest operations.

use std::net::SocketAddr;
use std::time::Duration;

use super::operation::{Kind, Operation};

/// So many are remembered.
const KEPT: usize = 16;

/// One of the slowest operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slow {
    /// From the operation to its reply.
    pub latency: Duration,
    /// What it did.
    pub kind: Kind,
    /// Its code; see [`operation_name`](super::operation_name).
    pub code: Option<u16>,
    /// The pool of its object.
    pub pool: Option<i64>,
    /// The object's name, at most 128 bytes of it, with what cannot be printed escaped.
    pub object: String,
    /// Bytes of data, of both directions.
    pub bytes: u64,
    /// Who asked for it.
    pub client: Option<SocketAddr>,
}

/// The slowest of all operations that were added, the slowest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slowest {
    kept: Vec<Slow>,
}

impl Slowest {
    pub(crate) fn kept(&self) -> &[Slow] {
        &self.kept
    }

    /// Whether an operation that took so long is one of them.
    fn admits(&self, latency: Duration) -> bool {
        self.kept.len() < KEPT || self.kept.last().is_some_and(|last| latency > last.latency)
    }

    pub(crate) fn add(
        &mut self,
        latency: Duration,
        operation: &Operation,
        bytes: u64,
        client: Option<SocketAddr>,
    ) {
        // Hardly ever: names are made printable only then.
        if self.admits(latency) {
            let Operation { kind, code, pool, ref object } = *operation;
            let object = object.escape_ascii().to_string();
            self.insert(Slow { latency, kind, code, pool, object, bytes, client });
        }
    }

    fn insert(&mut self, slow: Slow) {
        let place = self.kept.partition_point(|kept| kept.latency >= slow.latency);
        self.kept.insert(place, slow);
        self.kept.truncate(KEPT);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for slow in &other.kept {
            if self.admits(slow.latency) {
                self.insert(slow.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(slowest: &mut Slowest, latency: u64) {
        let kind = Kind::Read;
        let object = format!("o{latency}\n").into_bytes().into();
        let operation = Operation { kind, code: None, pool: None, object };
        slowest.add(Duration::from_micros(latency), &operation, 1, None);
    }

    fn latencies(slowest: &Slowest) -> Vec<u128> {
        slowest.kept().iter().map(|slow| slow.latency.as_micros()).collect()
    }

    #[test]
    fn the_slowest_are_kept_in_order_also_of_several_cores() {
        let (mut one, mut other) = (Slowest::default(), Slowest::default());
        // 37 is prime to 100: all of them, mixed.
        for n in 0..100 {
            let latency = n * 37 % 100;
            add(if n % 2 == 0 { &mut one } else { &mut other }, latency);
        }
        one.merge(&other);
        assert_eq!(latencies(&one), (84..100).rev().collect::<Vec<_>>());
        assert_eq!(one.kept()[0].object, "o99\\n");
    }
}
