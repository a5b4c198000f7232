//! A Redis server of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tempfile::TempDir;

use crate::peer::Peer;
use crate::process::Process;
use crate::sockets::Refusing;

/// A running redis-server on the loopback, without persistence. It ends with this guard.
#[derive(Debug)]
pub struct RedisServer {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl RedisServer {
    /// Starts `redis-server` and waits until it answers PING.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn start(redis_server: &Peer) -> Self {
        // Redis cannot be told to take any free port. One that was free a moment ago nearly always
        // still is; where it is not, there are others.
        (0..5).find_map(|_| Self::try_start(redis_server)).expect("redis-server starts")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn try_start(redis_server: &Peer) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = Refusing::new().address();
        let mut process = Process::spawn(
            redis_server
                .command()
                .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
                .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
                .arg("--dir")
                .arg(folder.path()),
        );
        crate::eventually("redis-server answers or ends", crate::PATIENCE, || {
            process.exited().is_some() || answers_ping(address)
        });
        let runs = process.exited().is_none();
        runs.then(|| Self { address, _process: process, _folder: folder })
    }
}

fn answers_ping(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = [0; 7];
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"+PONG\r\n"
}
