//! Placeholder.
mod attempt;
mod bind;
mod census;
mod complaints;
mod connection;
mod connector;
mod drain;
mod job;
mod message;
mod messenger;
mod name;
mod options;
mod original_dst;
mod placement;
mod worker;

pub use bind::Bound;
pub use connection::ConnectionId;
pub use job::{Event, Job, JobId};
pub use messenger::{JobError, Messenger};
pub use name::{Service, ServiceError, ServiceName};
pub use options::{ConnectOptions, ConnectionOptions, Family, Options, SocketOptions};
pub use placement::{Placement, PlacementError};
