//! Keepalives of a connection: when to ask, and when to give up.

use std::time::Instant;

use super::config::Keepalive;

/// What the silence of a peer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing.
    Fine,
    /// To ask.
    Ask,
    /// To give up.
    Dead,
}

#[derive(Debug)]
pub(super) struct Pulse {
    heard: Instant,
    asked: Option<Instant>,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, asked: None }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    pub(super) fn deadline(&self, keepalive: Keepalive) -> Instant {
        match self.asked {
            Some(asked) => asked + keepalive.patience,
            None => self.heard + keepalive.after,
        }
    }

    pub(super) fn look(&mut self, keepalive: Keepalive, now: Instant) -> Silence {
        if now < self.deadline(keepalive) {
            return Silence::Fine;
        }
        match self.asked {
            Some(_) => Silence::Dead,
            None => {
                self.asked = Some(now);
                Silence::Ask
            }
        }
    }
}
