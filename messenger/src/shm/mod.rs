//! The contract between the daemon and an application: a segment of shared memory.
//!
//! docs/SHM.md describes it byte by byte. Both sides use what is here: `layout.rs` has the
//! structures, `geometry.rs` where they lie, `segment.rs` the memory itself. `ring.rs` are the rings
//! of numbers, jobs and events, `byte_ring.rs` those of a connection's bytes, `signs.rs` the flags
//! by which a sleeper is found; `job.rs` and `event.rs` say what the entries mean, `status.rs` what
//! a slot does.
//!
//! All of it is atomics, read once and then checked: the daemon trusts nothing that an application
//! can write (I8). An application trusts its daemon.

pub(crate) mod address;
pub(crate) mod byte_ring;
pub(crate) mod geometry;
pub(crate) mod job;
pub(crate) mod layout;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod ring;
pub(crate) mod segment;
pub(crate) mod signs;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod transfer;
