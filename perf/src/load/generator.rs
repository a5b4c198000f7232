//! The generator's loop: wait, read whatever is there, then write whatever is due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

use super::connection::{Connection, Shared};
use super::pace::Pace;
use super::pattern::Pattern;
use super::slow::Slow;
use super::{Options, PATIENCE, TICK, connect, live};
use crate::latency::{Latency, Percentiles};

/// The epoll key of the clock; connections have their index.
const CLOCK: u64 = u64::MAX;

/// The first epoll key of those that do not read.
const SLOW: u64 = 1 << 32;

/// Longest single write, and longest single read, in bytes.
const LONGEST_CALL: usize = 1024 * 1024;

/// Shortest read buffer in bytes.
const SHORTEST_BUFFER: usize = 64 * 1024;

/// Connections that one wait may find ready.
const BATCH: usize = 1024;

/// All connections, and the loop over them.
#[derive(Debug)]
pub struct Generator<'a> {
    options: &'a Options,
    stop: &'a AtomicBool,
    shared: Shared,
    connections: Vec<Connection>,
    slow: Vec<Slow>,
    /// In an open loop.
    pace: Option<Pace>,
    /// A timer in the epoll set instead of a time-out of the wait: the wait, which happens far more
    /// often, then sets none.
    clock: TimerFd,
    events: Vec<EpollEvent>,
    /// Waits, and the connections that they found ready, since the last clear.
    waits: u64,
    ready: u64,
    /// Messages in flight or due, on all connections together.
    outstanding: u64,
    /// Messages that completed since the last tick.
    completed: u64,
    /// The last tick that found one completed, or nothing to complete.
    progress: Instant,
}

