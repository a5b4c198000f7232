//! Who is compared, and how each is started.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

/// An echo server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// The daemon with its defaults.
    Vmsgrd,
    /// The plain epoll loop.
    Epoll,
    /// The plain epoll loop that never sleeps.
    EpollSpin,
    /// tokio's current_thread runtime.
    Tokio,
}

impl Peer {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vmsgrd => "vmsgrd",
            Self::Epoll => "epoll",
            Self::EpollSpin => "epoll-spin",
            Self::Tokio => "tokio",
        }
    }

    /// The command that starts it on `core` and a free port of the loopback: the daemon's binary,
    /// or this program.
    ///
    /// # Errors
    /// When the path of this program is not known.
    pub fn command(self, vmsgrd: &Path, core: usize) -> Result<Command> {
        let mut command;
        if self == Self::Vmsgrd {
            command = Command::new(vmsgrd);
            command.args(["--core-mask", &core_mask(core), "-l", "127.0.0.1:0=echo"]);
        } else {
            let this = std::env::current_exe().context("the path of this program is not known")?;
            command = Command::new(this);
            let core = core.to_string();
            command.args(["serve", self.name(), "--listen", "127.0.0.1:0", "--core", &core]);
        }
        Ok(command)
    }
}

/// The mask of one core: in hexadecimal as far as 64 bits go, then as a list.
fn core_mask(core: usize) -> String {
    if core < 64 { format!("{:#x}", 1u64 << core) } else { core.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::describe;

    #[test]
    fn masks() {
        assert_eq!([0, 3, 63, 64].map(core_mask), ["0x1", "0x8", "0x8000000000000000", "64"]);
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for &peer in Peer::value_variants() {
            assert_eq!(peer.to_possible_value().unwrap().get_name(), peer.name());
        }
    }

    #[test]
    fn commands() {
        let vmsgrd = Peer::Vmsgrd.command(Path::new("/somewhere/vmsgrd"), 1).unwrap();
        assert_eq!(describe(&vmsgrd), "vmsgrd --core-mask 0x2 -l 127.0.0.1:0=echo");
        let spin = describe(&Peer::EpollSpin.command(Path::new("vmsgrd"), 1).unwrap());
        assert!(spin.ends_with(" serve epoll-spin --listen 127.0.0.1:0 --core 1"), "{spin}");
    }
}
