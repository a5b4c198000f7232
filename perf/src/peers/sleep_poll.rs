//! The prototype's design, rebuilt: per connection a loop that reads and a loop that writes, each
//! of which sleeps for 1 us when it finds nothing to do.
//!
//! Nobody tells these loops that there is something: they look. The prototype ran them as fibers of
//! one thread, and so does this, in the plainest way there is. A fiber is a step that is tried in
//! turn: the acceptor's, then every connection's read and write step. What a fiber that sleeps for
//! 1 us does on one core is wait until all the others had their turn, and when not one of them
//! found anything, the thread sleeps for that 1 us, in the kernel. So a turn costs one read(2) per
//! connection whether anything arrived or not, and an idle server does this for ever: that, and not
//! the scheduler, is what the design costs.
//!
//! The rebuild is kinder than the original, and shows the design at its best. A fiber runtime keeps
//! a timer for every fiber that sleeps, and sets and takes it with every look that finds nothing.
//! Here no timer is kept, a write step with nothing to write is a look at memory, and the thread's
//! timer slack is 1 ns, without which the kernel would make 50 us of the 1 us. So under a load at
//! which every look finds something it is as fast as others. What stays, because it is the design:
//! a whole core at idle, a look at every connection before a message on one of them is seen, and
//! one accept a turn, so that connections wait to be accepted while others are served.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sys::prctl;

/// How long a turn in which nobody found anything is followed by sleep.
const NAP: Duration = Duration::from_micros(1);

/// Bytes that the read loop may be ahead of the write loop.
const QUEUE_BYTES: usize = 64 * 1024;

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Something,
    /// The end of the connection.
    End,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// What the read loop leaves for the write loop: the bytes `written .. filled`.
    queue: Box<[u8]>,
    written: usize,
    filled: usize,
}

/// Echoes whatever arrives on connections to `listener`, for ever.
///
/// # Errors
/// When accept fails. A connection that fails ends alone.
pub fn serve(listener: &TcpListener) -> Result<()> {
    prctl::set_timerslack(1)?;
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let mut idle = true;
        if let Some(connection) = accept(listener)? {
            connections.push(connection);
            idle = false;
        }
        connections.retain_mut(|connection| {
            let steps = [connection.read_step(), connection.write_step()];
            idle &= steps == [Found::Nothing; 2];
            !steps.contains(&Found::End)
        });
        if idle {
            thread::sleep(NAP);
        }
    }
}

fn accept(listener: &TcpListener) -> Result<Option<Connection>> {
    let stream = match listener.accept() {
        Ok((stream, _)) => stream,
        Err(error)
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let queue = vec![0; QUEUE_BYTES].into_boxed_slice();
    Ok(Some(Connection { stream, queue, written: 0, filled: 0 }))
}

impl Connection {
    fn read_step(&mut self) -> Found {
        if self.filled == self.queue.len() {
            return Found::Nothing;
        }
        match self.stream.read(&mut self.queue[self.filled..]) {
            // What is still to be written goes first.
            Ok(0) if self.written < self.filled => Found::Nothing,
            Ok(0) => Found::End,
            Ok(read) => {
                self.filled += read;
                Found::Something
            }
            Err(error) => found(&error),
        }
    }

    fn write_step(&mut self) -> Found {
        if self.written == self.filled {
            return Found::Nothing;
        }
        match self.stream.write(&self.queue[self.written..self.filled]) {
            Ok(written) => {
                self.written += written;
                if self.written == self.filled {
                    (self.written, self.filled) = (0, 0);
                }
                Found::Something
            }
            Err(error) => found(&error),
        }
    }
}

fn found(error: &std::io::Error) -> Found {
    if error.kind() == ErrorKind::WouldBlock { Found::Nothing } else { Found::End }
}