impl<'a> Generator<'a> {
    /// Connects, and sends the first messages of every connection.
    ///
    /// # Errors
    /// When a connection cannot be made or fails.
    pub fn connect(options: &'a Options, stop: &'a AtomicBool) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let connections = (0..options.connections)
            .map(|index| {
                let stream = connect(options.address, index)?;
                Connection::new(stream, index, options.size, options.depth, &epoll)
            })
            .collect::<Result<Vec<_>>>()?;
        let clock = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        clock.set(Expiration::Interval(TICK.into()), TimerSetTimeFlags::empty())?;
        epoll.add(&clock, EpollEvent::new(EpollFlags::EPOLLIN, CLOCK))?;
        let slow = (0..options.slow)
            .map(|i| {
                Slow::connect(options.address, options.connections + i, SLOW + i as u64, &epoll)
            })
            .collect::<Result<Vec<_>>>()?;
        // In an open loop nothing limits it, and what is overdue leaves together. Who does not read
        // must have filled all buffers before it is measured what that does to the others.
        let alone = options.rate.is_none() && options.slow == 0;
        let shortest = if alone { 1 } else { SHORTEST_BUFFER };
        let in_flight = options.depth.saturating_mul(options.size).clamp(shortest, LONGEST_CALL);
        let shared = Shared {
            epoll,
            pattern: Pattern::new(in_flight),
            // Longer than what a connection can have in flight, so that one read takes it all.
            buffer: vec![0; (in_flight + 1).max(SHORTEST_BUFFER)],
            latency: Latency::new(),
            verify: options.verify,
            refill: options.rate.is_none(),
        };
        let mut generator = Self {
            options,
            stop,
            shared,
            connections,
            slow,
            pace: options.rate.map(|rate| Pace::new(rate, Instant::now())),
            clock,
            events: vec![EpollEvent::empty(); BATCH],
            waits: 0,
            ready: 0,
            outstanding: 0,
            completed: 0,
            progress: Instant::now(),
        };
        if generator.pace.is_some() {
            return Ok(generator);
        }
        for index in 0..options.connections {
            generator.connections[index].due += options.depth as u64;
            generator.outstanding += options.depth as u64;
            generator.flush(index)?;
        }
        Ok(generator)
    }

    /// Keeps the messages going round until `deadline`, to the tick.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn turn_until(&mut self, deadline: Instant) -> Result<()> {
        loop {
            if self.turn()? && Instant::now() >= deadline {
                return Ok(());
            }
        }
    }

    /// Sends nothing more, and reads what is still to come: a server that is left in the middle of
    /// an answer would see its peer reset, and rightly complain.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn drain(&mut self) -> Result<()> {
        self.shared.refill = false;
        if self.pace.take().is_some() {
            for connection in &mut self.connections {
                self.outstanding -= connection.forget_unsent();
            }
        }
        while self.outstanding > 0 {
            self.turn()?;
        }
        Ok(())
    }

    /// Forgets what was measured so far.
    pub fn clear(&mut self) {
        self.shared.latency.clear();
        (self.waits, self.ready) = (0, 0);
        self.connections.iter_mut().for_each(|connection| connection.replies = 0);
    }

    /// Messages that came back on each connection since the last clear.
    pub fn replies(&self) -> impl Iterator<Item = u64> {
        self.connections.iter().map(|connection| connection.replies)
    }

    /// How long the messages took since the last clear.
    pub fn latency(&self) -> Percentiles {
        self.shared.latency.percentiles()
    }

    /// Messages that were sent or are due, and are not answered.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Connections that a wait found ready since the last clear, on average.
    pub fn ready_per_wait(&self) -> f64 {
        self.ready as f64 / self.waits.max(1) as f64
    }

    /// One wait, and everything it brought. True when the clock ticked.
    ///
    /// All reads come before all writes. That keeps the kernel's code for each in the cache, and
    /// makes the generator some 3% faster than one that answers each connection before it reads the
    /// next.
    ///
    /// # Errors
    /// When a connection fails, nothing completes for too long, or the stop flag is set.
    fn turn(&mut self) -> Result<bool> {
        let mut timeout = EpollTimeout::NONE;
        if self.pace.is_some() {
            self.send_what_is_due()?;
            // The generator must not be late itself, so it does not sleep: it has its own core.
            timeout = EpollTimeout::ZERO;
        }
        let ready = match self.shared.epoll.wait(&mut self.events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other.context("epoll_wait")?,
        };
        self.waits += u64::from(ready > 0);
        self.ready += ready as u64;
        let mut ticked = false;
        for position in 0..ready {
            let event = self.events[position];
            if event.data() == CLOCK {
                self.clock.wait()?;
                ticked = true;
            } else if event.data() >= SLOW {
                self.slow[(event.data() - SLOW) as usize].send(&self.shared.pattern)?;
            } else {
                self.receive(event.data() as usize, event.events())?;
            }
        }
        for position in 0..ready {
            let key = self.events[position].data();
            if key < SLOW {
                self.flush(key as usize)?;
            }
        }
        if ticked {
            self.check()?;
        }
        Ok(ticked)
    }

    /// Open loop: every message whose time has come, each on the next connection in turn.
    fn send_what_is_due(&mut self) -> Result<()> {
        let (now, connections) = (Instant::now(), self.connections.len());
        let (mut first, mut count) = (0, 0);
        while let Some((number, due)) = self.pace.as_mut().and_then(|pace| pace.next(now)) {
            let index = (number % connections as u64) as usize;
            self.connections[index].schedule(due);
            if count == 0 {
                first = index;
            }
            count += 1;
        }
        self.outstanding += count as u64;
        for step in 0..count.min(connections) {
            self.flush((first + step) % connections)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, ready: EpollFlags) -> Result<()> {
        let replies = self.connections[index]
            .receive(ready, &mut self.shared)
            .with_context(|| self.name(index))?;
        if !self.shared.refill {
            self.outstanding -= replies;
        }
        self.completed += replies;
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<()> {
        self.connections[index].flush(&self.shared).with_context(|| self.name(index))
    }

    fn name(&self, index: usize) -> String {
        format!("connection {index} to {}", self.options.address)
    }

    /// Whether to go on, asked once a tick.
    fn check(&mut self) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Relaxed), "interrupted");
        let completed = std::mem::take(&mut self.completed);
        live::add(completed);
        if completed > 0 || self.outstanding == 0 {
            self.progress = Instant::now();
        }
        if self.progress.elapsed() > PATIENCE {
            bail!(
                "{} completed no message for {} s; {} are in flight on {} connections",
                self.options.address,
                PATIENCE.as_secs(),
                self.outstanding,
                self.connections.len()
            );
        }
        Ok(())
    }
}
