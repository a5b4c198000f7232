//! A peer of an entity of an application: a lossy client, which moves its bytes when it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use bytes::Bytes;

use super::double::{Double, Scene};
use crate::msgr2::{
    AuthNone, Config, Endpoint, EntityAddr, EntityAddrs, EntityType, Event, Message, MessageHeader,
    Policy, SessionId, StreamId, Target,
};
use crate::shm::status::State;

/// The kind of its messages.
const KIND: u16 = 1000;

/// A client with one session.
pub(crate) struct Caller {
    endpoint: Endpoint,
    session: SessionId,
    stream: StreamId,
    socket: TcpStream,
    /// It knows that it has a session.
    pub(crate) opened: bool,
    /// What has come: the tid and the data of each message.
    pub(crate) received: Vec<(u64, Vec<u8>)>,
    /// How its stream has ended: in order (`Ok`), or with an error.
    pub(crate) end: Option<Result<(), ErrorKind>>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self::with(address, Policy::LOSSY_CLIENT, 0)
    }

    /// Whose sessions have these rules, and who has this number beside its address.
    pub(crate) fn with(address: SocketAddr, policy: Policy, nonce: u32) -> Self {
        let now = Instant::now();
        let auth = Box::new(AuthNone::new(EntityType::CLIENT, "admin", 0));
        let mut config = Config::new(EntityType::CLIENT, EntityAddrs::default());
        config.nonce = nonce;
        let mut endpoint = Endpoint::new(config, auth, now);
        let address_there = EntityAddr::msgr2(address, 0);
        let target = Target { address: address_there, entity: None, policy, reopen: false };
        let session = endpoint.connect(target, now).unwrap();
        let stream = endpoint.connected(session, now).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (opened, received, end) = Default::default();
        Self { endpoint, session, stream, socket, opened, received, end }
    }

    /// Its stream breaks, and is made again. It has something to say.
    pub(crate) fn comes_back(&mut self) {
        let (mut now, address) = (Instant::now(), self.socket.peer_addr().unwrap());
        self.socket = TcpStream::connect(address).unwrap();
        self.socket.set_nonblocking(true).unwrap();
        self.endpoint.closed(self.stream, now);
        while self.endpoint.poll_event().is_some() {}
        self.stream = loop {
            if let Some(stream) = self.endpoint.connected(self.session, now) {
                break stream;
            }
            // Nobody waits for this time: to its endpoint it is later.
            now = self.endpoint.deadline().expect("it tries again");
            self.endpoint.handle_timeout(now);
        };
    }

    pub(crate) fn send(&mut self, tid: u64, data: &[u8]) {
        let header = MessageHeader { kind: KIND, tid, ..MessageHeader::default() };
        let (front, middle) = (Bytes::new(), Bytes::new());
        let message = Message { header, front, middle, data: Bytes::copy_from_slice(data) };
        self.endpoint.send(self.session, message, Instant::now()).unwrap();
    }

    /// Moves what can be moved.
    pub(crate) fn turn(&mut self) {
        while self.end.is_none() && (self.write() || self.read()) {}
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Close { error, .. } => panic!("{error}"),
                Event::Opened { .. } => self.opened = true,
                _ => {}
            }
        }
    }

    fn write(&mut self) -> bool {
        let slices = self.endpoint.poll_send(self.stream, Instant::now());
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        let count = if bytes.is_empty() { 0 } else { self.socket.write(&bytes).unwrap_or(0) };
        self.endpoint.sent(self.stream, count);
        count > 0
    }

    fn read(&mut self) -> bool {
        let (now, mut bytes) = (Instant::now(), [0; 4096]);
        let count = match self.socket.read(&mut bytes) {
            Ok(0) => {
                self.end = Some(Ok(()));
                return false;
            }
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => {
                self.end = Some(Err(error.kind()));
                return false;
            }
        };
        let mut bytes = &bytes[..count];
        while let Some(message) = self.endpoint.receive(self.stream, &mut bytes, now) {
            let size = message.bytes() as u64;
            self.received.push((message.header.tid, message.data.to_vec()));
            self.endpoint.taken(self.session, 1, size, now);
        }
        true
    }

    /// Waits until the application has a session with it; the slot.
    pub(crate) fn open(&mut self, scene: &mut Scene, application: &mut Double) -> u32 {
        scene.until("a session is open", |_| {
            self.turn();
            let numbers = application.numbers();
            let mut slots = numbers.iter().map(|(slot, _)| *slot);
            slots.find(|slot| application.status(*slot).state == State::Open)
        })
    }

    /// Waits until it has the message of this number.
    pub(crate) fn hears(&mut self, scene: &mut Scene, tid: u64) {
        scene.until("its message has come", |_| {
            self.turn();
            self.received.iter().any(|(it, _)| *it == tid).then_some(())
        });
    }

    /// Waits until its stream is over.
    pub(crate) fn ends(&mut self, scene: &mut Scene) -> Result<(), ErrorKind> {
        scene.until("its stream is over", |_| {
            self.turn();
            self.end
        })
    }
}
