//! As [`epoll_relay`](super::epoll_relay), but the bytes never come here: splice(2) moves them
//! through a pipe for each direction. What that saves are the two copies.

use std::io::Result;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

use super::plain_relay::{self, Way};

/// What a pipe is asked to hold, in bytes: all that a user without privileges may ask for by
/// default. At the size that it has without asking nothing is won.
const PIPE_BYTES: i32 = 1 << 20;

/// What a socket is to be sent.
#[derive(Debug)]
struct Pipe {
    /// To take it from.
    out: OwnedFd,
    /// To put it into.
    into: OwnedFd,
    /// Bytes in it.
    held: usize,
}

/// Connects each connection to `listener` with one to `upstream`, for ever.
///
/// # Errors
/// As [`plain_relay::serve`]; a pipe may fail, too.
pub fn serve(listener: &TcpListener, upstream: SocketAddr) -> Result<()> {
    plain_relay::serve::<Pipe>(listener, upstream, 0)
}

impl Way for Pipe {
    fn new() -> Result<Self> {
        let (out, into) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        // Refused once the user has too much of it: then it is as large as pipes are.
        let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok(Self { out, into, held: 0 })
    }

    fn waits(&self) -> bool {
        self.held > 0
    }

    fn pass(&mut self, from: &TcpStream, to: &TcpStream, _: &mut [u8]) -> bool {
        match moved(from, &self.into, PIPE_BYTES as usize) {
            Ok(0) => return false,
            Ok(count) => self.held = count,
            Err(error) => return error == Errno::EAGAIN,
        }
        self.send(to)
    }

    fn send(&mut self, to: &TcpStream) -> bool {
        match moved(&self.out, to, self.held) {
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
