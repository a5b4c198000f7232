//! Connections that are closed for saying nothing, when the configuration asks for it.

use std::io::ErrorKind;

use vmsgr_tests::sockets::{accept, connect, expect_closed, listen, ping};
use vmsgr_tests::{Launch, PATIENCE, eventually, relay_to};

const ONE_SECOND: &str = "[connection]\nidle_timeout_secs = 1\n";

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let daemon = Launch::new(&["-l", "127.0.0.1:0=echo"]).configured(ONE_SECOND).start();
    let mut busy = connect(daemon.address(0));
    let idle = connect(daemon.address(0));
    idle.set_nonblocking(true).expect("a stream can be made non-blocking");
    eventually("the idle one is closed", PATIENCE, || {
        ping(&mut busy, b"still busy");
        let heard = idle.peek(&mut [0; 1]).map_err(|error| error.kind());
        heard != Err(ErrorKind::WouldBlock)
    });
    ping(&mut busy, b"and still there");
    drop(busy);
    daemon.eventually("both are gone", |now| now.total.connections == 0);
}

#[test]
fn an_idle_relay_closes_both_sides() {
    let upstream = listen();
    let relay = relay_to(upstream.local_addr().expect("an address"));
    let daemon = Launch::new(&["-l", &relay]).configured(ONE_SECOND).start();
    let mut client = connect(daemon.address(0));
    let mut server = accept(&upstream);
    expect_closed(&mut client);
    expect_closed(&mut server);
    daemon.eventually("both are gone", |now| now.total.connections == 0);
}
