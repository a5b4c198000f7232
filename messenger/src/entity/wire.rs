//! What a connection keeps that is a stream of an entity.

use super::EntityId;
use crate::msgr2::{SessionId, StreamId};

/// The socket's side of a stream.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(super) entity: EntityId,
    pub(super) stream: StreamId,
    /// What came and its session has no room for. The socket is not read meanwhile, so there is no
    /// more of it than one read brought.
    pub(super) rest: Vec<u8>,
}

impl Wire {
    pub(super) fn new(entity: EntityId, stream: StreamId) -> Self {
        Self { entity, stream, rest: Vec::new() }
    }

    /// Everything that came has been taken.
    pub(crate) fn is_consumed(&self) -> bool {
        self.rest.is_empty()
    }
}

/// A connection that is being made to become a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    pub(super) entity: EntityId,
    pub(super) session: SessionId,
}
