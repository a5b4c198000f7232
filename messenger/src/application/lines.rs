//! Sessions that have left parts in their send rings, and wait to go on with them: for their next
//! turn, or for room in what their application may have held.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::entity::EntityId;
use crate::msgr2::SessionId;

/// Why a session leaves parts in its send ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// It has moved as much as it may in one turn (I6).
    Turn,
    /// Its application has as much held as it may, and it something of that.
    Room,
}

/// How much a session may move, and in which turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) number: u64,
    pub(crate) bytes: usize,
}

/// What a session has moved in the turn that it was looked at last.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    turn: u64,
    bytes: usize,
}

impl Moved {
    /// Whether it may move more in this turn. The part that exceeds it is the last.
    pub(crate) fn may_move(&mut self, turn: Turn) -> bool {
        if self.turn != turn.number {
            *self = Self { turn: turn.number, bytes: 0 };
        }
        self.bytes < turn.bytes
    }

    pub(crate) fn moved(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

type Line = RefCell<VecDeque<(EntityId, SessionId)>>;

/// Those of an application on one core, in the order in which they have come.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    turn: Line,
    room: Line,
}

impl Lines {
    fn line(&self, pause: Pause) -> &Line {
        match pause {
            Pause::Turn => &self.turn,
            Pause::Room => &self.room,
        }
    }

    /// One more, which is not in this line.
    pub(crate) fn join(&self, pause: Pause, entity: EntityId, session: SessionId) {
        self.line(pause).borrow_mut().push_back((entity, session));
    }

    /// The one whose turn it is in this line.
    pub(crate) fn next(&self, pause: Pause) -> Option<(EntityId, SessionId)> {
        self.line(pause).borrow_mut().pop_front()
    }

    pub(crate) fn len(&self, pause: Pause) -> usize {
        self.line(pause).borrow().len()
    }

    pub(crate) fn is_empty(&self, pause: Pause) -> bool {
        self.len(pause) == 0
    }
}
