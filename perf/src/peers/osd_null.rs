//! The OSD that stores nothing on a plain epoll loop: what the protocol costs without the daemon
//! around it.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use vmsgr_messenger::msgr2::{AuthNone, Config, Endpoint, EntityAddr, EntityType, Event, OsdNull};

use crate::msgr2_stream::{BUFFER_BYTES, Msgr2Stream};

/// The epoll key of the listener; streams have theirs from 1.
const LISTENER: u64 = 0;

/// What every object seems to hold: as much as the longest read asks for.
const OBJECT_BYTES: u64 = 4 << 20;

/// Answers operations on connections to `listener`, for ever.
///
/// # Errors
/// When epoll or accept fails. A connection that fails ends alone.
pub fn serve(listener: &TcpListener) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let address = EntityAddr::msgr2(listener.local_addr()?, std::process::id());
    let config = Config::new(EntityType::OSD, address.into());
    let auth = AuthNone::new(EntityType::OSD, "0", 0);
    let mut server = Server {
        endpoint: Endpoint::new(config, Box::new(auth), Instant::now()),
        osd: OsdNull::new(OBJECT_BYTES),
        streams: HashMap::new(),
        buffer: vec![0; BUFFER_BYTES],
        next_key: LISTENER + 1,
    };
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let timeout = server.time_out();
        let ready = match epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => continue,
            other => other.context("epoll_wait")?,
        };
        for event in &events[..ready] {
            match event.data() {
                LISTENER => server.accept_all(listener, &epoll)?,
                key => server.on_event(key, event.events(), &epoll),
            }
        }
        server.endpoint.handle_timeout(Instant::now());
        server.end_what_is_over();
    }
}

struct Server {
    endpoint: Endpoint,
    osd: OsdNull,
    streams: HashMap<u64, Msgr2Stream>,
    buffer: Vec<u8>,
    /// No number is given twice, so no event can meet a stream that took over another's.
    next_key: u64,
}

impl Server {
    /// Until the endpoint wants to do something; rounded up, so that it is due then.
    fn time_out(&self) -> EpollTimeout {
        let Some(deadline) = self.endpoint.deadline() else { return EpollTimeout::NONE };
        let left = deadline.saturating_duration_since(Instant::now());
        let ms = left.as_nanos().div_ceil(1_000_000);
        EpollTimeout::try_from(ms as u64).unwrap_or(EpollTimeout::MAX)
    }

    fn accept_all(&mut self, listener: &TcpListener, epoll: &Epoll) -> Result<()> {
        loop {
            let (socket, from) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The peer was gone before it was accepted; the next one may still be there.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error.into()),
            };
            let id = self.endpoint.accept(from, Instant::now());
            let mut stream = Msgr2Stream::new(socket, id, self.next_key, epoll)?;
            if stream.flush(&mut self.endpoint, epoll).is_ok() {
                self.streams.insert(self.next_key, stream);
                self.next_key += 1;
            } else {
                self.endpoint.closed(id, Instant::now());
            }
        }
    }

    /// Reads, answers, and writes.
    fn on_event(&mut self, key: u64, ready: EpollFlags, epoll: &Epoll) {
        let Self { endpoint, osd, streams, buffer, .. } = self;
        let Some(stream) = streams.get_mut(&key) else { return };
        let answer = |endpoint: &mut Endpoint, received: vmsgr_messenger::msgr2::Received<'_>| {
            let now = Instant::now();
            let answer = osd.answer(&received.header, &received.front)?;
            endpoint.taken(received.session, 1, received.bytes() as u64, now);
            if let Some(answer) = answer {
                endpoint.send(received.session, answer, now)?;
            }
            Ok(())
        };
        let open = stream
            .receive(endpoint, ready, buffer, answer)
            .and_then(|open| stream.flush(endpoint, epoll).map(|()| open));
        if !open.unwrap_or(false) {
            endpoint.closed(stream.id(), Instant::now());
            streams.remove(&key);
        }
    }

    fn end_what_is_over(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Close { stream: id, .. } = event {
                self.streams.retain(|_, stream| stream.id() != id);
            }
        }
    }
}
