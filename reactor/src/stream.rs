//! One connection as the loop sees it: a socket, its pending data, and the interest that follows
//! from them.

use std::io::{self, ErrorKind};

use mio::{Interest, Registry};

use crate::counters::Counters;
use crate::pending::Pending;
use crate::socket::Socket;
use crate::token::Token;

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing now; a failure is reported to [`Handler::closed`](crate::Handler::closed).
    Nothing,
    /// The peer will send nothing more.
    End,
}

/// How far our own direction is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outgoing {
    Open,
    /// The end is to be sent once nothing is pending.
    Finishing,
    Finished,
}

#[derive(Debug)]
pub(crate) struct Stream<S, P, D> {
    socket: S,
    pub(crate) pending: P,
    pub(crate) state: D,
    pub(crate) generation: u32,
    /// Why the connection is to end; taken when the turn settles.
    failure: Option<io::Error>,
    outgoing: Outgoing,
    /// Not established yet: WRITABLE is awaited for that.
    pub(crate) connecting: bool,
    /// WRITABLE is registered.
    armed: bool,
    /// READABLE is registered.
    watching: bool,
    /// The socket may hold something to read; an edge said so and no read has said otherwise.
    readable: bool,
    /// The last edge said more than "bytes have come": a short read is not the end of them.
    thorough: bool,
    /// Its reader wants it to be read.
    reading: bool,
    /// The peer's end has been read.
    ended: bool,
    /// The socket's send buffer was full and no edge has said otherwise since.
    blocked: bool,
    /// In the loop's ready list.
    pub(crate) queued: bool,
    /// In the loop's list of streams to settle.
    pub(crate) touched: bool,
    /// Bytes for it wait on the stage of the loop; they come before all that is sent later.
    pub(crate) staged: bool,
    /// The streams that are no longer read because our pending data was full.
    pub(crate) stopped: Vec<Token>,
    /// Bytes that the socket has taken since it was added.
    pub(crate) sent: u64,
    /// The number of the turn in which bytes were last read; 0: never.
    pub(crate) last_read: u64,
}

