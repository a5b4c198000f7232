//! How connections arrive: listened for, accepted, placed on a core, and served there.

use std::io;
use std::net::SocketAddr;

use log::Level;
use mio::net::{TcpListener, TcpStream};
use vmsgr_reactor::Token;

use crate::application::Endpoints;
use crate::complaints::complain;
use crate::connection::{Connection, Role, SharedTap};
use crate::ids::{ConnectionId, JobId};
use crate::job::Event;
use crate::message::{Adopted, Message};
use crate::name::Service;
use crate::original_dst;
use crate::worker::{Begun, Listener, Worker, WorkerCore};

impl Worker {
    /// Does a listen job on this core.
    pub(crate) fn listen(
        &mut self,
        core: &mut WorkerCore,
        job: JobId,
        socket: TcpListener,
        service: Service,
    ) {
        if self.draining {
            let error = io::Error::other("the messenger is being stopped");
            return self.tell(core, Event::Failed { job, error });
        }
        if matches!(service, Service::Tapped(_)) {
            self.tap.get_or_insert_default();
        }
        if let Service::Entity(listener) = &service {
            self.listen_for_entity(core, listener);
        }
        match core.listen(socket, Listener { service, endpoints: Endpoints::default() }) {
            Ok(token) => {
                self.jobs.insert(job, Begun::Listener(token));
                self.tell(core, Event::Listening { job, core: self.index });
            }
            Err(error) => self.tell(core, Event::Failed { job, error }),
        }
    }

    /// Reserves a place below the connection limit for one connection of `listener`, which waits if
    /// there is none.
    pub(crate) fn reserve_place(&mut self, core: &mut WorkerCore, listener: Token) -> bool {
        let for_applications =
            core.listener_state(listener).is_some_and(|it| it.service == Service::Applications);
        let mut admitted = self.census.reserve(self.index);
        if admitted && for_applications && !self.reserve_slot(core, listener) {
            let to_tell = self.census.unreserve();
            self.tell_of_place(core, to_tell);
            admitted = false;
        }
        if !admitted {
            self.waiting.push(listener);
        }
        admitted
    }

    /// An accepted connection goes to the core that placement chooses.
    pub(crate) fn place(
        &mut self,
        core: &mut WorkerCore,
        listener: Token,
        socket: TcpStream,
        peer: SocketAddr,
    ) {
        let service = match core.listener_state(listener) {
            Some(listener) => listener.service.clone(),
            None => return self.give_place_back(core, listener, None),
        };
        let home = match &service {
            Service::Entity(listener) => Some(listener.identity.core),
            _ => None,
        };
        let place = home.unwrap_or_else(|| self.placer.place(&self.census));
        self.census.enter(place);
        let adopted = Adopted { socket, peer, service, reserved: self.reserved.take() };
        if place == self.index {
            return self.adopt(core, adopted);
        }
        if home.is_some() {
            core.counters_mut().handed_over += 1;
            return self.post(core, place, Message::Adopt(Box::new(adopted)));
        }
        // Not `Worker::post`: a core that is far behind need not have it.
        match core.post(place, Message::Adopt(Box::new(adopted))) {
            Ok(()) => core.counters_mut().handed_over += 1,
            Err(Message::Adopt(adopted)) => {
                self.census.moved(place, self.index);
                self.adopt(core, *adopted);
            }
            Err(_) => unreachable!("post gives back what it was given"),
        }
    }

    /// A connection for which a place was reserved has not come.
    pub(crate) fn give_place_back(
        &mut self,
        core: &mut WorkerCore,
        listener: Token,
        error: Option<&io::Error>,
    ) {
        let to_tell = self.census.unreserve();
        self.tell_of_place(core, to_tell);
        if let Some(reserved) = self.reserved.take() {
            self.unreserve_slot(core, &reserved);
        }
        if let Some(error) = error {
            let now = core.now();
            let local = core.listener_socket(listener).and_then(|socket| socket.local_addr().ok());
            let local = local.map_or_else(|| "?".to_owned(), |local| local.to_string());
            complain!(
                self.complaints,
                now,
                Level::Warn,
                "listener={local} cannot accept for now: {error}"
            );
        }
    }

    /// A connection that was accepted here or on another core has arrived where it stays.
    pub(crate) fn adopt(&mut self, core: &mut WorkerCore, adopted: Adopted) {
        if self.draining {
            // It comes too late, like those in the backlog.
            if let Some(reserved) = &adopted.reserved {
                self.unreserve_slot(core, reserved);
            }
            drop(adopted);
            return self.left(core);
        }
        if let Some(reserved) = adopted.reserved.clone() {
            return self.serve_application(core, adopted, &reserved);
        }
        let Adopted { socket, peer, service, .. } = adopted;
        let id = self.next_id();
        self.serve_as(core, id, socket, peer, service, None);
    }

    fn serve_as(
        &mut self,
        core: &mut WorkerCore,
        id: ConnectionId,
        socket: TcpStream,
        peer: SocketAddr,
        service: Service,
        tap: Option<SharedTap>,
    ) {
        match service {
            Service::Tapped(service) => {
                let tap = self.tap(peer);
                self.serve_as(core, id, socket, peer, *service, Some(tap));
            }
            Service::Echo => self.serve(core, id, socket, peer, Role::Echo),
            Service::Discard => self.serve(core, id, socket, peer, Role::Discard),
            Service::OsdNull(options) => self.serve_osd_null(core, id, socket, peer, options),
            Service::Relay(targets) => self.begin_relay(core, id, socket, peer, targets, tap),
            Service::RelayOriginalDst => match original_dst::of(&socket) {
                Ok(target) => self.begin_relay(core, id, socket, peer, [target].into(), tap),
                Err(error) => {
                    let now = core.now();
                    complain!(
                        self.complaints,
                        now,
                        Level::Warn,
                        "conn={id} peer={peer} cannot be relayed: {error}"
                    );
                    self.left(core);
                }
            },
            Service::Entity(listener) => self.serve_for_entity(core, socket, peer, &listener),
            Service::Applications => unreachable!("it has its slot before it is accepted"),
        }
    }

    fn serve(
        &mut self,
        core: &mut WorkerCore,
        id: ConnectionId,
        socket: TcpStream,
        peer: SocketAddr,
        role: Role,
    ) {
        let state = Connection::accepted(id, peer, role);
        match core.add(socket, self.pending(), state) {
            Ok(token) => self.watch_idleness(core, token),
            Err(error) => self.could_not_add(core, id, peer, &error),
        }
    }

    pub(crate) fn could_not_add(
        &mut self,
        core: &mut WorkerCore,
        id: ConnectionId,
        peer: SocketAddr,
        error: &io::Error,
    ) {
        let now = core.now();
        complain!(
            self.complaints,
            now,
            Level::Error,
            "conn={id} peer={peer} cannot be watched: {error}"
        );
        self.left(core);
    }

    /// Tells cores whose listeners wait that there is a place.
    pub(crate) fn tell_of_place(&mut self, core: &mut WorkerCore, cores: Vec<usize>) {
        for index in cores {
            if index == self.index {
                self.resume_waiting(core);
            } else {
                self.post(core, index, Message::Place);
            }
        }
    }

    /// There is a place: listeners go on accepting.
    pub(crate) fn resume_waiting(&mut self, core: &mut WorkerCore) {
        for listener in std::mem::take(&mut self.waiting) {
            core.resume_listener(listener);
        }
    }
}
