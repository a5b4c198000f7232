//! The way of the bytes: from a socket to the stage, and from there to a socket or its pending data.

use std::io;
use std::mem;

use crate::core::{Core, Entry, StreamOf};
use crate::counters::Counters;
use crate::handler::Handler;
use crate::pending::Pending;
use crate::socket::Socket;
use crate::stream::Received;
use crate::token::Token;

impl<H: Handler> Core<H> {
    /// Reads once, at most the budget of a turn, and hands the bytes over as they lie in the
    /// scratch buffer: they are gone afterwards.
    pub fn read(&mut self, stream: Token, take: impl FnOnce(&[u8])) -> Received {
        let mut stage = mem::take(&mut self.stage);
        let into = stage.spare(self.budget.bytes);
        let received = self.read_into(stream, into);
        if let Received::Bytes(count) = received {
            take(&into[..count]);
        }
        self.stage = stage;
        received
    }

    /// Reads once, at most `most` bytes and the budget of a turn, and puts them behind what `buffer`
    /// holds: for bytes that go straight to where they will stay.
    ///
    /// # Panics
    ///
    /// If the buffer has no room for `most` bytes.
    pub fn read_behind(&mut self, stream: Token, buffer: &mut Vec<u8>, most: usize) -> Received {
        let most = most.min(self.budget.bytes);
        self.receive(stream, most, |socket| socket.receive_behind(buffer, most))
    }

    /// Reads once, with a `read` of the caller's that has room for `room` bytes, at least one: for
    /// bytes that go straight to where they will stay.
    pub fn receive(
        &mut self,
        stream: Token,
        room: usize,
        read: impl FnMut(&mut H::Socket) -> io::Result<usize>,
    ) -> Received {
        self.read_with(stream, |reader, counters| reader.read_with(room, counters, read))
    }

    /// Reads from `from` once, at most the budget of a turn, and sends that to `to`, which may be
    /// the same stream. What the socket of `to` does not take becomes its pending data; while that
    /// is full `from` is not read (I4), and is resumed when it is relieved.
    pub fn transfer(&mut self, from: Token, to: Token) -> Received {
        self.transfer_seen(from, to, |_| ())
    }

    /// Like [`transfer`](Self::transfer), and `see` is shown the bytes as they pass: all of them,
    /// in order, once.
    pub fn transfer_seen(&mut self, from: Token, to: Token, see: impl FnOnce(&[u8])) -> Received {
        let budget = self.budget.bytes;
        if self.stream(to).is_some_and(|target| target.staged) || self.stage.is_full() {
            self.send_staged();
        }
        let Some(target) = self.stream_mut(to) else {
            // Nobody is left to read it for: not to be offered again in every turn.
            self.set_reading(from, false);
            return Received::Nothing;
        };
        debug_assert!(!target.is_finishing(), "sent after the end");
        let room = target.pending.room();
        if room == 0 {
            target.stopped.push(from);
            self.set_reading(from, false);
            return Received::Nothing;
        }
        let most = room.min(budget);
        if target.pending.is_empty() {
            let mut stage = mem::take(&mut self.stage);
            let into = stage.spare(most);
            let received = self.read_into(from, into);
            if let Received::Bytes(count) = received {
                see(&into[..count]);
                match stage.put(to, count) {
                    Some(bytes) => self.send(to, bytes),
                    None => self.stream_mut(to).expect("reading removes no stream").staged = true,
                }
            }
            self.stage = stage;
            received
        } else {
            // Others wait already: behind them, without a copy.
            let mut pending = mem::take(&mut target.pending);
            let into = pending.spare(most);
            let received = self.read_into(from, into);
            if let Received::Bytes(count) = received {
                see(&into[..count]);
                pending.commit(count);
            }
            self.stream_mut(to).expect("reading removes no stream").pending = pending;
            self.touch(to);
            received
        }
    }

    /// Sends what was read in this turn and waits on the stage.
    pub(crate) fn send_staged(&mut self) {
        let mut stage = mem::take(&mut self.stage);
        let mut next = 0;
        while let Some((to, bytes)) = stage.piece(next) {
            next += 1;
            if let Some(target) = self.stream_mut(to) {
                target.staged = false;
                self.send(to, bytes);
            }
        }
        stage.clear();
        self.stage = stage;
    }

    fn read_into(&mut self, stream: Token, into: &mut [u8]) -> Received {
        self.read_with(stream, |reader, counters| reader.read(into, counters))
    }

    fn read_with(
        &mut self,
        stream: Token,
        read: impl FnOnce(&mut StreamOf<H>, &mut Counters) -> Received,
    ) -> Received {
        let Some(Entry::Stream(reader)) = self.entries.get_mut(stream.key()) else {
            return Received::Nothing;
        };
        if reader.generation != stream.generation() || !reader.is_to_be_read() {
            return Received::Nothing;
        }
        let received = read(reader, &mut self.counters);
        if received == Received::Nothing || received == Received::End {
            // It may have failed, or both directions may have ended.
            self.touch(stream);
        }
        received
    }

    /// Sends bytes for which there is room in the pending data of `to`.
    fn send(&mut self, to: Token, bytes: &[u8]) {
        let Some(Entry::Stream(target)) = self.entries.get_mut(to.key()) else { return };
        let taken = target.offer(bytes, &mut self.counters);
        if taken < bytes.len() {
            let kept = target.pending.append(&bytes[taken..]);
            debug_assert_eq!(kept, bytes.len() - taken, "no more is read than there is room for");
            self.touch(to);
        }
    }

    /// Adds bytes to the pending data of a stream; all that a turn adds leaves with one `writev`
    /// at its end. How many there was room for: the rest is the caller's to keep.
    pub fn queue(&mut self, stream: Token, bytes: &[u8]) -> usize {
        if self.stream(stream).is_some_and(|target| target.staged) {
            // What was read before comes before.
            self.send_staged();
        }
        let Some(target) = self.stream_mut(stream) else { return 0 };
        debug_assert!(!target.is_finishing(), "sent after the end");
        let taken = target.pending.append(bytes);
        self.touch(stream);
        taken
    }
}
