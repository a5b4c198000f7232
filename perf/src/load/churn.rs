//! Connections that are made for one message each: connect, send, read the reply, close, and the
//! next one at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};

use super::pattern::Pattern;
use super::window::{Looks, Window};
use super::{Outcome, PATIENCE, TICK, live};
use crate::cores;
use crate::latency::Latency;
use crate::probe::{Probe, Watched};

/// Loopback addresses that connections come from, in turn. A closed connection keeps its port for
/// a while (TIME_WAIT), and one address has only 28,000 of them: two seconds' worth.
const SOURCES: u64 = 200;

/// What to do, to whom, for how long.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "as in load::Options")]
pub struct ChurnOptions {
    pub address: SocketAddr,
    /// Connections that exist at a time, at least 1.
    pub at_once: usize,
    pub size: usize,
    pub duration: Duration,
    pub warm_up: Duration,
    pub verify: bool,
    pub core: Option<usize>,
    pub server_core: Option<usize>,
    pub servers: Vec<Watched>,
    pub probe: Option<Duration>,
}

/// Connects, exchanges and closes for the duration. A message of the outcome is one such life, its
/// latency the time from the connect to the read that completed the reply.
///
/// # Errors
/// When a connection is refused, fails, is closed, or answers something else than it was sent; when
/// nothing completes for five seconds; when `stop` is set.
pub fn run(options: &ChurnOptions, stop: &AtomicBool) -> Result<Outcome> {
    if let Some(core) = options.core {
        cores::pin(core)?;
    }
    let mut visitors = Visitors {
        options,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        pattern: Pattern::new(options.size),
        buffer: vec![0; options.size + 1],
        slots: (0..options.at_once).map(|_| None).collect(),
        made: 0,
        completed: 0,
        events: 0,
        waits: 0,
        latency: Latency::new(),
        refill: true,
    };
    for slot in 0..options.at_once {
        visitors.connect(slot)?;
    }
    let mut looks = Looks::new(options.core, options.server_core);
    looks.warm_up(options.warm_up, |until| visitors.turn_until(until, stop))?;
    visitors.clear();
    let window = Window::open(&options.servers, looks)?;
    visitors.turn_until(window.started() + options.duration, stop)?;
    let effort = visitors.events as f64 / visitors.waits.max(1) as f64;
    let mut outcome =
        window.close(visitors.completed, visitors.latency.percentiles(), options.size, effort)?;
    if let Some(duration) = options.probe {
        let (probe, before) = (Probe::begin(&options.servers)?, visitors.completed);
        visitors.turn_until(Instant::now() + duration, stop)?;
        outcome.probed = Some(probe.end(visitors.completed - before)?);
    }
    visitors.drain(stop)?;
    Ok(outcome)
}

struct Visitors<'a> {
    options: &'a ChurnOptions,
    epoll: Epoll,
    pattern: Pattern,
    buffer: Vec<u8>,
    slots: Vec<Option<Visitor>>,
    /// Connections made so far; the next one's index.
    made: u64,
    /// Exchanges that were completed since the last clear.
    completed: u64,
    events: u64,
    waits: u64,
    latency: Latency,
    /// Follow every connection that is done with a new one.
    refill: bool,
}

/// One connection.
struct Visitor {
    stream: TcpStream,
    index: usize,
    began: Instant,
    sent: usize,
    received: usize,
}

impl Visitors<'_> {
    fn clear(&mut self) {
        self.latency.clear();
        (self.completed, self.events, self.waits) = (0, 0, 0);
    }

    fn turn_until(&mut self, deadline: Instant, stop: &AtomicBool) -> Result<()> {
        let (mut progress, mut completed) = (Instant::now(), self.completed);
        loop {
            self.turn()?;
            let now = Instant::now();
            if self.completed > completed {
                live::add(self.completed - completed);
                (progress, completed) = (now, self.completed);
            }
            self.check(progress, now, stop)?;
            if now >= deadline {
                return Ok(());
            }
        }
    }

    fn drain(&mut self, stop: &AtomicBool) -> Result<()> {
        self.refill = false;
        let started = Instant::now();
        while self.slots.iter().any(Option::is_some) {
            self.turn()?;
            self.check(started, Instant::now(), stop)?;
        }
        Ok(())
    }

    fn check(&self, progress: Instant, now: Instant, stop: &AtomicBool) -> Result<()> {
        ensure!(!stop.load(Ordering::Relaxed), "interrupted");
        if now.duration_since(progress) > PATIENCE {
            let address = self.options.address;
            bail!("{address} completed no exchange for {} s", PATIENCE.as_secs());
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let ready = match self.epoll.wait(&mut events, TICK.as_millis() as u16) {
            Err(Errno::EINTR) => 0,
            other => other.context("epoll_wait")?,
        };
        self.waits += u64::from(ready > 0);
        self.events += ready as u64;
        for event in &events[..ready] {
            let slot = event.data() as usize;
            let done = self.advance(slot).with_context(|| {
                let index = self.slots[slot].as_ref().map_or(0, |visitor| visitor.index);
                format!("connection {index} to {}", self.options.address)
            })?;
            if done {
                self.slots[slot] = None;
                if self.refill {
                    self.connect(slot)?;
                }
            }
        }
        Ok(())
    }

    fn connect(&mut self, slot: usize) -> Result<()> {
        let index = self.made;
        self.made += 1;
        let began = Instant::now();
        let stream = begin_to_connect(self.options.address, index)
            .with_context(|| format!("connection {index} to {}", self.options.address))?;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        self.epoll.add(&stream, EpollEvent::new(interest, slot as u64))?;
        self.slots[slot] =
            Some(Visitor { stream, index: index as usize, began, sent: 0, received: 0 });
        Ok(())
    }

    /// Writes what can be written and reads what is there. True when the reply is complete.
    fn advance(&mut self, slot: usize) -> Result<bool> {
        let Some(visitor) = &mut self.slots[slot] else { return Ok(false) };
        let size = self.options.size;
        let message = self.pattern.slice(visitor.index, 0, size);
        while visitor.sent < size {
            match visitor.stream.write(&message[visitor.sent..]) {
                Ok(written) => visitor.sent += written,
                Err(error) if is_not_yet(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        while visitor.received < size {
            let read = match visitor.stream.read(&mut self.buffer) {
                Ok(read) => read,
                Err(error) if is_not_yet(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            ensure!(read > 0, "closed by the server after {} bytes came back", visitor.received);
            let end = visitor.received + read;
            ensure!(end <= size, "{end} bytes came back of {size} sent");
            if self.options.verify {
                ensure!(
                    self.buffer[..read] == message[visitor.received..end],
                    "the echo differs from what was sent before offset {end}"
                );
            }
            visitor.received = end;
        }
        self.latency.record(visitor.began.elapsed(), 1);
        self.completed += 1;
        Ok(true)
    }
}

/// The connection is still being made, or there is nothing to read.
fn is_not_yet(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

fn begin_to_connect(address: SocketAddr, index: u64) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        // The port is then taken at the connect, when the kernel knows the other end.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        let source = Ipv4Addr::new(127, 0, 1, 1 + (index % SOURCES) as u8);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
        other => other?,
    }
    Ok(socket.into())
}
