//! Who is compared, and how each is started.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::peers::monoio_echo::{self, Driver};
use crate::server::{Server, describe};
use crate::workload::Kind;

/// HAProxy's configuration; its variables come from the environment.
const HAPROXY_CONFIG: &str = include_str!("../../haproxy.cfg");

/// Where Debian puts programs that a user's `PATH` may not have.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
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
    /// monoio on epoll.
    MonoioEpoll,
    /// monoio on io_uring.
    MonoioUring,
    /// monoio on io_uring with DEFER_TASKRUN and SINGLE_ISSUER.
    MonoioUringDefer,
    /// The prototype's design: two loops per connection that sleep 1 us when they find nothing.
    SleepPoll,
    /// The daemon as a relay.
    VmsgrdRelay,
    /// HAProxy in TCP mode.
    Haproxy,
    /// The plain epoll loop that relays: what the system calls alone cost.
    EpollRelay,
}

/// A peer that takes no part, and why: it is shown, never left out silently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// Who.
    pub peer: Peer,
    /// `not installed: COMMAND THAT INSTALLS IT`, or `not available: WHAT THE KERNEL SAYS`.
    pub reason: String,
}

/// Where servers are, and where they run.
#[derive(Debug, Clone)]
pub struct Place {
    /// The daemon's binary.
    pub vmsgrd: PathBuf,
    /// Core of the server.
    pub server_core: usize,
    /// Core of the generator, which the server behind a relay shares.
    pub load_core: usize,
}

/// A peer that runs, with all it needs. The fields are dropped in this order.
#[derive(Debug)]
pub struct Running {
    /// The server that is measured.
    pub server: Server,
    upstream: Option<Server>,
    _config: Option<NamedTempFile>,
}

impl Peer {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vmsgrd => "vmsgrd",
            Self::Epoll => "epoll",
            Self::EpollSpin => "epoll-spin",
            Self::Tokio => "tokio",
            Self::MonoioEpoll => "monoio-epoll",
            Self::MonoioUring => "monoio-uring",
            Self::MonoioUringDefer => "monoio-uring-defer",
            Self::SleepPoll => "sleep-poll",
            Self::VmsgrdRelay => "vmsgrd-relay",
            Self::Haproxy => "haproxy",
            Self::EpollRelay => "epoll-relay",
        }
    }

    /// What it does, and so whom it is compared with.
    pub fn kind(self) -> Kind {
        match self {
            Self::VmsgrdRelay | Self::Haproxy | Self::EpollRelay => Kind::Relay,
            _ => Kind::Echo,
        }
    }

    /// It is the daemon.
    pub fn is_vmsgrd(self) -> bool {
        matches!(self, Self::Vmsgrd | Self::VmsgrdRelay)
    }

    /// It is one whom the daemon has to be level with: what uses epoll and sleeps when there is
    /// nothing to do, or the established relay.
    pub fn is_reference(self) -> bool {
        matches!(self, Self::Epoll | Self::Tokio | Self::MonoioEpoll | Self::Haproxy)
    }

    /// Why it cannot take part on this machine, when it cannot.
    pub fn absence(self) -> Option<Absent> {
        let driver = match self {
            Self::MonoioUring => Driver::Uring,
            Self::MonoioUringDefer => Driver::UringDefer,
            Self::Haproxy => {
                let reason = "not installed: apt-get install haproxy".to_owned();
                return find("haproxy").is_none().then_some(Absent { peer: self, reason });
            }
            _ => return None,
        };
        let error = monoio_echo::probe(driver).err()?;
        Some(Absent { peer: self, reason: format!("not available: io_uring_setup: {error}") })
    }

    /// Starts it, pinned, on a free port of the loopback, and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started or ends by itself.
    pub fn start(self, place: &Place) -> Result<Running> {
        let mut upstream = None;
        if self.kind() == Kind::Relay {
            upstream = Some(Server::start(builtin(Self::Epoll, place.load_core)?)?);
        }
        let behind = upstream.as_ref().map(|server| server.address().to_string());
        let command = self.command(place, behind.as_deref())?;
        if self != Self::Haproxy {
            return Ok(Running { server: Server::start(command)?, upstream, _config: None });
        }
        let mut command = command;
        let mut config = NamedTempFile::with_prefix("vmsgr-bench-haproxy-")?;
        config.write_all(HAPROXY_CONFIG.as_bytes())?;
        // It cannot be told to take any free port, and to say which.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        command.env("LISTEN", address.to_string()).arg(config.path());
        let server = Server::start_listening(command, address)?;
        Ok(Running { server, upstream, _config: Some(config) })
    }

    /// The commands that [`start`](Self::start) runs, as one would type them.
    ///
    /// # Errors
    /// When the path of this program is not known.
    pub fn describe(self, place: &Place) -> Result<String> {
        if self.kind() == Kind::Echo {
            return Ok(describe(&self.command(place, None)?));
        }
        let mut command = self.command(place, Some("127.0.0.1:PORT"))?;
        if self == Self::Haproxy {
            command.env("LISTEN", "127.0.0.1:PORT").arg("perf/haproxy.cfg");
        }
        let upstream = describe(&builtin(Self::Epoll, place.load_core)?);
        Ok(format!("{}, before {upstream}", describe(&command)))
    }

    fn command(self, place: &Place, upstream: Option<&str>) -> Result<Command> {
        let core = place.server_core;
        let upstream = upstream.unwrap_or_default();
        match self {
            Self::Vmsgrd => Ok(vmsgrd(place, "127.0.0.1:0=echo")),
            Self::VmsgrdRelay => Ok(vmsgrd(place, &format!("127.0.0.1:0=relay:{upstream}"))),
            Self::Haproxy => {
                let mut command = Command::new(find("haproxy").unwrap_or("haproxy".into()));
                command.env("UPSTREAM", upstream).env("CORE", core.to_string());
                command.args(["-db", "-f"]);
                Ok(command)
            }
            Self::EpollRelay => {
                let mut command = builtin(self, core)?;
                command.args(["--upstream", upstream]);
                Ok(command)
            }
            _ => builtin(self, core),
        }
    }
}

