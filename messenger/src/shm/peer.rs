//! Who is at the other end of a session, as msgr2 tells: the words of a slot that say so.

use std::net::SocketAddr;

use super::address;
use super::layout::PeerWords;
use super::sync::Ordering;
use crate::msgr2::EntityType;

/// Who is at the other end of a session, as it has said itself: what it is, and by which name it is
/// told from others. Nothing proves it where there is no authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerEntity {
    /// What it is.
    pub kind: EntityType,
    /// Its number among its kind: 3 of `osd.3`; of a client the number that its monitors gave it.
    pub number: u64,
    /// Where it listens; the port is 0 if it does not. `None`: it has not said.
    pub address: Option<SocketAddr>,
    /// Tells its process from others at the same address.
    pub nonce: u32,
}

/// Somebody is there.
const THERE: u64 = 1 << 8;

impl PeerWords {
    /// Nobody is known to be there.
    pub(crate) fn clear(&self) {
        self.who.store(0, Ordering::Relaxed);
    }

    /// Before the status says that the session is open; and again with each later stream, of which
    /// a notice tells.
    pub(crate) fn write(&self, peer: &PeerEntity) {
        let address = peer.address.map_or([0; 3], address::to_words);
        self.address.iter().zip(address).for_each(|(word, it)| word.store(it, Ordering::Relaxed));
        self.number.store(peer.number, Ordering::Relaxed);
        let who = u64::from(peer.kind.0) | THERE | u64::from(peer.nonce) << 32;
        self.who.store(who, Ordering::Release);
    }

    /// The application's side.
    pub(crate) fn read(&self) -> Option<PeerEntity> {
        let who = self.who.load(Ordering::Acquire);
        if who & THERE == 0 {
            return None;
        }
        let words = std::array::from_fn(|word| self.address[word].load(Ordering::Relaxed));
        Some(PeerEntity {
            kind: EntityType(who as u8),
            number: self.number.load(Ordering::Relaxed),
            address: address::from_words(words),
            nonce: (who >> 32) as u32,
        })
    }
}
