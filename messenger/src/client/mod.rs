//! The application's side: what a process uses to have its connections in the daemon.
//!
//! An application attaches to `vmsgrd`, asks it to listen and to connect, and reads and writes the
//! bytes of its connections in memory that both share. The daemon owns the sockets; the application
//! makes no system call but to wake a core that sleeps, and to sleep itself.
//!
//! ```text
//!      application                               vmsgrd
//!   +-----------------+                     +--------------+
//!   | Endpoint        |  jobs, events       | main thread  |
//!   |                 | <=================> |              |
//!   |  Connection     |  ready rings        | core 0       |
//!   |   recv, send .. | <=================> |  sockets     | <--> peers
//!   |  Connection     |  bytes, both ways   | core 1 ...   |
//!   +-----------------+   a shared segment  +--------------+
//!            ^------------ doorbells, for who sleeps ----^
//! ```
//!
//! An [`Endpoint`] belongs to one thread. Its loop takes [events](Event) until there are none, and
//! then [waits](Endpoint::wait), or polls the endpoint's [doorbell](Endpoint::doorbell) among other
//! descriptors. Events name a connection; [`Endpoint::connection`] lends it, for the moment that it
//! takes to read, to write, to end it.
//!
//! # Readable is told once
//!
//! An event tells that there is something new, once, as an edge-triggered poll does: bytes that are
//! left unread are told of again only when more come. A send that finds no room is told when there
//! is some. So read until there is nothing, or keep in mind that there is something.
//!
//! # After a crash
//!
//! Everything that a connection knows is in the shared memory. If the process dies, the daemon
//! sends what was committed, and keeps connections and listeners for the linger time. Whoever
//! attaches under the same name is told of each connection ([`Event::Resumed`]), and finds the
//! unread bytes, the unsent bytes, the [positions](Connection::positions) and the
//! [cookie](Connection::cookie) as they were. With [`Connection::reply`] every request is answered
//! exactly once, whenever the process is killed.
//!
//! # Example
//!
//! ```no_run
//! use vmsgr_messenger::client::{AttachOptions, Endpoint, Event};
//!
//! let mut endpoint = Endpoint::attach(&AttachOptions::new("echo"))?;
//! endpoint.listen("127.0.0.1:7400".parse()?)?;
//! loop {
//!     while let Some(event) = endpoint.next_event() {
//!         match event {
//!             Event::Readable(id) | Event::Writable(id) => {
//!                 if let Some(mut connection) = endpoint.connection(id) {
//!                     connection.forward(usize::MAX);
//!                 }
//!             }
//!             Event::PeerEnded(id) => endpoint.connection(id).into_iter().for_each(|c| c.close()),
//!             Event::Failed { error, .. } => return Err(error.into()),
//!             Event::Detached { reason } => return Err(reason.into()),
//!             _ => {}
//!         }
//!     }
//!     endpoint.wait(None)?;
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Messages
//!
//! An application can be an [entity](EntityOptions) of msgr2, Ceph's protocol: it
//! [listens](Endpoint::listen_as) and [connects](Endpoint::connect_as) as that, and each connection
//! is a session, whose [messages](Messages) it receives and sends. Streams are made, secured, lost
//! and made again by the daemon.
//!
//! ```no_run
//! use vmsgr_messenger::client::{AttachOptions, Endpoint, EntityOptions, Event, Incoming};
//! use vmsgr_messenger::msgr2::EntityType;
//!
//! let mut endpoint = Endpoint::attach(&AttachOptions::new("osd"))?;
//! let osd = endpoint.entity(&EntityOptions::new(EntityType::OSD, "0"))?;
//! endpoint.listen_as(osd, "127.0.0.1:6800".parse()?)?;
//! loop {
//!     while let Some(event) = endpoint.next_event() {
//!         let Event::Readable(id) = event else { continue };
//!         let Some(mut connection) = endpoint.connection(id) else { continue };
//!         let Some(mut messages) = connection.messages() else { continue };
//!         while let Some(incoming) = messages.peek() {
//!             if let Incoming::Message(message) = incoming {
//!                 println!("{} has {} bytes of data", message.header.kind, message.data.len());
//!             }
//!             messages.consume();
//!         }
//!     }
//!     endpoint.wait(None)?;
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to look
//!
//! `endpoint.rs` is the whole, `asking.rs` what it asks for; `lanes.rs` the rings between it and
//! the daemon; `view.rs` and `halves.rs` what it remembers of each connection, and finds out by a
//! look; `connection.rs` with its halves `receiver.rs` and `sender.rs` the bytes, `messages.rs` and
//! `inbox.rs` the messages. docs/SHM.md describes the memory.

mod asking;
mod attach;
mod connection;
mod counters;
mod doorbells;
#[cfg(all(test, not(loom)))]
mod double;
mod endpoint;
mod entity;
mod error;
mod event;
mod halves;
mod inbox;
mod lanes;
mod listens;
mod message;
mod messages;
mod options;
mod place;
mod receiver;
mod sender;
mod spin;
#[cfg(all(test, not(loom)))]
mod tests;
mod view;

pub use connection::{Connection, Positions};
pub use counters::Counters;
pub use endpoint::Endpoint;
pub use entity::{EntityId, EntityOptions};
pub use error::{AttachError, DetachReason, Error};
pub use event::{ConnectionId, Event, JobId};
pub use message::{Incoming, Message, Pieces, SendError};
pub use messages::{Messages, Progress};
pub use options::AttachOptions;
pub use receiver::Receiver;
pub use sender::Sender;

pub use crate::shm::{EntityError, EntityPolicy, Notice, PeerEntity};
