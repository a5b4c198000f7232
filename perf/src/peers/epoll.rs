//! The yardstick: an epoll echo without tricks, what the kernel allows to anybody.
//!
//! Level-triggered, one thread. Per event one read into one shared buffer and one write. What the
//! socket does not take is kept, and the connection is not read until it is gone.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Size of the read buffer in bytes: two messages of 128 KiB in one read. Half of it costs a fifth
/// more CPU on those, the double gains nothing, and small messages do not care.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// What gives connections.
pub trait Listener: AsFd + AsRawFd {
    /// A connection.
    type Stream: Read + Write + AsFd + AsRawFd + std::fmt::Debug;

    /// The next connection, ready to be used without blocking.
    ///
    /// # Errors
    /// As `accept(2)`.
    fn next(&self) -> Result<Self::Stream>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn next(&self) -> Result<TcpStream> {
        let (stream, _) = self.accept()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    fn next(&self) -> Result<UnixStream> {
        let (stream, _) = self.accept()?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

/// What the loop does when no socket is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Sleeps until one is.
    Sleep,
    /// Looks again at once, for ever: the least latency, for a whole core.
    Spin,
}

#[derive(Debug)]
struct Connection<S> {
    stream: S,
    /// What the last write left; while there is some, the interest is EPOLLOUT instead of EPOLLIN.
    rest: Vec<u8>,
}

/// Echoes whatever arrives on connections to `listener`, for ever, with at most `buffer_bytes` a
/// read.
///
/// # Errors
/// When epoll or accept fails. A connection that fails ends alone.
pub fn serve<L: Listener>(listener: &L, wait: Wait, buffer_bytes: usize) -> Result<()> {
    let timeout = match wait {
        Wait::Sleep => EpollTimeout::NONE,
        Wait::Spin => EpollTimeout::ZERO,
    };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, interest(EpollFlags::EPOLLIN, listener))?;
    // By descriptor. One that is closed leaves epoll by itself, and each descriptor has at most one
    // event in a batch, so no event can meet a connection that took over its number.
    let mut connections: Vec<Option<Connection<L::Stream>>> = Vec::new();
    let mut buffer = vec![0; buffer_bytes];
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

impl<S: Read + Write + AsFd + AsRawFd> Connection<S> {
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

/// The same echo in a process that has another thread, which sleeps for ever.
///
/// In a process of one thread the kernel does not count who uses a file while a call is made on it,
/// and libc does not guard points of cancellation. Nobody who needs a second thread is spared that.
///
/// # Errors
/// As [`serve`], and when there is no other thread to be had.
pub fn serve_beside_a_thread(listener: &TcpListener) -> Result<()> {
    std::thread::Builder::new().spawn(|| {
        loop {
            std::thread::park();
        }
    })?;
    serve(listener, Wait::Sleep, BUFFER_BYTES)
}

fn accept_all<L: Listener>(
    epoll: &Epoll,
    listener: &L,
    connections: &mut Vec<Option<Connection<L::Stream>>>,
) -> Result<()> {
    loop {
        let stream = match listener.next() {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // The peer was gone before it was accepted; the next one may still be there.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
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
