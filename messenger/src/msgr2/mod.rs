//! Ceph's messenger protocol, version 2 revision 1 (msgr2.1), without sockets, clocks or threads.
//!
//! Bytes go in; messages, bytes to send, events and a deadline come out. Whoever owns a socket and
//! a clock moves them. The protocol is described in Ceph's documentation (`dev/msgr2`); what is
//! built here was compared with captures of Ceph 16.2.
//!
//! Where to look, from the wire up: `banner.rs`; `preamble.rs`, `frame.rs` (crc mode) and `secure/`
//! (AES-128-GCM, over `gcm.rs`) for frames, with `segment.rs`, `crc.rs`, `tag.rs`; what frames
//! carry in `control.rs`, `header.rs`, `address.rs`; `limits.rs` and `error.rs` for what is
//! refused. `follower.rs` watches a stream of others.
//!
//! Above the wire, [`Endpoint`] holds the sessions and streams of one entity: `connection.rs` is
//! the state of one stream (`state.rs`, `transcript.rs`, `auth.rs`, `keepalive.rs`, `output.rs`),
//! `session.rs` what outlives it (`outbox.rs`, `throttle.rs`, `backoff.rs`, `policy.rs`), and
//! `registry.rs` the rules by which the two find each other. `osd_null.rs` answers operations on
//! objects without storing any; `osd_request.rs` asks for them.
//!
//! # Example
//!
//! ```
//! use vmsgr_messenger::msgr2::{FrameDecoder, Limits, MessageHeader, Tag, crc_frame};
//!
//! let header = MessageHeader { seq: 1, kind: 2, ..Default::default() }.encode();
//! let segments: [&[u8]; 4] = [&header, b"front", b"", b"data"];
//! let wire = crc_frame(Tag::Message, &segments);
//!
//! let mut decoder = FrameDecoder::new(Limits::default());
//! let frame = decoder.decode(&mut &wire[..])?.expect("all of it is there");
//! assert_eq!(&*frame.segments[3], b"data");
//! assert!(frame.segments[3].is_borrowed());
//! # Ok::<(), vmsgr_messenger::msgr2::Violation>(())
//! ```

mod address;
pub(crate) mod arena;
mod auth;
mod auth_none;
mod backoff;
mod banner;
mod config;
mod connection;
mod control;
mod cookies;
mod crc;
mod endpoint;
mod error;
mod event;
mod failure;
mod follower;
mod frame;
mod gcm;
mod header;
mod ids;
mod keepalive;
mod limits;
mod message;
mod osd_null;
mod osd_op;
mod osd_request;
mod outbox;
mod output;
mod policy;
mod preamble;
mod registry;
mod secure;
mod segment;
mod session;
mod state;
mod tag;
mod tally;
mod throttle;
mod timers;
mod transcript;
pub(crate) mod wire;

pub use address::{AddressKind, EntityAddr, EntityAddrs};
pub use auth::{
    AuthError, Authenticator, ClientAuth, MODE_CRC, MODE_SECURE, Secrets, ServerAnswer, ServerAuth,
};
pub use auth_none::AuthNone;
pub use backoff::BackoffLimits;
pub use banner::Banner;
pub use config::{Config, FEATURES, Keepalive};
pub use connection::Peer;
pub use control::{
    AuthBadMethod, AuthDone, AuthRequest, ClientIdent, Control, EntityType, FLAG_LOSSY, Hello,
    ServerIdent, SessionReconnect, Timestamp,
};
pub use cookies::Cookies;
pub use endpoint::{Endpoint, SendError, Target};
pub use error::{Rule, Violation};
pub use event::Event;
pub use failure::{ConnectionError, Reason};
pub use follower::{CannotFollow, Followed, Follower};
pub use frame::{Envelope, Frame, FrameDecoder, control_frame, crc_frame};
pub use header::MessageHeader;
pub use ids::{SessionId, StreamId};
pub use limits::Limits;
pub use message::{Message, Received};
pub use osd_null::OsdNull;
pub use osd_op::{OSD_OP, OSD_OP_REPLY};
pub use osd_request::{OsdRequest, osd_result};
pub use output::Slices;
pub use policy::Policy;
pub use preamble::SEGMENTS;
pub use secure::{FrameSealer, SecureFrameDecoder, Side, from_connection_secret};
pub use segment::{Place, Segment};
pub use session::PeerName;
pub use state::State;
pub use tag::Tag;
pub use tally::Tally;
pub use throttle::ThrottleLimits;
