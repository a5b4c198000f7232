//! Jobs: what a messenger is asked to do, and what it answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use vmsgr_reactor::{Counters, Exit};

use crate::application::{ApplicationId, Grant};
use crate::bind::Bound;
use crate::entity::EntitySums;
use crate::ids::{ConnectionId, JobId};
use crate::name::Service;
use crate::tap::Sums;

/// Something to be done on the cores.
#[derive(Debug)]
pub enum Job {
    /// Accept connections, on every core, and serve them.
    Listen {
        /// The address, bound already, so that every error was found before.
        bound: Bound,
        /// What to do with its connections.
        service: Service,
    },
    /// Make a connection, on the core that placement chooses, and serve it.
    Connect {
        /// The addresses to try in order; at least one.
        targets: Arc<[SocketAddr]>,
        /// What to do with the connection.
        service: Service,
    },
    /// End what an earlier job began: a listener (its connections go on), or a connection.
    Close(JobId),
}

/// What a messenger tells.
#[derive(Debug)]
pub enum Event {
    /// A listen job is served by one more core.
    Listening {
        /// The job.
        job: JobId,
        /// The core's place in the core mask.
        core: usize,
    },
    /// A connect job has its connection.
    Connected {
        /// The job.
        job: JobId,
        /// The connection that it made.
        connection: ConnectionId,
        /// The target that answered.
        peer: SocketAddr,
    },
    /// What a job began has ended as it should.
    Closed(JobId),
    /// A job could not be done, or what it began has ended with an error.
    Failed {
        /// The job.
        job: JobId,
        /// Why.
        error: io::Error,
    },
    /// The answer to [`Messenger::report`](crate::Messenger::report), from one core.
    Report {
        /// The core's place in the core mask.
        core: usize,
        /// Its counters.
        counters: Box<Counters>,
        /// What its taps have seen, if it has any.
        tap: Option<Box<Sums>>,
        /// What its entities have done, if it has any.
        entities: Option<Box<EntitySums>>,
    },
    /// One core has drained and stopped.
    Drained {
        /// The core's place in the core mask.
        core: usize,
        /// Connections that were cut off at the deadline.
        cut_off: usize,
        /// Its last counters.
        counters: Box<Counters>,
        /// What its taps have seen, if it had any.
        tap: Option<Box<Sums>>,
        /// What its entities have done, if it had any.
        entities: Option<Box<EntitySums>>,
    },
    /// An application is attached, and is to be given this.
    Granted {
        /// The application.
        application: ApplicationId,
        /// What it gets.
        grant: Box<Grant>,
    },
    /// An application is detached, and is to be told so by closing its socket.
    Detached {
        /// The application.
        application: ApplicationId,
        /// Why.
        reason: String,
    },
    /// The thread of a core has ended; the reason is [`Exit::Stopped`] after it has drained.
    Exited {
        /// The core's number.
        core: usize,
        /// How it ended.
        exit: Exit,
    },
}
