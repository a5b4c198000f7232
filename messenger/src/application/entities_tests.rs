//! Entities that a successor asks for again, and those that it does not.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use nix::errno::Errno;

use super::caller::Caller;
use super::double::{Double, Scene};
use super::entity_tests::entity;
use super::messages::whole;
use crate::shm::entity::{Entity, EntityPolicy};
use crate::shm::job::{Asked, Notice, Told};
use crate::shm::status::State;
use crate::shm::sync::Ordering;

fn with_limit(largest_message: u32) -> Entity {
    Entity { largest_message, ..entity(EntityPolicy::StatelessServer) }
}

/// The application is this entity, and listens.
fn listen(
    scene: &mut Scene,
    server: &mut Double,
    (number, entity): (u64, Entity),
    (job, address): (u64, SocketAddr),
) -> SocketAddr {
    server.ask(number, Asked::Entity(entity));
    server.ask(job, Asked::ListenAs { entity: number, address, backlog: 0 });
    told_where(scene, server, job)
}

fn told_where(scene: &mut Scene, server: &mut Double, job: u64) -> SocketAddr {
    scene.until("it listens", |_| match server.told()? {
        Notice { job: it, told: Told::ListeningAs { address } } if it == job => Some(address),
        Notice { told: Told::ListeningAs { .. }, .. } => None,
        other => panic!("{other:?}"),
    })
}

