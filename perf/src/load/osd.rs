//! A load of operations on objects: what the msgr2 clients of a storage cluster put on an OSD.
//!
//! Each connection is a client of its own, with a session without authentication and an object of
//! its own. In a closed loop it keeps so many operations in flight; in an open loop the clients ask
//! in turn, at a fixed rate. Every reply is checked: it answers an operation that is in flight, and
//! says that it succeeded.

mod client;
mod operations;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

use super::pace::Pace;
use super::pattern::Pattern;
use super::window::{Looks, Window};
use super::{OpenLoop, Outcome, PATIENCE, TICK, connect, live};
use crate::cores;
use crate::latency::Latency;
use crate::msgr2_stream::BUFFER_BYTES;
use crate::probe::{Probe, Watched};
use client::{Client, Tally};

/// The epoll key of the clock; clients have their index.
const CLOCK: u64 = u64::MAX;

/// Clients that one wait may find ready.
const BATCH: usize = 256;

/// The load to put on an OSD.
#[derive(Debug, Clone)]
pub struct OsdOptions {
    /// Where the OSD listens.
    pub address: SocketAddr,
    /// Clients, each with a connection, at least 1.
    pub connections: usize,
    /// Operations in flight of each client, at least 1. Without meaning in an open loop.
    pub depth: usize,
    /// Operations a second of all clients together, above 0: an open loop. Without it, a closed
    /// one.
    pub rate: Option<f64>,
    /// Bytes of an operation's data.
    pub size: usize,
    /// Share of the operations that read instead of writing, from 0 to 1.
    pub read_fraction: f64,
    /// How long to measure.
    pub duration: Duration,
    /// How long to load the OSD before that.
    pub warm_up: Duration,
    /// Core to pin the calling thread to.
    pub core: Option<usize>,
    /// Core that the OSD is pinned to, as in [`load::Options`](super::Options).
    pub server_core: Option<usize>,
    /// Processes whose CPU time and context switches are counted: the OSD.
    pub servers: Vec<Watched>,
    /// How long to go on after that, for what cannot be counted without slowing the servers down.
    pub probe: Option<Duration>,
}

/// Makes the sessions, warms up, measures, and waits for what is still in flight. The messages of
/// the outcome are operations.
///
/// # Errors
/// When a connection or session cannot be made, fails or is closed; when a reply is none to an
/// operation in flight, or says that it failed; when nothing completes for five seconds; when
/// `stop` is set.
pub fn run(options: &OsdOptions, stop: &AtomicBool) -> Result<Outcome> {
    if let Some(core) = options.core {
        cores::pin(core)?;
    }
    let mut load = Load::connect(options, stop)?;
    let mut looks = Looks::new(options.core, options.server_core);
    looks.warm_up(options.warm_up, |until| load.turn_until(until))?;
    load.clear();
    let window = Window::open(&options.servers, looks)?;
    load.turn_until(window.started() + options.duration)?;
    let ready_per_wait = load.ready as f64 / load.waits.max(1) as f64;
    let latency = load.tally.latency.percentiles();
    let mut outcome = window.close(load.replies(), latency, options.size, ready_per_wait)?;
    outcome.silent_connections = load.clients.iter().filter(|client| client.replies == 0).count();
    outcome.open_loop =
        options.rate.map(|rate| OpenLoop { rate, unanswered: load.outstanding() as u64 });
    if let Some(duration) = options.probe {
        let probe = Probe::begin(&options.servers)?;
        // As for messages.
        let answered = if options.rate.is_none() { load.outstanding() as u64 } else { 0 };
        let before = load.replies() + answered;
        load.turn_until(Instant::now() + duration)?;
        load.drain()?;
        outcome.probed = Some(probe.end(load.replies() - before)?);
    }
    load.drain()?;
    Ok(outcome)
}

/// All clients, and the loop over them.
struct Load<'a> {
    options: &'a OsdOptions,
    stop: &'a AtomicBool,
    epoll: Epoll,
    /// A timer in the epoll set instead of a time-out of the wait.
    clock: TimerFd,
    clients: Vec<Client>,
    /// In an open loop.
    pace: Option<Pace>,
    buffer: Vec<u8>,
    tally: Tally,
    /// Waits, and the clients that they found ready, since the last clear.
    waits: u64,
    ready: u64,
    /// The last tick that found an operation completed, or none to complete.
    progress: Instant,
    /// Operations that were completed by then.
    completed: u64,
}

