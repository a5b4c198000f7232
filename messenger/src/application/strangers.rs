//! Sessions that somebody has begun, said nothing in, and left: whoever invents names can begin any
//! number of them, and each keeps a slot for as long as its peer may come back. They are the first
//! to go when slots run short, and of one address there are few. Sessions that have a stream, and
//! those in which a message has passed, are none.

use std::collections::VecDeque;
use std::net::IpAddr;

use log::Level;

use super::lane::Lane;
use crate::complaints::complain;
use crate::entity::EntityId;
use crate::msgr2::SessionId;
use crate::worker::{Worker, WorkerCore};

/// Those of one address that an entity keeps.
const OF_ADDRESS: usize = 16;

/// The strangers of an entity, the one first that has been gone longest.
#[derive(Debug, Default)]
pub(crate) struct Strangers(VecDeque<(SessionId, IpAddr, u64)>);

impl Strangers {
    /// One more has gone, as the `serial`th on its core. Gives the one that has to make room for
    /// it, if there are enough of its address.
    fn add(&mut self, id: SessionId, address: IpAddr, serial: u64) -> Option<SessionId> {
        self.remove(id);
        self.0.push_back((id, address.to_canonical(), serial));
        let mut same = self.0.iter().filter(|(_, other, _)| *other == address.to_canonical());
        let first = same.next().map(|(id, ..)| *id);
        first.filter(|_| same.count() >= OF_ADDRESS)
    }

    /// It has a stream again, or is over.
    pub(super) fn remove(&mut self, id: SessionId) {
        self.0.retain(|(other, ..)| *other != id);
    }

    fn first(&self) -> Option<(SessionId, u64)> {
        self.0.front().map(|(id, _, serial)| (*id, *serial))
    }
}

impl Worker {
    /// A session has lost its stream.
    pub(super) fn session_lost(&mut self, core: &mut WorkerCore, id: EntityId, session: SessionId) {
        let Some((endpoint, sessions)) = self.entities.of_application(id) else { return };
        let lane = std::rc::Rc::clone(&sessions.lane);
        let Some(found) = sessions.get_mut(session) else { return };
        let Some(peer) = found.conduit.accepted_from() else { return };
        if endpoint.borrow().has_conversed(session) {
            return;
        }
        self.lost += 1;
        if let Some(first) = sessions.strangers.add(session, peer.ip(), self.lost) {
            self.displace(core, id, first);
        }
        self.make_room(core, &lane);
    }

    /// Ends the stranger that has been gone longest, if an application has hardly a slot left.
    pub(super) fn make_room(&mut self, core: &mut WorkerCore, lane: &Lane) {
        let slots = lane.application.segment.geometry().slots as usize;
        if slots - lane.application.slots.taken() >= (slots / 8).max(1) {
            return;
        }
        let all = self.entities.all_of(lane.application.id);
        let first = |id| {
            let (session, serial) = self.entities.of_application(id)?.1.strangers.first()?;
            Some((serial, id, session))
        };
        let longest = all.into_iter().filter_map(first).min_by_key(|(serial, ..)| *serial);
        if let Some((_, id, session)) = longest {
            self.displace(core, id, session);
        }
    }

    fn displace(&mut self, core: &mut WorkerCore, id: EntityId, session: SessionId) {
        let Some((endpoint, sessions)) = self.entities.of_application(id) else { return };
        sessions.strangers.remove(session);
        let peer = sessions.get_mut(session).and_then(|found| found.conduit.accepted_from());
        endpoint.borrow_mut().displace(session);
        self.entities.touched(id);
        let now = core.now();
        if let Some(peer) = peer {
            complain!(
                self.complaints,
                now,
                Level::Info,
                "peer={peer} session ended: it was begun, left without a word, and others \
                 need its place"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgr2::{
        AuthNone, Config, Endpoint, EntityAddr, EntityAddrs, EntityType, Policy, Target,
    };
    use std::time::Instant;

    #[test]
    fn of_one_address_there_are_few_and_the_first_goes() {
        let now = Instant::now();
        let auth = Box::new(AuthNone::new(EntityType::CLIENT, "admin", 0));
        let config = Config::new(EntityType::CLIENT, EntityAddrs::default());
        let mut endpoint = Endpoint::new(config, auth, now);
        let address = EntityAddr::msgr2("127.0.0.1:1".parse().unwrap(), 0);
        let policy = Policy::LOSSY_CLIENT;
        let target = Target { address, entity: None, policy, reopen: false };
        let mut id = || endpoint.connect(target, now).unwrap();
        let [one, other] = ["10.0.0.1", "::ffff:10.0.0.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let mut strangers = Strangers::default();
        let first = id();
        assert_eq!(strangers.add(first, one, 1), None);
        for n in 2..=OF_ADDRESS as u64 {
            assert_eq!(strangers.add(id(), one, n), None);
        }
        assert_eq!(strangers.add(id(), other, 50), None);
        let last = id();
        assert_eq!(strangers.add(last, one, 51), Some(first));
        strangers.remove(first);
        assert_eq!(strangers.add(last, one, 52), None, "the same again");
        assert_eq!(strangers.first().map(|it| it.1), Some(2));
        // However its address is written.
        for n in 1..OF_ADDRESS as u64 {
            let written = if n % 2 == 0 { other } else { "10.0.0.2".parse().unwrap() };
            assert_eq!(strangers.add(id(), written, 100 + n), None);
        }
        assert!(strangers.add(id(), other, 200).is_some());
    }
}
