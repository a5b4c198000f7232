//! Entities, and listening and connecting as one.

use std::path::Path;
use std::time::Duration;

use super::super::double::{Daemon, at};
use super::super::{
    AttachOptions, Endpoint, EntityError, EntityOptions, EntityPolicy, Error, JobId, attach,
};
use super::{PATIENCE, attached, told};
use crate::msgr2::{EntityType, Keepalive};
use crate::shm::job::{Asked, Patience, Told};
use crate::shm::keepalive::Keepalives;

fn osd() -> EntityOptions {
    EntityOptions::new(EntityType::OSD, "0")
}

#[test]
fn an_entity_is_asked_for_and_listens_and_connects() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let options = osd().throttle(7, 1000).largest_message(4096);
    let entity = endpoint.entity(&options).unwrap();
    let listener = endpoint.listen_as(entity, at("127.0.0.1:6800")).unwrap();
    let peer = Some(EntityType::MON);
    let connection = endpoint.connect_as(entity, at("127.0.0.1:3300"), peer).unwrap();
    let Some((job, Asked::Entity(asked))) = daemon.job() else { panic!("no entity") };
    assert_eq!(job, entity.to_bits());
    assert_eq!((asked.kind, asked.id.as_str()), (EntityType::OSD, "0"));
    assert_eq!(asked.policy, EntityPolicy::StatelessServer);
    assert_eq!((asked.throttle.messages, asked.throttle.bytes), (7, 1024), "in KiB");
    assert_eq!(asked.largest_message, 4096);
    let entity = entity.to_bits();
    let listen = Asked::ListenAs { entity, address: at("127.0.0.1:6800"), backlog: 0 };
    assert_eq!(daemon.job(), Some((listener.0, listen)));
    let connect =
        Asked::ConnectAs { entity, address: at("127.0.0.1:3300"), peer, patience: Patience::Usual };
    assert_eq!(daemon.job(), Some((connection.0, connect)));
}

#[test]
fn keepalives_are_asked_for_as_they_are_said() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let (after, patience) = (Duration::from_millis(100), Duration::from_secs(86_400));
    for (options, said) in [
        (osd(), Keepalives::Usual),
        (osd().no_keepalive(), Keepalives::Never),
        (osd().keepalive(after, patience), Keepalives::After(Keepalive { after, patience })),
    ] {
        endpoint.entity(&options).unwrap();
        let Some((_, Asked::Entity(asked))) = daemon.job() else { panic!("no entity") };
        assert_eq!(asked.keepalives, said);
    }
}

#[test]
fn an_entity_that_cannot_be_is_refused_here() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let (after, patience) = (Duration::from_millis(99), Duration::from_secs(1));
    for (options, error) in [
        (EntityOptions::new(EntityType(0), "0"), EntityError::Type),
        (EntityOptions::new(EntityType::OSD, "0/1"), EntityError::Id),
        (osd().throttle(0, 1), EntityError::ThrottleMessages(0)),
        (osd().throttle(1, 0), EntityError::ThrottleBytes(0)),
        (osd().largest_message(1 << 30), EntityError::LargestMessage(1 << 30)),
        (osd().keepalive(after, patience), EntityError::Keepalive { after, patience }),
    ] {
        assert_eq!(endpoint.entity(&options), Err(Error::Entity(error)));
    }
    assert_eq!(daemon.job(), None, "it would be thrown out for that");
}

#[test]
fn another_daemon_is_asked_for_the_same_entities_before_their_listeners() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let refused = endpoint.entity(&osd()).unwrap();
    let entity = endpoint.entity(&EntityOptions::new(EntityType::MGR, "x")).unwrap();
    let listener = endpoint.listen_as(entity, at("127.0.0.1:0")).unwrap();
    let plain = endpoint.listen(at("127.0.0.1:2")).unwrap();
    daemon.tell(refused.job().0, Told::Failed { errno: 95 });
    daemon.tell(listener.0, Told::ListeningAs { address: at("127.0.0.1:6801") });
    assert_eq!(told(&mut endpoint)[0], format!("{refused} failed 95"));
    daemon.hang_up();
    endpoint.wait(PATIENCE).unwrap();
    told(&mut endpoint);

    let mut daemon = Daemon::new(1, 4);
    let (welcome, lanes) = attach::connect(daemon.welcome(), Path::new("double")).unwrap();
    endpoint.renew(welcome, lanes);
    let asked = daemon.job().unwrap();
    assert!(matches!(asked, (job, Asked::Entity(it)) if job == entity.0 && it.id.as_str() == "x"));
    let address = at("127.0.0.1:6801");
    let listen = Asked::ListenAs { entity: entity.0, address, backlog: 0 };
    assert_eq!(daemon.job(), Some((listener.0, listen)));
    let listen = Asked::Listen { address: at("127.0.0.1:2"), backlog: 0 };
    assert_eq!(daemon.job(), Some((plain.0, listen)));
    assert_eq!(daemon.job(), None);
}

