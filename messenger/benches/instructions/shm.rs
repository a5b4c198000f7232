//! The shared segment's own files: nothing of them is public, and nothing has to be for a bench.
#![allow(dead_code)] // Of what both sides have, the bench needs some.
#![allow(unused_imports)] // Their tests come along, and are none here.

#[path = "../../src/shm/address.rs"]
mod address;
#[path = "../../src/shm/byte_ring.rs"]
pub(crate) mod byte_ring;
#[path = "../../src/shm/bytes.rs"]
mod bytes;
#[path = "../../src/shm/entity.rs"]
mod entity;
#[path = "../../src/shm/entity_error.rs"]
mod entity_error;
#[path = "../../src/shm/job.rs"]
pub(crate) mod job;
#[path = "../../src/shm/keepalive.rs"]
mod keepalive;
#[path = "../../src/shm/layout.rs"]
pub(crate) mod layout;
#[path = "../../src/shm/part.rs"]
pub(crate) mod part;
#[path = "../../src/shm/part_reader.rs"]
pub(crate) mod part_reader;
#[path = "../../src/shm/part_writer.rs"]
pub(crate) mod part_writer;
#[path = "../../src/shm/ring.rs"]
pub(crate) mod ring;
#[path = "../../src/shm/signs.rs"]
mod signs;
#[path = "../../src/shm/sync.rs"]
pub(crate) mod sync;
