//! Placeholder.
mod cores;
mod counters;
mod doorbell;
mod mesh;
mod pending;
mod room;
mod sleep;
mod spin;
mod sync;
mod timers;
mod token;
pub use cores::*;
pub use spin::*;
pub use mesh::*;
pub use pending::*;
pub use timers::*;
