//! One application's connection to the socket.

use nix::sys::socket::{UnixCredentials, getsockopt, sockopt::PeerCredentials};
use socket2::Socket;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use vmsgr_messenger::shm::Permissions;

/// One application's connection to the socket.
#[derive(Debug)]
pub struct Peer {
    pub socket: Socket,
    pub who: Who,
    pub state: State,
}

/// Whose it is; as it is named in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub uid: u32,
    pub gid: u32,
    pub pid: i32,
    /// What it calls itself, once it has; empty if it does not.
    pub name: String,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has not said its hello.
    Silent(Permissions),
    /// It has, and waits to be answered.
    Asking,
    /// It has been welcomed.
    Attached,
}

/// What came from an application that had nothing more to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    /// Nothing, which is right.
    Nothing,
    /// Something.
    Violation,
    /// The end.
    End,
}

impl Peer {
    /// Looks, without waiting, at what came after the hello. Descriptors that came, too, are
    /// closed.
    pub fn look(&self) -> Came {
        match self.socket.recv(&mut [MaybeUninit::uninit(); 1]) {
            Ok(0) => Came::End,
            Ok(_) => Came::Violation,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Came::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.look(),
            Err(_) => Came::End,
        }
    }
}

impl Who {
    /// Asks the kernel.
    pub fn of(socket: &Socket) -> nix::Result<Self> {
        let credentials: UnixCredentials = getsockopt(socket, PeerCredentials)?;
        Ok(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid(),
            name: String::new(),
        })
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, pid, name, .. } = self;
        let name = if name.is_empty() { "-" } else { name };
        write!(f, "name={name} uid={uid} pid={pid}")
    }
}
