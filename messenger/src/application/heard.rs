//! What a core tells the messenger of applications.

use std::io;

use super::fault::Fault;
use crate::ids::ApplicationId;

/// What the cores tell of applications.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The core serves it now.
    Attached { application: ApplicationId },
    /// The core cannot watch its doorbell.
    Unwatched { application: ApplicationId, error: io::Error },
    /// The core has repaired what it left.
    Departed { application: ApplicationId },
    /// The core gives it connections of the listener behind this job of its.
    Joined { application: ApplicationId, job: u64 },
    /// It has done something wrong.
    Fault { application: ApplicationId, fault: Fault },
    /// Its time is over: that to come back, or that to ask for the entities that it has taken over.
    TimeOver { application: ApplicationId },
}
