//! One connection: its commands, in their order, and their answers.
//!
//! Commands are read where they lie, in the receive ring. All that are there are done one after the
//! other, and then consumed together with the commitment of their answers, in one step: whenever
//! this process dies, a command and its answer are both there or both gone. Who comes after it does
//! those that lie unread, so that what changes nothing, PING and ECHO, is answered exactly once.
//!
//! A command that is larger than a part of the ring is gathered in memory, and an answer that does
//! not fit waits in memory. Then what has happened is not in the rings alone, which is marked in
//! the connection's cookie: a connection with that mark cannot be taken over, and is cut off.

use vmsgr_messenger::client::Connection;

use crate::answer;
use crate::command::{Arguments, Done, execute};
use crate::request::Request;
use crate::store::{Refused, Store};

/// Bytes of the rings of each connection.
pub(crate) const RING: u32 = 64 << 10;

/// A command that is longer does not wait in the ring until it is there wholly.
const IN_RING: usize = RING as usize / 2;

/// The cookie of a connection of which a part is in this process' memory.
const TORN: u64 = 1;

/// Memory that all sessions use, one after the other.
#[derive(Debug)]
pub(crate) struct Scratch {
    answers: Vec<u8>,
    /// Where bytes are put that go round the end of the ring.
    round: Vec<u8>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { answers: Vec::new(), round: Vec::new() }
    }
}

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serving {
    GoesOn,
    IsOver,
}

impl Serving {
    pub(crate) fn is_over(self) -> bool {
        self == Self::IsOver
    }
}

/// What there is of a connection beside its rings.
#[derive(Debug, Default)]
pub(crate) struct Session {
    request: Request,
    /// The beginning of a large command.
    gathered: Vec<u8>,
    /// An answer that did not fit, from `sent` on.
    waiting: Vec<u8>,
    sent: usize,
    /// Memory of the store's that these two take.
    held: usize,
    /// Nothing more is read: what waits is sent, and then it is over.
    quits: bool,
}

/// What was done with what lay there.
struct Batch {
    /// Bytes of commands.
    consumed: usize,
    /// Bytes of answers that fit into the send ring.
    fitting: usize,
    /// It stopped for want of so much room.
    lacks: Option<usize>,
}

impl Session {
    /// A part of it was in the memory of a process that is gone.
    pub(crate) fn was_torn(connection: &Connection<'_>) -> bool {
        connection.cookie() == TORN
    }

    /// Does what can be done now.
    pub(crate) fn serve(
        &mut self,
        connection: &mut Connection<'_>,
        store: &mut Store,
        scratch: &mut Scratch,
    ) -> Serving {
        loop {
            if !self.send_waiting(connection, store) {
                return Serving::GoesOn;
            }
            if self.quits {
                return Serving::IsOver;
            }
            let unread = connection.unread();
            if unread == 0 {
                break;
            }
            if self.gathered.is_empty() {
                if !self.serve_from_ring(connection, store, scratch) {
                    break;
                }
            } else {
                self.gather(connection, store);
                self.serve_gathered(connection, store);
            }
        }
        // What has not become a command by now never will.
        if connection.peer_has_ended() && !self.lacks_room(connection) {
            return Serving::IsOver;
        }
        Serving::GoesOn
    }

    /// There is a whole command, and no room for its answer.
    fn lacks_room(&self, connection: &Connection<'_>) -> bool {
        let (front, back) = connection.peek();
        let bytes = [front, back].concat();
        self.gathered.is_empty() && matches!(Request::default().read(&bytes), Ok(Some(_)))
    }

    /// It is over, however it came to that.
    pub(crate) fn end(&mut self, store: &mut Store) {
        store.free(self.held);
        *self = Self::default();
    }

    /// Accounts for what is in memory, and marks the connection if anything is.
    fn account(&mut self, connection: &mut Connection<'_>, store: &mut Store) {
        store.free(self.held);
        self.held = self.gathered.capacity() + self.waiting.capacity();
        store.hold(self.held);
        connection.set_cookie(if self.held > 0 { TORN } else { 0 });
    }

    /// True if nothing waits any more.
    fn send_waiting(&mut self, connection: &mut Connection<'_>, store: &mut Store) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        self.sent += connection.send(&self.waiting[self.sent..]);
        if self.sent < self.waiting.len() {
            return false;
        }
        (self.waiting, self.sent) = (Vec::new(), 0);
        self.account(connection, store);
        true
    }

