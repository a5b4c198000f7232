//! The loop.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use mio::Events;

use crate::core::{Budget, Core, Due, Entry, Noted};
use crate::counters::Counters;
use crate::handler::{End, Handler};
use crate::listener::Accepted;
use crate::mesh::Port;
use crate::pending::Pending;
use crate::spin::{Spin, SpinPolicy};
use crate::stream::Readiness;
use crate::token::{DOORBELL, Token};

/// Events that one wait takes at most. More of them stay with the kernel for the next turn.
const EVENTS: usize = 1024;

/// An event loop. Made on the thread that runs it.
pub struct Loop<H: Handler> {
    pub(crate) core: Core<H>,
    pub(crate) handler: H,
    /// Empty but during the wait and the first step of a turn.
    events: Events,
    spin: Spin,
}

impl<H: Handler> Loop<H> {
    /// A loop that is the member `mesh` of the mesh.
    pub fn new(
        handler: H,
        mesh: Port<H::Message>,
        spin: SpinPolicy,
        budget: Budget,
    ) -> io::Result<Self> {
        let core = Core::new(mesh, budget)?;
        let mut this =
            Self { core, handler, events: Events::with_capacity(EVENTS), spin: Spin::new(spin) };
        this.handler.start(&mut this.core);
        this.settle();
        Ok(this)
    }

    /// Takes turns until the handler [stops](Core::stop) the loop.
    pub fn run(mut self) -> io::Result<()> {
        while !self.core.stopping {
            self.turn()?;
        }
        Ok(())
    }

    /// One turn: wait; what is ready runs, each within its budget; what is pending is sent; what
    /// goes to other cores is published.
    pub fn turn(&mut self) -> io::Result<()> {
        let slept = self.wait()?;
        let found = self.collect() + self.run_timers() + self.run_messages();
        let found = found + self.handler.gather(&mut self.core);
        self.spin.worked(found);
        self.core.counters.wakeups_empty += u64::from(slept && found == 0);
        self.run_ready();
        self.core.send_staged();
        // After all that could add to it: whatever this turn has for a connection leaves in one
        // system call.
        self.settle();
        self.publish(H::publish);
        self.core.mesh.made_room(&mut self.core.counters);
        self.core.mesh.publish(&mut self.core.counters);
        self.core.counters.turns += 1;
        if cfg!(debug_assertions) {
            self.assert_invariants();
        }
        Ok(())
    }

    /// Waits for events, unless there is work to go on with; true if that may have meant sleep.
    fn wait(&mut self) -> io::Result<bool> {
        self.core.now = None;
        if self.has_work() {
            self.poll(Some(Duration::ZERO))?;
            return Ok(false);
        }
        if self.handler.withholds() {
            self.poll(Some(Duration::ZERO))?;
            if self.events.is_empty() {
                self.publish(H::publish_withheld);
            }
            if !self.events.is_empty() || self.has_work() {
                return Ok(false);
            }
        }
        if self.look_again()? {
            return Ok(false);
        }
        // I3: say it, look once more, and only then sleep.
        if !self.fall_asleep() {
            self.poll(Some(Duration::ZERO))?;
            return Ok(false);
        }
        let time_out = match self.core.timers.is_empty() {
            true => None,
            false => {
                let now = self.core.now();
                self.core.timers.time_out(now)
            }
        };
        debug_assert!(
            !self.handler.withholds(),
            "goes to sleep over a doorbell that is to be rung"
        );
        let outcome = self.poll(time_out);
        self.core.mesh.woke_up();
        self.handler.woke_up();
        self.spin.woke_up(Instant::now());
        self.core.counters.spin_window_us = self.spin.window_us();
        self.core.now = None;
        self.core.counters.wakeups += 1;
        outcome.map(|()| true)
    }

    /// Has the handler tell those who share memory with it.
    fn publish(&mut self, tell: impl FnOnce(&mut H, &mut Core<H>)) {
        let rung = self.core.counters.doorbells_rung;
        tell(&mut self.handler, &mut self.core);
        // Whom it has woken may run at once, in its place.
        self.spin.gave_way(self.core.counters.doorbells_rung - rung);
    }

