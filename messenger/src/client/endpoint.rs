//! An application's end of what it shares with its daemon.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::asking::listening;
use super::attach::attach;
use super::connection::{Connection, address_of};
use super::counters::Counters;
use super::doorbells::Woken;
use super::entity::Entities;
use super::lanes::{Lanes, Taken};
use super::listens::Listens;
use super::place::Place;
use super::spin::Spin;
use super::view::{Due, View};
use super::{AttachError, AttachOptions, ConnectionId, DetachReason, Error, Event, JobId};
use crate::shm::Welcome;
use crate::shm::job::{Asked, Notice, Told};
use crate::shm::layout::WORDS;
use crate::shm::status::{Ending, State, Status};
use crate::shm::sync::Ordering;

/// An attachment to the daemon: asks for listeners and connections, hears what happens, and holds
/// the connections.
///
/// It belongs to one thread at a time; a process may have any number. Dropping it is an orderly
/// end: its connections are closed behind what was sent. (A process that dies, or
/// [`detach`](Self::detach), leaves them to whoever attaches next under its name.)
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<vmsgr_messenger::client::Endpoint>();
/// ```
#[derive(Debug)]
pub struct Endpoint {
    options: AttachOptions,
    pub(super) welcome: Welcome,
    pub(super) lanes: Lanes,
    /// One for each slot.
    views: Vec<View>,
    /// Where an earlier application listens for us: told before the rest.
    early: VecDeque<Event>,
    /// Slots that a takeover has not looked at yet.
    unscanned: Range<u32>,
    /// The slot whose events are told now.
    telling: u32,
    pub(super) listens: Listens,
    pub(super) entities: Entities,
    /// The number of the last job.
    pub(super) jobs: u64,
    spin: Spin,
    pub(super) detached: Option<DetachReason>,
    /// The application knows that it is detached.
    told_detached: bool,
}

impl Endpoint {
    /// Attaches to the daemon.
    ///
    /// If an application of the same user and name has left something behind, this one takes it
    /// over: the first events are `Resumed`, one for each connection.
    ///
    /// # Errors
    /// As [`AttachError`] says.
    pub fn attach(options: &AttachOptions) -> Result<Self, AttachError> {
        let (welcome, lanes) = attach(options)?;
        Ok(Self::begin(options.clone(), welcome, lanes))
    }

    pub(super) fn begin(options: AttachOptions, welcome: Welcome, lanes: Lanes) -> Self {
        let slots = lanes.segment().geometry().slots;
        let spin = Spin::new(options.spin);
        let mut this = Self {
            options,
            welcome,
            lanes,
            early: VecDeque::new(),
            views: (0..slots).map(|_| View::UNUSED).collect(),
            // What is new is all zeros, and stays untouched memory for as long as nobody uses it.
            unscanned: 0..if welcome.resumed { slots } else { 0 },
            telling: 0,
            listens: Listens::default(),
            entities: Entities::default(),
            // So that none is the number of a job of those who had this segment before.
            jobs: welcome.epoch << 32,
            spin,
            detached: None,
            told_detached: false,
        };
        // The daemon tells of what was taken over before it answers, so that `listen` knows of it.
        while let Some(words) = this.lanes.take_notice() {
            let event = this.notice(words);
            this.early.extend(event);
        }
        this
    }

    /// Attaches again, with the same options, when the daemon has gone: to another one, or to the
    /// same after a restart. Listeners are asked for again, under the same numbers, and so are told
    /// of again; but for one of an entity that was taken over and never asked for here with
    /// [`listen_as`](Self::listen_as), which is told as [`Event::Unlistened`]. Does nothing if it
    /// is attached.
    ///
    /// # Errors
    /// As [`AttachError`] says; it can be tried again.
    pub fn reattach(&mut self) -> Result<(), AttachError> {
        if self.detached.is_none() {
            return Ok(());
        }
        let (welcome, lanes) = attach(&self.options)?;
        self.renew(welcome, lanes);
        Ok(())
    }

