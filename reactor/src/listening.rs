//! What a handler may do with listeners, and when they pause.

use std::io;
use std::mem;
use std::time::Duration;

use mio::Registry;
use mio::net::TcpListener;

use crate::core::{Core, Due, Entry};
use crate::handler::Handler;
use crate::listener::Listener;
use crate::token::Token;

/// After how long a listener that ran out of descriptors tries again. Descriptors that another
/// process frees make no event, so this is the one thing that has to be asked for.
const EXHAUSTED_RETRY: Duration = Duration::from_millis(250);

impl<H: Handler> Core<H> {
    /// Accepts connections from `socket` from now on.
    pub fn listen(&mut self, socket: TcpListener, state: H::Listener) -> io::Result<Token> {
        let generation = self.next_generation();
        let vacant = self.entries.vacant_entry();
        let token = Token::new(vacant.key(), generation);
        let mut listener = Listener::new(socket, state, generation);
        listener.resume(self.poll.registry(), token)?;
        vacant.insert(Entry::Listener(listener));
        Ok(token)
    }

    /// What the handler keeps for a listener; `None` if it is gone.
    pub fn listener_state(&self, listener: Token) -> Option<&H::Listener> {
        match self.entries.get(listener.key()) {
            Some(Entry::Listener(found)) if found.generation == listener.generation() => {
                Some(&found.state)
            }
            _ => None,
        }
    }

    /// See [`listener_state`](Self::listener_state).
    pub fn listener_state_mut(&mut self, listener: Token) -> Option<&mut H::Listener> {
        self.listener_mut(listener).map(|found| &mut found.state)
    }

    /// The socket of a listener, for its address.
    pub fn listener_socket(&self, listener: Token) -> Option<&TcpListener> {
        match self.entries.get(listener.key()) {
            Some(Entry::Listener(found)) if found.generation == listener.generation() => {
                Some(found.socket())
            }
            _ => None,
        }
    }

    pub(crate) fn listener_mut(&mut self, token: Token) -> Option<&mut Listener<H::Listener>> {
        match self.entries.get_mut(token.key()) {
            Some(Entry::Listener(found)) if found.generation == token.generation() => Some(found),
            _ => None,
        }
    }

    /// Goes on accepting after [`Handler::admit`] refused.
    pub fn resume_listener(&mut self, listener: Token) {
        let resume =
            |found: &mut Listener<_>, registry: &Registry| found.resume(registry, listener);
        if let Some(Err(error)) = self.with_listener(listener, resume) {
            // epoll_ctl has no memory, or the user has too many watches.
            log::error!("listener {listener:?} cannot be registered for now: {error}");
            self.exhaust_listener(listener);
        }
    }

    /// Stops accepting; nobody in the backlog is lost.
    pub(crate) fn pause_listener(&mut self, listener: Token) {
        if let Some(Err(error)) = self.with_listener(listener, Listener::pause) {
            log::error!("listener {listener:?} cannot be deregistered: {error}");
        }
    }

    fn with_listener<T>(
        &mut self,
        token: Token,
        action: impl FnOnce(&mut Listener<H::Listener>, &Registry) -> T,
    ) -> Option<T> {
        let Some(Entry::Listener(found)) = self.entries.get_mut(token.key()) else { return None };
        (found.generation == token.generation()).then(|| action(found, self.poll.registry()))
    }

    /// Stops accepting until a stream of this loop has ended, or some time has passed: descriptors
    /// or memory have run out.
    pub fn exhaust_listener(&mut self, listener: Token) {
        self.pause_listener(listener);
        if self.exhausted_retry.is_none() {
            let deadline = self.now() + EXHAUSTED_RETRY;
            self.exhausted_retry = Some(self.timers.arm(deadline, Due::Exhausted));
        }
        if !self.exhausted.contains(&listener) {
            self.exhausted.push(listener);
        }
    }

    /// Listeners that ran out of descriptors try again.
    pub(crate) fn retry_exhausted(&mut self) {
        if let Some(timer) = self.exhausted_retry.take() {
            self.timers.cancel(timer);
        }
        for listener in mem::take(&mut self.exhausted) {
            self.resume_listener(listener);
        }
    }

    /// Closes a listener. Who waited in its backlog is reset by the kernel.
    pub fn close_listener(&mut self, listener: Token) -> Option<H::Listener> {
        self.listener_mut(listener)?;
        let Entry::Listener(found) = self.entries.remove(listener.key()) else { unreachable!() };
        Some(found.state)
    }
}
