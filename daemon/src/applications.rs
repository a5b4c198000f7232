//! The socket where applications attach: who comes, who may, and who has gone.
//!
//! A source of the main thread's poll. What an application may do is decided here; the segment that
//! it is given is made by [`Attachments`]. Events only mark; [`Applications::turn`] does the work.
//!
//! ```text
//! connect --> (policy) --> silent -- hello --> asking -- welcome --> attached -- hang-up --> gone
//!                |           | 5 s                |                      |
//!                +-----------+---- refusal -------+                 violation, detach
//! ```

mod attachments;
mod peer;
mod socket_file;

pub use self::attachments::{AttachRequest, Attachments, Granted, PeerId, Verdict};

use self::peer::{Came, Peer, State, Who};
use self::socket_file::SocketFile;
use crate::refusal::Refusal;
use crate::settings::{ApplicationSettings, AttachSocket};
use log::Level;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::unistd::geteuid;
use socket2::Socket;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{Arguments, Display};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};
use vmsgr_messenger::Complaints;
use vmsgr_messenger::shm::{
    self, ExchangeError, Hello, Permissions, Policy, Welcome, default_path, receive_hello,
    send_refusal, send_welcome,
};

/// The first token of the main thread's poll that is an application's, or their listener's.
pub const FIRST_TOKEN: usize = 2;

/// How long an application may take to say its hello.
const PATIENCE: Duration = Duration::from_secs(5);

/// Applications that have not said their hello.
const MAX_SILENT: usize = 64;

/// Those of them that are one user's: no user keeps out the others.
const MAX_SILENT_OF_ONE: usize = 16;

/// Applications that are accepted in one turn.
const ACCEPTS: usize = 16;

/// What to do where the socket cannot be.
const WAY_OUT: &str = "name another with --socket PATH, or have no applications: --socket none";

/// How long to wait when there was no descriptor for an application: nobody says when there is.
const EXHAUSTED: Duration = Duration::from_millis(250);

/// The socket, bound before anything else runs.
#[derive(Debug)]
pub struct Bound {
    socket: Option<(SocketFile, Socket)>,
    /// Why there is none, though nobody said that there should be none.
    warning: Option<String>,
}

/// Binds the socket where applications attach.
///
/// Only a path that somebody has asked for is worth not to start: with the default one, nobody may
/// want applications.
pub fn bind(settings: &ApplicationSettings) -> Result<Bound, Refusal> {
    let for_everybody = !settings.policy().only(geteuid().as_raw());
    let (socket, warning) = match &settings.socket {
        AttachSocket::None => (None, None),
        AttachSocket::At(path) => match SocketFile::bind(path, for_everybody) {
            Ok(bound) => (Some(bound), None),
            Err(reason) => {
                let reason = format_args!("{reason}; {WAY_OUT}");
                return Err(Refusal::new(format_args!("socket {}", path.display()), reason));
            }
        },
        AttachSocket::Default => match SocketFile::bind(&default_path(), for_everybody) {
            Ok(bound) => (Some(bound), None),
            Err(reason) => (None, Some(reason)),
        },
    };
    Ok(Bound { socket, warning })
}

/// The applications, from when they connect until they have gone.
#[derive(Debug)]
pub struct Applications {
    /// The file before the socket, so that it is gone first. `None`: nobody can attach (any more).
    listener: Option<(SocketFile, Socket)>,
    registry: Registry,
    policy: Policy,
    max_endpoints: usize,
    max_segment_bytes: u64,
    max_linger: Duration,
    /// Of the daemon: each takes a part of every segment.
    cores: usize,
    peers: BTreeMap<PeerId, Peer>,
    /// The number of the last one that came.
    last: usize,
    /// Those that have not said their hello, and until when they may; the earliest first.
    silent: VecDeque<(Instant, PeerId)>,
    /// Whether somebody may wait to be accepted. Readiness is edge-triggered: it is said once.
    acceptable: bool,
    /// When to accept again, after there was no descriptor.
    accept_again: Option<Instant>,
    /// Those from whom something has come, since the last turn.
    readable: Vec<PeerId>,
    /// Those who have gone, and [`Attachments`] has not been told.
    gone: Vec<PeerId>,
    complaints: Complaints,
}