/// An application dies, and its successor is told that its job 2 listens where it did.
fn succeed(scene: &mut Scene, server: Double, address: SocketAddr) -> Double {
    server.die(scene);
    let mut server = scene.attach("server");
    assert_eq!(told_where(scene, &mut server, 2), address);
    server
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Waits for a slot to be closed; why.
fn closed(scene: &mut Scene, server: &Double, slot: u32) -> Errno {
    scene.until("its session is over", |_| {
        let status = server.status(slot);
        (status.state == State::Closed).then_some(Errno::from_raw(status.errno.into()))
    })
}

#[test]
fn what_a_successor_does_not_ask_for_ends_and_what_it_asks_for_goes_on() {
    let mut scene = Scene::new();
    let mut server = scene.attach("server");
    let kept = listen(&mut scene, &mut server, (1, with_limit(1000)), (2, any()));
    let left = listen(&mut scene, &mut server, (3, with_limit(2000)), (4, any()));
    let mut callers = [kept, left].map(Caller::new);
    let slots = [0, 1].map(|n| callers[n].open(&mut scene, &mut server));
    // It has connected, and said nothing yet.
    let mut late = Caller::new(left);
    server.die(&mut scene);

    let mut server = scene.attach("server");
    server.ask(1 << 32, Asked::Entity(with_limit(1000)));
    let slot = slots[1];
    server.commit(slot, &whole(7, 8));
    let told = scene.until("an end", |_| {
        callers.iter_mut().for_each(Caller::turn);
        server.told().filter(|it| !matches!(it.told, Told::ListeningAs { .. }))
    });
    assert_eq!(told, Notice { job: 4, told: Told::Unlistened });
    assert_eq!(closed(&mut scene, &server, slot), Errno::ESHUTDOWN);
    callers[1].hears(&mut scene, 7);
    scene.until("nobody listens there", |_| TcpStream::connect(left).is_err().then_some(()));

    let _ = late.ends(&mut scene);
    assert_eq!(server.status(2).generation, 0, "it got no session");

    assert_eq!(server.status(slots[0]).state, State::Open);
    server.commit(slots[0], &whole(8, 8));
    server.raise(slots[0]);
    callers[0].hears(&mut scene, 8);
    Caller::new(kept).open(&mut scene, &mut server);
    scene.stop();
}

#[test]
fn the_time_to_ask_ends_with_who_had_it() {
    let mut scene = Scene::new();
    let mut server = scene.attach("server");
    let address = listen(&mut scene, &mut server, (1, with_limit(1000)), (2, any()));
    server.die(&mut scene);
    scene.attach("server").die(&mut scene);
    let mut server = scene.attach("server");
    assert_eq!(told_where(&mut scene, &mut server, 2), address);
    server.ask(2 << 32, Asked::Entity(with_limit(1000)));
    Caller::new(address).open(&mut scene, &mut server);
    scene.stop();
}

#[test]
fn a_successor_with_other_limits_listens_where_its_predecessor_did() {
    let mut scene = Scene::new();
    let mut server = scene.attach("server");
    let address = listen(&mut scene, &mut server, (1, with_limit(1000)), (2, any()));
    let mut before = Caller::new(address);
    let slot = before.open(&mut scene, &mut server);
    let mut server = succeed(&mut scene, server, address);
    let again = listen(&mut scene, &mut server, (1 << 32, with_limit(2000)), (2, address));
    assert_eq!(again, address);
    assert_eq!(closed(&mut scene, &server, slot), Errno::ESHUTDOWN);
    let mut caller = Caller::new(address);
    let slot = caller.open(&mut scene, &mut server);
    server.commit(slot, &whole(9, 1500));
    server.raise(slot);
    caller.hears(&mut scene, 9);
    scene.stop();
}

#[test]
fn a_listener_goes_with_an_application_that_lies_while_it_is_told_of_it() {
    let mut scene = Scene::new();
    let mut server = scene.attach("server");
    let address = listen(&mut scene, &mut server, (1, with_limit(1000)), (2, any()));
    let mut server = succeed(&mut scene, server, address);
    server.segment.control().events_taken.0.store(1 << 40, Ordering::Release);
    server.ask(1 << 32, Asked::Entity(with_limit(2000)));
    server.ask(1 + (1 << 32), Asked::ListenAs { entity: 1 << 32, address, backlog: 0 });
    scene.detached(server.id);
    assert!(scene.messenger.registry.listened.is_empty());
    scene.until("nobody listens there", |_| TcpStream::connect(address).is_err().then_some(()));
    scene.stop();
}

#[test]
fn an_entity_by_a_number_that_another_has_had_is_another() {
    let mut scene = Scene::new();
    let mut server = scene.attach("server");
    let shared = Arc::downgrade(&scene.messenger.registry.served[&server.id].shared);
    let one = listen(&mut scene, &mut server, (1, with_limit(1000)), (1000, any()));
    // So many other numbers that the first one is not known any more.
    (2..=65).for_each(|number| server.ask(number, Asked::Entity(with_limit(1000))));
    let other = listen(&mut scene, &mut server, (1, with_limit(2000)), (1001, any()));
    for address in [one, other] {
        Caller::new(address).open(&mut scene, &mut server);
    }
    server.ask(9, Asked::Leave);
    scene.until("nothing of it is left", |_| shared.upgrade().is_none().then_some(()));
    scene.stop();
}

#[test]
fn a_number_of_an_entity_that_is_over_is_as_good_as_any() {
    let mut scene = Scene::new();
    let mut server = scene.attach("server");
    let address = listen(&mut scene, &mut server, (1, with_limit(1000)), (2, any()));
    let mut server = succeed(&mut scene, server, address);
    listen(&mut scene, &mut server, (1 << 32, with_limit(2000)), (2, address));

    let again = listen(&mut scene, &mut server, (1, with_limit(3000)), (3, any()));
    Caller::new(again).open(&mut scene, &mut server);
    scene.stop();
}

#[test]
fn there_may_be_as_many_entities_after_a_takeover_as_before() {
    let mut scene = Scene::new();
    let mut server = scene.attach("server");
    let all = |server: &mut Double, from: u32| {
        (1..=64).for_each(|n| server.ask(u64::from(from + n), Asked::Entity(with_limit(from + n))));
    };
    all(&mut server, 0);
    // Something that is taken over.
    listen(&mut scene, &mut server, (64, with_limit(64)), (100, any()));
    server.ask(101, Asked::Entity(with_limit(101)));
    let told = scene.until("it is refused", |_| server.told());
    assert_eq!(told, Notice { job: 101, told: Told::Failed { errno: Errno::EMFILE as i32 } });
    server.die(&mut scene);

    let mut server = scene.attach("server");
    told_where(&mut scene, &mut server, 100);
    all(&mut server, 1000);
    server.ask(1101, Asked::Entity(with_limit(1101)));
    let told =
        scene.until("it is refused", |_| server.told().filter(|it| it.told != Told::Unlistened));
    assert_eq!(told, Notice { job: 1101, told: Told::Failed { errno: Errno::EMFILE as i32 } });
    scene.stop();
}
