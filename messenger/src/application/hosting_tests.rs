//! What comes to an entity of an application that is gone for good.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream as Blocking};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use vmsgr_reactor::{Loop, Token};

use super::caller::Caller;
use super::double::worker_alone;
use super::endpoints::Reserved;
use super::entity_tests::entity;
use super::hosting::keepalive;
use super::identity::{EntityListener, Identity};
use super::lane::Lane;
use crate::message::{Adopted, ConnectAs};
use crate::msgr2::Keepalive;
use crate::name::Service;
use crate::shm::entity::{Entity, EntityPolicy};
use crate::shm::job::Patience;
use crate::shm::keepalive::Keepalives;
use crate::worker::{Timer, Worker};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn identity(lane: &Lane) -> Identity {
    let entity = entity(EntityPolicy::StatelessServer);
    Identity { application: lane.application.id, number: 1, entity, core: 0 }
}

/// Hands over the next connection of a listener to the entity, as another core does.
pub(super) fn hand_over(tested: &mut Loop<Worker>, lane: &Lane, listener: &TcpListener) {
    let (socket, peer) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let heir = EntityListener { identity: identity(lane), address, job: 2 };
    let (socket, service) = (TcpStream::from_std(socket), Service::Entity(Arc::new(heir)));
    let (worker, core) = tested.handler();
    worker.census.enter_anyway(0);
    worker.adopt(core, Adopted { socket, peer, service, reserved: None });
}

/// Takes a turn, and does not sleep for long.
pub(super) fn turn(tested: &mut Loop<Worker>) {
    // Nobody has this name, so nobody is idle.
    let nobody = Token::from(mio::Token(usize::MAX >> 1));
    tested.handler().1.arm(Duration::from_millis(10), Timer::Idle(nobody));
    tested.turn().unwrap();
}

fn has_entities(tested: &mut Loop<Worker>, lane: &Lane) -> bool {
    !tested.handler().0.entities.all_of(lane.application.id).is_empty()
}

#[test]
fn who_is_handed_over_to_an_entity_that_is_gone_is_reset() {
    // With its application, or before it.
    let goes: [fn(&Lane); 2] = [Lane::retire, |lane| lane.end_entity(identity(lane).number)];
    for go in goes {
        let (mut tested, lane) = worker_alone(4);
        go(&lane);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Blocking::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        hand_over(&mut tested, &lane, &listener);
        assert!(!has_entities(&mut tested, &lane), "it is not made again");
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(tested.handler().0.census.of(0), 0);
    }
}

#[test]
fn no_session_is_begun_for_an_application_that_is_gone() {
    let (mut tested, lane) = worker_alone(4);
    lane.retire();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let application = Arc::clone(&lane.application);
    let slot = application.slots.reserve(0).unwrap();
    let (reserved, identity) = (Reserved { application, slot, job: 2 }, identity(&lane));
    let (address, patience) = (listener.local_addr().unwrap(), Patience::Usual);
    let (worker, core) = tested.handler();
    worker.connect_as(core, ConnectAs { reserved, identity, address, peer: None, patience });
    assert!(!has_entities(&mut tested, &lane));
    assert_eq!((lane.application.slots.taken(), lane.holds()), (0, 0));
}

#[test]
fn a_session_that_opens_when_its_application_is_gone_gets_no_slot() {
    for gone in [false, true] {
        let (mut tested, lane) = worker_alone(4);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut caller = Caller::new(listener.local_addr().unwrap());
        hand_over(&mut tested, &lane, &listener);
        if gone {
            // While they still say who they are.
            lane.retire();
        }
        let end = Instant::now() + PATIENCE;
        while lane.holds() == 0 && caller.end.is_none() {
            assert!(Instant::now() < end, "{gone}: neither a slot nor an end");
            caller.turn();
            turn(&mut tested);
        }
        let slots = usize::from(!gone);
        assert_eq!((lane.application.slots.taken(), lane.holds()), (slots, slots));
        assert_eq!(caller.end.is_some(), gone);
    }
}

#[test]
fn lossless_sessions_ask_silent_peers_unless_they_shall_not_and_the_daemon_need_not() {
    let times = |after, patience| {
        let [after, patience] = [after, patience].map(Duration::from_secs);
        Keepalive { after, patience }
    };
    let said = Keepalives::After(times(5, 60));
    let idle = Some(Duration::from_secs(20));
    for policy in [
        EntityPolicy::LossyClient,
        EntityPolicy::LosslessClient,
        EntityPolicy::StatelessServer,
        EntityPolicy::StatefulServer,
        EntityPolicy::LosslessPeer,
    ] {
        let lossy = matches!(policy, EntityPolicy::LossyClient | EntityPolicy::StatelessServer);
        let usual = if lossy { None } else { Some(times(15, 30)) };
        for (keepalives, idle, wanted) in [
            (Keepalives::Usual, None, usual),
            (Keepalives::Never, None, None),
            (said, None, Some(times(5, 60))),
            (Keepalives::Usual, idle, Some(times(10, 10))),
            (Keepalives::Never, idle, Some(times(10, 10))),
            (said, idle, Some(times(5, 10))),
        ] {
            let entity = Entity { keepalives, ..entity(policy) };
            assert_eq!(keepalive(&entity, idle), wanted, "{policy:?} {keepalives:?} {idle:?}");
        }
    }
}
