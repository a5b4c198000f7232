//! What an application says of an entity: who it is to its msgr2 peers, and what it allows them.

use super::entity_error::{EntityError, ID_BYTES};
use super::keepalive::Keepalives;
use super::part::LARGEST_MESSAGE;
use crate::msgr2::{EntityType, Policy, ThrottleLimits};

/// Throttles are counted in these.
const KIB: u64 = 1024;

/// One msgr2 identity of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entity {
    pub(crate) kind: EntityType,
    pub(crate) id: EntityName,
    pub(crate) policy: EntityPolicy,
    /// Of each session: what may be received and not taken. Whole KiB.
    pub(crate) throttle: ThrottleLimits,
    /// Bytes of front, middle and data together.
    pub(crate) largest_message: u32,
    /// Of each session.
    pub(crate) keepalives: Keepalives,
}

/// The part of an entity's name behind its type: `0` of `osd.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntityName {
    bytes: [u8; ID_BYTES],
    len: u8,
}

/// What an entity and its peers expect of each other when a stream is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntityPolicy {
    /// It connects; with the stream the session ends, and what was sent and not answered is asked
    /// again by who asked: a client of OSDs.
    LossyClient,
    /// It connects; messages arrive once, over as many streams as it takes: a client of metadata
    /// servers.
    LosslessClient,
    /// It is connected to by lossy clients: an OSD to its clients.
    StatelessServer,
    /// It is connected to by lossless clients: a metadata server to its clients.
    StatefulServer,
    /// Either connects, and messages arrive once: OSDs among themselves.
    LosslessPeer,
}

impl EntityName {
    pub(crate) fn new(text: &str) -> Result<Self, EntityError> {
        let mut bytes = [0; ID_BYTES];
        let place = bytes.get_mut(..text.len()).ok_or(EntityError::Id)?;
        place.copy_from_slice(text.as_bytes());
        let this = Self { bytes, len: text.len() as u8 };
        this.is_one().then_some(this).ok_or(EntityError::Id)
    }

