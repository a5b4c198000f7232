//! An msgr2 endpoint over standard sockets: what moves its bytes in the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vmsgr_messenger::msgr2::{
    AuthNone, Config, Endpoint, EntityAddr, EntityAddrs, EntityType, Event, Message, MessageHeader,
    Policy, Received, SessionId, StreamId, Target,
};

use crate::sockets;

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// A message that has come, to keep.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// In which session.
    pub session: SessionId,
    /// Its header.
    pub header: MessageHeader,
    /// What it says.
    pub front: Vec<u8>,
    /// What it carries.
    pub data: Vec<u8>,
}

impl From<Received<'_>> for Delivery {
    fn from(received: Received<'_>) -> Self {
        let Received { session, header, front, data, .. } = received;
        Self { session, header, front: front.to_vec(), data: data.to_vec() }
    }
}

/// Moves the bytes of an endpoint, one thread, until what a test waits for has happened.
#[derive(Debug)]
pub struct Driver {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What it said and nobody has taken.
    pub events: Vec<Event>,
    /// Messages that came and nobody has taken.
    pub deliveries: Vec<Delivery>,
    /// Whether it takes what comes.
    pub reads: bool,
    listener: Option<TcpListener>,
    sockets: BTreeMap<StreamId, TcpStream>,
    /// Those that have taken less than there was.
    full: BTreeSet<StreamId>,
}

impl Driver {
    /// Of an endpoint that may listen.
    ///
    /// # Panics
    ///
    /// When the listener cannot be made non-blocking.
    pub fn new(endpoint: Endpoint, listener: Option<TcpListener>) -> Self {
        if let Some(listener) = &listener {
            listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        }
        let (events, deliveries, sockets, full) = Default::default();
        Self { endpoint, events, deliveries, reads: true, listener, sockets, full }
    }

    /// Of a client that wants one session, and that session.
    ///
    /// # Panics
    ///
    /// When the target has no address to connect to.
    pub fn dial(config: Config, target: Target) -> (Self, SessionId) {
        let now = Instant::now();
        let auth = Box::new(AuthNone::new(EntityType::CLIENT, "admin", 0));
        let mut endpoint = Endpoint::new(config, auth, now);
        let session = endpoint.connect(target, now).expect("an address");
        (Self::new(endpoint, None), session)
    }

