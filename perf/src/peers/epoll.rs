//! The yardstick: an epoll echo without tricks, what the kernel allows to anybody.
//!
//! Level-triggered, one thread. Per event one read into one shared buffer and one write. What the
//! socket does not take is kept, and the connection is not read until it is gone.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Size of the read buffer in bytes: two messages of 128 KiB in one read. Half of it costs a fifth
/// more CPU on those, the double gains nothing, and small messages do not care.
const BUFFER_BYTES: usize = 256 * 1024;

/// What the loop does when no socket is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Sleeps until one is.
    Sleep,
    /// Looks again at once, for ever: the least latency, for a whole core.
    Spin,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// What the last write left; while there is some, the interest is EPOLLOUT instead of EPOLLIN.
    rest: Vec<u8>,
}

/// Echoes whatever arrives on connections to `listener`, for ever.
///
/// # Errors
/// When epoll or accept fails. A connection that fails ends alone.
pub fn serve(listener: &TcpListener, wait: Wait) -> Result<()> {
    let timeout = match wait {
        Wait::Sleep => EpollTimeout::NONE,
        Wait::Spin => EpollTimeout::ZERO,
    };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, interest(EpollFlags::EPOLLIN, listener))?;
    // By descriptor. One that is closed leaves epoll by itself, and each descriptor has at most one
    // event in a batch, so no event can meet a connection that took over its number.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let ready = match epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        for event in &events[..ready] {
            if event.data() == key(listener) {
                accept_all(&epoll, listener, &mut connections)?;
                continue;
            }
            let slot = &mut connections[event.data() as usize];
            if let Some(connection) = slot
                && !connection.on_event(&epoll, &mut buffer)
            {
                *slot = None;
            }
        }
    }
}

impl Connection {
    /// One read and one write, or one write of what is left. False when the connection is over.
    fn on_event(&mut self, epoll: &Epoll, buffer: &mut [u8]) -> bool {
        let step = if self.rest.is_empty() { self.echo(epoll, buffer) } else { self.flush(epoll) };
        match step {
            Ok(open) => open,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    fn echo(&mut self, epoll: &Epoll, buffer: &mut [u8]) -> Result<bool> {
        let read = self.stream.read(buffer)?;
        if read == 0 {
            return Ok(false);
        }
        let written = match self.stream.write(&buffer[..read]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            other => other?,
        };
        if written < read {
            self.rest.extend_from_slice(&buffer[written..read]);
            epoll.modify(&self.stream, &mut interest(EpollFlags::EPOLLOUT, &self.stream))?;
        }
        Ok(true)
    }

    fn flush(&mut self, epoll: &Epoll) -> Result<bool> {
        let written = self.stream.write(&self.rest)?;
        self.rest.drain(..written);
        if self.rest.is_empty() {
            epoll.modify(&self.stream, &mut interest(EpollFlags::EPOLLIN, &self.stream))?;
        }
        Ok(true)
    }
}

fn accept_all(
    epoll: &Epoll,
    listener: &TcpListener,
    connections: &mut Vec<Option<Connection>>,
) -> Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // The peer was gone before it was accepted; the next one may still be there.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll.add(&stream, interest(EpollFlags::EPOLLIN, &stream))?;
        let index = key(&stream) as usize;
        if connections.len() <= index {
            connections.resize_with(index + 1, || None);
        }
        connections[index] = Some(Connection { stream, rest: Vec::new() });
    }
}

fn interest(flags: EpollFlags, socket: &impl AsRawFd) -> EpollEvent {
    EpollEvent::new(flags, key(socket))
}

/// An open descriptor is never negative.
fn key(socket: &impl AsRawFd) -> u64 {
    u64::from(socket.as_raw_fd().unsigned_abs())
}