    pub(super) fn renew(&mut self, welcome: Welcome, lanes: Lanes) {
        let fresh = Self::begin(self.options.clone(), welcome, lanes);
        let mut old = std::mem::replace(self, fresh);
        self.jobs = self.jobs.max(old.jobs);
        self.entities = std::mem::take(&mut old.entities);
        if welcome.resumed {
            // It is the old segment: the daemon tells of its listeners itself.
            for listen in old.listens.all() {
                listen.entity.into_iter().for_each(|it| self.listens.belongs(listen.job, it));
            }
        }
        // Also of who knows them: those that are not asked for end there.
        for &(id, entity) in self.entities.all() {
            self.ask(id.job(), Asked::Entity(entity));
        }
        if welcome.resumed {
            return self.flush();
        }
        for &listen in old.listens.all() {
            if listen.messages && listen.entity.is_none() {
                // It was taken over, and only who had it before knows for what entity it was.
                self.early.push_back(Event::Unlistened { job: listen.job });
                continue;
            }
            self.ask(listen.job, listening(listen.entity, listen.address, listen.backlog));
            self.listens.began(listen);
        }
        self.flush();
    }

    /// Leaves without an end: as if the process had died, connections and listeners wait, for the
    /// linger time, for whoever attaches under the same name.
    pub fn detach(mut self) {
        self.flush();
        self.detached = Some(DetachReason::HungUp);
    }

    /// Whether an earlier application's connections were taken over.
    pub fn has_taken_over(&self) -> bool {
        self.welcome.resumed
    }

    /// `None` while it is attached.
    pub fn detached(&self) -> Option<DetachReason> {
        self.detached
    }

    /// What was counted since it attached.
    pub fn counters(&self) -> Counters {
        self.lanes.counters()
    }

