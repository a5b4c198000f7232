//! The relay to where a redirected connection was going, in a network of the test's own.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};

use vmsgr_tests::sockets::{
    accept, connect, expect, expect_closed, expect_turned_away, half_close,
};
use vmsgr_tests::{Launch, Namespace, Vmsgrd, peer};

/// A server's address that is not the daemon's.
const SERVER: &str = "10.77.0.1:5000";
const RELAY: &str = "127.0.0.1:7700=relay:original-dst";
const MARKED: &str = "[relay]\nmark = 77\n";

/// A namespace where every connection to port 5000 goes to the daemon's port, unless its socket has
/// the relay's mark.
fn redirecting_namespace() -> Option<Namespace> {
    peer("nft")?;
    let namespace = Namespace::new()?;
    namespace.run(&["ip", "address", "add", "10.77.0.1/32", "dev", "lo"]);
    namespace.redirect("tcp dport 5000 meta mark != 77", 7700);
    Some(namespace)
}

fn relay_in(namespace: &Namespace) -> Vmsgrd {
    Launch::new(&["-l", RELAY]).configured(MARKED).under(&namespace.exec()).start()
}

fn server() -> SocketAddr {
    SERVER.parse().expect("an address")
}

#[test]
fn a_redirected_connection_reaches_the_server_it_was_meant_for() {
    let Some(namespace) = redirecting_namespace() else { return };
    let listener = namespace.enter(|| TcpListener::bind(server()).expect("the server's address"));
    // The rule works: with nobody to redirect to, not even a server that listens is reached.
    namespace
        .enter(|| TcpStream::connect(server()).expect_err("nobody listens on the relay's port"));

    let daemon = relay_in(&namespace);
    for _ in 0..3 {
        let mut client = namespace.enter(|| connect(server()));
        let mut served = accept(&listener);
        client.write_all(b"to the server").expect("the bytes go out");
        expect(&mut served, b"to the server");
        served.write_all(b"to the client").expect("the bytes go out");
        expect(&mut client, b"to the client");
        half_close(&client);
        expect_closed(&mut served);
        drop(served);
        expect_closed(&mut client);
    }
    daemon.eventually("nothing is left", |now| now.total.connections == 0);
    assert_eq!(daemon.counters().total.accepted, 3, "the mark kept the relay's own ones out");
}

#[test]
fn a_connection_that_nobody_redirected_is_not_relayed_to_the_relay_itself() {
    let Some(namespace) = redirecting_namespace() else { return };
    let daemon = relay_in(&namespace);
    namespace.enter(|| expect_turned_away(daemon.address(0)));
    let after = daemon.eventually("nothing is left", |now| now.total.connections == 0);
    assert_eq!(after.total.accepted, 1, "it connected to itself");
}

#[test]
fn a_server_that_is_not_there_is_reported_by_its_own_address() {
    let Some(namespace) = redirecting_namespace() else { return };
    let daemon = relay_in(&namespace);
    namespace.enter(|| expect_turned_away(server()));
    daemon.expect_log(&["refused", SERVER]);
}
