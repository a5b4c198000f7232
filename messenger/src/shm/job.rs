//! Entries of the job ring and of the event ring: eight words each.

use std::net::SocketAddr;

use super::address;
use super::entity::Entity;
use super::layout::WORDS;
use crate::msgr2::EntityType;

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
    /// The job is the number of a msgr2 identity from here on.
    Entity(Entity),
    /// As `Listen`, for messages to the entity of this number, which is not 0.
    ListenAs {
        entity: u64,
        address: SocketAddr,
        backlog: u32,
    },
    /// As `Connect`, for messages from the entity of this number, which is not 0.
    ConnectAs {
        entity: u64,
        address: SocketAddr,
        /// What the peer has to be; `None`: whatever it says.
        peer: Option<EntityType>,
        patience: Patience,
    },
    /// Give up the connection of this job, if it is still being made.
    Cancel,
}

/// How long a session may take to be open for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Patience {
    /// As long as the daemon thinks right.
    #[default]
    Usual,
    /// So many milliseconds.
    Ms(u32),
    Endless,
}

impl Patience {
    fn to_word(self) -> u32 {
        match self {
            Self::Usual => 0,
            Self::Ms(ms) => ms.clamp(1, u32::MAX - 1),
            Self::Endless => u32::MAX,
        }
    }

    fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Usual,
            u32::MAX => Self::Endless,
            ms => Self::Ms(ms),
        }
    }
}

const LISTEN: u64 = 1;
const CONNECT: u64 = 2;
const UNLISTEN: u64 = 3;
const LEAVE: u64 = 4;
const ENTITY: u64 = 5;
const CANCEL: u64 = 6;

impl Request {
    pub(crate) fn to_words(self) -> [u64; WORDS] {
        let job = self.job;
        let at = |kind, address, argument, entity, peer| {
            let [a, b, c] = address::to_words(address);
            [kind, job, a, b, c, u64::from(argument), entity, peer]
        };
        match self.kind {
            Asked::Listen { address, backlog } => at(LISTEN, address, backlog, 0, 0),
            Asked::ListenAs { entity, address, backlog } => at(LISTEN, address, backlog, entity, 0),
            Asked::Connect { address } => at(CONNECT, address, 0, 0, 0),
            Asked::ConnectAs { entity, address, peer, patience } => {
                let peer = peer.map_or(0, |peer| peer.0.into());
                at(CONNECT, address, patience.to_word(), entity, peer)
            }
            Asked::Cancel => [CANCEL, job, 0, 0, 0, 0, 0, 0],
            Asked::Unlisten => [UNLISTEN, job, 0, 0, 0, 0, 0, 0],
            Asked::Leave => [LEAVE, job, 0, 0, 0, 0, 0, 0],
            Asked::Entity(entity) => {
                let [keepalives, what, limits, a, b, c, d] = entity.to_words();
                [ENTITY | keepalives << 8, job, what, limits, a, b, c, d]
            }
        }
    }