    /// Of an OSD with this number, at a loopback port of the kernel's choice.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn osd(number: u64) -> Self {
        let listener = sockets::listen();
        let address = listener.local_addr().expect("it is bound");
        let mut config = Config::new(EntityType::OSD, EntityAddr::msgr2(address, 0).into());
        config.gid = Some(number);
        config.outbox_bytes = 1 << 30;
        let auth = Box::new(AuthNone::new(EntityType::OSD, number.to_string(), 0));
        Self::new(Endpoint::new(config, auth, Instant::now()), Some(listener))
    }

    /// Where it listens.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn address(&self) -> SocketAddr {
        let listener = self.listener.as_ref().expect("it listens");
        listener.local_addr().expect("it is bound")
    }

    /// The number by which a [`client`](Self::client) is known.
    pub const GID: u64 = 4123;

    /// Of a lossy client of an entity there, and its session.
    pub fn client(to: SocketAddr, entity: EntityType) -> (Self, SessionId) {
        let mut config = Config::new(EntityType::CLIENT, EntityAddrs::default());
        config.nonce = std::process::id();
        config.gid = Some(Self::GID);
        config.outbox_bytes = 1 << 30;
        let address = EntityAddr::msgr2(to, 0);
        let policy = Policy::LOSSY_CLIENT;
        let target = Target { address, entity: Some(entity), policy, reopen: false };
        Self::dial(config, target)
    }

    /// Sends a message.
    ///
    /// # Panics
    ///
    /// When the session is over, or its queue is full.
    #[track_caller]
    pub fn send(&mut self, session: SessionId, message: Message) {
        self.endpoint.send(session, message, Instant::now()).expect("its queue has room");
    }

    /// Goes on until the condition gives something.
    ///
    /// # Panics
    ///
    /// When it does not in time; `what` names it.
    #[track_caller]
    pub fn until<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let end = Instant::now() + patience;
        loop {
            self.turn(Duration::ZERO);
            if let Some(found) = condition(self) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not within {patience:?}: {what}; events: {:#?}", self.events);
            self.turn(left.min(Duration::from_millis(100)));
        }
    }

    /// The first message of this kind.
    #[track_caller]
    pub fn message(&mut self, kind: u16, patience: Duration) -> Delivery {
        self.until(&format!("a message of kind {kind}"), patience, |driver| {
            let found = driver.deliveries.iter().position(|found| found.header.kind == kind)?;
            Some(driver.deliveries.remove(found))
        })
    }

    /// Waits at most so long for bytes, and moves what there is.
    fn turn(&mut self, most: Duration) {
        self.take_events();
        self.wait(most);
        while let Some((socket, from)) = self.listener.as_ref().and_then(|on| on.accept().ok()) {
            let stream = self.endpoint.accept(from, Instant::now());
            self.insert(stream, socket);
        }
        let streams: Vec<StreamId> = self.sockets.keys().copied().collect();
        for stream in streams {
            if self.reads && self.read(stream).is_err() {
                self.sockets.remove(&stream);
                self.endpoint.closed(stream, Instant::now());
            } else {
                self.write(stream);
            }
        }
        self.endpoint.handle_timeout(Instant::now());
        self.take_events();
    }

    fn wait(&self, most: Duration) {
        let now = Instant::now();
        let due = self.endpoint.deadline().map(|at| at.saturating_duration_since(now));
        let wait = due.map_or(most, |due| due.min(most));
        let listener = self.listener.iter().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN));
        let sockets = self.sockets.iter().map(|(stream, socket)| {
            let full = self.full.contains(stream);
            let out = if full { PollFlags::POLLOUT } else { PollFlags::empty() };
            PollFd::new(socket.as_fd(), PollFlags::POLLIN | out)
        });
        let mut fds: Vec<PollFd<'_>> = listener.chain(sockets).collect();
        // Rounded up: not a moment too early, for ever.
        let milliseconds = wait.as_nanos().div_ceil(1_000_000);
        let timeout = PollTimeout::try_from(milliseconds as i32).unwrap_or(PollTimeout::ZERO);
        // Interrupted is as good as timed out.
        let _ = poll(&mut fds, timeout);
    }

    fn insert(&mut self, stream: StreamId, socket: TcpStream) {
        socket.set_nonblocking(true).expect("a socket can be made non-blocking");
        socket.set_nodelay(true).expect("a TCP socket has this option");
        self.sockets.insert(stream, socket);
    }

    fn take_events(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match &event {
                Event::Connect { session, to } => self.connect(*session, *to),
                Event::Transmit(stream) => self.write(*stream),
                Event::Close { stream, .. } => {
                    self.sockets.remove(stream);
                }
                _ => {}
            }
            if !matches!(event, Event::Transmit(_)) {
                self.events.push(event);
            }
        }
    }

    fn connect(&mut self, session: SessionId, to: SocketAddr) {
        match TcpStream::connect(to) {
            Ok(socket) => {
                if let Some(stream) = self.endpoint.connected(session, Instant::now()) {
                    self.insert(stream, socket);
                }
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                self.endpoint.connect_failed(session, errno, Instant::now());
            }
        }
    }

    /// Reads what there is; an error when the stream is over.
    fn read(&mut self, stream: StreamId) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let Some(mut socket) = self.sockets.get(&stream) else { return Ok(()) };
            let count = match socket.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut input = &chunk[..count];
            while let Some(received) = self.endpoint.receive(stream, &mut input, Instant::now()) {
                let (session, bytes) = (received.session, received.bytes() as u64);
                self.deliveries.push(received.into());
                self.endpoint.taken(session, 1, bytes, Instant::now());
            }
        }
    }

    fn write(&mut self, stream: StreamId) {
        self.full.remove(&stream);
        let Some(mut socket) = self.sockets.get(&stream) else { return };
        loop {
            let slices = self.endpoint.poll_send(stream, Instant::now());
            if slices.is_empty() {
                return;
            }
            match socket.write_vectored(&slices) {
                Ok(count) => self.endpoint.sent(stream, count),
                // Reading sees a broken one.
                Err(error) => {
                    if error.kind() == io::ErrorKind::WouldBlock {
                        self.full.insert(stream);
                    }
                    return;
                }
            }
        }
    }
}
