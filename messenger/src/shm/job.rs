//! Entries of the job ring and of the event ring: eight words each.

use std::net::SocketAddr;

use super::address;
use super::layout::WORDS;

/// What an application asks for, with a number of its own by which it hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) job: u64,
    pub(crate) kind: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Listen {
        address: SocketAddr,
        backlog: u32,
    },
    Connect {
        address: SocketAddr,
    },
    /// End a listener. Its connections go on.
    Unlisten,
    /// The application leaves for good: every connection is closed behind what was committed.
    Leave,
}

const LISTEN: u64 = 1;
const CONNECT: u64 = 2;
const UNLISTEN: u64 = 3;
const LEAVE: u64 = 4;

impl Request {
    pub(crate) fn to_words(self) -> [u64; WORDS] {
        let none = [0; 3];
        let (kind, address, argument) = match self.kind {
            Asked::Listen { address, backlog } => {
                (LISTEN, address::to_words(address), u64::from(backlog))
            }
            Asked::Connect { address } => (CONNECT, address::to_words(address), 0),
            Asked::Unlisten => (UNLISTEN, none, 0),
            Asked::Leave => (LEAVE, none, 0),
        };
        let [a, b, c] = address;
        [kind, self.job, a, b, c, argument, 0, 0]
    }

    /// What an application has written; `None` if that means nothing.
    pub(crate) fn from_words(words: [u64; WORDS]) -> Option<Self> {
        let [kind, job, a, b, c, argument, ..] = words;
        let kind = match kind {
            LISTEN => {
                let backlog = u32::try_from(argument).ok()?;
                Asked::Listen { address: address::from_words([a, b, c])?, backlog }
            }
            CONNECT => Asked::Connect { address: address::from_words([a, b, c])? },
            UNLISTEN => Asked::Unlisten,
            LEAVE => Asked::Leave,
            _ => return None,
        };
        Some(Self { job, kind })
    }
}

/// What the daemon tells of a job. Of connections it tells in their slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) job: u64,
    pub(crate) told: Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Connections are accepted, at this address.
    Listening { address: SocketAddr },
    /// It could not be done.
    Failed { errno: i32 },
    /// A listener has ended, as asked.
    Unlistened,
}

const LISTENING: u64 = 1;
const FAILED: u64 = 2;
const UNLISTENED: u64 = 3;

impl Notice {
    pub(crate) fn to_words(self) -> [u64; WORDS] {
        let (kind, [a, b, c], errno) = match self.told {
            Told::Listening { address } => (LISTENING, address::to_words(address), 0),
            Told::Failed { errno } => (FAILED, [0; 3], errno as u64),
            Told::Unlistened => (UNLISTENED, [0; 3], 0),
        };
        [kind, self.job, a, b, c, errno, 0, 0]
    }

    /// The application's side; `None` if it is of a newer version.
    pub(crate) fn from_words(words: [u64; WORDS]) -> Option<Self> {
        let [kind, job, a, b, c, errno, ..] = words;
        let told = match kind {
            LISTENING => Told::Listening { address: address::from_words([a, b, c])? },
            FAILED => Told::Failed { errno: errno as i32 },
            UNLISTENED => Told::Unlistened,
            _ => return None,
        };
        Some(Self { job, told })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_say_what_was_put_into_them() {
        let address: SocketAddr = "[fe80::1%3]:7400".parse().unwrap();
        let kinds = [
            Asked::Listen { address, backlog: 1024 },
            Asked::Connect { address },
            Asked::Unlisten,
            Asked::Leave,
        ];
        for kind in kinds {
            let request = Request { job: u64::MAX, kind };
            assert_eq!(Request::from_words(request.to_words()), Some(request));
        }
        for told in [Told::Listening { address }, Told::Failed { errno: 13 }, Told::Unlistened] {
            let notice = Notice { job: 7, told };
            assert_eq!(Notice::from_words(notice.to_words()), Some(notice));
        }
    }

    proptest! {
        #[test]
        fn garbage_is_a_request_or_none(mut words: [u64; WORDS], kind in 0u64..6) {
            words[0] = kind;
            let _ = Request::from_words(words);
        }
    }
}
