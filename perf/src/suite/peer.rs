//! Who is compared, and how each is started.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempDir};

use crate::cores;
use crate::peers::monoio_echo::{self, Driver};
use crate::probe::Watched;
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
    /// The plain epoll loop beside a second thread, which sleeps.
    EpollBeside,
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
    /// The same, which moves the bytes by `splice(2)`.
    SpliceRelay,
    /// An application that has its sockets itself: the plain epoll loop, 64 KiB a read.
    AppEpoll,
    /// The same on a Unix socket, behind HAProxy in TCP mode.
    AppHaproxy,
    /// The same over shared memory, behind the daemon.
    AppShm,
    /// The daemon as an OSD that stores nothing.
    VmsgrdOsd,
    /// The same on a plain epoll loop: what the protocol alone costs.
    OsdNull,
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
    /// The server that is measured, or who stands before an application.
    pub server: Server,
    /// The other process that is measured.
    application: Option<Server>,
    upstream: Option<Server>,
    address: SocketAddr,
    watched: Vec<Watched>,
    _config: Option<NamedTempFile>,
    _folder: Option<TempDir>,
}

impl Peer {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vmsgrd => "vmsgrd",
            Self::Epoll => "epoll",
            Self::EpollSpin => "epoll-spin",
            Self::EpollBeside => "epoll-beside",
            Self::Tokio => "tokio",
            Self::MonoioEpoll => "monoio-epoll",
            Self::MonoioUring => "monoio-uring",
            Self::MonoioUringDefer => "monoio-uring-defer",
            Self::SleepPoll => "sleep-poll",
            Self::VmsgrdRelay => "vmsgrd-relay",
            Self::Haproxy => "haproxy",
            Self::EpollRelay => "epoll-relay",
            Self::SpliceRelay => "splice-relay",
            Self::AppEpoll => "app-epoll",
            Self::AppHaproxy => "app-haproxy",
            Self::AppShm => "app-shm",
            Self::VmsgrdOsd => "vmsgrd-osd",
            Self::OsdNull => "osd-null",
        }
    }

    /// It is compared with others that do this.
    pub fn takes_part_in(self, kind: Kind) -> bool {
        match self {
            Self::VmsgrdRelay | Self::Haproxy | Self::EpollRelay | Self::SpliceRelay => {
                kind == Kind::Relay
            }
            Self::AppEpoll | Self::AppHaproxy | Self::AppShm => kind.is_app(),
            Self::VmsgrdOsd | Self::OsdNull => kind == Kind::Msgr2,
            _ => kind == Kind::Echo,
        }
    }

    /// It takes part unless others are asked for: the rest answer a question of their own, and
    /// would make every round longer.
    pub fn is_usual(self) -> bool {
        !matches!(self, Self::EpollBeside | Self::SpliceRelay)
    }

    /// It is the daemon.
    pub fn is_vmsgrd(self) -> bool {
        matches!(self, Self::Vmsgrd | Self::VmsgrdRelay | Self::AppShm | Self::VmsgrdOsd)
    }

    /// It is one whom the daemon has to be level with: what uses epoll and sleeps when there is
    /// nothing to do, or the established relay.
    pub fn is_reference(self) -> bool {
        matches!(
            self,
            Self::Epoll
                | Self::Tokio
                | Self::MonoioEpoll
                | Self::Haproxy
                | Self::AppEpoll
                | Self::OsdNull
        )
    }

    /// Why it cannot take part on this machine, when it cannot.
    pub fn absence(self) -> Option<Absent> {
        let driver = match self {
            Self::MonoioUring => Driver::Uring,
            Self::MonoioUringDefer => Driver::UringDefer,
            Self::Haproxy | Self::AppHaproxy => {
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
    pub fn start(self, kind: Kind, place: &Place) -> Result<Running> {
        match self {
            Self::AppEpoll => {
                Running::alone(Server::start(app_epoll(place.app_core(kind), "127.0.0.1:0")?)?)
            }
            Self::AppHaproxy => start_app_haproxy(kind, place),
            Self::AppShm => start_app_shm(kind, place),
            _ if kind == Kind::Relay => {
                let upstream = Server::start(builtin(Self::Epoll, place.load_core)?)?;
                let behind = upstream.address().to_string();
                let mut running = match self {
                    Self::Haproxy => start_haproxy(place, &behind)?,
                    _ => Running::alone(Server::start(self.command(place, &behind)?)?)?,
                };
                running.upstream = Some(upstream);
                Ok(running)
            }
            _ => Running::alone(Server::start(self.command(place, "")?)?),
        }
    }

    /// The commands that [`start`](Self::start) runs, as one would type them.
    ///
    /// # Errors
    /// When the path of this program is not known.
    pub fn describe(self, kind: Kind, place: &Place) -> Result<String> {
        let core = place.app_core(kind);
        Ok(match self {
            Self::AppEpoll => describe(&app_epoll(core, "127.0.0.1:0")?),
            Self::AppHaproxy => {
                let front = describe(&haproxy_at(place, "127.0.0.1:PORT", "unix@SOCKET"));
                format!("{front}, before {}", describe(&app_epoll(core, "unix:SOCKET")?))
            }
            Self::AppShm => {
                let socket = Path::new("SOCKET");
                let front = describe(&vmsgrd_for_applications(place, socket));
                format!("{front}, before {}", describe(&app_shm(core, socket)?))
            }
            _ if kind == Kind::Relay => {
                let front = match self {
                    Self::Haproxy => haproxy_at(place, "127.0.0.1:PORT", "127.0.0.1:PORT"),
                    _ => self.command(place, "127.0.0.1:PORT")?,
                };
                let upstream = describe(&builtin(Self::Epoll, place.load_core)?);
                format!("{}, before {upstream}", describe(&front))
            }
            _ => describe(&self.command(place, "")?),
        })
    }

    /// Of those that need no files.
    fn command(self, place: &Place, upstream: &str) -> Result<Command> {
        let core = place.server_core;
        match self {
            Self::Vmsgrd => Ok(vmsgrd(place, "127.0.0.1:0=echo")),
            Self::VmsgrdOsd => Ok(vmsgrd(place, "127.0.0.1:0=osd-null")),
            Self::VmsgrdRelay => Ok(vmsgrd(place, &format!("127.0.0.1:0=relay:{upstream}"))),
            Self::EpollRelay | Self::SpliceRelay => {
                let mut command = builtin(self, core)?;
                command.args(["--upstream", upstream]);
                Ok(command)
            }
            _ => builtin(self, core),
        }
    }
}

impl Place {
    /// Whether servers and generator have a core each.
    ///
    /// # Errors
    /// When one is not there, or it is the same.
    pub fn check_cores(&self) -> Result<()> {
        let Self { server_core, load_core, .. } = self;
        cores::check(*server_core).context("--server-core")?;
        cores::check(*load_core).context("--load-core")?;
        ensure!(
            server_core != load_core,
            "--server-core and --load-core are both {load_core}: generator and server would \
             measure each other"
        );
        Ok(())
    }

    /// Whether the daemon's binary is there.
    ///
    /// # Errors
    /// When it is not; with what can be done, `or` else than to build it.
    pub fn check_vmsgrd(&self, or: &str) -> Result<()> {
        ensure!(
            self.vmsgrd.is_file(),
            "{} is not there; build it with `cargo build --release --workspace`, {or}",
            self.vmsgrd.display()
        );
        Ok(())
    }

    /// Core of the application.
    fn app_core(&self, kind: Kind) -> usize {
        if kind == Kind::AppApart { self.load_core } else { self.server_core }
    }
}

/// Before what listens at `upstream`.
fn start_haproxy(place: &Place, upstream: &str) -> Result<Running> {
    // It cannot be told to take any free port, and to say which.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut config = NamedTempFile::with_prefix("vmsgr-bench-haproxy-")?;
    config.write_all(HAPROXY_CONFIG.as_bytes())?;
    let mut command = haproxy(place, &address.to_string(), upstream);
    command.arg(config.path());
    let mut running = Running::alone(Server::start_listening(command, address)?)?;
    running._config = Some(config);
    Ok(running)
}

fn start_app_haproxy(kind: Kind, place: &Place) -> Result<Running> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("echo.sock");
    let socket = socket.to_str().context("the folder for temporary files has an odd name")?;
    let command = app_epoll(place.app_core(kind), &format!("unix:{socket}"))?;
    let application = Server::start_without_address(command)?;
    let mut running = start_haproxy(place, &format!("unix@{socket}"))?;
    running.watched.push(Watched { pid: application.pid(), reports: None });
    running.application = Some(application);
    running._folder = Some(folder);
    Ok(running)
}

fn start_app_shm(kind: Kind, place: &Place) -> Result<Running> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("vmsgrd.sock");
    let daemon = Server::start_without_address(vmsgrd_for_applications(place, &socket))?;
    let application = Server::start(app_shm(place.app_core(kind), &socket)?)?;
    let watched = |server: &Server| Watched { pid: server.pid(), reports: Some(server.reports()) };
    Ok(Running {
        address: application.address(),
        watched: vec![watched(&daemon), watched(&application)],
        server: daemon,
        application: Some(application),
        upstream: None,
        _config: None,
        _folder: Some(folder),
    })
}

