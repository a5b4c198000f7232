//! The yardstick for relays: what is left when a message costs two reads and two writes and nothing
//! else, so what the kernel allows to anybody who calls it that often.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::epoll::BUFFER_BYTES;
use super::plain_relay::{self, Way};

/// What a socket has not taken yet.
#[derive(Debug)]
struct Rest(Vec<u8>);

/// Connects each connection to `listener` with one to `upstream`, for ever.
///
/// # Errors
/// As [`plain_relay::serve`].
pub fn serve(listener: &TcpListener, upstream: SocketAddr) -> Result<()> {
    plain_relay::serve::<Rest>(listener, upstream, BUFFER_BYTES)
}

impl Way for Rest {
    fn new() -> Result<Self> {
        Ok(Self(Vec::new()))
    }

    fn waits(&self) -> bool {
        !self.0.is_empty()
    }

    fn pass(&mut self, mut from: &TcpStream, mut to: &TcpStream, buffer: &mut [u8]) -> bool {
        let read = match from.read(buffer) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let written = match to.write(&buffer[..read]) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return false,
        };
        self.0.extend_from_slice(&buffer[written..read]);
        true
    }

    fn send(&mut self, mut to: &TcpStream) -> bool {
        match to.write(&self.0) {
            Ok(count) => {
                self.0.drain(..count);
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}