    /// What an application has written; `None` if that means nothing.
    pub(crate) fn from_words(words: [u64; WORDS]) -> Option<Self> {
        let [kind, job, a, b, c, argument, entity, peer] = words;
        // What an entity has to say fills its other words.
        let (kind, keepalives) = match kind & 0xff {
            ENTITY => (ENTITY, kind >> 8),
            _ => (kind, 0),
        };
        let address = || address::from_words([a, b, c]);
        let kind = match (kind, entity) {
            (LISTEN, _) => {
                let (address, backlog) = (address()?, u32::try_from(argument).ok()?);
                match entity {
                    0 => Asked::Listen { address, backlog },
                    entity => Asked::ListenAs { entity, address, backlog },
                }
            }
            (CONNECT, 0) => Asked::Connect { address: address()? },
            (CONNECT, entity) => {
                let peer = Some(u8::try_from(peer).ok()?).filter(|peer| *peer != 0);
                let patience = Patience::from_word(u32::try_from(argument).ok()?);
                let (address, peer) = (address()?, peer.map(EntityType));
                Asked::ConnectAs { entity, address, peer, patience }
            }
            (UNLISTEN, _) => Asked::Unlisten,
            (LEAVE, _) => Asked::Leave,
            (CANCEL, _) => Asked::Cancel,
            // Its number is not that of no entity.
            (ENTITY, _) if job != 0 => {
                Asked::Entity(Entity::from_words([keepalives, a, b, c, argument, entity, peer])?)
            }
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
    /// The same, for messages to an entity.
    ListeningAs { address: SocketAddr },
    /// It could not be done.
    Failed { errno: i32 },
    /// A listener has ended, as asked.
    Unlistened,
}

const LISTENING: u64 = 1;
const FAILED: u64 = 2;
const UNLISTENED: u64 = 3;
const LISTENING_AS: u64 = 4;

impl Notice {
    pub(crate) fn to_words(self) -> [u64; WORDS] {
        let (kind, [a, b, c], errno) = match self.told {
            Told::Listening { address } => (LISTENING, address::to_words(address), 0),
            Told::ListeningAs { address } => (LISTENING_AS, address::to_words(address), 0),
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
            LISTENING_AS => Told::ListeningAs { address: address::from_words([a, b, c])? },
            FAILED => Told::Failed { errno: errno as i32 },
            UNLISTENED => Told::Unlistened,
            _ => return None,
        };
        Some(Self { job, told })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::entity::{EntityName, EntityPolicy};
    use super::super::keepalive::Keepalives;
    use super::*;
    use crate::msgr2::ThrottleLimits;
    use proptest::prelude::*;

    #[test]
    fn entries_say_what_was_put_into_them() {
        let address: SocketAddr = "[fe80::1%3]:7400".parse().unwrap();
        let connect = |entity, peer, patience| Asked::ConnectAs { entity, address, peer, patience };
        let kinds = [
            Asked::Listen { address, backlog: 1024 },
            Asked::Connect { address },
            Asked::Unlisten,
            Asked::Leave,
            Asked::Entity(entity()),
            Asked::ListenAs { entity: 9, address, backlog: 1024 },
            connect(u64::MAX, None, Patience::Usual),
            connect(1, Some(EntityType::OSD), Patience::Ms(1)),
            connect(1, Some(EntityType::OSD), Patience::Endless),
            Asked::Cancel,
        ];
        for kind in kinds {
            let request = Request { job: u64::MAX, kind };
            assert_eq!(Request::from_words(request.to_words()), Some(request));
        }
        let listening = [Told::Listening { address }, Told::ListeningAs { address }];
        for told in listening.into_iter().chain([Told::Failed { errno: 13 }, Told::Unlistened]) {
            let notice = Notice { job: 7, told };
            assert_eq!(Notice::from_words(notice.to_words()), Some(notice));
        }
    }

    #[test]
    fn entities_have_numbers_and_peers_types_of_a_byte() {
        let kind = Asked::Entity(entity());
        assert_eq!(Request::from_words(Request { job: 0, kind }.to_words()), None);
        let address = "127.0.0.1:1".parse().unwrap();
        let (peer, patience) = (Some(EntityType::MON), Patience::Usual);
        let kind = Asked::ConnectAs { entity: 1, address, peer, patience };
        let mut words = Request { job: 2, kind }.to_words();
        words[7] = 256;
        assert_eq!(Request::from_words(words), None);
    }

    fn entity() -> Entity {
        Entity {
            kind: EntityType::CLIENT,
            id: EntityName::new("admin").unwrap(),
            policy: EntityPolicy::LossyClient,
            throttle: ThrottleLimits { messages: 100, bytes: 1 << 20 },
            largest_message: 4 << 20,
            keepalives: Keepalives::Never,
        }
    }

    proptest! {
        #[test]
        fn garbage_is_a_request_or_none(mut words: [u64; WORDS], kind in 0u64..8, high in 0u64..3) {
            words[0] = kind | words[0] << 8 & high.wrapping_neg();
            let _ = Request::from_words(words);
        }
    }
}
