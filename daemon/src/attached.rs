//! Between the socket where applications attach and the messenger that serves them: who is whom.

use crate::applications::{Applications, AttachRequest, Attachments, Granted, PeerId, Verdict};
use mio::{Registry, Token};
use nix::errno::Errno;
use std::collections::HashMap;
use vmsgr_messenger::shm::Refusal;
use vmsgr_messenger::{ApplicationId, Attachment, Grant, Messenger};
use vmsgr_reactor::Doorbell;

/// The first token of the main thread's poll that is the doorbell of an application. Peers have
/// those below.
const FIRST_DOORBELL: usize = 1 << 48;

/// The applications that the messenger serves, and their peers.
#[derive(Debug)]
pub struct Attached {
    registry: Registry,
    peers: HashMap<ApplicationId, Served>,
    applications: HashMap<PeerId, ApplicationId>,
    doorbells: HashMap<Token, ApplicationId>,
    last: usize,
}

#[derive(Debug)]
struct Served {
    peer: PeerId,
    /// What it rings for the main thread, once it has been granted what it asked for.
    doorbell: Option<(Token, Doorbell)>,
}

impl Attached {
    /// Nobody yet; doorbells are registered with `registry`.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            peers: HashMap::new(),
            applications: HashMap::new(),
            doorbells: HashMap::new(),
            last: FIRST_DOORBELL,
        }
    }

    /// The application whose doorbell has this token.
    pub fn rung(&self, token: Token) -> Option<ApplicationId> {
        self.doorbells.get(&token).copied()
    }

    /// Passes on what the messenger has granted.
    pub fn granted(&mut self, id: ApplicationId, grant: Grant, applications: &mut Applications) {
        // It may have gone meanwhile; then the messenger has been told.
        let Some(served) = self.peers.get_mut(&id) else { return };
        let Grant { epoch, resumed, cores, segment_bytes, descriptors, doorbell } = grant;
        self.last += 1;
        let token = Token(self.last);
        if let Err(error) = doorbell.register(&self.registry, token) {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(Errno::ENOMEM as i32));
            let reason = format!("its doorbell cannot be watched: {error}");
            return applications.welcome(served.peer, Err(Refusal::new(errno, reason)));
        }
        self.doorbells.insert(token, id);
        served.doorbell = Some((token, doorbell));
        let granted = Granted { epoch, resumed, cores, segment_bytes, descriptors };
        applications.welcome(served.peer, Ok(granted));
    }

    /// Hangs up on an application that the messenger has detached.
    pub fn detached(&mut self, id: ApplicationId, reason: &str, applications: &mut Applications) {
        match self.forget(id) {
            Some(Served { peer, doorbell: Some(_) }) => applications.detach(peer, reason),
            Some(Served { peer, doorbell: None }) => {
                let refusal = Refusal::new(Errno::ECONNABORTED, reason);
                applications.welcome(peer, Err(refusal));
            }
            None => log::warn!("application {id}, which had gone, is not kept: {reason}"),
        }
    }

    fn forget(&mut self, id: ApplicationId) -> Option<Served> {
        let served = self.peers.remove(&id)?;
        self.applications.remove(&served.peer);
        if let Some((token, doorbell)) = &served.doorbell {
            self.doorbells.remove(token);
            if let Err(error) = doorbell.deregister(&self.registry) {
                log::error!("the doorbell of application {id} cannot be deregistered: {error}");
            }
        }
        Some(served)
    }
}

/// The two together, as [`Applications`] asks of them.
#[derive(Debug)]
pub struct Attaching<'a> {
    /// Who serves applications.
    pub messenger: &'a mut Messenger,
    /// Who knows which is which.
    pub attached: &'a mut Attached,
}

impl Attachments for Attaching<'_> {
    fn attach(&mut self, request: AttachRequest, peer: PeerId) -> Verdict {
        let AttachRequest { hello, uid, pid, permissions } = request;
        let attachment = Attachment {
            name: hello.name,
            uid,
            pid,
            slots: hello.slots,
            receive_ring_bytes: hello.receive_ring_bytes,
            send_ring_bytes: hello.send_ring_bytes,
            linger: hello.linger,
            permissions,
        };
        match self.messenger.attach(attachment) {
            Ok(id) => {
                self.attached.peers.insert(id, Served { peer, doorbell: None });
                self.attached.applications.insert(peer, id);
                Verdict::Later
            }
            Err((errno, reason)) => Verdict::Now(Err(Refusal::new(errno, reason))),
        }
    }

    fn departed(&mut self, peer: PeerId) {
        if let Some(id) = self.attached.applications.get(&peer).copied() {
            self.attached.forget(id);
            self.messenger.depart(id);
        }
    }
}
