//! Placeholder.
mod core;
mod cores;
mod counters;
mod doorbell;
mod handler;
mod listener;
mod mesh;
#[cfg(all(test, loom))]
mod models;
mod pending;
mod room;
#[cfg(test)]
mod scripted;
mod sleep;
mod socket;
mod spin;
mod stream;
mod sync;
mod threads;
mod timers;
mod token;
mod turn;

pub use core::{Budget, Core};
pub use cores::{CoreMask, CoreMaskError, pin_current_thread};
pub use counters::{Counters, Kind};
pub use doorbell::Doorbell;
pub use handler::{End, Handler};
pub use mesh::{Port, RING_MESSAGES, Waker, mesh};
pub use pending::{ByteQueue, Marks, Pending};
pub use socket::Socket;
pub use spin::{SpinPolicy, SpinPolicyError};
pub use stream::Received;
pub use threads::{Exit, Threads};
pub use timers::{TimerId, Timers};
pub use token::Token;
pub use turn::Loop;