impl Running {
    /// Fails when the server, or the one behind it, has ended by itself.
    ///
    /// # Errors
    /// With the exit status and the end of its stderr.
    pub fn check(&mut self) -> Result<()> {
        self.server.check()?;
        self.upstream.as_mut().map_or(Ok(()), |server| server.check().context("upstream"))
    }

    /// Where the generator connects to.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

fn vmsgrd(place: &Place, listener: &str) -> Command {
    let mut command = Command::new(&place.vmsgrd);
    command.args(["--core-mask", &core_mask(place.server_core), "-l", listener]);
    command
}

/// This program, as one of its servers.
fn builtin(peer: Peer, core: usize) -> Result<Command> {
    let this = std::env::current_exe().context("the path of this program is not known")?;
    let mut command = Command::new(this);
    let core = core.to_string();
    command.args(["serve", peer.name(), "--listen", "127.0.0.1:0", "--core", &core]);
    Ok(command)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file: &PathBuf| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The mask of one core: in hexadecimal as far as 64 bits go, then as a list.
pub fn core_mask(core: usize) -> String {
    if core < 64 { format!("{:#x}", 1u64 << core) } else { core.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn commands_read_as_one_would_type_them() {
        let place = Place { vmsgrd: "/somewhere/vmsgrd".into(), server_core: 1, load_core: 0 };
        let text = |peer: Peer| peer.describe(&place).unwrap();
        assert_eq!(text(Peer::Vmsgrd), "vmsgrd --core-mask 0x2 -l 127.0.0.1:0=echo");
        let spin = text(Peer::EpollSpin);
        assert!(spin.ends_with(" serve epoll-spin --listen 127.0.0.1:0 --core 1"), "{spin}");
        let relay = text(Peer::VmsgrdRelay);
        assert!(relay.starts_with("vmsgrd --core-mask 0x2 -l 127.0.0.1:0=relay:"), "{relay}");
        assert!(relay.ends_with(" serve epoll --listen 127.0.0.1:0 --core 0"), "{relay}");
        let haproxy = text(Peer::Haproxy);
        let expected = "CORE=1 LISTEN=127.0.0.1:PORT UPSTREAM=127.0.0.1:PORT haproxy -db -f \
                        perf/haproxy.cfg, before ";
        assert!(haproxy.starts_with(expected), "{haproxy}");
    }

    #[test]
    fn programs_are_found_in_the_path_only_when_they_can_be_run() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
        assert_eq!(find("."), None);
    }
}
