//! The receiving half of a connection: bytes that the peer has sent.
#![allow(unsafe_code)] // Slices of memory that the daemon writes elsewhere.

use std::io::{self, Read};

use super::halves::Receiving;
use super::place::Place;
use super::sender::Sender;
use crate::shm::byte_ring::Piece;
use crate::shm::status::{State, Status};
use crate::shm::sync::{Ordering, full_fence};

/// The receiving half of a [`Connection`](super::Connection), which has the same methods and says
/// more about them.
#[derive(Debug)]
pub struct Receiver<'a> {
    pub(super) place: Place<'a>,
    pub(super) view: &'a mut Receiving,
}

impl<'a> Receiver<'a> {
    fn pieces(&self) -> [Piece<'a>; 2] {
        self.place.unread(self.view.consumed)
    }

    /// How many bytes lie unread.
    pub fn unread(&self) -> usize {
        let [front, back] = self.pieces();
        front.len() + back.len()
    }

    /// Reads as many bytes as there are and fit, and consumes them. 0: there are none now.
    pub fn recv(&mut self, into: &mut [u8]) -> usize {
        let mut read = 0;
        for piece in self.pieces() {
            let part = piece.first(into.len() - read);
            part.copy_to(&mut into[read..]);
            read += part.len();
        }
        self.consumed(read);
        read
    }

    /// The unread bytes, where they lie: two pieces if they go round the end of the ring, else the
    /// second is empty.
    pub fn peek(&self) -> (&[u8], &[u8]) {
        slices(self.pieces(), self)
    }

    /// The first `n` unread bytes, or all if there are fewer, are done with.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn consume(&mut self, n: usize) {
        let unread = self.unread();
        assert!(n <= unread, "{n} bytes consumed of {unread}");
        self.consumed(n);
    }

    /// Copies unread bytes to where they are sent from, and consumes them: at most `n`, and as many
    /// as there is room for; returns how many. If that is less than there were, a
    /// [`Writable`](super::Event::Writable) will tell when to go on.
    pub fn forward(&mut self, to: &mut Sender<'_>, n: usize) -> usize {
        let mut forwarded = 0;
        for piece in self.pieces() {
            let part = piece.first(n - forwarded);
            // SAFETY: nothing is consumed meanwhile.
            let sent = to.send(unsafe { part.as_slice() });
            forwarded += sent;
            if sent < part.len() {
                break;
            }
        }
        self.consumed(forwarded);
        forwarded
    }

    pub(super) fn consumed(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        self.view.consumed = self.view.consumed.wrapping_add(n as u64);
        let consumed = &self.place.slot.of_application.consumed;
        consumed.store(self.view.consumed, Ordering::Release);
        self.view.made_room = true;
        // Without a fence this may miss a wish; who lets go of the connection looks again. Seen
        // here, it lets the core go on while much is being read.
        if self.place.slot.flags.receive_room.is_wanted() {
            self.tell_room();
        }
    }

    /// If the core waits for room, and there is as much as it wants, it is told.
    pub(super) fn tell_room(&mut self) {
        self.view.made_room = false;
        let slot = self.place.slot;
        let size = self.place.receive_ring().size();
        full_fence();
        if !slot.flags.receive_room.is_wanted() {
            return;
        }
        let received = slot.of_daemon.received.load(Ordering::Acquire);
        let unread = received.wrapping_sub(self.view.consumed).min(u64::from(size)) as u32;
        if slot.flags.receive_room.made(size - unread, size) {
            self.place.raise();
        }
    }

    /// Whether nothing more will come, and why: asked before it is looked once more whether
    /// something has.
    fn end(&self) -> Option<io::Result<()>> {
        let status = Status::from_word(self.place.slot.of_daemon.status.load(Ordering::Acquire));
        match status.state {
            State::Closed if status.errno != 0 => {
                Some(Err(io::Error::from_raw_os_error(status.errno.into())))
            }
            State::Closed => Some(Ok(())),
            _ => status.peer_ended.then_some(Ok(())),
        }
    }
}

/// Unread bytes of the connection that `owner` has, as slices.
pub(super) fn slices<'s, T>(pieces: [Piece<'s>; 2], _owner: &'s T) -> (&'s [u8], &'s [u8]) {
    let [front, back] = pieces;
    // SAFETY: the daemon writes behind these bytes. It comes to them when they are consumed, for
    // which the owner must not be borrowed.
    unsafe { (front.as_slice(), back.as_slice()) }
}

/// `WouldBlock` where nothing lies unread, `Ok(0)` where nothing more will come, the connection's
/// error where it was cut off.
impl Read for Receiver<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let read = self.recv(into);
        if read > 0 {
            return Ok(read);
        }
        let end = self.end();
        let read = self.recv(into);
        match end {
            _ if read > 0 => Ok(read),
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(end) => end.map(|()| 0),
        }
    }
}
