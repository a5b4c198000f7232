//! What a worker does for its entities: bytes go in, frames go out, events are heeded.

use std::net::SocketAddr;
use std::time::Instant;

use log::Level;
use mio::net::TcpStream;
use vmsgr_reactor::{Received, TimerId, Token};

use super::osd_null::{OsdNullOptions, OsdNullServer};
use super::owner::Owner;
use super::{Dial, EntityId, Wire};
use crate::complaints::complain;
use crate::connection::{Connection, Role};
use crate::ending::Ending;
use crate::ids::ConnectionId;
use crate::msgr2::{ConnectionError, Event, Reason, StreamId};
use crate::waiting::Waiting;
use crate::worker::{Timer, Worker, WorkerCore};

impl Worker {
    /// Takes an accepted connection for the OSD that stores nothing.
    pub(crate) fn serve_osd_null(
        &mut self,
        core: &mut WorkerCore,
        id: ConnectionId,
        socket: TcpStream,
        peer: SocketAddr,
        options: OsdNullOptions,
    ) {
        let entity = self.entities.osd_null(options).unwrap_or_else(|| {
            let endpoint =
                OsdNullServer::endpoint(self.options.connection.idle_time_out, core.now());
            self.entities.insert_osd_null(endpoint, OsdNullServer::new(options))
        });
        self.serve_entity(core, id, socket, peer, entity);
    }

    /// Takes an accepted connection for an entity.
    pub(crate) fn serve_entity(
        &mut self,
        core: &mut WorkerCore,
        id: ConnectionId,
        socket: TcpStream,
        peer: SocketAddr,
        entity: EntityId,
    ) {
        let now = core.now();
        let Some(found) = self.entities.get_mut(entity) else { return self.left(core) };
        let stream = found.endpoint.borrow_mut().accept(peer, now);
        let pending = Waiting::Messages(found.outgoing(stream));
        let role = Role::Stream(Box::new(Wire::new(entity, stream)));
        match core.add(socket, pending, Connection::accepted(id, peer, role)) {
            Ok(token) => {
                found.tokens.insert(stream, token);
                self.watch_idleness(core, token);
            }
            Err(error) => {
                found.endpoint.borrow_mut().closed(stream, now);
                self.could_not_add(core, id, peer, &error);
            }
        }
        self.heed_entity(core, entity);
    }

    /// The socket of a stream may have something to be read.
    pub(crate) fn readable_for_entity(
        &mut self,
        core: &mut WorkerCore,
        token: Token,
        idle: Option<TimerId>,
    ) {
        let now = core.now();
        let Some(wire) = wire_of(core, token) else { return };
        let (entity, stream) = (wire.entity, wire.stream);
        let Some(found) = self.entities.get_mut(entity) else { return };
        let mut rest = Vec::new();
        let mut place = found.endpoint.borrow_mut();
        let placed = place.place(stream).map(|it| core.read_behind(token, it.buffer, it.most));
        drop(place);
        let received = match placed {
            Some(received) => {
                found.receive(stream, &[], now);
                received
            }
            None => core.read(token, |bytes| {
                rest.extend_from_slice(found.receive(stream, bytes, now));
            }),
        };
        match received {
            Received::Bytes(_) => {
                if found.endpoint.borrow().is_held(stream) {
                    self.hold(core, token, rest);
                }
                if let (Some(timer), Some(delay)) = (idle, self.options.connection.idle_time_out) {
                    core.rearm(timer, delay);
                }
            }
            // Nobody sends what is half a message, and nobody waits for the other half.
            Received::End => self.dismiss(core, token, Ending::Close),
            Received::Nothing => return,
        }
        self.heed_entity(core, entity);
    }

    /// The session of a stream has no room: its socket is not read until it has.
    fn hold(&mut self, core: &mut WorkerCore, token: Token, rest: Vec<u8>) {
        let Some(wire) = wire_of(core, token) else { return };
        wire.rest = rest;
        if let Some(entity) = self.entities.get_mut(wire.entity) {
            entity.sums.held += 1;
        }
        core.set_reading(token, false);
    }

    /// The session of a stream has room again, as far as is known.
    fn resume(&mut self, core: &mut WorkerCore, token: Token, now: Instant) {
        let Some(wire) = wire_of(core, token) else { return };
        let (entity, stream) = (wire.entity, wire.stream);
        let mut rest = std::mem::take(&mut wire.rest);
        let Some(found) = self.entities.get_mut(entity) else { return };
        let left = found.receive(stream, &rest, now).len();
        if found.endpoint.borrow().is_held(stream) {
            rest.drain(..rest.len() - left);
            self.hold(core, token, rest);
        } else {
            core.set_reading(token, true);
        }
    }

