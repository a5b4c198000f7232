//! Ceph's messenger protocol, version 2 revision 1 (msgr2.1), without sockets, clocks or threads.
//!
//! Bytes go in; messages, bytes to send, events and a deadline come out. Whoever owns a socket and a
//! clock moves them. The protocol is described in Ceph's documentation (`dev/msgr2`); what is built
//! here was compared with captures of Ceph 16.2.
//!
//! Where to look, from the wire up: `banner.rs`; `preamble.rs`, `frame.rs` (crc mode) and `secure.rs`
//! (AES-128-GCM) for frames, with `segment.rs`, `crc.rs`, `tag.rs`; what frames carry in
//! `control.rs`, `header.rs`, `address.rs`; `limits.rs` and `error.rs` for what is refused.
//! `follower.rs` watches a stream of others.
//!
//! # Example
//!
//! ```
//! use vmsgr_messenger::msgr2::{Envelope, FrameDecoder, Limits, MessageHeader, Tag};
//!
//! let header = MessageHeader { seq: 1, kind: 2, ..Default::default() }.encode();
//! let segments: [&[u8]; 4] = [&header, b"front", b"", b"data"];
//! let envelope = Envelope::new(Tag::Message, &segments);
//! let mut wire = Vec::new();
//! for slice in envelope.slices(&segments) {
//!     wire.extend_from_slice(&slice);
//! }
//!
//! let mut decoder = FrameDecoder::new(Limits::default());
//! let frame = decoder.decode(&mut &wire[..])?.expect("all of it is there");
//! assert_eq!(&*frame.segments[3], b"data");
//! assert!(frame.segments[3].is_borrowed());
//! # Ok::<(), vmsgr_messenger::msgr2::Violation>(())
//! ```

mod address;
mod banner;
mod control;
mod crc;
mod error;
mod follower;
mod frame;
mod header;
mod limits;
mod preamble;
mod secure;
mod segment;
mod tag;
mod wire;

pub use address::{AddressKind, EntityAddr, EntityAddrs};
pub use banner::Banner;
pub use control::{
    AuthBadMethod, AuthDone, AuthRequest, ClientIdent, Control, EntityType, FLAG_LOSSY, Hello,
    ServerIdent, SessionReconnect, Timestamp,
};
pub use error::{Rule, Violation};
pub use follower::{CannotFollow, Followed, Follower};
pub use frame::{Envelope, Frame, FrameDecoder};
pub use header::MessageHeader;
pub use limits::Limits;
pub use preamble::SEGMENTS;
pub use secure::{FrameSealer, SecureFrameDecoder, Side, from_connection_secret};
pub use segment::Segment;
pub use tag::Tag;
