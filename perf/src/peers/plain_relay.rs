//! What the plain relays share, so that they differ only in how bytes move: who is connected with
//! whom, and what is asked of epoll.
//!
//! Level-triggered, one thread, as [`epoll`](super::epoll). Not a relay to use: it waits for its
//! upstream while it connects, and the first end of either side is the end of both.

use std::io::{ErrorKind, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// How bytes get to a socket, and where those wait that it has not taken. While there are some, the
/// other socket is not read.
pub trait Way: Sized {
    /// For one socket.
    ///
    /// # Errors
    /// When it needs what the kernel does not give.
    fn new() -> Result<Self>;

    /// Whether bytes wait.
    fn waits(&self) -> bool;

    /// Once from one socket, of which something may be read, to the other; what that does not take
    /// waits. False when the connection is over.
    fn pass(&mut self, from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> bool;

    /// What waits once to the socket; false when the connection is over.
    fn send(&mut self, to: &TcpStream) -> bool;
}

/// One of the two sockets of a relayed connection.
#[derive(Debug)]
struct Side<W> {
    stream: TcpStream,
    /// Where the other one is.
    other: usize,
    /// To this one.
    way: W,
}

#[derive(Debug)]
struct Relay<W> {
    epoll: Epoll,
    /// By descriptor, both or none of a connection. A late event can meet a descriptor's next
    /// owner, which then finds nothing to read.
    sides: Vec<Option<Side<W>>>,
    buffer: Vec<u8>,
}

/// Connects each connection to `listener` with one to `upstream`, for ever; ways share a buffer of
/// so many bytes.
///
/// # Errors
/// When epoll, accept or a way fails. A connection that fails ends alone.
pub fn serve<W: Way>(
    listener: &TcpListener,
    upstream: SocketAddr,
    buffer_bytes: usize,
) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, key(listener) as u64))?;
    let mut relay = Relay::<W> { epoll, sides: Vec::new(), buffer: vec![0; buffer_bytes] };
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

impl<W: Way> Relay<W> {
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
            self.sides[at] = Some(Side { stream, other, way: W::new()? });
        }
        Ok(())
    }

    /// One write of what waits, if there is room, or one move from one socket to the other. False
    /// when the connection is over.
    fn on_event(&mut self, at: usize, flags: EpollFlags) -> bool {
        let Some(own) = self.sides.get(at).and_then(Option::as_ref) else { return true };
        let beyond = own.other;
        let both = self.sides.get_disjoint_mut([at, beyond]);
        let Ok([Some(this), Some(other)]) = both else { return true };
        if flags.contains(EpollFlags::EPOLLOUT) && this.way.waits() {
            return this.way.send(&this.stream) && (this.way.waits() || self.ask(at));
        }
        if other.way.waits() {
            return true;
        }
        other.way.pass(&this.stream, &other.stream, &mut self.buffer)
            && (!other.way.waits() || self.ask(at))
    }

    /// Asks for what the state of the connection at `at` needs, on both its sides; false if that
    /// fails.
    fn ask(&self, at: usize) -> bool {
        let Some(this) = self.sides[at].as_ref() else { return false };
        let Some(other) = self.sides[this.other].as_ref() else { return false };
        [(this, other, at), (other, this, this.other)].into_iter().all(|(side, beyond, at)| {
            let mut flags = EpollFlags::empty();
            flags.set(EpollFlags::EPOLLIN, !beyond.way.waits());
            flags.set(EpollFlags::EPOLLOUT, side.way.waits());
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
