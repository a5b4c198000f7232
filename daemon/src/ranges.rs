//! The numbers that can be set: their keys, ranges, units and defaults, once for the help, the
//! messages and the documentation.

use std::fmt;

/// A number that can be set.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// Its key in the configuration file, with its table.
    pub key: &'static str,
    /// The smallest allowed, but for a zero that has a meaning of its own.
    pub min: u64,
    /// The largest allowed; in 32 bits, but for a number of bytes.
    pub max: u64,
    /// What zero means where it is allowed below `min`.
    pub zero: Option<&'static str>,
    /// What it counts.
    pub unit: &'static str,
    /// Its value when nobody sets it.
    pub default: u64,
}

impl Range {
    /// `number` if it is allowed.
    pub fn accept(&self, number: i64) -> Option<u64> {
        let number = u64::try_from(number).ok()?;
        let allowed =
            (self.min..=self.max).contains(&number) || (number == 0 && self.zero.is_some());
        allowed.then_some(number)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(meaning) = self.zero {
            write!(f, "0 ({meaning}) or ")?;
        }
        let Self { min, max, unit, default, .. } = self;
        let space = if unit.is_empty() { "" } else { " " };
        write!(f, "{min} to {max}{space}{unit}, default {default}")
    }
}

/// Connections accepted and open at the same time, over all listeners.
pub const MAX_CONNECTIONS: Range = Range {
    key: "max_connections",
    min: 1,
    max: 10_000_000,
    zero: None,
    unit: "connections",
    default: 65_536,
};

/// How long connections may drain after the first SIGTERM or SIGINT.
pub const DRAIN_TIMEOUT: Range = Range {
    key: "drain_timeout_secs",
    min: 0,
    max: 3600,
    zero: None,
    unit: "seconds",
    default: 10,
};

/// Idle time after which the kernel begins to probe a peer.
pub const KEEPALIVE: Range = Range {
    key: "socket.keepalive_secs",
    min: 1,
    // The kernel's own limit for TCP_KEEPIDLE.
    max: 32_767,
    zero: Some("off"),
    unit: "seconds",
    default: 60,
};

/// SO_SNDBUF.
pub const SEND_BUFFER: Range = Range {
    key: "socket.send_buffer_bytes",
    min: 4096,
    max: 1 << 30,
    zero: Some("the kernel's choice"),
    unit: "bytes",
    default: 0,
};

/// SO_RCVBUF.
pub const RECEIVE_BUFFER: Range = Range { key: "socket.receive_buffer_bytes", ..SEND_BUFFER };

/// Connections that wait to be accepted, per listener and core.
pub const BACKLOG: Range = Range {
    key: "socket.backlog",
    min: 1,
    max: 65_535,
    zero: None,
    unit: "connections",
    default: 4096,
};

/// BACKLOG for one listener.
pub const LISTENER_BACKLOG: Range = Range { key: "listen.backlog", ..BACKLOG };

/// How long an upstream may take to accept a connection.
pub const CONNECT_TIMEOUT: Range = Range {
    key: "relay.connect_timeout_ms",
    min: 1,
    max: 600_000,
    zero: None,
    unit: "milliseconds",
    default: 5000,
};

/// SO_MARK of the relay's upstream sockets.
pub const MARK: Range = Range {
    key: "relay.mark",
    min: 1,
    max: u32::MAX as u64,
    zero: Some("none"),
    unit: "",
    default: 0,
};

/// Time without a byte in either direction after which a connection is closed.
pub const IDLE_TIMEOUT: Range = Range {
    key: "connection.idle_timeout_secs",
    min: 1,
    max: 31_536_000,
    zero: Some("off"),
    unit: "seconds",
    default: 0,
};

/// Pending bytes at which the producer is stopped.
pub const HIGH_WATER: Range = Range {
    key: "connection.high_water_bytes",
    min: 4096,
    max: 1 << 30,
    zero: None,
    unit: "bytes",
    default: 256 << 10,
};

/// Pending bytes at which the producer goes on.
pub const LOW_WATER: Range = Range {
    key: "connection.low_water_bytes",
    min: 0,
    max: 1 << 30,
    zero: None,
    unit: "bytes",
    default: 64 << 10,
};

/// Applications' endpoints that are attached at the same time.
pub const MAX_ENDPOINTS: Range = Range {
    key: "applications.max_endpoints",
    min: 1,
    max: 16_384,
    zero: None,
    unit: "endpoints",
    default: 256,
};

/// The largest segment that an endpoint may ask for.
pub const MAX_SEGMENT: Range = Range {
    key: "applications.max_segment_bytes",
    min: 1 << 20,
    max: 1 << 42,
    zero: None,
    unit: "bytes",
    default: 1 << 30,
};

/// What is held of messages for one application outside its segment.
pub const MAX_HELD: Range = Range {
    key: "applications.max_held_bytes",
    min: 1 << 20,
    max: 1 << 42,
    zero: None,
    unit: "bytes",
    default: 256 << 20,
};

/// How long the connections of an application that is gone are kept at most.
pub const MAX_LINGER: Range = Range {
    key: "applications.max_linger_secs",
    min: 0,
    max: 3600,
    zero: None,
    unit: "seconds",
    default: 3600,
};

#[cfg(test)]
pub const ALL: &[Range] = &[
    MAX_CONNECTIONS,
    DRAIN_TIMEOUT,
    KEEPALIVE,
    SEND_BUFFER,
    RECEIVE_BUFFER,
    BACKLOG,
    LISTENER_BACKLOG,
    CONNECT_TIMEOUT,
    MARK,
    IDLE_TIMEOUT,
    HIGH_WATER,
    LOW_WATER,
    MAX_ENDPOINTS,
    MAX_SEGMENT,
    MAX_HELD,
    MAX_LINGER,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_and_every_end_is_where_it_says() {
        for range in ALL {
            let accept = |number: u64| range.accept(number as i64).is_some();
            assert!(accept(range.default), "{range:?}");
            assert!(accept(range.min) && accept(range.max), "{range:?}");
            assert!(!accept(range.max + 1) && range.accept(-1).is_none(), "{range:?}");
            assert_eq!(accept(0), range.min == 0 || range.zero.is_some(), "{range:?}");
            let large = [MAX_SEGMENT.key, MAX_HELD.key].contains(&range.key);
            assert!(large || range.max <= u64::from(u32::MAX), "{range:?}");
        }
        assert_eq!(SEND_BUFFER.accept(4095), None);
    }

    #[test]
    fn a_range_reads_like_a_sentence() {
        assert_eq!(KEEPALIVE.to_string(), "0 (off) or 1 to 32767 seconds, default 60");
        assert_eq!(DRAIN_TIMEOUT.to_string(), "0 to 3600 seconds, default 10");
        assert_eq!(MARK.to_string(), "0 (none) or 1 to 4294967295, default 0");
    }
}
