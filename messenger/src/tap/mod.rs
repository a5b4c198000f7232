//! Watching what Ceph's clients and daemons say to each other, on connections that are relayed.
//!
//! The bytes of both directions are looked at as they pass: neither altered, nor delayed, nor kept.
//! What can be read (msgr2 in crc mode, whatever the authentication) is counted and timed; where
//! it cannot (encryption, another protocol, bytes that make no sense) the tap says so once, and the
//! bytes go on as before.
//!
//! ```text
//!                        +--- Follower ---+
//! client ---- bytes ---->|  OSD_OP   tid  |----> OSD       TappedConnection, one each: operations
//!        <---- bytes ----|  reply    tid  |<----           in flight by tid
//!                        +--- Follower ---+
//!                                |
//!                                v
//!                               Sums                       one for each core; added up on demand
//! ```
//!
//! Where to look: `connection.rs` for one connection, `operation.rs` for what an OSD operation
//! does and to which object, `sums.rs` and `slowest.rs` for what is kept, `names.rs` for what
//! numbers are called.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use vmsgr_messenger::msgr2::{Banner, Side};
//! use vmsgr_messenger::tap::Tap;
//!
//! let tap = Tap::default();
//! let mut connection = tap.connection(None);
//! let now = Duration::ZERO;
//! assert_eq!(connection.pass(Side::Initiator, now, &Banner::OURS.encode()), None);
//! // This is no banner: from here on the connection is not looked at.
//! assert!(connection.pass(Side::Acceptor, now, b"HTTP/1.1").is_some());
//! assert_eq!(connection.pass(Side::Acceptor, now, b"HTTP/1.1"), None);
//! assert_eq!(tap.sums().blind.broken, 1);
//! ```

mod connection;
mod names;
mod operation;
mod slowest;
mod sums;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

pub use connection::TappedConnection;
pub use names::{message_name, operation_name};
pub use operation::Kind;
pub use slowest::Slow;
pub use sums::{Blind, Flow, KindSums, Sums, Traffic};

/// Makes the taps of the connections of one core, and adds up what they see.
#[derive(Debug, Clone, Default)]
pub struct Tap {
    sums: Rc<RefCell<Sums>>,
}

impl Tap {
    /// For a new connection, of this client.
    pub fn connection(&self, client: Option<SocketAddr>) -> TappedConnection {
        TappedConnection::new(Rc::clone(&self.sums), client)
    }

    /// All that was seen so far.
    pub fn sums(&self) -> Sums {
        self.sums.borrow().clone()
    }
}
