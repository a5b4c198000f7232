//! What a loop counts. Plain numbers of one core; nothing here is shared.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $kind:ident,)*) => {
        /// The counters of one loop since it started, and its gauges now.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Name, kind and value of each, in the order of the struct.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, Kind, u64)> {
                [$((stringify!($name), Kind::$kind, self.$name)),*].into_iter()
            }

            /// Adds those of another loop.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

/// How a number behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// What holds now.
    Gauge,
}

counters! {
    /// Turns of the loop.
    turns: Counter,
    /// Returns from a wait in the kernel that could sleep.
    wakeups: Counter,
    /// Of these, those that found nothing to do (I3: below 1% under load).
    wakeups_empty: Counter,
    /// Times the loop looked for more before it went to sleep.
    spins: Counter,
    /// Of these, those that found something.
    spin_hits: Counter,
    /// How long the loop would look now, in microseconds.
    spin_window_us: Gauge,
    /// Events for something that was gone already.
    stale_events: Counter,
    /// Streams whose pending data became non-empty: WRITABLE registered (I1).
    writable_armed: Counter,
    /// Streams whose pending data became empty: WRITABLE removed (I1).
    writable_disarmed: Counter,
    /// Streams whose reading was stopped because what they produce found no room (I4).
    read_paused: Counter,
    /// Doorbells of other cores rung, since they slept (I3).
    doorbells_rung: Counter,
    /// Doorbells not rung, since the other core was awake (I3).
    doorbells_saved: Counter,
    /// Messages that found the ring to another core full and waited (I4).
    ring_full: Counter,
    /// Bytes read from sockets.
    bytes_in: Counter,
    /// Bytes written to sockets.
    bytes_out: Counter,
    /// Reads that brought bytes. A protocol that has messages of its own counts those instead.
    messages_in: Counter,
    /// Writes that took bytes, whole or in part.
    messages_out: Counter,
    /// Messages sent to other cores.
    mesh_out: Counter,
    /// Messages received from other cores.
    mesh_in: Counter,
    /// Reads, writes and accepts that the kernel answered with "would block".
    would_block: Counter,
    /// Connections accepted.
    accepted: Counter,
    /// Of these, those given to another core.
    handed_over: Counter,
    /// Accepts that failed because descriptors or memory ran out.
    accept_exhausted: Counter,
    /// Times something had more to do than its budget for one turn (I6).
    budget_exhausted: Counter,
    /// Timers that came due.
    timers_fired: Counter,
    /// Streams that ended with an error.
    failed: Counter,
    /// Streams now.
    connections: Gauge,
    /// Streams with pending data now.
    pending_streams: Gauge,
    /// Bytes that wait for sockets now.
    pending_bytes: Gauge,
    /// Streams whose reading is stopped now.
    paused: Gauge,
    /// Timers armed now.
    timers: Gauge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_by_name() {
        let mut total = Counters { turns: 1, paused: 2, ..Counters::default() };
        total.add(&Counters { turns: 10, wakeups: 3, ..Counters::default() });
        let named: Vec<_> = total.iter().filter(|(_, _, value)| *value > 0).collect();
        assert_eq!(
            named,
            [
                ("turns", Kind::Counter, 11),
                ("wakeups", Kind::Counter, 3),
                ("paused", Kind::Gauge, 2)
            ]
        );
    }
}
