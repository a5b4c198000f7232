//! What applications may do.

use nix::errno::Errno;
use vmsgr_messenger::client::{Endpoint, Error, Event};
use vmsgr_tests::application::{attach, listen, until};
use vmsgr_tests::sockets::Refusing;
use vmsgr_tests::{Launch, Vmsgrd};

/// Applications may listen on one address of the loopback, and connect nowhere.
fn daemon() -> Vmsgrd {
    let policy = "[[applications.allow]]\nlisten = [\"127.0.0.1:*\"]\nconnect = []\n";
    Launch::new(&["-l", "127.0.0.1:0=echo"]).configured(policy).start()
}

fn failure(endpoint: &mut Endpoint) -> Errno {
    until(endpoint, "a failure", |_, event| match event {
        Event::Failed { error, .. } => error.raw_os_error().map(Errno::from_raw),
        other => panic!("{other:?}"),
    })
}

#[test]
fn what_is_not_allowed_fails_with_eacces() {
    let daemon = daemon();
    let mut endpoint = attach(&daemon, "a");
    for address in ["127.0.0.2:0", "0.0.0.0:0", "[::1]:0", "[::ffff:127.0.0.2]:0"] {
        endpoint.listen(address.parse().unwrap()).unwrap();
        assert_eq!(failure(&mut endpoint), Errno::EACCES, "{address}");
    }
    for address in [daemon.address(0), Refusing::new().address(), "[::1]:1".parse().unwrap()] {
        endpoint.connect(address).unwrap();
        assert_eq!(failure(&mut endpoint), Errno::EACCES, "{address}");
    }
    listen(&mut endpoint);
}

/// The daemon does not take a job for whose answer there is no room; so it has to hear of it when
/// there is some.
#[test]
fn jobs_that_wait_for_room_for_their_answers_are_done_when_there_is_some() {
    const JOBS: usize = 300;
    let daemon = daemon();
    let mut endpoint = attach(&daemon, "a");
    let mut asked = 0;
    while asked < JOBS {
        match endpoint.connect(daemon.address(0)) {
            Ok(_) => asked += 1,
            Err(Error::JobsFull) => {
                endpoint.flush();
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
    endpoint.flush();
    // It has answered as many as there is room for, and sleeps.
    daemon.asleep();
    for _ in 0..JOBS {
        assert_eq!(failure(&mut endpoint), Errno::EACCES);
    }
}