    /// Declares to all who bring work that the loop is going to sleep; false if there is some.
    fn fall_asleep(&mut self) -> bool {
        if !self.core.mesh.fall_asleep() {
            return false;
        }
        let may_sleep = self.handler.fall_asleep();
        if !may_sleep {
            self.core.mesh.woke_up();
        }
        may_sleep
    }

    /// Looks for work during the spin window; true if there is some.
    fn look_again(&mut self) -> io::Result<bool> {
        let Some(until) = self.spin.begin(Instant::now()) else { return Ok(false) };
        self.core.counters.spins += 1;
        loop {
            self.poll(Some(Duration::ZERO))?;
            if self.events.is_empty() && self.handler.gives_way() {
                std::thread::yield_now();
                self.spin.gave_way(1);
            }
            let now = Instant::now();
            let found = !self.events.is_empty() || self.has_work();
            if found || now >= until {
                self.core.counters.spin_hits += u64::from(found);
                self.spin.end(now);
                return Ok(found);
            }
        }
    }

    /// There is something to do before it may sleep.
    pub(crate) fn has_work(&mut self) -> bool {
        !self.core.ready.is_empty()
            || self.core.mesh.has_work()
            || self.handler.has_work()
            || self.is_timer_due()
    }

    fn is_timer_due(&mut self) -> bool {
        if self.core.timers.is_empty() {
            return false;
        }
        let now = Instant::now();
        self.core.timers.time_out(now) == Some(Duration::ZERO)
    }

