//! Endpoints that talk in memory: the tests own the wire, which can be cut, and the clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use vmsgr_messenger::msgr2::*;

/// The errno of a node that is not there.
pub const REFUSED: i32 = 111;

/// Numbers that a seed gives.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

/// One direction of a stream.
#[derive(Default)]
struct Lane {
    /// What gets there when.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    bytes: VecDeque<u8>,
    /// What the receiver did not take: its session is full.
    held: Vec<u8>,
}

impl Lane {
    /// What has been under way for long enough is there.
    fn arrive(&mut self, now: Instant) {
        while let Some((_, bytes)) = self.under_way.pop_front_if(|(at, _)| *at <= now) {
            self.bytes.extend(bytes);
        }
    }
}

/// A stream between two endpoints, with an id at each.
struct Wire {
    ends: [(usize, StreamId); 2],
    /// From each end to the other.
    lanes: [Lane; 2],
    /// Which ends have closed it.
    closed: [bool; 2],
    /// Somebody in between has closed it, and takes nothing more; when each end gets what is left,
    /// and is told.
    severed: Option<[Instant; 2]>,
}

impl Wire {
    /// Nothing gets to this end yet.
    fn is_late(&self, end: usize, now: Instant) -> bool {
        self.severed.is_some_and(|at| now < at[end])
    }

    /// Nothing of what was written at this end is left to be read.
    fn is_drained(&self, end: usize) -> bool {
        let Lane { under_way, bytes, held } = &self.lanes[end];
        under_way.is_empty() && bytes.is_empty() && held.is_empty()
    }
}

/// One endpoint and what it has told and received.
pub struct Node {
    pub endpoint: Endpoint,
    pub address: SocketAddr,
    pub events: Vec<Event>,
    /// Kind and parts of every message.
    pub received: Vec<(SessionId, MessageHeader, Vec<u8>, Vec<u8>)>,
    /// Messages are taken as they come.
    pub takes: bool,
}

pub struct World {
    pub now: Instant,
    pub nodes: Vec<Node>,
    pub dice: Dice,
    /// Whether streams can be made.
    pub up: bool,
    /// How long bytes are under way.
    pub latency: Duration,
    /// Streams that were made.
    pub made: usize,
    /// All that was written, whatever became of it.
    pub overheard: Vec<u8>,
    /// Bytes that were put where the endpoints said that they belong.
    pub placed: usize,
    wires: Vec<Wire>,
}

pub fn address(number: u8) -> SocketAddr {
    format!("10.0.0.{number}:6800").parse().unwrap()
}

pub fn name(number: u8) -> EntityAddr {
    EntityAddr::msgr2(address(number), u32::from(number))
}

pub fn config(entity: EntityType, number: u8) -> Config {
    let mut config = Config::new(entity, name(number).into());
    config.nonce = number.into();
    config.cookies = Cookies::From(u64::from(number) * 1000);
    config
}

/// Of an OSD that is another's peer.
pub fn peer(number: u8) -> Config {
    let mut config = config(EntityType::OSD, number);
    config.policy = Policy::LOSSLESS_PEER;
    config
}

/// A frame with this payload, whatever it is.
pub fn raw(tag: Tag, payload: &[u8]) -> Vec<u8> {
    crc_frame(tag, &[payload, &[], &[], &[]])
}

pub fn message(number: u64) -> Message {
    let header = MessageHeader { kind: 1000, tid: number, ..Default::default() };
    let front = Bytes::from(number.to_le_bytes().to_vec());
    let data = Bytes::from(vec![number as u8; (number * 37 % 3000) as usize]);
    Message { header, front, middle: Bytes::new(), data }
}

impl World {
    /// Entities that believe each other.
    pub fn new(configs: Vec<Config>, seed: u64) -> Self {
        Self::with(configs, seed, |config| Box::new(AuthNone::new(config.entity, "0", 0)))
    }

    /// Entities that have these authenticators.
    pub fn with(
        configs: Vec<Config>,
        seed: u64,
        mut auth: impl FnMut(&Config) -> Box<dyn Authenticator>,
    ) -> Self {
        let now = Instant::now();
        let nodes = configs
            .into_iter()
            .map(|config| {
                let auth = auth(&config);
                let address = config.addresses.msgr2().socket.unwrap_or(address(99));
                let endpoint = Endpoint::new(config, auth, now);
                Node { endpoint, address, events: vec![], received: vec![], takes: true }
            })
            .collect();
        let (dice, overheard, wires) = (Dice::new(seed), Vec::new(), Vec::new());
        let latency = Duration::ZERO;
        Self { now, nodes, dice, up: true, latency, made: 0, overheard, placed: 0, wires }
    }

