//! The loads that servers are compared under, each the shape of a kind of traffic.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a server does with the bytes, and so whom it can be compared with.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Sends them back itself.
    Echo,
    /// Passes them on to another server, and that one's answers back.
    Relay,
    /// Passes them on to an application that sends them back, on the same core.
    App,
    /// The same, with the application on the core of the generator.
    AppApart,
    /// Answers operations of Ceph's OSDs.
    Msgr2,
}

/// A named load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// One connection, one message at a time: how long a message takes when nothing else happens.
    Ping,
    /// Many clients, one message at a time each: the cost of a message that comes alone.
    Fan,
    /// Many clients that do not wait for answers: the cost of a message that comes in company.
    Pipeline,
    /// Storage operations of a common size.
    Op4k,
    /// Large messages: the copies.
    Bulk,
    /// A thousand clients at once.
    Crowd,
    /// A thousand clients, none of whom speaks.
    Idle,
    /// Clients that come, say one thing, and go.
    Churn,
    /// As fan, beside some that send and never read: do they slow the others down?
    Slow,
    /// Many clients that send when it is time to, whatever comes back: how late are the answers of
    /// a server that is not driven as fast as it goes?
    Steady,
    /// Operations one at a time, which write this much.
    Write64,
    /// The same, many at a time.
    Write64Deep,
    /// And more.
    Write4k,
    /// Many at a time.
    Write4kDeep,
    /// And more.
    Write64k,
    /// Many at a time.
    Write64kDeep,
    /// And more.
    Write1m,
    /// Many at a time.
    Write1mDeep,
}

/// Of echoes, alone, behind a relay or as an application.
const ECHOED: [Workload; 10] = [
    Workload::Ping,
    Workload::Fan,
    Workload::Pipeline,
    Workload::Op4k,
    Workload::Bulk,
    Workload::Crowd,
    Workload::Idle,
    Workload::Churn,
    Workload::Slow,
    Workload::Steady,
];

/// Of OSDs.
const OPERATIONS: [Workload; 8] = [
    Workload::Write64,
    Workload::Write64Deep,
    Workload::Write4k,
    Workload::Write4kDeep,
    Workload::Write64k,
    Workload::Write64kDeep,
    Workload::Write1m,
    Workload::Write1mDeep,
];

/// Operations in flight of the deep ones.
const DEEP: usize = 32;

/// What a workload puts on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A closed loop.
    Closed {
        /// Connections.
        connections: usize,
        /// Messages in flight on each.
        depth: usize,
        /// Bytes of a message.
        size: usize,
        /// Connections besides, which are not measured: they send, and do not read.
        slow: usize,
    },
    /// An open loop: messages that are due at a fixed rate, each on the next connection in turn.
    Open {
        /// Connections.
        connections: usize,
        /// Bytes of a message.
        size: usize,
        /// Messages a second over all connections.
        rate: u32,
    },
    /// Connections that are made for one message each.
    Churn {
        /// Connections at a time.
        at_once: usize,
        /// Bytes of the message.
        size: usize,
    },
    /// Connections and nothing else.
    Idle {
        /// Connections.
        connections: usize,
    },
    /// Operations of one client of an OSD.
    Osd {
        /// Operations in flight.
        depth: usize,
        /// Bytes that each writes.
        size: usize,
    },
}

impl Kind {
    /// Its name on the command line and of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Relay => "relay",
            Self::App => "app",
            Self::AppApart => "app-apart",
            Self::Msgr2 => "msgr2",
        }
    }

    /// What the servers do, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Echo => "Echo",
            Self::Relay => "Relay, with the server behind it beside the generator",
            Self::App => "An echo as an application, on the core of its daemon or proxy",
            Self::AppApart => "An echo as an application, on the core of the generator",
            Self::Msgr2 => "An OSD that stores nothing, over msgr2 with crcs",
        }
    }

    /// There is an application, apart from who has the sockets.
    pub fn is_app(self) -> bool {
        matches!(self, Self::App | Self::AppApart)
    }

    /// There is somebody beside the generator: the server behind a relay, or the application.
    pub fn shares_the_generators_core(self) -> bool {
        matches!(self, Self::Relay | Self::AppApart)
    }

    /// What is counted.
    pub fn unit(self) -> &'static str {
        if self == Self::Msgr2 { "op" } else { "msg" }
    }

    /// Before a workload's name, where it is not the echo.
    pub fn prefix(self) -> String {
        if self == Self::Echo { String::new() } else { format!("{} ", self.name()) }
    }

    /// The workloads that say something about it.
    pub fn workloads(self) -> &'static [Workload] {
        if self == Self::Msgr2 { &OPERATIONS } else { &ECHOED }
    }

    /// Messages a second of [`Workload::Steady`]: about half of what the slower ones of this kind
    /// serve when they come alone, so that everybody keeps up and sleeps in between.
    fn steady_rate(self) -> u32 {
        if self == Self::Echo { 50_000 } else { 20_000 }
    }
}

