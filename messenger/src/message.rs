//! What travels between the cores, and between them and the messenger.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};

use crate::ids::JobId;
use crate::job::Event;
use crate::name::Service;

/// A message of the mesh. Small, since rings of them are allocated from each core to each.
#[derive(Debug)]
pub(crate) enum Message {
    /// To every core: listen on its own socket.
    Listen(Box<(JobId, TcpListener, Service)>),
    /// To one core: make a connection, for which a place in the census is taken already.
    Connect(Box<(JobId, Arc<[SocketAddr]>, Service)>),
    /// To every core: end what this job began.
    Close(JobId),
    /// From the accepting core to the one that is to have the connection.
    Adopt(Box<Adopted>),
    /// There is a place below the connection limit again.
    Place,
    /// To every core: tell the counters.
    Report,
    /// To every core: stop accepting, serve what is under way, stop.
    Drain(Duration),
    /// To the messenger.
    Tell(Event),
}

/// An accepted connection on its way to its core.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) socket: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) service: Service,
}