    /// Two OSDs that are each other's peers.
    pub fn peers(seed: u64) -> Self {
        Self::new(vec![peer(1), peer(2)], seed)
    }

    pub fn dial(&mut self, from: usize, to: usize, policy: Policy) -> SessionId {
        let address = name(self.nodes[to].address.to_string().as_bytes()[7] - b'0');
        let target = Target { address, entity: None, policy, reopen: false };
        self.nodes[from].endpoint.connect(target, self.now).unwrap()
    }

    pub fn send(&mut self, from: usize, session: SessionId, number: u64) {
        self.nodes[from].endpoint.send(session, message(number), self.now).unwrap();
    }

    /// Cuts every stream; what was under way is lost.
    pub fn cut(&mut self) {
        for wire in std::mem::take(&mut self.wires) {
            for (node, stream) in wire.ends {
                self.nodes[node].endpoint.closed(stream, self.now);
            }
        }
    }

    /// Has somebody in between close every stream: each end reads some of what was under way, or all of
    /// it, before it is told, at once or later.
    pub fn sever(&mut self) {
        for wire in self.wires.iter_mut().filter(|wire| wire.severed.is_none()) {
            for lane in &mut wire.lanes {
                lane.arrive(self.now);
                lane.under_way.clear();
                if self.dice.below(2) == 0 {
                    let left = self.dice.below(lane.bytes.len() as u64 + 1);
                    lane.bytes.truncate(left as usize);
                }
            }
            wire.severed = Some([0; 2].map(|_| {
                let later = if self.dice.below(2) == 0 { self.dice.below(1000) } else { 0 };
                self.now + Duration::from_millis(later)
            }));
        }
    }

    /// Drops what is under way, and everything from now on, without telling anybody.
    pub fn lose_streams_silently(&mut self) {
        self.wires.clear();
    }

    /// Changes a bit of what is under way; whether anything was.
    pub fn spoil(&mut self) -> bool {
        let lanes = self.wires.iter_mut().flat_map(|wire| &mut wire.lanes);
        let Some(lane) = lanes.filter(|lane| !lane.bytes.is_empty()).last() else { return false };
        let at = self.dice.below(lane.bytes.len() as u64) as usize;
        lane.bytes[at] ^= 1 << self.dice.below(8);
        true
    }

    fn take_events(&mut self) -> bool {
        let mut moved = false;
        for node in 0..self.nodes.len() {
            while let Some(event) = self.nodes[node].endpoint.poll_event() {
                moved = true;
                match &event {
                    Event::Connect { session, to } => self.make(node, *session, *to),
                    Event::Close { stream, .. } => self.close(node, *stream),
                    _ => {}
                }
                self.nodes[node].events.push(event);
            }
        }
        moved
    }

    fn make(&mut self, from: usize, session: SessionId, to: SocketAddr) {
        let there = self.nodes.iter().position(|node| node.address == to);
        let (true, Some(there)) = (self.up, there) else {
            self.nodes[from].endpoint.connect_failed(session, REFUSED, self.now);
            return;
        };
        let Some(ours) = self.nodes[from].endpoint.connected(session, self.now) else { return };
        self.made += 1;
        let source = SocketAddr::new(self.nodes[from].address.ip(), 40_000 + self.made as u16);
        let theirs = self.nodes[there].endpoint.accept(source, self.now);
        let lanes = Default::default();
        self.wires.push(Wire {
            ends: [(from, ours), (there, theirs)],
            lanes,
            closed: [false; 2],
            severed: None,
        });
    }

    fn close(&mut self, node: usize, stream: StreamId) {
        for wire in &mut self.wires {
            for end in 0..2 {
                if wire.ends[end] == (node, stream) {
                    wire.closed[end] = true;
                }
            }
        }
    }

    /// Moves a piece of what waits on every wire; whether anything moved.
    fn carry(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.wires.len() {
            for end in 0..2 {
                moved |= self.write(index, end) | self.read(index, end);
            }
        }
        // An end is told that the other has closed when it has read what came before.
        let mut ended = Vec::new();
        self.wires.retain_mut(|wire| {
            for end in 0..2 {
                let over = match wire.severed {
                    Some(_) => !wire.is_late(1 - end, self.now),
                    None => wire.closed[end],
                };
                if over && !wire.closed[1 - end] && wire.is_drained(end) {
                    ended.push(wire.ends[1 - end]);
                    wire.closed[1 - end] = true;
                }
            }
            wire.closed != [true; 2]
        });
        for (node, stream) in &ended {
            self.nodes[*node].endpoint.closed(*stream, self.now);
        }
        moved | !ended.is_empty()
    }