impl Applications {
    /// From here on, applications attach, to a daemon of so many cores.
    pub fn new(
        bound: Bound,
        settings: &ApplicationSettings,
        registry: Registry,
        cores: usize,
    ) -> io::Result<Self> {
        if let Some(reason) = bound.warning {
            let path = default_path();
            let path = path.display();
            log::warn!("applications cannot attach: {path}: {reason}; {WAY_OUT}");
        }
        if let Some((file, socket)) = &bound.socket {
            log::info!("applications attach at {}", file.path().display());
            watch(&registry, socket, PeerId(0))?;
        }
        Ok(Self {
            acceptable: bound.socket.is_some(),
            listener: bound.socket,
            registry,
            policy: settings.policy(),
            max_endpoints: settings.max_endpoints,
            max_segment_bytes: settings.max_segment_bytes,
            max_linger: settings.max_linger,
            cores,
            peers: BTreeMap::new(),
            last: 0,
            silent: VecDeque::new(),
            accept_again: None,
            readable: Vec::new(),
            gone: Vec::new(),
            complaints: Complaints::default(),
        })
    }

    /// Notes an event of the poll, whose token is at least [`FIRST_TOKEN`].
    pub fn mark(&mut self, token: Token) {
        match PeerId(token.0 - FIRST_TOKEN) {
            PeerId(0) => self.acceptable = self.listener.is_some(),
            peer => self.readable.push(peer),
        }
    }

    /// Does what there is to do, within bounds; there may be more, see [`wait`](Self::wait).
    pub fn turn(&mut self, now: Instant, attachments: &mut impl Attachments) {
        for peer in std::mem::take(&mut self.readable) {
            self.read(peer, attachments);
            // Before the next one is read, which may come in the place of one that has gone.
            self.tell_of_gone(attachments);
        }
        self.expire(now, attachments);
        self.tell_of_gone(attachments);
        // Last: who has said its hello by now keeps out nobody.
        self.accept(now, attachments);
    }

    fn tell_of_gone(&mut self, attachments: &mut impl Attachments) {
        for peer in std::mem::take(&mut self.gone) {
            attachments.departed(peer);
        }
    }

