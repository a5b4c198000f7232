//! Relayed connections that are looked at.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Instant;

use log::Level;
use vmsgr_reactor::{Received, Token};

use crate::complaints::complain;
use crate::connection::{Role, SharedTap};
use crate::msgr2::{CannotFollow, Side};
use crate::tap::Sums;
use crate::worker::{Worker, WorkerCore};

/// What the taps count time from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Worker {
    /// A tap for the connection of this client.
    pub(crate) fn tap(&mut self, client: SocketAddr) -> SharedTap {
        let tap = self.tap.get_or_insert_default();
        Rc::new(RefCell::new(tap.connection(Some(client))))
    }

    /// What the taps have seen so far.
    pub(crate) fn tap_sums(&self) -> Option<Box<Sums>> {
        self.tap.as_ref().map(|tap| Box::new(tap.sums()))
    }

    /// Like a transfer without a tap, of which it must not be seen from outside that there is one.
    pub(crate) fn transfer_tapped(
        &mut self,
        core: &mut WorkerCore,
        stream: Token,
        to: Token,
    ) -> Received {
        let Some(state) = core.state(stream) else { return Received::Nothing };
        let Some(tap) = state.tap.clone() else { return core.transfer(stream, to) };
        let from = match state.role {
            Role::Upstream { .. } => Side::Acceptor,
            _ => Side::Initiator,
        };
        let mut said = None;
        let received = core.transfer_seen(stream, to, |bytes| {
            said = tap.borrow_mut().pass(from, START.elapsed(), bytes);
        });
        if let Some(reason) = said {
            self.say_blind(core, stream, from, reason);
        }
        received
    }

    fn say_blind(
        &mut self,
        core: &mut WorkerCore,
        stream: Token,
        from: Side,
        reason: CannotFollow,
    ) {
        let now = core.now();
        let Some(state) = core.state(stream) else { return };
        let side = match from {
            Side::Initiator => "peer",
            Side::Acceptor => "upstream",
        };
        complain!(
            self.complaints,
            now,
            Level::Info,
            "conn={} {side}={} is relayed without looking from here on: {reason}",
            state.id,
            state.peer
        );
    }
}