    fn write(&mut self, index: usize, end: usize) -> bool {
        let wire = &mut self.wires[index];
        let (node, stream) = wire.ends[end];
        let endpoint = &mut self.nodes[node].endpoint;
        let slices = endpoint.poll_send(stream, self.now);
        let most = self.dice.below(5000) as usize + 1;
        let bytes: Vec<u8> =
            slices.iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
        endpoint.sent(stream, bytes.len());
        if wire.severed.is_none() {
            let lane = &mut wire.lanes[end];
            lane.under_way.push_back((self.now + self.latency, bytes.clone()));
            lane.arrive(self.now);
        }
        self.overheard.extend(&bytes);
        !bytes.is_empty()
    }

    fn read(&mut self, index: usize, end: usize) -> bool {
        let wire = &mut self.wires[index];
        let (node, stream) = wire.ends[1 - end];
        if wire.is_late(1 - end, self.now) {
            return false;
        }
        let lane = &mut wire.lanes[end];
        lane.arrive(self.now);
        let Node { endpoint, received, takes, .. } = &mut self.nodes[node];
        let count = (self.dice.below(4000) as usize + 1).min(lane.bytes.len());
        if count == 0 && (lane.held.is_empty() || endpoint.is_held(stream)) {
            return false;
        }
        let mut placed = 0;
        if !endpoint.is_held(stream) {
            match endpoint.place(stream) {
                Some(place) => {
                    placed = count.min(place.most);
                    place.buffer.extend(lane.bytes.drain(..placed));
                }
                None => lane.held.extend(lane.bytes.drain(..count)),
            }
        }
        self.placed += placed;
        let mut input = &lane.held[..];
        let before = input.len();
        while let Some(message) = endpoint.receive(stream, &mut input, self.now) {
            let (session, bytes) = (message.session, message.bytes() as u64);
            let parts = (message.front.to_vec(), message.data.to_vec());
            received.push((session, message.header, parts.0, parts.1));
            if *takes {
                endpoint.taken(session, 1, bytes, self.now);
            }
        }
        let rest = input.to_vec();
        let moved = placed > 0 || rest.len() < before;
        lane.held = rest;
        moved
    }

    /// Goes on until nothing moves, without time passing.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            if !(self.take_events() | self.carry()) {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Goes on for so many steps.
    pub fn steps(&mut self, count: u64) {
        for _ in 0..count {
            self.take_events();
            self.carry();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let endpoints = self.nodes.iter().filter_map(|node| node.endpoint.deadline());
        let late = self.wires.iter().filter_map(|wire| wire.severed).flatten();
        let lanes = self.wires.iter().flat_map(|wire| &wire.lanes);
        let arrivals = lanes.filter_map(|lane| Some(lane.under_way.front()?.0));
        endpoints.chain(late.chain(arrivals).filter(|at| *at > self.now)).min()
    }

    /// Lets time pass, and everything happen that is due by then.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(at) = self.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            for node in &mut self.nodes {
                node.endpoint.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    /// Numbers of the messages that a node received, whole and as they were sent.
    pub fn numbers(&self, node: usize) -> Vec<u64> {
        let received = self.nodes[node].received.iter();
        received
            .map(|(_, header, front, data)| {
                let sent = message(header.tid);
                assert_eq!((&front[..], &data[..]), (&sent.front[..], &sent.data[..]));
                header.tid
            })
            .collect()
    }

    pub fn opened(&self, node: usize) -> Vec<(SessionId, bool)> {
        let events = self.nodes[node].events.iter();
        events
            .filter_map(|event| match event {
                Event::Opened { session, resumed, .. } => Some((*session, *resumed)),
                _ => None,
            })
            .collect()
    }

    /// For each stream that is there, the node that has made it.
    pub fn makers(&self) -> Vec<usize> {
        let there = self.wires.iter().filter(|wire| wire.closed == [false; 2]);
        there.map(|wire| wire.ends[0].0).collect()
    }

    /// Why streams of a node were closed.
    pub fn closes(&self, node: usize) -> Vec<ConnectionError> {
        let events = self.nodes[node].events.iter();
        events
            .filter_map(|event| match event {
                Event::Close { error, .. } => Some(error.clone()),
                _ => None,
            })
            .collect()
    }
}
