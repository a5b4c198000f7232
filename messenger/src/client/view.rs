//! What the application's side remembers of a slot.

use super::ConnectionId;
use super::halves::{Receiving, Sending};
use super::inbox::Inbox;
use crate::shm::intent;
use crate::shm::layout::Slot;
use crate::shm::status::{Ending, State, Status};
use crate::shm::sync::Ordering;

/// Events of one connection that are due, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Due(u8);

impl Due {
    pub(super) const NONE: Self = Self(0);
    pub(super) const OPENED: Self = Self(1);
    pub(super) const FAILED: Self = Self(2);
    pub(super) const WRITABLE: Self = Self(4);
    pub(super) const READABLE: Self = Self(8);
    pub(super) const PEER_ENDED: Self = Self(16);
    pub(super) const CLOSED: Self = Self(32);

    fn add(&mut self, due: Self) {
        self.0 |= due.0;
    }

    /// Takes the first, or `NONE`.
    pub(super) fn take(&mut self) -> Self {
        let first = self.0 & self.0.wrapping_neg();
        self.0 &= !first;
        Self(first)
    }
}

/// One slot, as the application sees it.
#[derive(Debug)]
pub(super) struct View {
    /// As of the last look; its generation names the connection.
    pub(super) status: Status,
    /// There is a connection that the application has heard of, or is about to, and has not closed.
    pub(super) live: bool,
    /// It is open as far as the application knows.
    opened: bool,
    /// It was found at a takeover.
    pub(super) resumed: bool,
    pub(super) due: Due,
    /// The core that it belongs to.
    pub(super) core: u16,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    /// Of a connection of messages, once it has been read from.
    pub(super) inbox: Option<Box<Inbox>>,
}

impl View {
    /// The slot that nobody has looked at yet.
    pub(super) const UNUSED: Self = Self {
        status: Status::UNUSED,
        live: false,
        opened: false,
        resumed: false,
        due: Due::NONE,
        core: 0,
        receiving: Receiving { consumed: 0, received: 0, made_room: false },
        sending: Sending {
            committed: 0,
            base: 0,
            sent: 0,
            wants_room: false,
            ended: false,
            unfinished: false,
            news: false,
        },
        inbox: None,
    };

    pub(super) fn id(&self, slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: self.status.generation }
    }

    /// Begins with the connection that is in the slot now, whoever has used it before.
    pub(super) fn adopt(&mut self, slot: &Slot, status: Status, resumed: bool) {
        let of_application = &slot.of_application;
        // The daemon has done that when the one before us died; to do it twice does no harm.
        intent::complete(of_application);
        let ending = of_application.ending.load(Ordering::Relaxed);
        let ending = Ending::from_word(ending).unwrap_or(Ending::Reset);
        let committed = of_application.committed.load(Ordering::Relaxed);
        let consumed = of_application.consumed.load(Ordering::Relaxed);
        *self = Self {
            status: Status { peer_ended: false, state: State::Connecting, ..status },
            // Who closed it does not want to hear of it, and neither does his successor.
            live: ending < Ending::Close,
            resumed,
            core: (slot.of_daemon.name.load(Ordering::Relaxed) >> 48) as u16,
            receiving: Receiving { consumed, received: consumed, made_room: false },
            sending: Sending {
                committed,
                base: of_application.send_base.load(Ordering::Relaxed),
                sent: slot.of_daemon.sent.load(Ordering::Acquire),
                ended: ending >= Ending::Shutdown,
                ..Sending::default()
            },
            ..Self::UNUSED
        };
        if self.live {
            slot.flags.send_room.clear();
        }
    }

    /// Looks at the slot, and finds what is new.
    ///
    /// The status is read before the positions: who sees that the peer has ended sees all that it
    /// has sent.
    pub(super) fn look(&mut self, slot: &Slot, status: Status) {
        debug_assert!(self.live && status.generation == self.status.generation);
        if matches!(status.state, State::Free | State::Connecting) {
            return;
        }
        let received = slot.of_daemon.received.load(Ordering::Acquire);
        if !self.opened {
            self.opened = true;
            let closed = status.state == State::Closed && status.errno != 0;
            let attempt = !status.accepted && !self.resumed;
            self.status.accepted = status.accepted;
            if attempt && closed && received == 0 {
                self.status = status;
                self.due = Due::FAILED;
                return;
            }
            self.due.add(Due::OPENED);
        }
        if self.sending.wants_room && !slot.flags.send_room.is_wanted() {
            self.sending.wants_room = false;
            self.due.add(Due::WRITABLE);
        }
        if received != self.receiving.received {
            self.receiving.received = received;
            self.due.add(Due::READABLE);
        }
        let had = std::mem::replace(&mut self.status, status);
        if status.peer_ended && !had.peer_ended {
            self.due.add(Due::PEER_ENDED);
        }
        if status.state == State::Closed && had.state != State::Closed {
            self.sending.ended = true;
            self.due.add(Due::CLOSED);
        }
    }

    /// The application has heard of the connection, or is about to, and has not closed it.
    pub(super) fn is_held(&self) -> bool {
        self.live && self.opened
    }

    /// There are bytes to read, as of the last look.
    pub(super) fn has_unread(&self) -> bool {
        self.receiving.received > self.receiving.consumed
    }
}
