//! The daemon's side of applications that attach over shared memory.
//!
//! An [`Application`] is known to all threads: its segment, its slots (`pool.rs`), its doorbell.
//! The messenger's thread has them all in its `registry.rs` (`served.rs` is one of them), sees them
//! come (`attaching.rs`, `attachment.rs`) and go (`departing.rs`), and does their jobs
//! (`requests.rs`, `entities.rs`); `heard.rs` is what cores tell it of them. Each core has a
//! [`Lane`] to it, over which slot numbers go up and down; of each connection the core keeps a
//! [`Conduit`], which fills the receive ring, and the [`SendRing`], which is where the connection's
//! pending data lives. `service.rs` is what a worker does for them in a turn, `telling.rs` and
//! `bells.rs` when it tells them, `endpoints.rs` which application an accepted connection goes to,
//! `places.rs` how it gets there, `life.rs` how they come, die, and are taken over.
//!
//! An application that is an entity of Ceph's protocol (`identity.rs`) has it on one core, its
//! home: [`Sessions`] get the entity's messages, and each `session/` has a slot, whose rings have
//! parts of messages. `hosting.rs` is what a worker does for them, `connecting.rs` how those begin
//! that the application asks for, `pacing.rs` how much of it at a time: `lines.rs` has the sessions
//! that wait for their turn or for room, `allowance.rs` what may be held. `strangers.rs` has the
//! sessions that go first when slots run short.

mod allowance;
mod attaching;
mod attachment;
pub(crate) mod bells;
#[cfg(test)]
mod caller;
pub(crate) mod conduit;
mod connecting;
#[cfg(test)]
mod connecting_tests;
#[cfg(test)]
mod deaths;
mod departing;
#[cfg(test)]
pub(crate) mod double;
mod endpoints;
mod entities;
#[cfg(test)]
mod entities_tests;
#[cfg(test)]
mod entity_tests;
mod fault;
pub(crate) mod heard;
#[cfg(test)]
mod held_tests;
mod hosting;
#[cfg(test)]
mod hosting_tests;
mod identity;
mod lane;
#[cfg(test)]
mod lies;
mod life;
mod lines;
#[cfg(test)]
mod messages;
mod pacing;
#[cfg(test)]
mod pacing_tests;
mod places;
mod pool;
pub(crate) mod registry;
mod requests;
#[cfg(test)]
mod scribbles;
mod send_ring;
mod served;
mod service;
mod session;
mod sessions;
mod shared;
mod strangers;
#[cfg(test)]
mod strangers_tests;
mod telling;
#[cfg(test)]
mod tests;

pub use attachment::{Attachment, Grant};
pub(crate) use conduit::Conduit;
pub(crate) use endpoints::{Endpoints, Reserved};
pub use fault::Fault;
pub use identity::EntityListener;
pub(crate) use identity::Identity;
pub(crate) use lane::Lane;
pub(crate) use send_ring::SendRing;
pub(crate) use sessions::Sessions;
pub(crate) use shared::Application;

pub use crate::ids::ApplicationId;
