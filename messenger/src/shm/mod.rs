//! Applications over shared memory: how they attach, which of them may, and the segment that they
//! and the daemon share.
//!
//! **Attaching.** `hello.rs` describes the handshake byte by byte and holds what an application
//! says, `welcome.rs` what it is answered, `exchange.rs` passes both through the socket. `path.rs`
//! is where that socket lies. `policy.rs` decides who may attach and, with the rules of `rule.rs`,
//! what for.
//!
//! **The segment.** docs/SHM.md describes it byte by byte. Both sides use what is here: `layout.rs`
//! has the structures, `geometry.rs` where they lie, `segment.rs` the memory itself. `ring.rs` are
//! the rings of numbers, jobs and events, `byte_ring.rs` those of a connection's bytes, `signs.rs`
//! the flags by which a sleeper is found; `job.rs` says what the entries mean, `status.rs` what a
//! slot does, `intent.rs` how two positions change in one step. Where a connection is one of
//! messages, `part.rs` says how they lie among the bytes, `part_writer.rs` puts them there and
//! `part_reader.rs` takes them; `entity.rs` is what is said of a msgr2 identity, `keepalive.rs`
//! of its keepalives, and `entity_error.rs` what is wrong with either. All of it is atomics, or
//! copied, once, and then checked: the daemon trusts nothing that an application can write (I8). An
//! application trusts its daemon.

pub(crate) mod address;
pub(crate) mod byte_ring;
mod bytes;
pub(crate) mod entity;
pub(crate) mod entity_error;
mod exchange;
pub(crate) mod geometry;
mod hello;
pub(crate) mod intent;
pub(crate) mod job;
pub(crate) mod keepalive;
pub(crate) mod layout;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod part;
pub(crate) mod part_reader;
#[cfg(all(test, not(loom)))]
mod part_tests;
pub(crate) mod part_writer;
mod path;
pub(crate) mod peer;
mod policy;
pub(crate) mod ring;
mod rule;
pub(crate) mod segment;
pub(crate) mod signs;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod transfer;
mod welcome;

pub use entity::EntityPolicy;
pub use entity_error::EntityError;
pub use exchange::{
    Attached, ExchangeError, attach, receive_answer, receive_hello, send_hello, send_refusal,
    send_welcome,
};
pub use hello::{HELLO_BYTES, Hello, HelloError, VERSION};
pub use part::Notice;
pub use path::{MAX_PATH_BYTES, default_path, default_paths};
pub use peer::PeerEntity;
pub use policy::{Allow, Denied, Permissions, Policy, Users};
pub use rule::{Rule, RuleError};
pub use welcome::{ANSWER_BYTES, Answer, AnswerError, MAX_CORES, Refusal, Welcome};