impl Running {
    /// With nobody behind it.
    fn alone(server: Server) -> Result<Self> {
        Ok(Self {
            address: server.address(),
            watched: vec![Watched { pid: server.pid(), reports: None }],
            server,
            application: None,
            upstream: None,
            _config: None,
            _folder: None,
        })
    }

    /// Whose work is measured, from front to back.
    pub fn watched(&self) -> Vec<Watched> {
        self.watched.clone()
    }

    /// Fails when the server, or the one behind it, has ended by itself.
    ///
    /// # Errors
    /// With the exit status and the end of its stderr.
    pub fn check(&mut self) -> Result<()> {
        self.server.check()?;
        self.application.as_mut().map_or(Ok(()), |app| app.check().context("application"))?;
        self.upstream.as_mut().map_or(Ok(()), |server| server.check().context("upstream"))
    }

    /// Where the generator connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn vmsgrd(place: &Place, listener: &str) -> Command {
    let mut command = Command::new(&place.vmsgrd);
    command.args(["--core-mask", &core_mask(place.server_core), "-l", listener]);
    command
}

fn vmsgrd_for_applications(place: &Place, socket: &Path) -> Command {
    let mut command = Command::new(&place.vmsgrd);
    command.args(["--core-mask", &core_mask(place.server_core), "--socket"]).arg(socket);
    command
}

