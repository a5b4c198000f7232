//! A stream of a msgr2 endpoint over a socket: what the endpoint has to say is written, what comes
//! is given to it. Both the load of OSD operations and the server that answers them are made of
//! these.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use anyhow::{Result, bail};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use vmsgr_messenger::msgr2::{Endpoint, Event, Received, StreamId};

/// Size of the buffer that every read goes into.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// The interest of a stream that has nothing to write.
const READ: EpollFlags =
    EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP).union(EpollFlags::EPOLLET);

/// Set in an event when the stream ends behind the bytes that are there.
const ENDED: EpollFlags =
    EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLHUP).union(EpollFlags::EPOLLERR);

/// A socket and the endpoint's name for it.
#[derive(Debug)]
pub struct Msgr2Stream {
    socket: TcpStream,
    id: StreamId,
    key: u64,
    /// The last write was short, and EPOLLOUT has not come since.
    blocked: bool,
    /// EPOLLOUT is registered.
    armed: bool,
}

impl Msgr2Stream {
    /// Registers a connected socket in epoll under `key`.
    ///
    /// # Errors
    /// When the kernel refuses an option or the registration.
    pub fn new(socket: TcpStream, id: StreamId, key: u64, epoll: &Epoll) -> Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        epoll.add(&socket, EpollEvent::new(READ, key))?;
        Ok(Self { socket, id, key, blocked: false, armed: false })
    }

    /// The endpoint's name for it.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The kernel has not taken all that was written, and not told of room since.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Reads all that came and hands out the messages, each with the endpoint, to which it has to
    /// be given back ([`Endpoint::taken`]). False when the stream has ended.
    ///
    /// # Errors
    /// When the socket fails, or `each` does.
    pub fn receive(
        &mut self,
        endpoint: &mut Endpoint,
        ready: EpollFlags,
        buffer: &mut [u8],
        mut each: impl FnMut(&mut Endpoint, Received<'_>) -> Result<()>,
    ) -> Result<bool> {
        self.blocked &= !ready.contains(EpollFlags::EPOLLOUT);
        // Errors and the end of the stream show in the read as well.
        if ready == EpollFlags::EPOLLOUT {
            return Ok(true);
        }
        loop {
            let read = match self.socket.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                other => other?,
            };
            let now = Instant::now();
            if read == 0 {
                endpoint.closed(self.id, now);
                return Ok(false);
            }
            let mut input = &buffer[..read];
            while let Some(received) = endpoint.receive(self.id, &mut input, now) {
                each(endpoint, received)?;
            }
            if !input.is_empty() {
                bail!("{} bytes were not taken: what came before is not given back", input.len());
            }
            // A read that does not fill the buffer took everything; only the end of the stream may
            // hide behind it.
            if read < buffer.len() && !ready.intersects(ENDED) {
                return Ok(true);
            }
        }
    }

    /// Writes what waits. Registers EPOLLOUT when the kernel does not take it all, and removes it
    /// once it did.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn flush(&mut self, endpoint: &mut Endpoint, epoll: &Epoll) -> Result<()> {
        while !self.blocked {
            let slices = endpoint.poll_send(self.id, Instant::now());
            let length: usize = slices.iter().map(|slice| slice.len()).sum();
            if length == 0 {
                break;
            }
            let written = match self.socket.write_vectored(&slices) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                other => other?,
            };
            endpoint.sent(self.id, written);
            self.blocked = written < length;
        }
        if self.armed != self.blocked {
            self.armed = self.blocked;
            let flags = if self.armed { READ | EpollFlags::EPOLLOUT } else { READ };
            epoll.modify(&self.socket, &mut EpollEvent::new(flags, self.key))?;
        }
        Ok(())
    }
}

impl AsFd for Msgr2Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether an event says that a session or its stream is over, and why.
pub fn end_of(event: &Event) -> Option<String> {
    match event {
        Event::Close { error, .. } | Event::Lost { error, .. } | Event::Ended { error, .. } => {
            Some(error.to_string())
        }
        _ => None,
    }
}
