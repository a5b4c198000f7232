//! Connections that applications ask for and do not get: how long they are tried, how they are
//! given up, and what is said of them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::caller::Caller;
use super::double::{Double, Scene};
use super::entity_tests::{connect, entity, listen};
use crate::shm::entity::EntityPolicy;
use crate::shm::job::{Asked, Patience};
use crate::shm::status::State;
use crate::shm::sync::Ordering;

/// Where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn begin(client: &mut Double, policy: EntityPolicy, address: SocketAddr, patience: Patience) {
    client.ask(1, Asked::Entity(entity(policy)));
    client.ask(2, Asked::ConnectAs { entity: 1, address, peer: None, patience });
}

/// Waits for the connection in the first slot to have failed; why.
fn failed(scene: &mut Scene, client: &Double) -> Errno {
    scene.until("it has failed", |_| {
        let status = client.status(0);
        (status.state == State::Closed).then_some(Errno::from_raw(status.errno.into()))
    })
}

#[test]
fn a_lossless_session_with_nobody_is_tried_for_its_time_and_says_why_it_failed() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    // The kernel has no route for a stream to there.
    let unreachable = "127.255.255.255:6800".parse().unwrap();
    for (address, errno) in [
        (nobody(), Errno::ECONNREFUSED),
        (unreachable, Errno::ENETUNREACH),
        (mute.local_addr().unwrap(), Errno::ETIMEDOUT),
    ] {
        let mut scene = Scene::new();
        let mut client = scene.attach("client");
        let since = Instant::now();
        begin(&mut client, EntityPolicy::LosslessClient, address, Patience::Ms(500));
        assert_eq!(failed(&mut scene, &client), errno);
        assert!(since.elapsed() >= Duration::from_millis(500), "{errno}: {:?}", since.elapsed());
        scene.stop();
    }
}

#[test]
fn a_lossy_session_says_what_the_kernel_said() {
    let mut scene = Scene::new();
    let mut client = scene.attach("client");
    let address = "127.255.255.255:6800".parse().unwrap();
    begin(&mut client, EntityPolicy::LossyClient, address, Patience::Usual);
    assert_eq!(failed(&mut scene, &client), Errno::ENETUNREACH);
    scene.stop();
}

#[test]
fn a_session_that_is_not_open_is_given_up_at_once_and_an_open_one_is_not() {
    let mut scene = Scene::new();
    let mut client = scene.attach("client");
    begin(&mut client, EntityPolicy::LosslessClient, nobody(), Patience::Endless);
    scene.until("it is being made", |_| (client.status(0).generation == 1).then_some(()));
    client.ask(3, Asked::Cancel);
    client.ask(2, Asked::Cancel);
    assert_eq!(failed(&mut scene, &client), Errno::ECANCELED);

    let mut server = scene.attach("server");
    let address = listen(&mut scene, &mut server, EntityPolicy::StatefulServer);
    client.ask(4, Asked::ConnectAs { entity: 1, address, peer: None, patience: Patience::Usual });
    let slot = client.open(&mut scene);
    client.ask(4, Asked::Cancel);
    // Behind it.
    client.ask(5, Asked::ConnectAs { entity: 1, address, peer: None, patience: Patience::Usual });
    scene.until("the other is refused", |_| {
        (client.status(2).errno == Errno::EISCONN as u16).then_some(())
    });
    assert_eq!(client.status(slot).state, State::Open);
    scene.stop();
}

#[test]
fn a_connection_of_bytes_that_is_not_open_is_given_up() {
    let mut scene = Scene::new();
    let mut client = scene.attach("client");
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    // With it the kernel takes no more.
    let _first = TcpStream::connect(address).unwrap();
    client.ask(1, Asked::Connect { address });
    scene.until("it is being made", |_| (client.status(0).generation == 1).then_some(()));
    client.ask(1, Asked::Cancel);
    assert_eq!(failed(&mut scene, &client), Errno::ECANCELED);
    scene.stop();
}

#[test]
fn a_session_that_does_not_end_in_its_time_says_so() {
    let mut scene = Scene::new();
    let mut client = scene.attach("client");
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    connect(&mut client, EntityPolicy::LosslessClient, mute.local_addr().unwrap());
    scene.until("it is being made", |_| (client.status(0).generation == 1).then_some(()));
    client.commit(0, &super::messages::whole(1, 8));
    client.segment.slot(0).of_application.ending.store(1, Ordering::Release);
    client.raise(0);
    assert_eq!(failed(&mut scene, &client), Errno::ETIMEDOUT);
    scene.stop();
}

#[test]
fn who_connects_during_a_drain_is_told_so() {
    let mut scene = Scene::new();
    let mut server = scene.attach("server");
    let address = listen(&mut scene, &mut server, EntityPolicy::StatelessServer);
    let mut caller = Caller::new(address);
    let slot = caller.open(&mut scene, &mut server);
    caller.send(1, b"a request");
    scene.until("it is received", |_| {
        caller.turn();
        (server.received(slot) > 0).then_some(())
    });
    // What is not taken keeps the daemon.
    scene.messenger.drain(Duration::from_secs(60));
    let mut client = scene.attach("client");
    connect(&mut client, EntityPolicy::LosslessClient, address);
    assert_eq!(failed(&mut scene, &client), Errno::ESHUTDOWN);
    scene.messenger.drain(Duration::ZERO);
    server
        .segment
        .slot(slot)
        .of_application
        .consumed
        .store(server.received(slot), Ordering::Release);
    server.raise(slot);
    scene.messenger.join();
}
