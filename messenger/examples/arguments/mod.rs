//! What every example takes on its command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use vmsgr_messenger::client::AttachOptions;

/// Where it listens, and whose application it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Attach {
    /// Where the daemon shall listen for it; port 0: any free one
    #[arg(value_name = "ADDRESS:PORT", value_parser = address)]
    pub(crate) address: SocketAddr,
    /// The daemon's socket [default: $XDG_RUNTIME_DIR/vmsgr/vmsgrd.sock, then
    /// /run/vmsgr/vmsgrd.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Attach {
    /// Under this name, at that daemon.
    pub(crate) fn options(&self, name: impl Into<String>) -> AttachOptions {
        let options = AttachOptions::new(name);
        match &self.socket {
            Some(path) => options.socket(path),
            None => options,
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write ADDRESS:PORT, such as 127.0.0.1:7402, with a port to 65535")
}
