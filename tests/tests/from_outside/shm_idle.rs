//! What an application and its connections cost while nothing happens: nothing, on either side.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use vmsgr_tests::sockets::{connect, ping};
use vmsgr_tests::{
    Activity, Application, PATIENCE, SystemCalls, Vmsgrd, eventually, raise_descriptor_limit,
    two_cores,
};

fn a_thousand_connections() -> (Vmsgrd, Application, Vec<TcpStream>) {
    raise_descriptor_limit();
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "-l", "127.0.0.1:0=echo"]);
    let application = Application::example("echo", &daemon, &["127.0.0.1:0"]);
    let address = application.listening(0);
    let mut clients: Vec<_> = (0..1000).map(|_| connect(address)).collect();
    for client in &mut clients {
        ping(client, b"hello");
    }
    (daemon, application, clients)
}

#[test]
fn a_thousand_idle_connections_of_an_application_wake_nobody_up() {
    let (daemon, application, mut clients) = a_thousand_connections();
    let look = || [Activity::of(daemon.pid(), ""), Activity::of(application.pid(), "")];
    let mut before = look();
    eventually("both sleep", PATIENCE, || {
        thread::sleep(Duration::from_millis(200));
        let after = look();
        let still = before == after;
        before = after;
        still
    });
    thread::sleep(Duration::from_secs(5));
    assert_eq!(before, look(), "somebody woke up with nothing to do");
    ping(&mut clients[500], b"still there?");
    assert_ne!(before, look(), "who looked is not blind");
}

#[test]
fn a_thousand_idle_connections_of_an_application_make_no_system_call() {
    let (daemon, application, mut clients) = a_thousand_connections();
    let watched = [daemon.pid(), application.pid()];
    let Some(mut calls) = SystemCalls::of(&watched) else { return };
    calls.expect_none(Duration::from_secs(5));
    ping(&mut clients[500], b"still there?");
    calls.expect_some();
}
