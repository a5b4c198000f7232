//! Which session an accepted connection is for: lossless sessions by the peer's address, and the
//! rules by which reconnects and races are resolved.
//!
//! When both sides connect at once, the connection wins that the side with the smaller address
//! initiated; the other side is told WAIT. The rules are those that Ceph's daemons follow, so that
//! both sides come to the same end; but for [`Continuation::Unheard`], which closes a gap in them.

use std::collections::HashMap;

use super::address::EntityAddr;
use super::control::{ClientIdent, SessionReconnect};
use super::ids::SessionId;
use super::session::{Link, Session};

/// Lossless sessions by the address of the peer.
#[derive(Debug, Default)]
pub(super) struct Registry {
    by_address: HashMap<EntityAddr, SessionId>,
}

impl Registry {
    pub(super) fn find(&self, peer: &EntityAddr) -> Option<SessionId> {
        self.by_address.get(peer).copied()
    }

    pub(super) fn insert(&mut self, peer: EntityAddr, session: SessionId) {
        self.by_address.insert(peer, session);
    }

    /// Only if it is this session's.
    pub(super) fn remove(&mut self, peer: &EntityAddr, session: SessionId) {
        if self.find(peer) == Some(session) {
            self.by_address.remove(peer);
        }
    }
}

/// What becomes of a client that begins a session while there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It made a later connection already.
    Stale,
    /// Our own connection goes on.
    Wait,
    /// The session gets this stream; after being reset if the peer's is another.
    Adopt {
        /// What we would have sent is forgotten.
        reset: bool,
    },
}

/// What becomes of a client that goes on with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Continuation {
    /// There is no such session; whether the client is to forget its messages, too.
    Reset(bool),
    /// We want to begin it, and have not heard that the peer has. It is to begin again, and so says again
    /// what we have not heard.
    Unheard,
    RetryGlobal(u64),
    Retry(u64),
    /// Our own connection goes on.
    Wait,
    /// The session gets this stream.
    Resume,
}

/// Whether the peer's connection gives way to ours, which is in its handshake.
fn ours_wins(existing: &Session, peer: &EntityAddr, ours: &EntityAddr) -> bool {
    let racing = matches!(existing.link, Link::Connecting(_));
    racing && !existing.policy.server && peer.rank() > ours.rank()
}

/// By CLIENT_IDENT.
pub(super) fn begin(
    existing: &Session,
    ident: &ClientIdent,
    peer: &EntityAddr,
    ours: &EntityAddr,
) -> Beginning {
    if existing.peer_global_seq > ident.global_seq {
        return Beginning::Stale;
    }
    if ours_wins(existing, peer, ours) {
        return Beginning::Wait;
    }
    let another = existing.server_cookie != 0 && existing.client_cookie != ident.cookie;
    Beginning::Adopt { reset: another && existing.policy.reset_check }
}

/// By SESSION_RECONNECT.
pub(super) fn go_on(
    existing: Option<&Session>,
    reconnect: &SessionReconnect,
    reset_check: bool,
    peer: &EntityAddr,
    ours: &EntityAddr,
) -> Continuation {
    let Some(existing) = existing else { return Continuation::Reset(reset_check) };
    if existing.client_cookie != reconnect.client_cookie {
        return Continuation::Reset(reset_check);
    }
    if existing.server_cookie == 0 {
        return Continuation::Unheard;
    }
    if existing.server_cookie != reconnect.server_cookie {
        return Continuation::Reset(reset_check);
    }
    if existing.peer_global_seq > reconnect.global_seq {
        return Continuation::RetryGlobal(existing.peer_global_seq);
    }
    if existing.connect_seq > reconnect.connect_seq {
        return Continuation::Retry(existing.connect_seq);
    }
    if existing.connect_seq == reconnect.connect_seq && ours_wins(existing, peer, ours) {
        return Continuation::Wait;
    }
    Continuation::Resume
}