/// Without its configuration.
fn haproxy(place: &Place, listen: &str, upstream: &str) -> Command {
    let mut command = Command::new(find("haproxy").unwrap_or("haproxy".into()));
    command.env("LISTEN", listen).env("UPSTREAM", upstream);
    command.env("CORE", place.server_core.to_string()).args(["-db", "-f"]);
    command
}

/// As one would type it.
fn haproxy_at(place: &Place, listen: &str, upstream: &str) -> Command {
    let mut command = haproxy(place, listen, upstream);
    command.arg("perf/haproxy.cfg");
    command
}

fn app_epoll(core: usize, listen: &str) -> Result<Command> {
    builtin_at(Peer::AppEpoll, core, listen)
}

fn app_shm(core: usize, socket: &Path) -> Result<Command> {
    let mut command = builtin(Peer::AppShm, core)?;
    command.arg("--socket").arg(socket);
    Ok(command)
}

/// This program, as one of its servers.
fn builtin(peer: Peer, core: usize) -> Result<Command> {
    builtin_at(peer, core, "127.0.0.1:0")
}

fn builtin_at(peer: Peer, core: usize, listen: &str) -> Result<Command> {
    let this = std::env::current_exe().context("the path of this program is not known")?;
    let mut command = Command::new(this);
    let core = core.to_string();
    command.args(["serve", peer.name(), "--listen", listen, "--core", &core]);
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
        let text_of = |kind, peer: Peer| peer.describe(kind, &place).unwrap();
        let text = |peer: Peer| {
            let kinds = Kind::value_variants().iter();
            text_of(*kinds.copied().find(|&kind| peer.takes_part_in(kind)).as_ref().unwrap(), peer)
        };
        assert_eq!(text(Peer::Vmsgrd), "vmsgrd --core-mask 0x2 -l 127.0.0.1:0=echo");
        assert_eq!(text(Peer::VmsgrdOsd), "vmsgrd --core-mask 0x2 -l 127.0.0.1:0=osd-null");
        let osd = text(Peer::OsdNull);
        assert!(osd.ends_with(" serve osd-null --listen 127.0.0.1:0 --core 1"), "{osd}");
        let spin = text(Peer::EpollSpin);
        assert!(spin.ends_with(" serve epoll-spin --listen 127.0.0.1:0 --core 1"), "{spin}");
        let relay = text(Peer::VmsgrdRelay);
        assert!(relay.starts_with("vmsgrd --core-mask 0x2 -l 127.0.0.1:0=relay:"), "{relay}");
        assert!(relay.ends_with(" serve epoll --listen 127.0.0.1:0 --core 0"), "{relay}");
        let splice = text(Peer::SpliceRelay);
        assert!(splice.contains(" serve splice-relay --listen 127.0.0.1:0 --core 1 --upstream "));
        let haproxy = text(Peer::Haproxy);
        let expected = "CORE=1 LISTEN=127.0.0.1:PORT UPSTREAM=127.0.0.1:PORT haproxy -db -f \
                        perf/haproxy.cfg, before ";
        assert!(haproxy.starts_with(expected), "{haproxy}");
        let shm = text_of(Kind::AppApart, Peer::AppShm);
        assert!(shm.starts_with("vmsgrd --core-mask 0x2 --socket SOCKET, before "), "{shm}");
        assert!(shm.ends_with("app-shm --listen 127.0.0.1:0 --core 0 --socket SOCKET"), "{shm}");
        let proxied = text_of(Kind::App, Peer::AppHaproxy);
        assert!(proxied.contains("UPSTREAM=unix@SOCKET haproxy"), "{proxied}");
        assert!(proxied.ends_with("app-epoll --listen unix:SOCKET --core 1"), "{proxied}");
    }

    #[test]
    fn programs_are_found_in_the_path_only_when_they_can_be_run() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
        assert_eq!(find("."), None);
    }
}
