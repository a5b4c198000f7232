//! Jobs: listeners and connections that are asked for, of one daemon and of the next.

use std::path::Path;

use super::super::double::{Daemon, at};
use super::super::{AttachOptions, Endpoint, Error, JobId, attach};
use super::{PATIENCE, attached, open, told};
use crate::shm::job::{Asked, Told};

#[test]
fn jobs_are_asked_for_and_their_fate_is_told() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let first = endpoint.listen_with(at("127.0.0.1:0"), 9).unwrap();
    let second = endpoint.connect(at("[::1]:80")).unwrap();
    assert!(first != second && first.to_bits() >> 32 == 1);
    let listen = Asked::Listen { address: at("127.0.0.1:0"), backlog: 9 };
    assert_eq!(daemon.job(), Some((first.0, listen)));
    assert_eq!(daemon.job(), Some((second.0, Asked::Connect { address: at("[::1]:80") })));
    daemon.tell(first.0, Told::Listening { address: at("127.0.0.1:5555") });
    daemon.tell(second.0, Told::Failed { errno: 111 });
    let expected = [format!("{first} listening 127.0.0.1:5555"), format!("{second} failed 111")];
    assert_eq!(told(&mut endpoint), expected);
    endpoint.unlisten(first).unwrap();
    assert_eq!(daemon.job(), Some((first.0, Asked::Unlisten)));
    daemon.tell(first.0, Told::Unlistened);
    assert_eq!(told(&mut endpoint), [format!("{first} unlistened")]);
}

#[test]
fn too_many_jobs_are_refused_until_some_are_taken() {
    let (mut daemon, mut endpoint) = attached(1, 1);
    let mut asked = 0;
    let error = loop {
        match endpoint.connect(at("127.0.0.1:1")) {
            Ok(_) => asked += 1,
            Err(error) => break error,
        }
        assert!(asked <= 256);
    };
    assert_eq!((asked, error), (256, Error::JobsFull));
    let (last, _) = std::iter::from_fn(|| daemon.job()).last().unwrap();
    assert_eq!(endpoint.connect(at("127.0.0.1:1")).unwrap(), JobId(last + 1));
}

#[test]
fn who_takes_events_while_jobs_wait_rings_for_the_room_that_he_makes() {
    let (mut daemon, mut endpoint) = attached(1, 1);
    let first = endpoint.connect(at("127.0.0.1:1")).unwrap();
    endpoint.connect(at("127.0.0.1:2")).unwrap();
    endpoint.flush();
    daemon.job();
    daemon.tell(first.0, Told::Failed { errno: 13 });
    // As if there were no room for the answer to the second job.
    daemon.main_sleeps();
    assert_eq!(daemon.main_rings(), 0);
    assert_eq!(told(&mut endpoint), [format!("{first} failed 13")]);
    assert_eq!(daemon.main_rings(), 1, "there is room now");
    let (second, _) = daemon.job().unwrap();
    daemon.tell(second, Told::Failed { errno: 13 });
    daemon.main_sleeps();
    assert_eq!(told(&mut endpoint).len(), 1);
    assert_eq!(daemon.main_rings(), 0, "no job waits");
}

#[test]
fn listeners_that_were_taken_over_need_not_be_asked_for() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let job = endpoint.listen(at("127.0.0.1:7000")).unwrap();
    endpoint.detach();
    assert!(daemon.job().is_some());
    let attachment = daemon.welcome();
    daemon.tell(job.0, Told::Listening { address: at("127.0.0.1:7000") });
    let (welcome, lanes) = attach::connect(attachment, Path::new("double")).unwrap();
    let mut endpoint = Endpoint::begin(AttachOptions::new("test"), welcome, lanes);
    assert_eq!(endpoint.listen(at("127.0.0.1:7000")), Ok(job));
    let other = endpoint.listen(at("127.0.0.1:7001")).unwrap();
    assert_eq!(daemon.job().map(|(job, _)| job), Some(other.0));
    assert_eq!(daemon.job(), None);
    assert!(!endpoint.fall_asleep());
    assert_eq!(told(&mut endpoint), [format!("{job} listening 127.0.0.1:7000")]);
}

#[test]
fn another_daemon_is_asked_for_the_same_listeners() {
    let (mut daemon, mut endpoint) = attached(1, 4);
    let first = endpoint.listen(at("127.0.0.1:0")).unwrap();
    let second = endpoint.listen_with(at("127.0.0.1:2"), 3).unwrap();
    let third = endpoint.listen(at("127.0.0.1:3")).unwrap();
    let fourth = endpoint.listen(at("127.0.0.1:4")).unwrap();
    daemon.tell(first.0, Told::Listening { address: at("127.0.0.1:1111") });
    daemon.tell(third.0, Told::Failed { errno: 98 });
    told(&mut endpoint);
    endpoint.unlisten(fourth).unwrap();
    assert!(endpoint.reattach().is_ok(), "there is nothing to do");
    daemon.hang_up();
    endpoint.wait(PATIENCE).unwrap();
    assert_eq!(told(&mut endpoint), ["detached"]);

    let mut daemon = Daemon::new(2, 8);
    let (welcome, lanes) = attach::connect(daemon.welcome(), Path::new("double")).unwrap();
    daemon.main_sleeps();
    endpoint.renew(welcome, lanes);
    assert_eq!(daemon.main_rings(), 1);
    let listen = |text: &str, backlog| Asked::Listen { address: at(text), backlog };
    assert_eq!(daemon.job(), Some((first.0, listen("127.0.0.1:1111", 0))));
    assert_eq!(daemon.job(), Some((second.0, listen("127.0.0.1:2", 3))));
    assert_eq!(daemon.job(), None);
    assert!(endpoint.connect(at("127.0.0.1:5")).unwrap() > fourth);
    daemon.accept(7, 1, 1);
    assert_eq!(told(&mut endpoint), ["7.1 accepted 77 10.0.0.1:999 [::1]:7"]);
}

#[test]
fn who_goes_says_goodbye() {
    let (mut daemon, endpoint, _) = open();
    daemon.main_sleeps();
    drop(endpoint);
    assert!(matches!(daemon.job(), Some((_, Asked::Leave))));
    assert_eq!(daemon.main_rings(), 1);
    daemon.application_died();
    // And who detaches does not.
    let endpoint = daemon.attach(&AttachOptions::new("test"));
    endpoint.detach();
    daemon.application_died();
    assert_eq!(daemon.job(), None);
}

#[test]
fn nobody_answers_where_there_is_no_daemon() {
    let options = AttachOptions::new("test").socket("/nowhere/at/all.sock");
    let error = Endpoint::attach(&options).unwrap_err().to_string();
    assert!(error.contains("start one with `vmsgrd --socket /nowhere/at/all.sock`"), "{error}");
    let error = Endpoint::attach(&options.slots(0)).unwrap_err().to_string();
    assert!(error.contains("0 slots are not allowed") || error.contains("no vmsgrd"), "{error}");
}
