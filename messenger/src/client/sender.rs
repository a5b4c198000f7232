//! The sending half of a connection: bytes for the peer.
#![allow(unsafe_code)] // Slices of memory that the daemon does not look at yet.

use std::io::{self, Write};

use super::halves::Sending;
use super::place::Place;
use crate::shm::sync::Ordering;

/// The sending half of a [`Connection`](super::Connection), which has the same methods and says
/// more about them.
#[derive(Debug)]
pub struct Sender<'a> {
    pub(super) place: Place<'a>,
    pub(super) view: &'a mut Sending,
}

impl<'a> Sender<'a> {
    fn size(&self) -> u32 {
        self.place.send_ring().size()
    }

    /// Looks how far the core is. If it has sent everything the ring begins anew, so that short
    /// messages use the same few cache lines.
    fn look(&mut self) -> u32 {
        if self.view.ended {
            return 0;
        }
        self.view.sent = self.place.slot.of_daemon.sent.load(Ordering::Acquire);
        if self.view.sent == self.view.committed && self.view.base != self.view.committed {
            self.view.base = self.view.committed;
            // Published by the position that is written after it.
            let base = &self.place.slot.of_application.send_base;
            base.store(self.view.base, Ordering::Relaxed);
        }
        self.view.room(self.size())
    }

    /// How many bytes can be sent now: 0 as well if the direction has ended.
    pub fn room(&mut self) -> usize {
        self.look() as usize
    }

    /// Sends as many of the bytes as there is room for; returns how many. If that is not all,
    /// a [`Writable`](super::Event::Writable) tells when there is room again.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let mut sent = self.put(bytes);
        if sent < bytes.len() && !self.view.ended {
            self.want(self.wish(bytes.len() - sent));
            sent += self.put(&bytes[sent..]);
        }
        if sent == bytes.len() {
            self.want_nothing();
        }
        sent
    }

    /// What to wait for who has `n` more bytes: half of the ring at most, so that a sender who is
    /// faster than the peer is woken seldom, and for much.
    pub(super) fn wish(&self, n: usize) -> usize {
        n.min(self.size() as usize / 2)
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.look() as usize);
        if n > 0 {
            self.fill(0, &bytes[..n]);
            self.committed(n);
        }
        n
    }

    /// Puts bytes `at` bytes behind what is committed, where there is room for them.
    pub(super) fn fill(&mut self, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= self.view.room(self.size()) as usize);
        self.place.send_ring().write(self.offset().wrapping_add(at as u64), bytes);
    }

    /// Where in the ring what is sent next begins.
    pub(super) fn offset(&self) -> u64 {
        self.view.committed.wrapping_sub(self.view.base)
    }

    /// Room for `n` bytes, or as much as there is; if that is less, there shall be word when there
    /// is `wish` of it.
    pub(super) fn room_for(&mut self, n: usize, wish: usize) -> usize {
        let mut room = self.look() as usize;
        if room < n && !self.view.ended {
            self.want(wish);
            room = self.look() as usize;
        }
        if room >= n {
            self.want_nothing();
        }
        room.min(n)
    }

    /// Room for `n` bytes, to be filled and [committed](Self::commit); less if there is less, or
    /// the ring is smaller. Then a [`Writable`](super::Event::Writable) tells when there is room
    /// for all. Two pieces if it goes round the end of the ring, else the second is empty. What
    /// lies in it is anything.
    pub fn reserve(&mut self, n: usize) -> (&mut [u8], &mut [u8]) {
        Sender { place: self.place, view: self.view }.into_reserved(n)
    }

    /// As [`reserve`](Self::reserve), for who has the half for no longer.
    pub(super) fn into_reserved(mut self, n: usize) -> (&'a mut [u8], &'a mut [u8]) {
        let n = n.min(self.size() as usize);
        let room = self.room_for(n, n) as u32;
        let [front, back] = self.place.send_ring().pieces(self.offset(), room);
        // SAFETY: the core looks at no byte behind what is committed, for which these may not be
        // borrowed any more; nor does anybody else.
        unsafe { (front.as_mut_slice(), back.as_mut_slice()) }
    }

    /// The first `n` bytes of what was [reserved](Self::reserve) are to be sent.
    ///
    /// # Panics
    /// If there is not so much room.
    pub fn commit(&mut self, n: usize) {
        let room = self.view.committable(self.size());
        assert!(n <= room, "{n} bytes committed of {room}");
        if n > 0 {
            self.committed(n);
        }
    }

    pub(super) fn committed(&mut self, n: usize) {
        self.view.committed = self.view.committed.wrapping_add(n as u64);
        let committed = &self.place.slot.of_application.committed;
        committed.store(self.view.committed, Ordering::Release);
        self.view.news = true;
    }

    fn want(&mut self, bytes: usize) {
        self.view.wants_room = true;
        self.place.slot.flags.send_room.want(bytes as u32);
    }

    fn want_nothing(&mut self) {
        if self.view.wants_room {
            self.view.wants_room = false;
            self.place.slot.flags.send_room.clear();
        }
    }
}

/// `WouldBlock` where there is no room, `BrokenPipe` where the direction has ended. There is
/// nothing to flush: the core hears of it when the connection is let go.
impl Write for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.send(bytes) {
            0 if self.view.ended => Err(io::ErrorKind::BrokenPipe.into()),
            0 if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            sent => Ok(sent),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
