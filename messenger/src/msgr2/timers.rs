//! Deadlines of an endpoint's streams and sessions.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::ids::{SessionId, StreamId};

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Subject {
    Stream(StreamId),
    Session(SessionId),
}

/// One deadline for each. Postponing one costs nothing: who is called too early arms it again.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, Subject)>,
    armed: HashMap<Subject, Instant>,
}

impl Timers {
    /// Calls the subject at `at` or before.
    pub(super) fn arm(&mut self, subject: Subject, at: Instant) {
        match self.armed.get(&subject) {
            Some(armed) if *armed <= at => return,
            Some(armed) => {
                self.queue.remove(&(*armed, subject));
            }
            None => {}
        }
        self.armed.insert(subject, at);
        self.queue.insert((at, subject));
    }

    pub(super) fn disarm(&mut self, subject: Subject) {
        if let Some(armed) = self.armed.remove(&subject) {
            self.queue.remove(&(armed, subject));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The first that is due, which is not armed any more.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Subject> {
        let (at, subject) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        self.armed.remove(&subject);
        Some(subject)
    }
}