    /// Asks the kernel for events; mio rounds a time-out up to the next millisecond.
    fn poll(&mut self, time_out: Option<Duration>) -> io::Result<()> {
        match self.core.poll.poll(&mut self.events, time_out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Marks ready what the events name; how many of them named something.
    fn collect(&mut self) -> usize {
        let mut found = 0;
        for event in &self.events {
            let token = Token::from(event.token());
            // What a doorbell rang for lies in the rings.
            if token == DOORBELL {
                continue;
            }
            match self.core.note(token, Readiness::from(event)) {
                Noted::Ready => found += 1,
                Noted::Rung(tag) => self.handler.rung(&mut self.core, tag),
                Noted::Stale => {}
            }
        }
        self.events.clear();
        found
    }

    /// Runs timers that are due; how many.
    fn run_timers(&mut self) -> usize {
        for fired in 0..self.core.budget.messages {
            if self.core.timers.is_empty() {
                return fired;
            }
            let now = self.core.now();
            let Some(due) = self.core.timers.expired(now) else { return fired };
            self.core.counters.timers_fired += 1;
            match due {
                Due::Exhausted => self.core.retry_exhausted(),
                Due::Handler(timer) => self.handler.timer(&mut self.core, timer),
            }
        }
        self.core.budget.messages
    }

    /// Hands over messages from other cores; how many.
    fn run_messages(&mut self) -> usize {
        while let Some(peer) = self.core.mesh.relieved() {
            self.handler.relieved(&mut self.core, peer);
        }
        for taken in 0..self.core.budget.messages {
            let Some((from, message)) = self.core.mesh.take() else { return taken };
            self.core.counters.mesh_in += 1;
            self.handler.message(&mut self.core, from, message);
        }
        self.core.budget.messages
    }

    /// Runs what is ready now, each once; who has more to do goes to the back of the list, and has
    /// its turn in the next turn (I6).
    fn run_ready(&mut self) {
        for _ in 0..self.core.ready.len() {
            let Some(token) = self.core.ready.pop_front() else { return };
            if let Some(stream) = self.core.stream_mut(token) {
                stream.queued = false;
                if stream.connecting {
                    let established = stream.check_connecting();
                    self.core.touch(token);
                    if established {
                        self.handler.connected(&mut self.core, token);
                    }
                } else if stream.is_to_be_read() {
                    self.handler.readable(&mut self.core, token);
                    self.put_back(token);
                }
                self.touch_if_due(token);
            } else if let Some(listener) = self.core.listener_mut(token) {
                listener.queued = false;
                self.run_listener(token);
            }
        }
    }

    fn put_back(&mut self, token: Token) {
        let Some(stream) = self.core.stream_mut(token) else { return };
        if stream.is_to_be_read() && !stream.queued {
            stream.queued = true;
            self.core.ready.push_back(token);
            self.core.counters.budget_exhausted += 1;
        }
    }

    fn touch_if_due(&mut self, token: Token) {
        let Some(stream) = self.core.stream(token) else { return };
        if stream.can_flush() || self.core.watch_settled {
            self.core.touch(token);
        }
    }

    fn run_listener(&mut self, token: Token) {
        for _ in 0..self.core.budget.accepts {
            if !self.core.listener_mut(token).is_some_and(|l| l.accepting && l.readable) {
                return;
            }
            if !self.handler.admit(&mut self.core, token) {
                self.core.pause_listener(token);
                return;
            }
            let Some(listener) = self.core.listener_mut(token) else { return };
            match listener.accept() {
                Accepted::Connection(socket, peer) => {
                    self.core.counters.accepted += 1;
                    self.handler.accepted(&mut self.core, token, socket, peer);
                }
                Accepted::Aborted => self.handler.not_accepted(&mut self.core, token, None),
                Accepted::Nobody => {
                    listener.readable = false;
                    self.core.counters.would_block += 1;
                    self.handler.not_accepted(&mut self.core, token, None);
                    return;
                }
                Accepted::Exhausted(error) => {
                    self.core.counters.accept_exhausted += 1;
                    self.core.exhaust_listener(token);
                    self.handler.not_accepted(&mut self.core, token, Some(&error));
                    return;
                }
            }
        }
        if let Some(listener) = self.core.listener_mut(token)
            && listener.accepting
            && !listener.queued
        {
            listener.queued = true;
            self.core.ready.push_back(token);
            self.core.counters.budget_exhausted += 1;
        }
    }

    /// Sends what is pending, ends what has ended, and brings interest up to date, for every
    /// stream that this turn has touched.
    fn settle(&mut self) {
        let mut next = 0;
        // Settling one stream may touch others: they come at the end of the list.
        while let Some(&token) = self.core.touched.get(next) {
            next += 1;
            self.settle_stream(token);
        }
        self.core.touched.clear();
    }

    fn settle_stream(&mut self, token: Token) {
        let core = &mut self.core;
        let Some(Entry::Stream(stream)) = core.entries.get_mut(token.key()) else { return };
        if stream.generation != token.generation() {
            return;
        }
        stream.touched = false;
        stream.flush(&mut core.counters);
        let finished = stream.end_if_due();
        stream.sync_interest(core.poll.registry(), token, &mut core.counters);
        let end = match stream.take_failure() {
            Some(error) => Some(End::Failed(error)),
            None => finished.then_some(End::Finished),
        };
        if let Some(end) = end {
            core.counters.failed += u64::from(matches!(end, End::Failed(_)));
            if let Some(stream) = core.remove(token) {
                let (socket, state) = stream.into_parts();
                self.handler.closed(core, socket, state, end);
            }
            return;
        }
        if stream.pending.is_relieved() {
            for stopped in std::mem::take(&mut stream.stopped) {
                core.set_reading(stopped, true);
            }
        }
        // Interrupted, or more pieces than one writev takes: no edge will tell, so go on at once.
        core.make_ready(token);
        if core.watch_settled {
            self.handler.settled(core, token);
        }
    }

    /// I1 and I4, for every stream of a small loop; larger ones would spend their time here.
    fn assert_invariants(&self) {
        const FEW: usize = 128;
        assert!(self.core.touched.is_empty());
        for (_, entry) in self.core.entries.iter().take(FEW) {
            if let Entry::Stream(stream) = entry {
                stream.assert_settled();
            }
        }
    }

    /// The counters, with the gauges as they are now.
    pub fn counters(&self) -> Counters {
        self.core.counters()
    }

    /// The handler.
    pub fn handler(&mut self) -> (&mut H, &mut Core<H>) {
        (&mut self.handler, &mut self.core)
    }
}

impl<H: Handler> fmt::Debug for Loop<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loop").field("core", &self.core).field("spin", &self.spin).finish()
    }
}