    /// Heeds what has happened at the entities of which nobody has looked since; how many those
    /// are.
    pub(crate) fn heed_entities(&mut self, core: &mut WorkerCore) -> usize {
        if !self.entities.has_events() {
            return 0;
        }
        let eventful = self.entities.eventful();
        eventful.iter().for_each(|entity| self.heed_entity(core, *entity));
        eventful.len()
    }

    /// Does what an entity asks for, and tells its owner what concerns that. To be called in the
    /// turn in which anything was done to its endpoint.
    pub(crate) fn heed_entity(&mut self, core: &mut WorkerCore, id: EntityId) {
        let now = core.now();
        while let Some(entity) = self.entities.get_mut(id)
            && let Some(event) = entity.next_event()
        {
            match event {
                Event::Transmit(stream) => {
                    entity.endpoint.borrow_mut().fill(stream);
                    if let Some(token) = entity.tokens.get(&stream) {
                        // It is settled with this turn.
                        core.pending_mut(*token);
                    }
                }
                Event::Resume(stream) => {
                    if let Some(token) = entity.tokens.get(&stream).copied() {
                        self.resume(core, token, now);
                    }
                }
                Event::Close { stream, error } => self.close_stream(core, id, stream, &error),
                Event::Connect { session, to } => self.dial(core, id, session, to),
                event => {
                    if let Event::Ended { session, .. } = event {
                        self.hang_up(core, Dial { entity: id, session });
                    }
                    let Some(entity) = self.entities.get_mut(id) else { return };
                    entity.sums.opened += u64::from(matches!(event, Event::Opened { .. }));
                    if let Owner::Application(_) = entity.owner {
                        self.session_event(core, id, &event);
                        continue;
                    }
                    let endpoint = &mut *entity.endpoint.borrow_mut();
                    entity.owner.happened(endpoint, &event, now);
                }
            }
        }
        self.arm_entity(core, id, now);
        if let Some((timer, _)) = self.entities.remove_if_over(id).and_then(|gone| gone.timer) {
            core.cancel(timer);
        }
    }

    /// An endpoint has given up one of its streams.
    fn close_stream(
        &mut self,
        core: &mut WorkerCore,
        id: EntityId,
        stream: StreamId,
        error: &ConnectionError,
    ) {
        let Some(entity) = self.entities.get_mut(id) else { return };
        // If it is not there, it was the socket that ended, and has said why.
        let Some(token) = entity.tokens.remove(&stream) else { return };
        if error.reason == Reason::Local {
            // Its peer gets what the kernel holds.
            if !self.close_if_acknowledged(core, token) {
                self.linger(core, token);
                self.bound_linger(core, token);
            }
            return;
        }
        entity.sums.closed += 1;
        let Some(state) = self.end(core, token, Ending::Close) else { return };
        let now = core.now();
        complain!(
            self.complaints,
            now,
            Level::Info,
            "conn={} peer={} closed: {error}",
            state.id,
            state.peer
        );
        self.left(core);
    }

    /// The socket of a stream is gone. What its entity says to that is heeded within this turn, or
    /// the next one if it is being settled already.
    pub(crate) fn unwire(&mut self, core: &mut WorkerCore, wire: &Wire) {
        let now = core.now();
        if let Some(entity) = self.entities.get_mut(wire.entity) {
            entity.tokens.remove(&wire.stream);
            entity.endpoint.borrow_mut().closed(wire.stream, now);
            entity.sign.raise();
        }
    }

    /// The deadline of an entity has come.
    pub(crate) fn entity_due(&mut self, core: &mut WorkerCore, id: EntityId) {
        let now = core.now();
        let Some(entity) = self.entities.get_mut(id) else { return };
        entity.timer = None;
        entity.endpoint.borrow_mut().handle_timeout(now);
        self.heed_entity(core, id);
    }

    /// Has an entity called at its deadline.
    fn arm_entity(&mut self, core: &mut WorkerCore, id: EntityId, now: Instant) {
        let Some(entity) = self.entities.get_mut(id) else { return };
        let deadline = entity.endpoint.borrow().deadline();
        match (deadline, entity.timer) {
            (Some(at), Some((_, armed))) if at == armed => {}
            (Some(at), Some((timer, _))) => {
                core.rearm(timer, at.saturating_duration_since(now));
                entity.timer = Some((timer, at));
            }
            (Some(at), None) => {
                let timer = core.arm(at.saturating_duration_since(now), Timer::Entity(id));
                entity.timer = Some((timer, at));
            }
            (None, Some((timer, _))) => {
                core.cancel(timer);
                entity.timer = None;
            }
            (None, None) => {}
        }
    }
}

fn wire_of(core: &mut WorkerCore, token: Token) -> Option<&mut Wire> {
    match &mut core.state_mut(token)?.role {
        Role::Stream(wire) => Some(wire),
        _ => None,
    }
}
