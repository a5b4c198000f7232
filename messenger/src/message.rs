//! What travels between the cores, and between them and the messenger.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use vmsgr_reactor::Doorbell;

use crate::application::heard::Heard;
use crate::application::{Application, ApplicationId, EntityListener, Identity, Reserved};
use crate::ids::JobId;
use crate::job::Event;
use crate::msgr2::EntityType;
use crate::name::Service;
use crate::shm::job::Patience;

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
    /// To every core: an application has come, or has come again; with the doorbell that it rings.
    Attach(Box<(Arc<Application>, Doorbell)>),
    /// To every core: an application has died.
    Depart(ApplicationId),
    /// To one core: tell when so much time has passed, unless the application dies or somebody
    /// comes after it before.
    Time(ApplicationId, Duration),
    /// To every core: another entity has the listener of a job of ours from here on.
    Inherit { listener: JobId, heir: Arc<EntityListener> },
    /// To one core, its home: an entity ends.
    EndEntity(Box<Identity>),
    /// To every core: an application is gone for good.
    Retire(ApplicationId),
    /// To every core: an application has done something wrong.
    Evict(ApplicationId),
    /// To every core: an application listens, too, where a job of ours listens.
    Join { listener: JobId, application: ApplicationId, job: u64 },
    /// To every core: it no longer does.
    Quit { listener: JobId, application: ApplicationId, job: u64 },
    /// To one core: make a connection for an application, in a slot that is taken already.
    ConnectFor(Box<(Reserved, SocketAddr)>),
    /// To one core: begin a session of an entity for an application.
    ConnectAs(Box<ConnectAs>),
    /// To every core: give up a connection that an application has asked for.
    Cancel { application: ApplicationId, job: u64 },
    /// To the messenger, about an application.
    Hear(Box<Heard>),
}

/// A session that an application asks for, in a slot that is taken already.
#[derive(Debug)]
pub(crate) struct ConnectAs {
    pub(crate) reserved: Reserved,
    pub(crate) identity: Identity,
    pub(crate) address: SocketAddr,
    /// What the peer has to be; `None`: whatever it says.
    pub(crate) peer: Option<EntityType>,
    /// Until it is open for the first time.
    pub(crate) patience: Patience,
}

/// An accepted connection on its way to its core.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) socket: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) service: Service,
    /// The slot that it gets, if it is for an application.
    pub(crate) reserved: Option<Reserved>,
}
