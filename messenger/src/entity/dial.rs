//! The streams that an entity asks for.

use std::net::SocketAddr;

use nix::errno::Errno;
use vmsgr_reactor::Token;

use super::{Dial, EntityId, Wire};
use crate::connection::Role;
use crate::ending::Ending;
use crate::msgr2::SessionId;
use crate::waiting::Waiting;
use crate::worker::{Worker, WorkerCore};

impl Worker {
    /// Begins to make a stream for a session.
    pub(super) fn dial(
        &mut self,
        core: &mut WorkerCore,
        entity: EntityId,
        session: SessionId,
        to: SocketAddr,
    ) {
        let dial = Dial { entity, session };
        self.hang_up(core, dial);
        if self.draining {
            return self.not_dialed(core, dial, Errno::ESHUTDOWN as i32);
        }
        // Nobody is asked whether there is a place: the session has been allowed already.
        self.census.enter_anyway(self.index);
        self.attempt_for_entity(core, dial, to);
    }

    /// The stream that a session asked for is being made.
    pub(crate) fn dialing(&mut self, token: Token, dial: Dial) {
        if let Some(entity) = self.entities.get_mut(dial.entity) {
            entity.dials.insert(dial.session, token);
        }
    }

    /// Makes no stream any more for a session, which is over or asks anew.
    pub(super) fn hang_up(&mut self, core: &mut WorkerCore, dial: Dial) {
        let entity = self.entities.get_mut(dial.entity);
        let Some(token) = entity.and_then(|it| it.dials.remove(&dial.session)) else { return };
        if let Some(state) = core.state_mut(token) {
            // The session is not told: it knows.
            state.role = Role::Discard;
        }
        self.dismiss(core, token, Ending::Close);
    }

    /// The stream that a session asked for is there.
    pub(crate) fn dialed(&mut self, core: &mut WorkerCore, token: Token, dial: Dial) {
        let now = core.now();
        let entity = self.entities.get_mut(dial.entity);
        let found = entity.and_then(|entity| {
            entity.dials.remove(&dial.session);
            let stream = entity.endpoint.borrow_mut().connected(dial.session, now)?;
            Some((entity, stream))
        });
        let Some((entity, stream)) = found else {
            // The session has got another meanwhile, or is over.
            return self.dismiss(core, token, Ending::Close);
        };
        entity.tokens.insert(stream, token);
        let outgoing = entity.outgoing(stream);
        if let Some(pending) = core.pending_mut(token) {
            *pending = Waiting::Messages(outgoing);
        }
        if let Some(state) = core.state_mut(token) {
            state.role = Role::Stream(Box::new(Wire::new(dial.entity, stream)));
        }
        self.heed_entity(core, dial.entity);
    }

    /// The stream that a session asked for could not be made; `errno` is why.
    pub(crate) fn not_dialed(&mut self, core: &mut WorkerCore, dial: Dial, errno: i32) {
        let now = core.now();
        if let Some(entity) = self.entities.get_mut(dial.entity) {
            entity.dials.remove(&dial.session);
            entity.endpoint.borrow_mut().connect_failed(dial.session, errno, now);
            entity.sign.raise();
        }
    }
}