    fn is_one(&self) -> bool {
        let len = usize::from(self.len);
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        (1..=ID_BYTES).contains(&len)
            && self.bytes[..len].iter().all(allowed)
            && self.bytes[len..].iter().all(|&byte| byte == 0)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl EntityPolicy {
    const ALL: [Self; 5] = [
        Self::LossyClient,
        Self::LosslessClient,
        Self::StatelessServer,
        Self::StatefulServer,
        Self::LosslessPeer,
    ];

    /// What the protocol does by it.
    pub const fn policy(self) -> Policy {
        match self {
            Self::LossyClient => Policy::LOSSY_CLIENT,
            Self::LosslessClient => Policy::LOSSLESS_CLIENT,
            Self::StatelessServer => Policy::STATELESS_SERVER,
            Self::StatefulServer => Policy::STATEFUL_SERVER,
            Self::LosslessPeer => Policy::LOSSLESS_PEER,
        }
    }
}

impl Entity {
    /// # Errors
    /// Something is out of its range.
    pub(crate) fn check(&self) -> Result<(), EntityError> {
        let ThrottleLimits { messages, bytes } = self.throttle;
        if self.kind.0 == 0 {
            return Err(EntityError::Type);
        }
        if !self.id.is_one() {
            return Err(EntityError::Id);
        }
        if !(1..=u64::from(u32::MAX)).contains(&messages) {
            return Err(EntityError::ThrottleMessages(messages));
        }
        if !(1..=u64::from(u32::MAX)).contains(&bytes.div_ceil(KIB)) {
            return Err(EntityError::ThrottleBytes(bytes));
        }
        if !(1..=LARGEST_MESSAGE).contains(&self.largest_message) {
            return Err(EntityError::LargestMessage(self.largest_message));
        }
        self.keepalives.check()
    }

    /// Its words in a job, of the first 56 bits; bytes of the throttle are rounded up to KiB, times
    /// to milliseconds. It was checked.
    pub(super) fn to_words(self) -> [u64; 7] {
        let id: [u64; 4] = std::array::from_fn(|word| {
            let at = word * 8;
            u64::from_le_bytes(self.id.bytes[at..at + 8].try_into().expect("eight bytes"))
        });
        let what = u64::from(self.kind.0)
            | (self.policy as u64) << 8
            | u64::from(self.id.len) << 16
            | self.throttle.messages << 32;
        let limits = u64::from(self.largest_message) | self.throttle.bytes.div_ceil(KIB) << 32;
        [self.keepalives.to_bits(), what, limits, id[0], id[1], id[2], id[3]]
    }

    /// What an application has written; `None` if it is none, or something is out of its range.
    pub(super) fn from_words(words: [u64; 7]) -> Option<Self> {
        let [keepalives, what, limits, name @ ..] = words;
        if what >> 24 & 0xff != 0 {
            return None;
        }
        let mut bytes = [0; ID_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(name) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let this = Self {
            kind: EntityType(what as u8),
            id: EntityName { bytes, len: (what >> 16) as u8 },
            policy: *EntityPolicy::ALL.get(usize::from((what >> 8) as u8))?,
            throttle: ThrottleLimits { messages: what >> 32, bytes: (limits >> 32) * KIB },
            largest_message: limits as u32,
            keepalives: Keepalives::from_bits(keepalives),
        };
        this.check().ok().map(|()| this)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn osd() -> Entity {
        Entity {
            kind: EntityType::OSD,
            id: EntityName::new("0").unwrap(),
            policy: EntityPolicy::StatelessServer,
            throttle: ThrottleLimits::default(),
            largest_message: LARGEST_MESSAGE,
            keepalives: Keepalives::Usual,
        }
    }

    #[test]
    fn words_say_what_was_put_into_them() {
        for policy in EntityPolicy::ALL {
            let id = EntityName::new("abcdefghijklmnop.0123456789_-ABZ").unwrap();
            let throttle = ThrottleLimits { messages: u32::MAX.into(), bytes: 4_194_304 << 20 };
            let throttle = ThrottleLimits { bytes: throttle.bytes - KIB, ..throttle };
            let keepalives = Keepalives::Never;
            let entity = Entity { id, policy, throttle, keepalives, ..osd() };
            assert_eq!(Entity::from_words(entity.to_words()), Some(entity));
        }
        assert_eq!(Entity::from_words(osd().to_words()).unwrap().id.as_str(), "0");
        let throttle = ThrottleLimits { messages: 1, bytes: 1 };
        let rounded = Entity::from_words(Entity { throttle, ..osd() }.to_words()).unwrap();
        assert_eq!(rounded.throttle.bytes, 1024);
    }

    #[test]
    fn policies_are_those_of_the_protocol() {
        let numbers: Vec<_> = EntityPolicy::ALL.iter().map(|policy| *policy as u64).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        assert_eq!(EntityPolicy::StatefulServer.policy(), Policy::STATEFUL_SERVER);
    }

    #[test]
    fn what_is_out_of_its_range_is_none() {
        let throttle =
            |messages, bytes| Entity { throttle: ThrottleLimits { messages, bytes }, ..osd() };
        let wrong = [
            (Entity { kind: EntityType(0), ..osd() }, EntityError::Type),
            (throttle(0, 1), EntityError::ThrottleMessages(0)),
            (throttle(1 << 32, 1), EntityError::ThrottleMessages(1 << 32)),
            (throttle(1, 0), EntityError::ThrottleBytes(0)),
            (throttle(1, 1 << 42), EntityError::ThrottleBytes(1 << 42)),
            (Entity { largest_message: 0, ..osd() }, EntityError::LargestMessage(0)),
            (
                Entity { largest_message: LARGEST_MESSAGE + 1, ..osd() },
                EntityError::LargestMessage(LARGEST_MESSAGE + 1),
            ),
        ];
        for (entity, error) in wrong {
            assert_eq!(entity.check(), Err(error));
        }
        for id in ["", "osd/0", "a b", "ä", "abcdefghijklmnopqrstuvwxyz0123456"] {
            assert_eq!(EntityName::new(id), Err(EntityError::Id), "{id}");
        }
        let [usual, what, limits, id @ ..] = osd().to_words();
        let [a, b, c, d] = id;
        for what in
            [what & !0xff, what | 5 << 8, what | 32 << 16, what | 1 << 24, what & 0xffff_ffff]
        {
            assert!(Entity::from_words([usual, what, limits, a, b, c, d]).is_none(), "{what:#x}");
        }
        for a in [0, a | 0xff, a | 0x30 << 8] {
            assert!(Entity::from_words([usual, what, limits, a, b, c, d]).is_none(), "{a:#x}");
        }
        for limits in [limits & 0xffff_ffff, limits & !0xffff_ffff, limits + 1] {
            assert!(Entity::from_words([usual, what, limits, a, b, c, d]).is_none(), "{limits:#x}");
        }
        assert!(Entity::from_words([1, what, limits, a, b, c, d]).is_none(), "a patience of none");
    }

    proptest! {
        #[test]
        fn any_words_are_an_entity_or_none(
            words: [u64; 6],
            what in 0u64..1 << 19,
            keepalives in prop_oneof![Just(0), Just((1u64 << 56) - 1), 0u64..1 << 56],
        ) {
            let [a, b, c, d, e, f] = words;
            let words = [keepalives, a << 32 | what, b, c, d, e, f];
            if let Some(entity) = Entity::from_words(words) {
                prop_assert_eq!(entity.check(), Ok(()));
                prop_assert_eq!(entity.to_words(), words);
            }
        }
    }
}
