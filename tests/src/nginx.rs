//! A web server of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use tempfile::TempDir;

use crate::eventually::{PATIENCE, eventually};
use crate::peer::Peer;
use crate::process::Process;
use crate::sockets::Refusing;

/// A running nginx on the loopback that serves one small and one large file from a temporary folder.
/// It is not the system's service, touches none of its files, and ends with this guard.
#[derive(Debug)]
pub struct Nginx {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Nginx {
    /// Size of `/large`, in bytes; `/small` is [`Nginx::SMALL_BYTES`] long.
    pub const LARGE_BYTES: usize = 256 * 1024;
    /// Size of `/small`, in bytes.
    pub const SMALL_BYTES: usize = 600;

    /// Starts `nginx` and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn start(nginx: &Peer) -> Self {
        // As with Redis: nginx cannot take any free port and say which.
        (0..5).find_map(|_| Self::try_start(nginx)).expect("nginx starts")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn try_start(nginx: &Peer) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = Refusing::new().address();
        let here = folder.path().display();
        // One process that keeps its user: nothing to hand over, nothing to kill but this one.
        let configuration = format!(
            "daemon off; master_process off; worker_processes 1;
             pid {here}/nginx.pid; error_log stderr warn;
             events {{ worker_connections 1024; }}
             http {{
                 access_log off;
                 client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;
                 fastcgi_temp_path {here}/fastcgi; uwsgi_temp_path {here}/uwsgi;
                 scgi_temp_path {here}/scgi;
                 keepalive_requests 1000000000;
                 server {{ listen {address}; root {here}; }}
             }}"
        );
        let file = |name: &str| folder.path().join(name);
        fs::write(file("nginx.conf"), configuration).expect("a configuration file");
        fs::write(file("small"), vec![b's'; Self::SMALL_BYTES]).expect("a small file");
        fs::write(file("large"), vec![b'l'; Self::LARGE_BYTES]).expect("a large file");

        let mut process = Process::spawn(
            nginx.command().arg("-p").arg(folder.path()).arg("-c").arg(file("nginx.conf")),
        );
        eventually("nginx takes connections or ends", PATIENCE, || {
            process.exited().is_some() || TcpStream::connect(address).is_ok()
        });
        let runs = process.exited().is_none();
        runs.then(|| Self { address, _process: process, _folder: folder })
    }
}