    /// Does the commands that lie in the ring; false if nothing more can be done for now.
    fn serve_from_ring(
        &mut self,
        connection: &mut Connection<'_>,
        store: &mut Store,
        scratch: &mut Scratch,
    ) -> bool {
        let room = connection.room();
        let Scratch { answers, round } = scratch;
        answers.clear();
        let (front, back) = connection.peek();
        let input = if back.is_empty() {
            front
        } else {
            round.clear();
            round.extend_from_slice(front);
            round.extend_from_slice(back);
            round
        };
        let batch = self.run(input, room, store, answers);
        let large = batch.lacks.is_none() && self.request.needed() > IN_RING;
        if batch.fitting < answers.len() {
            // Marked before it happens.
            self.waiting = answers[batch.fitting..].to_vec();
            self.account(connection, store);
        }
        let fits = &answers[..batch.fitting];
        let (front, back) = connection.reserve(fits.len());
        let (first, second) = fits.split_at(front.len());
        front.copy_from_slice(first);
        back.copy_from_slice(second);
        connection.reply(batch.consumed, fits.len());
        if let Some(lacks) = batch.lacks {
            // So that it is told when there is so much.
            let (front, back) = connection.reserve(lacks);
            return front.len() + back.len() >= lacks;
        }
        if large {
            self.gather(connection, store);
            return true;
        }
        batch.consumed > 0
    }

    /// Does commands from the beginning of `input` on, as long as there is room for their answers.
    fn run(
        &mut self,
        input: &[u8],
        room: usize,
        store: &mut Store,
        answers: &mut Vec<u8>,
    ) -> Batch {
        let (mut consumed, mut fitting) = (0, 0);
        while !self.quits {
            let rest = &input[consumed..];
            let length = match self.request.read(rest) {
                Ok(Some(length)) => length,
                Ok(None) => break,
                Err(error) => {
                    answer::error(answers, format_args!("ERR {error}"));
                    self.quits = true;
                    rest.len()
                }
            };
            if !self.quits {
                let ranges = self.request.arguments();
                match execute(store, Arguments { buffer: rest, ranges }, answers) {
                    Done::Repeatable if answers.len() > room && !fits_never(answers, fitting) => {
                        // It is done when there is room; it has not been done yet.
                        let lacks = answers.len() - fitting;
                        answers.truncate(fitting);
                        self.request.reset();
                        return Batch { consumed, fitting, lacks: Some(lacks) };
                    }
                    Done::Quit => self.quits = true,
                    Done::Repeatable | Done::Once => {}
                }
            }
            self.request.reset();
            consumed += length;
            if answers.len() > room {
                // The rest of it waits in memory.
                fitting = fitting.max(room.min(answers.len()));
                return Batch { consumed, fitting, lacks: None };
            }
            fitting = answers.len();
        }
        Batch { consumed, fitting, lacks: None }
    }

    /// Takes bytes of a large command into memory: as many as it needs at least.
    fn gather(&mut self, connection: &mut Connection<'_>, store: &mut Store) {
        let begin = self.gathered.len();
        let n = self.request.needed().saturating_sub(begin).min(connection.unread());
        if n > store.most().saturating_sub(store.used()) {
            self.refuse(Refused::OutOfMemory);
            return self.account(connection, store);
        }
        self.gathered.resize(begin + n, 0);
        // Marked before it happens.
        self.account(connection, store);
        let read = connection.recv(&mut self.gathered[begin..]);
        self.gathered.truncate(begin + read);
    }

    /// Does the command that was gathered, if it is whole.
    fn serve_gathered(&mut self, connection: &mut Connection<'_>, store: &mut Store) {
        match self.request.read(&self.gathered) {
            Ok(None) => return,
            Ok(Some(_)) => {
                let mut answers = Vec::new();
                let arguments =
                    Arguments { buffer: &self.gathered, ranges: self.request.arguments() };
                self.quits = execute(store, arguments, &mut answers) == Done::Quit;
                self.waiting = answers;
                self.gathered = Vec::new();
                self.request.reset();
            }
            Err(error) => self.refuse(format_args!("ERR {error}")),
        }
        self.account(connection, store);
    }

    /// Reads nothing more, and says why.
    fn refuse(&mut self, error: impl std::fmt::Display) {
        (self.gathered, self.quits) = (Vec::new(), true);
        answer::error(&mut self.waiting, error);
    }
}

/// An answer that no ring can hold does not wait for room.
fn fits_never(answers: &[u8], before: usize) -> bool {
    answers.len() - before > RING as usize
}
