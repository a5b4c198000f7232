//! One connection of the generator: keeps its share of messages in flight, with one read and one
//! write per turn.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::flight::{Flight, Surplus};
use super::pattern::Pattern;
use crate::latency::Latency;

/// The interest of a connection that has nothing to write.
const READ: EpollFlags =
    EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP).union(EpollFlags::EPOLLET);

/// Set in an event when the stream ends behind the bytes that are there.
const ENDED: EpollFlags =
    EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLHUP).union(EpollFlags::EPOLLERR);

/// What the connections share; one of them uses it at a time.
#[derive(Debug)]
pub struct Shared {
    pub epoll: Epoll,
    pub pattern: Pattern,
    /// Where every read goes. Larger than what one connection can have in flight, up to a limit.
    pub buffer: Vec<u8>,
    pub latency: Latency,
    /// Compare what comes back with the pattern.
    pub verify: bool,
    /// Answer every reply with a new message: a closed loop, until it is over.
    pub refill: bool,
}

/// A connection with its messages in flight.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    index: usize,
    size: usize,
    flight: Flight,
    /// Messages to send at the next flush.
    pub due: u64,
    /// Bytes of messages that were sent and that the kernel did not take yet.
    owed: usize,
    /// Bytes that it took.
    sent: u64,
    received: u64,
    /// The last write was short, and EPOLLOUT has not come since.
    blocked: bool,
    /// EPOLLOUT is registered: from the first short write until nothing is owed.
    armed: bool,
    /// Messages that came back since the count was last cleared.
    pub replies: u64,
}

impl Connection {
    /// Takes a connected stream in: registers it in epoll under `index`.
    ///
    /// # Errors
    /// When the kernel refuses an option or the registration.
    pub fn new(
        stream: TcpStream,
        index: usize,
        size: usize,
        depth: usize,
        epoll: &Epoll,
    ) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, EpollEvent::new(READ, index as u64))?;
        let flight = Flight::new(size, depth);
        Ok(Self {
            stream,
            index,
            size,
            flight,
            due: 0,
            owed: 0,
            sent: 0,
            received: 0,
            blocked: false,
            armed: false,
            replies: 0,
        })
    }

    /// Reads all that came back, and makes a new message due for each reply. Returns the number of
    /// replies.
    ///
    /// The interest is edge-triggered, which spares the kernel a second look at every ready
    /// connection: the generator has to be faster than the server, or it would measure itself. So
    /// this must read until nothing is left. A read that does not fill the buffer took everything;
    /// only the end of the stream may hide behind it, and that the event says.
    ///
    /// # Errors
    /// When the connection fails or is closed, or what came back is not what was sent.
    pub fn receive(&mut self, ready: EpollFlags, shared: &mut Shared) -> Result<u64> {
        if ready.contains(EpollFlags::EPOLLOUT) {
            self.blocked = false;
        }
        // Errors and the end of the stream show in the read as well.
        if ready == EpollFlags::EPOLLOUT {
            return Ok(0);
        }
        let mut replies = 0;
        while let Some(read) = self.read(shared)? {
            replies += match self.flight.receive(read as u64, Instant::now(), &mut shared.latency) {
                Ok(replies) => replies,
                Err(Surplus) => bail!("{} bytes came back of {} sent", self.received, self.sent),
            };
            if read < shared.buffer.len() && !ready.intersects(ENDED) {
                break;
            }
        }
        self.replies += replies;
        if shared.refill {
            self.due += replies;
        }
        Ok(replies)
    }

    /// One read; `None` when nothing is there.
    fn read(&mut self, shared: &mut Shared) -> Result<Option<usize>> {
        let read = match self.stream.read(&mut shared.buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            other => other?,
        };
        ensure!(read > 0, "closed by the server after {} bytes came back", self.received);
        if shared.verify {
            self.compare(&shared.buffer[..read], &shared.pattern)?;
        }
        self.received += read as u64;
        Ok(Some(read))
    }

    fn compare(&self, bytes: &[u8], pattern: &Pattern) -> Result<()> {
        let mut offset = self.received;
        for piece in bytes.chunks(pattern.longest()) {
            let expected = pattern.slice(self.index, offset, piece.len());
            if piece != expected {
                let same = piece.iter().zip(expected).take_while(|(a, b)| a == b).count();
                bail!("the echo differs from what was sent at offset {}", offset + same as u64);
            }
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Takes in a message that was due at `due`; it leaves with the next flush.
    pub fn schedule(&mut self, due: Instant) {
        self.flight.send(1, due);
        self.owed += self.size;
    }

    /// Forgets the messages of which the kernel has taken no byte yet. Returns how many.
    pub fn forget_unsent(&mut self) -> u64 {
        let messages = (self.owed / self.size) as u64;
        self.flight.take_back(messages);
        self.owed %= self.size;
        messages
    }

    /// Sends what is due, all in one write. Registers EPOLLOUT when the kernel does not take it
    /// all, and removes it once it did.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn flush(&mut self, shared: &Shared) -> Result<()> {
        if self.due > 0 {
            self.flight.send(self.due, Instant::now());
            self.owed += self.due as usize * self.size;
            self.due = 0;
        }
        while self.owed > 0 && !self.blocked {
            let length = self.owed.min(shared.pattern.longest());
            let bytes = shared.pattern.slice(self.index, self.sent, length);
            let written = match self.stream.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                other => other?,
            };
            self.sent += written as u64;
            self.owed -= written;
            self.blocked = written < length;
        }
        self.arm(self.owed > 0, shared)
    }

    fn arm(&mut self, armed: bool, shared: &Shared) -> Result<()> {
        if self.armed != armed {
            self.armed = armed;
            let flags = if armed { READ | EpollFlags::EPOLLOUT } else { READ };
            let mut event = EpollEvent::new(flags, self.index as u64);
            shared.epoll.modify(&self.stream, &mut event)?;
        }
        Ok(())
    }
}