    /// How long the main thread may sleep as far as applications are concerned; `None`: until
    /// something happens.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let hello = self.silent.front().map(|(until, _)| *until);
        let earliest = hello.into_iter().chain(self.accept_again).min()?;
        // The poll rounds it up.
        Some(earliest.saturating_duration_since(now))
    }

    fn has_work(&self) -> bool {
        self.acceptable || !self.readable.is_empty() || !self.gone.is_empty()
    }

    /// Answers an application whose request was to be answered [later](Verdict::Later). One that
    /// has gone meanwhile is no error, and has been [told](Attachments::departed).
    pub fn welcome(&mut self, id: PeerId, answer: Result<Granted, shm::Refusal>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.state != State::Asking {
            debug_assert!(false, "{id} is answered once");
            return;
        }
        match answer {
            Err(refusal) => self.refuse(id, &refusal),
            Ok(granted) => match pass_on(&peer.socket, &granted) {
                Ok(()) => {
                    peer.state = State::Attached;
                    let again = if granted.resumed { " again" } else { "" };
                    let line = format!("app={id} {} has attached{again}", peer.who);
                    self.complain(Level::Info, format_args!("{line}"));
                }
                Err(error) => self.depart(id, Level::Warn, &error),
            },
        }
    }

    /// Hangs up on an application, for a reason that is logged; [`Attachments`] is not told.
    pub fn detach(&mut self, id: PeerId, reason: impl Display) {
        if let Some(peer) = self.remove(id) {
            self.complain(Level::Warn, format_args!("app={id} {} is detached: {reason}", peer.who));
        }
        // It may have hung up in this very turn.
        self.gone.retain(|gone| *gone != id);
    }

    /// Nobody attaches any more, and the socket's file is gone; those who are attached stay.
    pub fn stop(&mut self) {
        self.listener = None;
        (self.acceptable, self.accept_again) = (false, None);
        let silent: Vec<_> = self.silent.iter().map(|(_, id)| *id).collect();
        for id in silent {
            self.refuse(id, &shm::Refusal::new(Errno::ESHUTDOWN, "vmsgrd is stopping"));
        }
    }

    fn accept(&mut self, now: Instant, attachments: &mut impl Attachments) {
        if self.accept_again.is_some_and(|again| again <= now) {
            (self.acceptable, self.accept_again) = (true, None);
        }
        for _ in 0..ACCEPTS {
            let Some((_, listener)) = self.listener.as_ref().filter(|_| self.acceptable) else {
                return;
            };
            match listener.accept() {
                Ok((socket, _)) => {
                    // Most have said their hello by now: they are not counted among the silent.
                    if let Some(id) = self.arrive(socket, now) {
                        self.read(id, attachments);
                        self.tell_of_gone(attachments);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.acceptable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    (self.acceptable, self.accept_again) = (false, Some(now + EXHAUSTED));
                    self.complain(
                        Level::Warn,
                        format_args!("an application could not be accepted: {error}"),
                    );
                }
            }
        }
    }

    /// Whom the policy does not name is refused at once, and so takes nobody's place.
    fn arrive(&mut self, socket: Socket, now: Instant) -> Option<PeerId> {
        let admitted = socket
            .set_nonblocking(true)
            .and_then(|()| Ok(Who::of(&socket)?))
            .map_err(|error| error.to_string());
        let who = match admitted {
            Ok(who) => who,
            Err(error) => {
                let line = format_args!("an application could not be accepted: {error}");
                self.complain(Level::Warn, line);
                return None;
            }
        };
        match self.admit(&who) {
            Err(refusal) => {
                // The application hears of it whether it is accepted or not.
                let _ = send_refusal(&socket, &refusal);
                self.complain(Level::Warn, format_args!("application {who} is refused: {refusal}"));
                None
            }
            Ok(permissions) => {
                self.last += 1;
                let id = PeerId(self.last);
                if let Err(error) = watch(&self.registry, &socket, id) {
                    let line = format_args!("app={id} {who} could not be accepted: {error}");
                    self.complain(Level::Warn, line);
                    return None;
                }
                self.silent.push_back((now + PATIENCE, id));
                self.peers.insert(id, Peer { socket, who, state: State::Silent(permissions) });
                Some(id)
            }
        }
    }

    fn admit(&self, who: &Who) -> Result<Permissions, shm::Refusal> {
        let permissions = self
            .policy
            .attach(who.uid)
            .map_err(|denied| shm::Refusal::new(Errno::EACCES, denied))?;
        if self.silent.len() >= MAX_SILENT {
            let reason = format_args!("{MAX_SILENT} others have not said what they want");
            return Err(shm::Refusal::new(Errno::EBUSY, reason));
        }
        let is_theirs = |id| self.peers.get(id).is_some_and(|peer| peer.who.uid == who.uid);
        if self.silent.iter().filter(|(_, id)| is_theirs(id)).count() >= MAX_SILENT_OF_ONE {
            let reason = format_args!(
                "{MAX_SILENT_OF_ONE} others of user {} have not said what they want",
                who.uid
            );
            return Err(shm::Refusal::new(Errno::EBUSY, reason));
        }
        Ok(permissions)
    }

    /// Reads what has come, until there is nothing more: nobody will say again that there was.
    fn read(&mut self, id: PeerId, attachments: &mut impl Attachments) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let State::Silent(_) = peer.state {
            let hello = match receive_hello(&peer.socket) {
                Err(ExchangeError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return;
                }
                hello => hello,
            };
            self.silent.retain(|(_, silent)| *silent != id);
            match hello {
                Ok(hello) => self.ask(id, hello, attachments),
                Err(error) => self.mistaken(id, &error),
            }
        }
        match self.peers.get(&id).map(Peer::look) {
            None | Some(Came::Nothing) => {}
            Some(Came::End) => self.depart(id, Level::Info, &"it has hung up"),
            Some(Came::Violation) => {
                self.depart(id, Level::Warn, &"it has sent something after its hello");
            }
        }
    }

    /// Passes on what an application asks for, if it may be had at all.
    fn ask(&mut self, id: PeerId, mut hello: Hello, attachments: &mut impl Attachments) {
        let attached = self.peers.len() - self.silent.len() - 1;
        let (max_endpoints, max_segment) = (self.max_endpoints, self.max_segment_bytes);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let State::Silent(permissions) = std::mem::replace(&mut peer.state, State::Asking) else {
            return;
        };
        peer.who.name.clone_from(&hello.name);
        if attached >= max_endpoints {
            let reason = format_args!(
                "{max_endpoints} endpoints are attached, which is applications.max_endpoints"
            );
            return self.refuse(id, &shm::Refusal::new(Errno::EUSERS, reason));
        }
        let segment = hello.segment_bytes(self.cores).unwrap_or(u64::MAX);
        if segment > max_segment {
            let reason = format_args!(
                "{} slots with their rings take {segment} bytes, more than \
                 applications.max_segment_bytes, {max_segment}",
                hello.slots
            );
            return self.refuse(id, &shm::Refusal::new(Errno::EFBIG, reason));
        }
        hello.linger = hello.linger.min(self.max_linger);
        let Who { uid, pid, .. } = peer.who;
        let request = AttachRequest { hello, uid, pid, permissions };
        if let Verdict::Now(answer) = attachments.attach(request, id) {
            self.welcome(id, answer);
        }
    }

    /// Answers what is no hello.
    fn mistaken(&mut self, id: PeerId, error: &ExchangeError) {
        let errno = match error {
            ExchangeError::Hello(error) => error.errno(),
            ExchangeError::Unasked => Errno::EBADMSG,
            // Somebody who looks whether anybody listens.
            _ => {
                if let Some(peer) = self.remove(id) {
                    let line = format_args!("app={id} {} has not said anything: {error}", peer.who);
                    self.complain(Level::Debug, line);
                }
                return;
            }
        };
        self.refuse(id, &shm::Refusal::new(errno, error));
    }

    /// A hello that is there has come in time, however late we look.
    fn expire(&mut self, now: Instant, attachments: &mut impl Attachments) {
        while let Some(&(_, id)) = self.silent.front().filter(|(until, _)| *until <= now) {
            self.read(id, attachments);
            if self.silent.front().is_some_and(|(_, silent)| *silent == id) {
                let reason = format_args!("no hello in {} s", PATIENCE.as_secs());
                self.refuse(id, &shm::Refusal::new(Errno::ETIMEDOUT, reason));
            }
        }
    }

    /// Says why, and hangs up.
    fn refuse(&mut self, id: PeerId, refusal: &shm::Refusal) {
        if let Some(peer) = self.remove(id) {
            // It may have gone.
            let _ = send_refusal(&peer.socket, refusal);
            self.complain(Level::Warn, format_args!("app={id} {} is refused: {refusal}", peer.who));
        }
    }

    /// An application of which [`Attachments`] knows has gone, or has to go.
    fn depart(&mut self, id: PeerId, level: Level, reason: &dyn Display) {
        if let Some(peer) = self.remove(id) {
            self.complain(level, format_args!("app={id} {} is gone: {reason}", peer.who));
            self.gone.push(id);
        }
    }

    /// Closing the socket takes it out of the poll.
    fn remove(&mut self, id: PeerId) -> Option<Peer> {
        self.silent.retain(|(_, silent)| *silent != id);
        self.peers.remove(&id)
    }

    /// Logs a line that an application can cause, unless there were too many.
    fn complain(&mut self, level: Level, line: Arguments<'_>) {
        if log::log_enabled!(level)
            && let Some(kept_back) = self.complaints.admit(Instant::now())
        {
            if kept_back > 0 {
                log::warn!("{kept_back} lines about applications were kept back");
            }
            log::log!(level, "{line}");
        }
    }
}

fn watch(registry: &Registry, socket: &Socket, id: PeerId) -> io::Result<()> {
    let token = Token(FIRST_TOKEN + id.0);
    registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)
}

fn pass_on(socket: &Socket, granted: &Granted) -> Result<(), ExchangeError> {
    let welcome = Welcome {
        epoch: granted.epoch,
        resumed: granted.resumed,
        cores: granted.cores,
        segment_bytes: granted.segment_bytes,
    };
    let descriptors: Vec<_> = granted.descriptors.iter().map(AsFd::as_fd).collect();
    send_welcome(socket, &welcome, &descriptors)
}

#[cfg(test)]
mod tests;
