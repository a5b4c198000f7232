//! The words of a slot that say what its connection is, and how the application wants it to end.

/// What there is of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No connection: the slot is the daemon's.
    Free,
    /// A connect job is under way.
    Connecting,
    /// Bytes may go both ways.
    Open,
    /// It is over; what was received can still be consumed.
    Closed,
}

/// The word `status` of a slot: generation (32 bits), errno (16), flags (8), state (8).
///
/// The generation is that of the connection: 1 for the first in this slot, never 0. Every state of
/// one connection has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) generation: u32,
    /// Why it was closed; 0: both directions came to their proper end.
    pub(crate) errno: u16,
    /// The peer will send nothing more.
    pub(crate) peer_ended: bool,
    /// It was accepted; if not, the daemon made it.
    pub(crate) accepted: bool,
    /// It is a session of an entity: its rings have parts of messages, not bytes.
    pub(crate) messages: bool,
    pub(crate) state: State,
}

const PEER_ENDED: u64 = 1 << 8;
const ACCEPTED: u64 = 1 << 9;
const MESSAGES: u64 = 1 << 10;

impl Status {
    /// The slot that nobody has used yet; what its zeros mean.
    pub(crate) const UNUSED: Self = Self {
        generation: 0,
        errno: 0,
        peer_ended: false,
        accepted: false,
        messages: false,
        state: State::Free,
    };

    pub(crate) fn to_word(self) -> u64 {
        let state = match self.state {
            State::Free => 0,
            State::Connecting => 1,
            State::Open => 2,
            State::Closed => 3,
        };
        u64::from(self.generation) << 32
            | u64::from(self.errno) << 16
            | if self.peer_ended { PEER_ENDED } else { 0 }
            | if self.accepted { ACCEPTED } else { 0 }
            | if self.messages { MESSAGES } else { 0 }
            | state
    }

    /// The application's side: what the daemon has written.
    pub(crate) fn from_word(word: u64) -> Self {
        Self {
            generation: (word >> 32) as u32,
            errno: (word >> 16) as u16,
            peer_ended: word & PEER_ENDED != 0,
            accepted: word & ACCEPTED != 0,
            messages: word & MESSAGES != 0,
            state: match word & 0xff {
                1 => State::Connecting,
                2 => State::Open,
                3 => State::Closed,
                _ => State::Free,
            },
        }
    }
}

/// The word `ending` of a slot: what the application has asked for. It only gets worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// Nothing: it goes on.
    None,
    /// Our direction ends behind what was committed.
    Shutdown,
    /// The application is done with the connection: what was committed is sent, what comes is
    /// forgotten.
    Close,
    /// It is cut off, and the peer shall see it.
    Reset,
}

impl Ending {
    pub(crate) fn to_word(self) -> u64 {
        self as u64
    }

    /// What an application has written; `None` if that means nothing.
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        [Self::None, Self::Shutdown, Self::Close, Self::Reset]
            .get(usize::try_from(word).ok()?)
            .copied()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_was_put_into_them() {
        assert_eq!(Status::UNUSED.to_word(), 0);
        for state in [State::Free, State::Connecting, State::Open, State::Closed] {
            for (peer_ended, accepted, messages) in
                [(false, true, false), (true, false, false), (false, false, true)]
            {
                let generation = u32::MAX - 1;
                let errno = 104;
                let status = Status { generation, errno, peer_ended, accepted, messages, state };
                assert_eq!(Status::from_word(status.to_word()), status);
            }
        }
        for ending in [Ending::None, Ending::Shutdown, Ending::Close, Ending::Reset] {
            assert_eq!(Ending::from_word(ending.to_word()), Some(ending));
        }
        assert_eq!(Ending::from_word(4), None);
        assert_eq!(Ending::from_word(u64::MAX), None);
    }
}
