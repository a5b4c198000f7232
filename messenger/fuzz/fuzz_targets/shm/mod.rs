//! Rings of messages from the messenger's own files: nothing of them is public, and nothing has to be
//! for a target.
#![allow(dead_code)] // Of what both sides have, a target needs some.

#[path = "../../../src/shm/byte_ring.rs"]
pub mod byte_ring;
#[path = "../../../src/shm/bytes.rs"]
mod bytes;
#[path = "../../../src/shm/part.rs"]
pub mod part;
#[path = "../../../src/shm/part_reader.rs"]
pub mod part_reader;
#[path = "../../../src/shm/part_writer.rs"]
pub mod part_writer;
