//! What the bytes mean and where they go: jobs, listeners, connectors, connections, services.
//!
//! A [`Messenger`] runs one loop of [`vmsgr_reactor`] on every core of a mask and gives them
//! [jobs](Job): listen on an address, make a connection, end one of those. Every accepted
//! connection goes to the core that [placement](Placement) chooses and stays there; a
//! [service](Service) says what happens with its bytes.
//!
//! ```text
//!                 Messenger  (any thread)
//!            jobs |   ^ events
//!                 v   |              the mesh
//!      +---------------------+      +---------------------+
//!      | worker of core 0    |<====>| worker of core 1    |   accepted sockets change cores
//!      |  listener :7400     |      |  listener :7400     |   one SO_REUSEPORT socket each
//!      |  connections        |      |  connections        |
//!      |   echo, discard,    |      |                     |
//!      |   osd-null,         |      |                     |
//!      |   relay --> connector      |                     |
//!      +---------------------+      +---------------------+
//! ```
//!
//! Where to look: `messenger.rs` is the side that asks, `worker.rs` the side of a core that does;
//! `message.rs` is all that travels between them. A connection's life: `arrival.rs` (`bind.rs`
//! makes the listening sockets, `placement.rs` and `census.rs` choose the core and keep the limit),
//! `attempt.rs` for those that are made (`connector.rs` makes the sockets), `ending.rs`, and
//! `drain.rs`, which stops without losing what is under way. `entity/` serves those who speak
//! [Ceph's protocol](msgr2). [`shm`] is how applications attach.
//!
//! An application gets bytes, or messages: one that says which [entity](client::EntityOptions) it
//! is listens and connects as that, and its rings carry whole messages of msgr2, checked. Streams
//! come and go below a session and are the daemon's business, as are handshakes, acknowledgements
//! and sending again; the application is told by [notices](shm::Notice). What it does not take
//! stops its own peers and nobody else's. `examples/osd_null.rs` is one, and `c/examples/pong.c`:
//!
//! ```text
//! vmsgrd &
//! cargo run --release -p vmsgr-messenger --example osd_null -- 127.0.0.1:6800
//! vmsgrctl ceph-ping v2:127.0.0.1:6800/0
//! vmsgr-bench osd 127.0.0.1:6800
//! ```
//!
//! # Example
//!
//! ```
//! use std::io::{Read, Write};
//! use std::time::Duration;
//! use vmsgr_messenger::{Bound, Event, Job, Messenger, Options, Service};
//! use vmsgr_reactor::CoreMask;
//!
//! let mask = CoreMask::first()?;
//! let options = Options::default();
//! let bound = Bound::bind("127.0.0.1:0".parse()?, mask.cores().len(), &options.socket)?;
//! let address = bound.address();
//!
//! let mut messenger = Messenger::start(&mask, options)?;
//! messenger.submit(Job::Listen { bound, service: Service::Echo })?;
//! messenger.publish();
//!
//! let mut socket = std::net::TcpStream::connect(address)?;
//! let mut answer = [0; 5];
//! socket.write_all(b"hello")?;
//! socket.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"hello");
//!
//! messenger.drain(Duration::from_secs(1));
//! messenger.publish();
//! messenger.join();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod application;
mod arrival;
mod attempt;
mod bind;
mod census;
pub mod client;
mod complaints;
mod connection;
mod connector;
mod drain;
mod ending;
mod entity;
mod ids;
mod job;
mod linger;
mod message;
mod messenger;
pub mod msgr2;
mod name;
mod options;
mod original_dst;
mod placement;
pub mod shm;
pub mod tap;
mod tapped;
mod unacknowledged;
mod waiting;
mod worker;

pub use application::{ApplicationId, Attachment, EntityListener, Fault, Grant};
pub use bind::Bound;
pub use complaints::Complaints;
pub use entity::{EntitySums, OsdNullOptions};
pub use ids::{ConnectionId, JobId};
pub use job::{Event, Job};
pub use messenger::{JobError, Messenger};
pub use name::{Service, ServiceError, ServiceName};
pub use options::{
    ApplicationOptions, ConnectOptions, ConnectionOptions, Family, Options, SocketOptions,
};
pub use placement::{Placement, PlacementError};