impl Workload {
    /// What it is in numbers, for servers of this kind.
    pub fn shape(self, kind: Kind) -> Shape {
        let closed = |connections, depth, size| Shape::Closed { connections, depth, size, slow: 0 };
        let osd = |depth, size| Shape::Osd { depth, size };
        match self {
            Self::Ping => closed(1, 1, 64),
            Self::Fan => closed(64, 1, 64),
            Self::Pipeline => closed(64, 16, 64),
            Self::Op4k => closed(16, 4, 4096),
            Self::Bulk => closed(8, 2, 128 * 1024),
            Self::Crowd => closed(1000, 1, 64),
            Self::Idle => Shape::Idle { connections: 1000 },
            Self::Churn => Shape::Churn { at_once: 16, size: 64 },
            Self::Slow => Shape::Closed { connections: 64, depth: 1, size: 64, slow: 8 },
            Self::Steady => Shape::Open { connections: 64, size: 64, rate: kind.steady_rate() },
            Self::Write64 => osd(1, 64),
            Self::Write64Deep => osd(DEEP, 64),
            Self::Write4k => osd(1, 4096),
            Self::Write4kDeep => osd(DEEP, 4096),
            Self::Write64k => osd(1, 64 * 1024),
            Self::Write64kDeep => osd(DEEP, 64 * 1024),
            Self::Write1m => osd(1, 1024 * 1024),
            Self::Write1mDeep => osd(DEEP, 1024 * 1024),
        }
    }

    /// The same, with so many messages a second of an open loop instead of the usual.
    pub fn shape_at(self, kind: Kind, rate: Option<u32>) -> Shape {
        match (self.shape(kind), rate) {
            (Shape::Open { connections, size, .. }, Some(rate)) => {
                Shape::Open { connections, size, rate }
            }
            (shape, _) => shape,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Fan => "fan",
            Self::Pipeline => "pipeline",
            Self::Op4k => "op4k",
            Self::Bulk => "bulk",
            Self::Crowd => "crowd",
            Self::Idle => "idle",
            Self::Churn => "churn",
            Self::Slow => "slow",
            Self::Steady => "steady",
            Self::Write64 => "write64",
            Self::Write64Deep => "write64-deep",
            Self::Write4k => "write4k",
            Self::Write4kDeep => "write4k-deep",
            Self::Write64k => "write64k",
            Self::Write64kDeep => "write64k-deep",
            Self::Write1m => "write1m",
            Self::Write1mDeep => "write1m-deep",
        }
    }
}

impl Shape {
    /// Nothing is sent.
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Idle { .. })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed { connections: 1, depth, size, slow: 0 } => {
                write!(f, "1 connection, {depth} in flight, {size} B")
            }
            Self::Closed { connections, depth, size, slow } => {
                write!(f, "{connections} connections, {depth} in flight on each, {size} B")?;
                if *slow > 0 {
                    write!(f, "; beside {slow} that send and do not read")?;
                }
                Ok(())
            }
            Self::Open { connections, size, rate } => {
                write!(f, "{connections} connections, {size} B, open loop: {rate} msgs/s are due")
            }
            Self::Churn { at_once, size } => {
                write!(f, "connect, one exchange of {size} B, close; {at_once} at a time")
            }
            Self::Idle { connections } => write!(f, "{connections} connections, nothing sent"),
            Self::Osd { depth, size } => {
                write!(f, "1 client, {depth} operations in flight, each writes {size} B")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for &workload in Workload::value_variants() {
            let value = workload.to_possible_value().unwrap();
            assert_eq!(value.get_name(), workload.name());
            // And those of the files.
            assert_eq!(serde_json::to_value(workload).unwrap(), workload.name());
        }
        // Each says something about somebody.
        let measured = |workload| {
            Kind::value_variants().iter().any(|kind| kind.workloads().contains(workload))
        };
        assert!(Workload::value_variants().iter().all(measured));
        for &kind in Kind::value_variants() {
            assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.name());
        }
    }
}