/// An endpoint that has taken over a listener of an entity, and that listener's job.
fn taken_over() -> (Daemon, Endpoint, JobId) {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let entity = endpoint.entity(&osd()).unwrap();
    let listener = endpoint.listen_as(entity, at("127.0.0.1:6800")).unwrap();
    endpoint.detach();
    while daemon.job().is_some() {}
    let attachment = daemon.welcome();
    daemon.tell(listener.0, Told::ListeningAs { address: at("127.0.0.1:6800") });
    let (welcome, lanes) = attach::connect(attachment, Path::new("double")).unwrap();
    let endpoint = Endpoint::begin(AttachOptions::new("test"), welcome, lanes);
    (daemon, endpoint, listener)
}

#[test]
fn a_listener_that_was_taken_over_belongs_to_the_entity_that_listens_there() {
    let (mut daemon, mut endpoint, listener) = taken_over();
    let again = endpoint.entity(&osd()).unwrap();
    assert_eq!(endpoint.listen_as(again, at("127.0.0.1:6800")), Ok(listener));
    assert!(matches!(daemon.job(), Some((job, Asked::Entity(_))) if job == again.0));
    let address = at("127.0.0.1:6800");
    let listen = Asked::ListenAs { entity: again.0, address, backlog: 0 };
    assert_eq!(daemon.job(), Some((listener.0, listen)), "the daemon looks whose it is");
    assert_eq!(endpoint.listen_as(again, address), Ok(listener));
    assert_eq!(daemon.job(), None, "once");

    let mut daemon = Daemon::new(1, 4);
    let (welcome, lanes) = attach::connect(daemon.welcome(), Path::new("double")).unwrap();
    endpoint.renew(welcome, lanes);
    assert!(matches!(daemon.job(), Some((job, Asked::Entity(_))) if job == again.0));
    let address = at("127.0.0.1:6800");
    let listen = Asked::ListenAs { entity: again.0, address, backlog: 0 };
    assert_eq!(daemon.job(), Some((listener.0, listen)));
}

#[test]
fn a_listener_of_an_entity_that_nobody_asked_for_is_not_asked_for_as_one_of_bytes() {
    let (mut daemon, mut endpoint, listener) = taken_over();
    let bytes = endpoint.listen(at("127.0.0.1:6800")).unwrap();
    assert_ne!(bytes, listener, "for the daemon to refuse");
    daemon.tell(bytes.0, Told::Failed { errno: 98 });
    assert_eq!(told(&mut endpoint).len(), 2);

    let mut daemon = Daemon::new(1, 4);
    let (welcome, lanes) = attach::connect(daemon.welcome(), Path::new("double")).unwrap();
    endpoint.renew(welcome, lanes);
    assert_eq!(daemon.job(), None);
    assert_eq!(told(&mut endpoint), [format!("{listener} unlistened")]);
}

#[test]
fn a_daemon_that_knows_the_entities_is_asked_for_them_again() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let entity = endpoint.entity(&osd()).unwrap();
    while daemon.job().is_some() {}
    let attachment = daemon.welcome();
    daemon.hang_up();
    endpoint.wait(PATIENCE).unwrap();
    told(&mut endpoint);
    let (welcome, lanes) = attach::connect(attachment, Path::new("double")).unwrap();
    assert!(welcome.resumed);
    endpoint.renew(welcome, lanes);
    assert!(matches!(daemon.job(), Some((job, Asked::Entity(_))) if job == entity.0));
    assert_eq!(daemon.job(), None);
}
