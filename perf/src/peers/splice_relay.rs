//! As [`epoll_relay`](super::epoll_relay), but the bytes never come here: splice(2) moves them through a
//! pipe for each direction. What that saves are the two copies.

use std::io::{ErrorKind, Result};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::pipe2;

/// What a pipe is asked to hold, in bytes: all that a user without privileges may ask for by default. At
/// the size that it has without asking nothing is won.
const PIPE_BYTES: i32 = 1 << 20;

/// One of the two sockets of a relayed connection.
#[derive(Debug)]
struct Side {
    stream: TcpStream,
    /// Where the other one is.
    other: usize,
    /// What this socket is to be sent: the end to take it from, and the one to put it into.
    pipe: (OwnedFd, OwnedFd),
    /// Bytes in the pipe; while there are some, the other socket is not read.
    held: usize,
}

#[derive(Debug)]
struct Relay {
    epoll: Epoll,
    /// By descriptor, both or none of a connection. A late event can meet a descriptor's next
    /// owner, which then finds nothing to read.
    sides: Vec<Option<Side>>,
}

/// Connects each connection to `listener` with one to `upstream`, for ever.
///
/// # Errors
/// When epoll, accept or a pipe fails. A connection that fails ends alone.
pub fn serve(listener: &TcpListener, upstream: SocketAddr) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, key(listener) as u64))?;
    let mut relay = Relay { epoll, sides: Vec::new() };
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
            let pipe = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
            // Refused once the user has too much of it: then it is as large as pipes are.
            let _ = fcntl(&pipe.1, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
            let at = key(&stream);
            self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
            if self.sides.len() <= at {
                self.sides.resize_with(at + 1, || None);
            }
            self.sides[at] = Some(Side { stream, other, pipe, held: 0 });
        }
        Ok(())
    }

    /// One move out of the pipe that waits for this socket, or one into the other's pipe and out of
    /// it. False when the connection is over.
    fn on_event(&mut self, at: usize, flags: EpollFlags) -> bool {
        let Some(own) = self.sides.get(at).and_then(Option::as_ref) else { return true };
        let beyond = own.other;
        let both = self.sides.get_disjoint_mut([at, beyond]);
        let Ok([Some(this), Some(other)]) = both else { return true };
        if flags.contains(EpollFlags::EPOLLOUT) && this.held > 0 {
            return this.send() && (this.held > 0 || self.ask(at));
        }
        if other.held > 0 {
            return true;
        }
        match moved(&this.stream, &other.pipe.1, PIPE_BYTES as usize) {
            Ok(0) => return false,
            Ok(count) => other.held = count,
            Err(error) => return error == Errno::EAGAIN,
        }
        other.send() && (other.held == 0 || self.ask(at))
    }

    /// Asks for what the state of the connection at `at` needs, on both its sides; false if that
    /// fails.
    fn ask(&self, at: usize) -> bool {
        let Some(this) = self.sides[at].as_ref() else { return false };
        let Some(other) = self.sides[this.other].as_ref() else { return false };
        [(this, other, at), (other, this, this.other)].into_iter().all(|(side, beyond, at)| {
            let mut flags = EpollFlags::empty();
            flags.set(EpollFlags::EPOLLIN, beyond.held == 0);
            flags.set(EpollFlags::EPOLLOUT, side.held > 0);
            self.epoll.modify(&side.stream, &mut EpollEvent::new(flags, at as u64)).is_ok()
        })
    }

    fn end(&mut self, at: usize) {
        if let Some(side) = self.sides[at].take() {
            self.sides[side.other] = None;
        }
    }
}

impl Side {
    /// Moves what the pipe holds into the socket, once; false if the socket failed.
    fn send(&mut self) -> bool {
        match moved(&self.pipe.0, &self.stream, self.held) {
            Ok(count) => {
                self.held -= count;
                true
            }
            Err(error) => error == Errno::EAGAIN,
        }
    }
}

/// Moves at most `most` bytes; how many.
fn moved(from: &impl AsFd, to: &impl AsFd, most: usize) -> nix::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    splice(from, None, to, None, most, flags)
}

/// An open descriptor is never negative.
fn key(socket: &impl AsRawFd) -> usize {
    socket.as_raw_fd().unsigned_abs() as usize
}