impl<'a> Load<'a> {
    fn connect(options: &'a OsdOptions, stop: &'a AtomicBool) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let clock = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        clock.set(Expiration::Interval(TICK.into()), TimerSetTimeFlags::empty())?;
        epoll.add(&clock, EpollEvent::new(EpollFlags::EPOLLIN, CLOCK))?;
        let data = Pattern::new(options.size);
        let data = Bytes::copy_from_slice(data.slice(0, 0, options.size));
        let clients = (0..options.connections).map(|index| {
            let socket = connect(options.address, index)?;
            Client::new(socket, index, options, data.clone(), &epoll)
                .with_context(|| format!("client {index} of {}", options.address))
        });
        let clients = clients.collect::<Result<Vec<_>>>()?;
        Ok(Self {
            options,
            stop,
            epoll,
            clock,
            clients,
            pace: options.rate.map(|rate| Pace::new(rate, Instant::now())),
            buffer: vec![0; BUFFER_BYTES],
            tally: Tally { latency: Latency::new(), completed: 0, refill: options.rate.is_none() },
            waits: 0,
            ready: 0,
            progress: Instant::now(),
            completed: 0,
        })
    }

    fn turn_until(&mut self, deadline: Instant) -> Result<()> {
        while !(self.turn()? && Instant::now() >= deadline) {}
        Ok(())
    }

    /// Asks for nothing more, and reads what is still to come.
    fn drain(&mut self) -> Result<()> {
        self.tally.refill = false;
        self.pace = None;
        self.clients.iter_mut().for_each(Client::forget_due);
        while self.outstanding() > 0 {
            self.turn()?;
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.tally.latency.clear();
        (self.waits, self.ready) = (0, 0);
        self.clients.iter_mut().for_each(|client| client.replies = 0);
    }

    /// Operations that were answered since the last clear.
    fn replies(&self) -> u64 {
        self.clients.iter().map(|client| client.replies).sum()
    }

    /// Operations that were asked for or are due, and are not answered.
    fn outstanding(&self) -> usize {
        self.clients.iter().map(Client::outstanding).sum()
    }

    /// One wait, and everything it brought: all reads, then all writes. True when the clock ticked.
    fn turn(&mut self) -> Result<bool> {
        let mut events = [EpollEvent::empty(); BATCH];
        let mut time_out = EpollTimeout::NONE;
        if self.pace.is_some() {
            self.ask_for_what_is_due()?;
            // The generator must not be late itself, so it does not sleep: it has its own core.
            time_out = EpollTimeout::ZERO;
        }
        let ready = match self.epoll.wait(&mut events, time_out) {
            Err(Errno::EINTR) => 0,
            other => other.context("epoll_wait")?,
        };
        let mut ticked = false;
        let mut found = 0;
        for event in &events[..ready] {
            if event.data() == CLOCK {
                self.clock.wait()?;
                ticked = true;
                continue;
            }
            found += 1;
            let index = event.data() as usize;
            self.clients[index]
                .receive(event.events(), &mut self.buffer, &mut self.tally)
                .with_context(|| self.name(index))?;
        }
        for event in events[..ready].iter().filter(|event| event.data() != CLOCK) {
            let index = event.data() as usize;
            self.clients[index].flush(&self.epoll).with_context(|| self.name(index))?;
        }
        self.waits += u64::from(found > 0);
        self.ready += found;
        if ticked {
            self.check()?;
        }
        Ok(ticked)
    }

    /// Open loop: every operation whose time has come, each of the next client in turn.
    fn ask_for_what_is_due(&mut self) -> Result<()> {
        let (now, clients) = (Instant::now(), self.clients.len());
        let (mut first, mut count) = (0, 0);
        while let Some((number, due)) = self.pace.as_mut().and_then(|pace| pace.next(now)) {
            let index = (number % clients as u64) as usize;
            self.clients[index].schedule(due);
            if count == 0 {
                first = index;
            }
            count += 1;
        }
        for step in 0..count.min(clients) {
            let index = (first + step) % clients;
            self.clients[index].flush(&self.epoll).with_context(|| self.name(index))?;
        }
        Ok(())
    }

    fn name(&self, index: usize) -> String {
        format!("client {index} of {}", self.options.address)
    }

    /// Whether to go on, asked once a tick.
    fn check(&mut self) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Relaxed), "interrupted");
        let nothing_to_do = self.outstanding() == 0 && self.clients.iter().all(Client::is_open);
        live::add(self.tally.completed - self.completed);
        if self.tally.completed != self.completed || nothing_to_do {
            (self.completed, self.progress) = (self.tally.completed, Instant::now());
        }
        if self.progress.elapsed() > PATIENCE {
            bail!(
                "{} completed no operation for {} s; {} are in flight on {} connections, {} of \
                 which have a session",
                self.options.address,
                PATIENCE.as_secs(),
                self.outstanding(),
                self.clients.len(),
                self.clients.iter().filter(|client| client.is_open()).count(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vmsgr_messenger::{Bound, Event, Job, Messenger, OsdNullOptions, Service};
    use vmsgr_reactor::CoreMask;

    use super::*;

    /// An OSD that stores nothing, and where it listens.
    fn osd() -> (Messenger, SocketAddr) {
        let mut messenger =
            Messenger::start(&CoreMask::first().unwrap(), Default::default()).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let bound = Bound::bind(any, messenger.cores(), &Default::default()).unwrap();
        let address = bound.address();
        let service = Service::OsdNull(OsdNullOptions::default());
        messenger.submit(Job::Listen { bound, service }).unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            messenger.publish();
            match messenger.take() {
                Some(Event::Listening { .. }) => return (messenger, address),
                other => assert!(Instant::now() < end, "it does not listen: {other:?}"),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_a_late_generator_asks_for_late_counts_from_when_it_was_due() {
        let (mut messenger, address) = osd();
        let options = OsdOptions {
            address,
            connections: 2,
            depth: 1,
            rate: Some(100.0),
            size: 100,
            read_fraction: 0.0,
            duration: Duration::ZERO,
            warm_up: Duration::ZERO,
            core: None,
            server_core: None,
            servers: Vec::new(),
            probe: None,
        };
        let stop = AtomicBool::new(false);
        let mut load = Load::connect(&options, &stop).unwrap();
        load.pace = None;
        while !load.clients.iter().all(Client::is_open) {
            load.turn().unwrap();
        }
        // It was somewhere else for ten seconds, in which a thousand operations were due.
        let since = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        load.pace = Some(Pace::new(100.0, since));
        load.ask_for_what_is_due().unwrap();
        load.pace = None;
        while load.outstanding() > 0 {
            load.turn().unwrap();
        }
        assert!((1000..1100).contains(&load.replies()), "{}", load.replies());
        let latency = load.tally.latency.percentiles();
        assert!(latency.max_us >= 10e6 && latency.p50_us >= 4e6, "{latency:?}");
        messenger.drain(Duration::ZERO);
        messenger.publish();
        messenger.join();
    }
}