impl<S: Socket, P: Pending, D> Stream<S, P, D> {
    pub(crate) fn new(socket: S, pending: P, state: D, generation: u32, connecting: bool) -> Self {
        Self {
            socket,
            pending,
            state,
            generation,
            failure: None,
            outgoing: Outgoing::Open,
            connecting,
            armed: false,
            watching: false,
            readable: false,
            thorough: false,
            reading: true,
            ended: false,
            blocked: connecting,
            queued: false,
            touched: false,
            staged: false,
            stopped: Vec::new(),
            sent: 0,
            last_read: 0,
        }
    }

    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// Registers the socket with the poll, with the interest that it begins with.
    pub(crate) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        counters: &mut Counters,
    ) -> io::Result<()> {
        let (readable, writable) = (self.reading, self.wants_writable());
        registry.register(&mut self.socket, token.into(), interest(readable, writable))?;
        (self.watching, self.armed) = (readable, writable);
        counters.writable_armed += u64::from(writable);
        Ok(())
    }

    /// Takes in what the poll said.
    pub(crate) fn note(&mut self, event: Readiness) {
        if event.writable || event.error {
            self.blocked = false;
        }
        if event.readable || event.unusual {
            self.readable = true;
            self.thorough |= event.unusual;
        }
        if event.error && !self.connecting && !self.is_to_be_read() {
            // Nobody will find it by reading.
            match self.socket.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => self.fail(error),
            }
        }
    }

    /// Something for the stream to do in its turn.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_to_be_read() || self.can_flush() || (self.connecting && !self.blocked)
    }

    /// There may be something to read, and its reader wants it.
    pub(crate) fn is_to_be_read(&self) -> bool {
        self.readable && self.reading && !self.ended && !self.connecting && self.failure.is_none()
    }

    /// Whether a connection under way is established by now, or has failed.
    pub(crate) fn check_connecting(&mut self) -> bool {
        match self.socket.take_error() {
            Ok(None) if self.socket.is_connected() => {
                self.connecting = false;
                self.blocked = false;
                true
            }
            // An early edge: the socket said that it is writable before it was connected.
            Ok(None) => {
                self.blocked = true;
                false
            }
            Ok(Some(error)) | Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// Reads once.
    pub(crate) fn read(&mut self, into: &mut [u8], counters: &mut Counters) -> Received {
        self.read_with(into.len(), counters, |socket| socket.receive(into))
    }

    /// Reads once, with a `read` that has room for `room` bytes, at least one.
    pub(crate) fn read_with(
        &mut self,
        room: usize,
        counters: &mut Counters,
        mut read: impl FnMut(&mut S) -> io::Result<usize>,
    ) -> Received {
        debug_assert_ne!(room, 0);
        loop {
            match read(&mut self.socket) {
                Ok(0) => {
                    self.ended = true;
                    self.readable = false;
                    return Received::End;
                }
                Ok(count) => {
                    counters.bytes_in += count as u64;
                    self.last_read = counters.turns + 1;
                    counters.messages_in += 1;
                    // The kernel gave less than there was room for, so it has no more, and the
                    // next bytes make an edge: no read that only says "would block". Not so at
                    // the end of the stream or at urgent data, where a read stops short too.
                    if count < room && !self.thorough {
                        self.readable = false;
                    }
                    return Received::Bytes(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    counters.would_block += 1;
                    self.readable = false;
                    self.thorough = false;
                    return Received::Nothing;
                }
                Err(error) => {
                    self.fail(error);
                    return Received::Nothing;
                }
            }
        }
    }

    /// Offers `bytes` to the socket, unless it is full or others wait before them; how many it took.
    pub(crate) fn offer(&mut self, bytes: &[u8], counters: &mut Counters) -> usize {
        if self.blocked || !self.pending.is_empty() || self.failure.is_some() {
            return 0;
        }
        let outcome = self.socket.send(bytes);
        self.written(outcome, bytes.len(), counters)
    }

    /// Offers what is pending to the socket, once.
    pub(crate) fn flush(&mut self, counters: &mut Counters) {
        if self.blocked || self.pending.is_empty() || self.failure.is_some() {
            return;
        }
        let (offered, outcome) = self.pending.write_to(&mut self.socket);
        let taken = self.written(outcome, offered, counters);
        self.pending.consume(taken);
    }

    /// What a write of `offered` bytes came to; how many bytes the socket took.
    fn written(
        &mut self,
        outcome: io::Result<usize>,
        offered: usize,
        counters: &mut Counters,
    ) -> usize {
        match outcome {
            Ok(count) if count > 0 => {
                counters.bytes_out += count as u64;
                self.sent += count as u64;
                counters.messages_out += 1;
                // A short write means a full send buffer; room in it makes an edge.
                self.blocked = count < offered;
                count
            }
            Ok(_) => {
                self.fail(ErrorKind::WriteZero.into());
                0
            }
            // Not blocked: what is pending is armed and the poll says at once that it can be sent.
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                counters.would_block += 1;
                self.blocked = true;
                0
            }
            Err(error) => {
                self.fail(error);
                0
            }
        }
    }

    /// Records why the connection has to end; the first reason stands.
    pub(crate) fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    pub(crate) fn into_parts(self) -> (S, D) {
        (self.socket, self.state)
    }

    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Bytes that are pending and could be offered right now.
    pub(crate) fn can_flush(&self) -> bool {
        !self.connecting && !self.blocked && !self.pending.is_empty() && self.failure.is_none()
    }

    /// Our direction ends once nothing is pending.
    pub(crate) fn finish(&mut self) {
        if self.outgoing == Outgoing::Open {
            self.outgoing = Outgoing::Finishing;
        }
    }

    /// [`finish`](Self::finish) has been called: nothing may be sent any more.
    pub(crate) fn is_finishing(&self) -> bool {
        self.outgoing != Outgoing::Open
    }

    /// Sends our end if it is due; true once both directions have ended.
    pub(crate) fn end_if_due(&mut self) -> bool {
        if self.outgoing == Outgoing::Finishing && self.pending.is_empty() && !self.connecting {
            self.outgoing = Outgoing::Finished;
            // When the peer's end has been read, closing the socket sends ours.
            if !self.ended
                && let Err(error) = self.socket.shutdown_write()
            {
                self.fail(error);
            }
        }
        self.ended && self.outgoing == Outgoing::Finished
    }

    /// Whether it is to be read; true if that changed.
    pub(crate) fn set_reading(&mut self, reading: bool) -> bool {
        // While nobody watched, bytes may have come without an edge.
        self.readable |= reading && !self.watching;
        std::mem::replace(&mut self.reading, reading) != reading
    }

    /// The peer's end has been read.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Its reading is stopped.
    pub(crate) fn is_paused(&self) -> bool {
        !self.reading
    }

    /// Nothing is pending, and nothing that came is left unread as far as is known.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && (self.ended || !self.readable) && !self.connecting
    }

    /// I1: WRITABLE if and only if data is pending (or the connection is being made).
    fn wants_writable(&self) -> bool {
        self.connecting || !self.pending.is_empty()
    }

    /// Brings the registered interest up to what the state asks for, with at most one `epoll_ctl`.
    pub(crate) fn sync_interest(
        &mut self,
        registry: &Registry,
        token: Token,
        counters: &mut Counters,
    ) {
        let (readable, writable) = (self.reading, self.wants_writable());
        if (readable, writable) == (self.watching, self.armed) {
            return;
        }
        let wanted = interest(readable, writable);
        if let Err(error) = registry.reregister(&mut self.socket, token.into(), wanted) {
            self.fail(error);
            return;
        }
        counters.writable_armed += u64::from(writable && !self.armed);
        counters.writable_disarmed += u64::from(!writable && self.armed);
        counters.read_paused += u64::from(!readable && self.watching);
        (self.watching, self.armed) = (readable, writable);
    }

    /// What must hold at the end of a turn.
    pub(crate) fn assert_settled(&self) {
        assert_eq!(self.armed, self.wants_writable(), "I1: {:?}", self.pending);
        assert_eq!(self.watching, self.reading, "I4: interest in reading");
        if !self.stopped.is_empty() {
            assert!(!self.pending.is_relieved(), "I4: whoever was stopped goes on when relieved");
        }
        assert!(self.failure.is_none(), "a failure left unreported");
        assert!(!self.touched && !self.staged, "touched or staged, and left so");
    }
}

/// Priority is always awaited: urgent data stops a read short, see [`Stream::read`]. (It also is
/// what keeps a stream registered that neither is to be read nor has anything to write.)
fn interest(readable: bool, writable: bool) -> Interest {
    let mut interest = Interest::PRIORITY;
    if readable {
        interest |= Interest::READABLE;
    }
    if writable {
        interest |= Interest::WRITABLE;
    }
    interest
}

/// What one event of the poll says of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer's end, a reset or urgent data.
    pub(crate) unusual: bool,
    pub(crate) error: bool,
}

impl From<&mio::event::Event> for Readiness {
    fn from(event: &mio::event::Event) -> Self {
        Self {
            readable: event.is_readable(),
            writable: event.is_writable(),
            unusual: event.is_read_closed() || event.is_error() || event.is_priority(),
            error: event.is_error(),
        }
    }
}
