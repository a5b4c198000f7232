//! The yardstick for relays: what is left when a message costs two reads and two writes and nothing
//! else, so what the kernel allows to anybody who calls it that often.
//!
//! Level-triggered, one thread, as [`epoll`](super::epoll). Not a relay to use: it waits for its
//! upstream while it connects, and the first end of either side is the end of both.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Size of the read buffer in bytes; see [`epoll`](super::epoll).
const BUFFER_BYTES: usize = 256 * 1024;

/// One of the two sockets of a relayed connection.
#[derive(Debug)]
struct Side {
    stream: TcpStream,
    /// Where the other one is.
    other: usize,
    /// What this socket has not taken yet; while there is some, the other one is not read.
    rest: Vec<u8>,
}

#[derive(Debug)]
struct Relay {
    epoll: Epoll,
    /// By descriptor, both or none of a connection. A late event can meet a descriptor's next
    /// owner, which then finds nothing to read.
    sides: Vec<Option<Side>>,
    buffer: Vec<u8>,
}

/// Connects each connection to `listener` with one to `upstream`, for ever.
///
/// # Errors
/// When epoll or accept fails. A connection that fails ends alone.
pub fn serve(listener: &TcpListener, upstream: SocketAddr) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, key(listener) as u64))?;
    let mut relay = Relay { epoll, sides: Vec::new(), buffer: vec![0; BUFFER_BYTES] };
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let ready = match relay.epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        for event in &events[..ready] {
            let at = event.data() as usize;
            if at == key(listener) {
                relay.accept_all(listener, upstream)?;
            } else if !relay.on_event(at, event.events()) {
                relay.end(at);
            }
        }
    }
}

impl Relay {
    fn accept_all(&mut self, listener: &TcpListener, upstream: SocketAddr) -> Result<()> {
        loop {
            match listener.accept() {
                Ok((client, _)) => {
                    if let Ok(server) = TcpStream::connect(upstream) {
                        self.pair(client, server)?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The peer was gone before it was accepted; the next one may still be there.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn pair(&mut self, client: TcpStream, server: TcpStream) -> Result<()> {
        let ends = [key(&client), key(&server)];
        for (stream, other) in [(client, ends[1]), (server, ends[0])] {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let at = key(&stream);
            self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
            if self.sides.len() <= at {
                self.sides.resize_with(at + 1, || None);
            }
            self.sides[at] = Some(Side { stream, other, rest: Vec::new() });
        }
        Ok(())
    }

    /// One write of what is left, if there is room, and one read and write. False when the
    /// connection is over.
    fn on_event(&mut self, at: usize, flags: EpollFlags) -> bool {
        let Some(own) = self.sides.get(at).and_then(Option::as_ref) else { return true };
        let beyond = own.other;
        let both = self.sides.get_disjoint_mut([at, beyond]);
        let Ok([Some(this), Some(other)]) = both else { return true };
        if flags.contains(EpollFlags::EPOLLOUT) && !this.rest.is_empty() {
            match (&this.stream).write(&this.rest) {
                Ok(count) => drop(this.rest.drain(..count)),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
            let relieved = this.rest.is_empty();
            return !relieved || self.ask(at);
        }
        if !other.rest.is_empty() {
            return true;
        }
        let read = match (&this.stream).read(&mut self.buffer) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let written = match (&other.stream).write(&self.buffer[..read]) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return false,
        };
        other.rest.extend_from_slice(&self.buffer[written..read]);
        written == read || self.ask(at)
    }

    /// Asks for what the state of the connection at `at` needs, on both its sides; false if that
    /// fails.
    fn ask(&self, at: usize) -> bool {
        let Some(this) = self.sides[at].as_ref() else { return false };
        let Some(other) = self.sides[this.other].as_ref() else { return false };
        [(this, other, at), (other, this, this.other)].into_iter().all(|(side, beyond, at)| {
            let mut flags = EpollFlags::empty();
            flags.set(EpollFlags::EPOLLIN, beyond.rest.is_empty());
            flags.set(EpollFlags::EPOLLOUT, !side.rest.is_empty());
            self.epoll.modify(&side.stream, &mut EpollEvent::new(flags, at as u64)).is_ok()
        })
    }

    fn end(&mut self, at: usize) {
        if let Some(side) = self.sides[at].take() {
            self.sides[side.other] = None;
        }
    }
}

/// An open descriptor is never negative.
fn key(socket: &impl AsRawFd) -> usize {
    socket.as_raw_fd().unsigned_abs() as usize
}