    /// The next thing that has happened. When there is none, what was sent and asked for is
    /// [flushed](Self::flush).
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.early.pop_front().or_else(|| self.tell()) {
                return Some(event);
            }
            if let Some(slot) = self.unscanned.next() {
                self.scan(slot);
                continue;
            }
            match self.lanes.take() {
                Taken::Slot(slot, generation) => self.look(slot, generation),
                Taken::Notice(words) => {
                    if let Some(event) = self.notice(words) {
                        return Some(event);
                    }
                }
                Taken::Nothing => break,
            }
        }
        self.flush();
        self.tell_detached()
    }

    /// Looks at a slot of the one whose place we have taken.
    fn scan(&mut self, number: u32) {
        let slot = self.lanes.segment().slot(number);
        let status = Status::from_word(slot.of_daemon.status.load(Ordering::Acquire));
        if status.state != State::Free {
            self.views[number as usize].adopt(slot, status, true);
            self.look_at(number, status);
        }
    }

    /// Looks at a slot whose number came up.
    fn look(&mut self, number: u32, generation: u32) {
        self.lanes.count(|counters| counters.ready += 1);
        let Some(view) = self.views.get_mut(number as usize) else {
            return self.lanes.contradicts("a slot that is none is ready");
        };
        if view.status.generation == generation && !view.live {
            return;
        }
        let slot = self.lanes.segment().slot(number);
        // Lowered before the look: what comes after it is pushed again.
        slot.flags.up.lower(generation);
        let status = Status::from_word(slot.of_daemon.status.load(Ordering::Acquire));
        if status.generation != generation || status.state == State::Free {
            return;
        }
        if view.status.generation != generation {
            view.adopt(slot, status, false);
        }
        self.look_at(number, status);
    }

    fn look_at(&mut self, number: u32, status: Status) {
        let view = &mut self.views[number as usize];
        if usize::from(view.core) >= self.lanes.cores() {
            view.live = false;
            return self.lanes.contradicts("a connection belongs to a core that is none");
        }
        if view.live {
            view.look(self.lanes.segment().slot(number), status);
            self.telling = number;
        }
    }

    /// The next event of the connection that was looked at last.
    fn tell(&mut self) -> Option<Event> {
        loop {
            let view = self.views.get_mut(self.telling as usize)?;
            let connection = view.id(self.telling);
            return Some(match view.due.take() {
                Due::OPENED => self.opened(connection),
                Due::FAILED => self.failed(connection),
                Due::WRITABLE => Event::Writable(connection),
                Due::READABLE if view.has_unread() => Event::Readable(connection),
                Due::READABLE => continue,
                Due::PEER_ENDED => Event::PeerEnded(connection),
                Due::CLOSED => Event::Closed { connection, error: errno(view.status) },
                _ => return None,
            });
        }
    }

    fn opened(&self, connection: ConnectionId) -> Event {
        let slot = self.lanes.segment().slot(connection.slot);
        let job = JobId(slot.of_daemon.job.load(Ordering::Relaxed));
        let peer = address_of(&slot.addresses.peer);
        let local = address_of(&slot.addresses.local);
        let view = &self.views[connection.slot()];
        match view.status.accepted {
            _ if view.resumed => Event::Resumed { connection, job, peer, local },
            true => Event::Accepted { connection, job, peer, local },
            false => Event::Connected { connection, job, peer, local },
        }
    }

    /// A connection that never was: nobody knows of it who could close it.
    fn failed(&mut self, connection: ConnectionId) -> Event {
        let slot = self.lanes.segment().slot(connection.slot);
        let job = JobId(slot.of_daemon.job.load(Ordering::Relaxed));
        let status = self.views[connection.slot()].status;
        if let Some(mut connection) = self.take_hold(connection) {
            connection.end(Ending::Close);
        }
        Event::Failed { job, error: errno(status).unwrap_or_else(|| io::ErrorKind::Other.into()) }
    }

    fn notice(&mut self, words: [u64; WORDS]) -> Option<Event> {
        // One that is not known is of a daemon that can more than we ask of it.
        let Notice { job, told } = Notice::from_words(words)?;
        let job = JobId(job);
        Some(match told {
            Told::Listening { address } | Told::ListeningAs { address } => {
                self.listens.listens(job, address, matches!(told, Told::ListeningAs { .. }));
                Event::Listening { job, address }
            }
            Told::Failed { errno } => {
                self.listens.ended(job);
                self.entities.ended(job);
                Event::Failed { job, error: io::Error::from_raw_os_error(errno) }
            }
            Told::Unlistened => {
                self.listens.ended(job);
                Event::Unlistened { job }
            }
        })
    }

    fn tell_detached(&mut self) -> Option<Event> {
        if self.detached.is_none() {
            self.detached = self.lanes.contradiction();
        }
        let reason = self.detached.filter(|_| !self.told_detached)?;
        self.told_detached = true;
        Some(Event::Detached { reason })
    }

    /// The connection of this name, if it is not closed, and the daemon is there.
    pub fn connection(&mut self, connection: ConnectionId) -> Option<Connection<'_>> {
        self.take_hold(connection)
    }

    /// Two connections at a time, for who moves bytes from one to the other. `None` if one is
    /// closed, or both are the same.
    pub fn pair(
        &mut self,
        one: ConnectionId,
        other: ConnectionId,
    ) -> Option<(Connection<'_>, Connection<'_>)> {
        let both = [one.slot(), other.slot()];
        let [first, second] = self.views.get_disjoint_mut(both).ok()?;
        if self.told_detached {
            return None;
        }
        Some((hold(&self.lanes, first, one)?, hold(&self.lanes, second, other)?))
    }

    fn take_hold(&mut self, connection: ConnectionId) -> Option<Connection<'_>> {
        let view = self.views.get_mut(connection.slot())?;
        if self.told_detached {
            return None;
        }
        hold(&self.lanes, view, connection)
    }

    /// The connections that there are, closed by the daemon or not.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        let views = self.views.iter().filter(|_| !self.told_detached);
        views.zip(0..).filter(|(view, _)| view.is_held()).map(|(view, slot)| view.id(slot))
    }

    /// Wakes those cores that sleep and have something to do, with at most one system call each.
    ///
    /// Cores that are awake see what is sent when its [`Connection`] is let go. Those that sleep
    /// see it now: when [`next_event`](Self::next_event) finds nothing, and before a sleep, it
    /// happens by itself; an application that works for long between those may want to do it
    /// sooner.
    pub fn flush(&mut self) {
        self.lanes.rouse();
    }

    /// Sleeps until something happens, or time is over: true if there may be an event to take. A
    /// signal ends it too.
    ///
    /// # Errors
    /// Detached, and that was told; or the kernel cannot do it.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.flush();
        if self.told_detached
            && let Some(reason) = self.detached
        {
            return Err(Error::from(reason).into());
        }
        if self.has_some() {
            return Ok(true);
        }
        if self.spin.find(|| self.lanes.has_some()) {
            self.lanes.count(|counters| counters.sleeps_saved += 1);
            return Ok(true);
        }
        if !self.fall_asleep() {
            return Ok(true);
        }
        self.lanes.count(|counters| counters.sleeps += 1);
        let since = self.spin.begin_sleep();
        let woken = self.lanes.doorbells().sleep(timeout);
        if matches!(woken, Ok(Woken::Ring)) {
            self.spin.rung(since);
        }
        self.awake(woken)
    }

    /// What becomes readable when something has happened while the application slept: for a poll
    /// of its own. Such a loop
    ///
    /// 1. takes events until there are none, and acts on them;
    /// 2. calls [`fall_asleep`](Self::fall_asleep); if that is false, goes on with 1;
    /// 3. polls this descriptor among its others, for reading;
    /// 4. calls [`woke_up`](Self::woke_up), whatever it was that woke it.
    pub fn doorbell(&self) -> BorrowedFd<'_> {
        self.lanes.as_fd()
    }

    /// [Flushes](Self::flush), and declares that this thread is going to sleep; false if there is
    /// something to take after all.
    pub fn fall_asleep(&mut self) -> bool {
        self.flush();
        !self.has_untold() && self.lanes.declare_sleep()
    }

    /// The thread is awake: takes back the ring, if that was what woke it.
    ///
    /// # Errors
    /// The kernel cannot do it.
    pub fn woke_up(&mut self) -> io::Result<()> {
        let woken = self.lanes.doorbells().sleep(Some(Duration::ZERO));
        self.awake(woken).map(drop)
    }

    fn awake(&mut self, woken: io::Result<Woken>) -> io::Result<bool> {
        self.lanes.cancel_sleep();
        let woken = woken?;
        if woken == Woken::HangUp && self.detached.is_none() {
            self.lanes.doorbells().forget_socket();
            self.detached = Some(DetachReason::HungUp);
        }
        Ok(woken != Woken::Nobody)
    }

    fn has_some(&self) -> bool {
        self.has_untold() || self.lanes.has_some()
    }

    /// There is an event to tell that is in no ring.
    fn has_untold(&self) -> bool {
        let detached = self.detached.is_some() || self.lanes.contradiction().is_some();
        !self.early.is_empty()
            || !self.unscanned.is_empty()
            || self.views.get(self.telling as usize).is_some_and(|view| view.due != Due::NONE)
            || detached && !self.told_detached
    }
}

/// Takes hold of a connection, if there still is one of this name in its slot.
fn hold<'a>(
    lanes: &'a Lanes,
    view: &'a mut View,
    connection: ConnectionId,
) -> Option<Connection<'a>> {
    if !view.live || view.status.generation != connection.generation {
        return None;
    }
    let ConnectionId { slot: number, generation } = connection;
    let slot = lanes.segment().slot(number);
    let place = Place { lanes, slot, number, generation, core: view.core };
    Some(Connection { place, view })
}

fn errno(status: Status) -> Option<io::Error> {
    (status.errno != 0).then(|| io::Error::from_raw_os_error(status.errno.into()))
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.doorbell()
    }
}

/// An orderly end: the daemon closes the connections behind what was sent.
impl Drop for Endpoint {
    fn drop(&mut self) {
        if self.detached.is_none() && !self.ask(JobId(0), Asked::Leave) {
            log::warn!("no room to say goodbye to vmsgrd: it keeps the connections for a while");
        }
        self.lanes.rouse();
    }
}
