//! How connections of an application end, whoever ends them, and what becomes of those that cannot
//! begin.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use vmsgr_messenger::client::{ConnectionId, Endpoint, Event};
use vmsgr_messenger::shm::{Hello, send_hello};
use vmsgr_tests::application::{accepted, attach, attach_with, listen, named, until};
use vmsgr_tests::sockets::{
    Refusing, Unanswering, check_pattern, check_pattern_to_end, connect, connect_with_small_window,
    expect, expect_closed, expect_end, expect_reset, half_close, ping, reset,
};
use vmsgr_tests::{Launch, PATIENCE, Pattern, Vmsgrd, eventually};

fn daemon() -> Vmsgrd {
    Vmsgrd::start(&["-l", "127.0.0.1:0=echo"])
}

/// A connection, at both its ends.
fn pair(endpoint: &mut Endpoint) -> (ConnectionId, TcpStream) {
    let address = listen(endpoint);
    let client = connect(address);
    (accepted(endpoint), client)
}

/// Sends all of it.
fn send(endpoint: &mut Endpoint, id: ConnectionId, bytes: &[u8]) {
    let sent = endpoint.connection(id).expect("it is open").send(bytes);
    assert_eq!(sent, bytes.len(), "there is room");
    endpoint.flush();
}

/// Waits until so many bytes lie unread, and consumes them.
fn recv(endpoint: &mut Endpoint, id: ConnectionId, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    let mut have = 0;
    let mut read = |endpoint: &mut Endpoint| {
        have += endpoint.connection(id).expect("it is open").recv(&mut got[have..]);
        (have == bytes.len()).then_some(())
    };
    if read(endpoint).is_none() {
        until(endpoint, "bytes", |endpoint, _| read(endpoint));
    }
    assert_eq!(got, bytes);
}

fn closed(endpoint: &mut Endpoint, id: ConnectionId) -> Option<Errno> {
    until(endpoint, "the connection is over", |_, event| match event {
        Event::Closed { connection, error } if *connection == id => {
            Some(error.as_ref().map(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))))
        }
        _ => None,
    })
}

fn peer_ended(endpoint: &mut Endpoint, id: ConnectionId) {
    until(endpoint, "the peer's end", |_, event| match event {
        Event::PeerEnded(connection) if *connection == id => Some(()),
        Event::Closed { .. } => panic!("only one direction has ended"),
        _ => None,
    });
}

#[test]
fn the_peer_ends_first_and_hears_what_is_said_afterwards() {
    let daemon = daemon();
    let mut endpoint = attach(&daemon, "a");
    let (id, mut client) = pair(&mut endpoint);
    client.write_all(b"a question").unwrap();
    half_close(&client);
    peer_ended(&mut endpoint, id);
    recv(&mut endpoint, id, b"a question");
    send(&mut endpoint, id, b"an answer");
    expect(&mut client, b"an answer");
    endpoint.connection(id).unwrap().shutdown();
    endpoint.flush();
    expect_end(&mut client);
    assert_eq!(closed(&mut endpoint, id), None);
    endpoint.connection(id).expect("until it is closed").close();
    assert!(endpoint.connection(id).is_none());
    daemon.eventually("it is gone", |now| now.total.connections == 0);
}

#[test]
fn the_application_ends_first_and_hears_what_is_said_afterwards() {
    let daemon = daemon();
    let mut endpoint = attach(&daemon, "a");
    let (id, mut client) = pair(&mut endpoint);
    send(&mut endpoint, id, b"a greeting");
    endpoint.connection(id).unwrap().shutdown();
    endpoint.flush();
    expect(&mut client, b"a greeting");
    expect_end(&mut client);
    assert_eq!(endpoint.connection(id).unwrap().send(b"more"), 0, "it has ended");
    client.write_all(b"a long answer").unwrap();
    recv(&mut endpoint, id, b"a long answer");
    client.write_all(b"the rest").unwrap();
    drop(client);
    assert_eq!(closed(&mut endpoint, id), None);
    // What came before the end can be read after it.
    recv(&mut endpoint, id, b"the rest");
    endpoint.connection(id).unwrap().close();
}

#[test]
fn a_reset_of_the_peers_is_told_as_such() {
    let daemon = daemon();
    let mut endpoint = attach(&daemon, "a");
    let (id, mut client) = pair(&mut endpoint);
    ping_through(&mut endpoint, id, &mut client);
    reset(client);
    assert_eq!(closed(&mut endpoint, id), Some(Errno::ECONNRESET));
    assert_eq!(endpoint.connection(id).unwrap().send(b"to nobody"), 0);
    endpoint.connection(id).unwrap().close();
    // Its slot can be had again.
    let (second, mut client) = pair(&mut endpoint);
    assert_eq!(second.slot(), id.slot());
    assert_ne!(second.generation(), id.generation());
    ping_through(&mut endpoint, second, &mut client);
}

fn ping_through(endpoint: &mut Endpoint, id: ConnectionId, client: &mut TcpStream) {
    client.write_all(b"ping").unwrap();
    recv(endpoint, id, b"ping");
    send(endpoint, id, b"pong");
    expect(client, b"pong");
}

#[test]
fn a_reset_of_the_applications_reaches_the_peer() {
    let daemon = daemon();
    let mut endpoint = attach(&daemon, "a");
    let (id, mut client) = pair(&mut endpoint);
    endpoint.connection(id).unwrap().reset();
    endpoint.flush();
    expect_reset(&mut client);
    daemon.eventually("it is gone", |now| now.total.connections == 0);
}

#[test]
fn what_was_sent_before_a_close_arrives_though_the_peer_takes_its_time() {
    let daemon = Launch::new(&["-l", "127.0.0.1:0=echo"])
        .configured("[socket]\nsend_buffer_bytes = 16384\n")
        .start();
    let mut endpoint = attach_with(&named(&daemon, "a").slots(4).send_ring(1 << 20));
    let address = listen(&mut endpoint);
    let client = connect_with_small_window(address);
    let id = accepted(&mut endpoint);
    let mut bytes = vec![0; 1 << 20];
    Pattern::new(9).fill(&mut bytes);
    send(&mut endpoint, id, &bytes);
    // And the peer has said something that nobody will read.
    (&client).write_all(b"forgotten").unwrap();
    let connection = endpoint.connection(id).unwrap();
    let positions = connection.positions();
    assert!(positions.sent < positions.committed, "some of it waits: {positions:?}");
    connection.close();
    endpoint.flush();
    assert_eq!(check_pattern_to_end(&client, &mut Pattern::new(9)), 1 << 20);
    drop(client);
    daemon.eventually("it is gone", |now| now.total.connections == 0);
}

#[test]
fn an_endpoint_that_is_dropped_closes_behind_what_was_sent() {
    let daemon = daemon();
    let mut endpoint = attach(&daemon, "a");
    let (id, mut client) = pair(&mut endpoint);
    send(&mut endpoint, id, b"the last words");
    drop(endpoint);
    expect(&mut client, b"the last words");
    expect_end(&mut client);
    // It is gone for good: the name is nobody's.
    eventually("nothing is left", PATIENCE, || !attach(&daemon, "a").has_taken_over());
    daemon.eventually("it is gone", |now| now.total.connections == 0);
}

#[test]
fn who_cannot_be_connected_to_is_told_of_with_the_reason() {
    let daemon = Launch::new(&["-l", "127.0.0.1:0=echo"])
        .configured("[relay]\nconnect_timeout_ms = 300\n")
        .start();
    let mut endpoint = attach(&daemon, "a");
    let (refusing, unanswering) = (Refusing::new(), Unanswering::new());
    for (address, errno) in [
        (refusing.address(), Errno::ECONNREFUSED),
        (unanswering.address(), Errno::ETIMEDOUT),
        ("127.255.255.255:1".parse().unwrap(), Errno::EACCES),
    ] {
        let asked = endpoint.connect(address).unwrap();
        let error = until(&mut endpoint, "a failure", |_, event| match event {
            Event::Failed { job, error } if *job == asked => error.raw_os_error(),
            _ => None,
        });
        let error = Errno::from_raw(error);
        // To all at once: the kernel says EACCES or ENETUNREACH.
        assert!(error == errno || error == Errno::ENETUNREACH, "{address}: {error}");
    }
    assert_eq!(endpoint.connections().count(), 0);
    daemon.eventually("none is left", |now| now.total.connections == 0);
    // As many attempts as there are slots, and more: each gives its slot back.
    let mut small = attach_with(&named(&daemon, "small").slots(2));
    for _ in 0..10 {
        let asked = small.connect(refusing.address()).unwrap();
        until(&mut small, "a failure", |_, event| match event {
            Event::Failed { job, error } if *job == asked => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                Some(())
            }
            _ => None,
        });
    }
}

#[test]
fn an_address_that_is_taken_is_refused_as_such() {
    let daemon = daemon();
    let (mut one, mut other) = (attach(&daemon, "one"), attach(&daemon, "other"));
    let address = listen(&mut one);
    for (endpoint, address, what) in
        [(&mut one, address, "its own"), (&mut other, daemon.address(0), "the daemon's")]
    {
        let asked = endpoint.listen(address).unwrap();
        until(endpoint, what, |_, event| match event {
            Event::Failed { job, error } if *job == asked => {
                assert_eq!(error.kind(), ErrorKind::AddrInUse);
                Some(())
            }
            Event::Listening { job, .. } if *job == asked => panic!("listens twice: {what}"),
            _ => None,
        });
    }
}

#[test]
fn who_finds_no_slot_waits_in_the_backlog() {
    let daemon = daemon();
    let mut endpoint = attach_with(&named(&daemon, "a").slots(2));
    let address = listen(&mut endpoint);
    let mut clients: Vec<_> = (0..6).map(|_| connect(address)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(&[number as u8]).unwrap();
    }
    daemon.asleep();
    assert_eq!(daemon.counters().total.connections, 2, "the others are not accepted");
    // None of them is lost: each has its turn when one before it goes.
    let mut answered = 0;
    until(&mut endpoint, "six bytes", |endpoint, event| {
        assert!(endpoint.connections().count() <= 2);
        let Event::Readable(id) = *event else { return None };
        let mut byte = [0];
        assert_eq!(endpoint.connection(id).expect("it is open").recv(&mut byte), 1);
        send(endpoint, id, &byte);
        endpoint.connection(id).unwrap().close();
        answered += 1;
        (answered == clients.len()).then_some(())
    });
    endpoint.flush();
    for (number, client) in clients.iter_mut().enumerate() {
        expect(client, &[number as u8]);
        expect_end(client);
    }
    assert!(daemon.log().all().iter().all(|line| !line.contains("ERROR")));
}

#[test]
fn without_linger_the_connections_end_with_the_application() {
    let daemon = daemon();
    let mut endpoint = attach_with(&named(&daemon, "a").linger(Duration::ZERO));
    let (id, mut client) = pair(&mut endpoint);
    send(&mut endpoint, id, b"committed");
    endpoint.detach();
    expect(&mut client, b"committed");
    expect_closed(&mut client);
    daemon.eventually("it is gone", |now| now.total.connections == 0);
    assert!(!attach(&daemon, "a").has_taken_over());
}

#[test]
fn after_its_linger_time_nothing_of_an_application_is_left() {
    let daemon = daemon();
    let mut endpoint = attach_with(&named(&daemon, "a").linger(Duration::from_millis(300)));
    let address = listen(&mut endpoint);
    let mut client = connect(address);
    accepted(&mut endpoint);
    endpoint.detach();
    expect_end(&mut client);
    eventually("nobody listens any more", PATIENCE, || TcpStream::connect(address).is_err());
    daemon.eventually("it is gone", |now| now.total.connections == 0);
    assert!(!attach(&daemon, "a").has_taken_over());
}

#[test]
fn who_comes_back_in_time_has_everything() {
    let daemon = daemon();
    let mut endpoint = attach(&daemon, "a");
    let address = listen(&mut endpoint);
    let mut client = connect(address);
    let id = accepted(&mut endpoint);
    ping_through(&mut endpoint, id, &mut client);
    endpoint.connection(id).unwrap().set_cookie(77);
    endpoint.detach();
    client.write_all(b"are you there").unwrap();
    // Somebody comes while nobody is there.
    let mut late = connect(address);
    late.write_all(b"me too").unwrap();

    let mut endpoint = attach(&daemon, "a");
    assert!(endpoint.has_taken_over());
    let found = until(&mut endpoint, "the connection", |_, event| match event {
        Event::Resumed { connection, .. } => Some(*connection),
        _ => None,
    });
    assert_eq!(found, id, "it has kept its name");
    let connection = endpoint.connection(id).unwrap();
    let (cookie, positions) = (connection.cookie(), connection.positions());
    drop(connection);
    assert_eq!((cookie, positions.consumed, positions.committed), (77, 4, 4));
    recv(&mut endpoint, id, b"are you there");
    send(&mut endpoint, id, b"yes");
    expect(&mut client, b"yes");
    let came = until(&mut endpoint, "the late one", |_, event| match event {
        Event::Accepted { connection, .. } | Event::Resumed { connection, .. } => Some(*connection),
        _ => None,
    });
    recv(&mut endpoint, came, b"me too");
}

#[test]
fn a_name_is_one_endpoints_at_a_time() {
    let daemon = daemon();
    let first = attach(&daemon, "a");
    let error = Endpoint::attach(&named(&daemon, "a")).expect_err("it is taken");
    assert!(error.to_string().contains("attached already"), "{error}");
    first.detach();
    eventually("it is free again", PATIENCE, || Endpoint::attach(&named(&daemon, "a")).is_ok());
}

#[test]
fn a_listener_that_is_ended_keeps_its_connections() {
    let daemon = daemon();
    let mut endpoint = attach(&daemon, "a");
    let asked = endpoint.listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = until(&mut endpoint, "a listener", |_, event| match event {
        Event::Listening { address, .. } => Some(*address),
        _ => None,
    });
    let mut client = connect(address);
    let id = accepted(&mut endpoint);
    endpoint.unlisten(asked).unwrap();
    until(&mut endpoint, "its end", |_, event| {
        matches!(event, Event::Unlistened { job } if *job == asked).then_some(())
    });
    eventually("nobody listens any more", PATIENCE, || TcpStream::connect(address).is_err());
    ping_through(&mut endpoint, id, &mut client);
    let mut rest = Vec::new();
    endpoint.connection(id).unwrap().close();
    endpoint.flush();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    ping(&mut connect(daemon.address(0)), b"the daemon's own listener goes on");
}

/// A connection that its application has closed has a minute to reach its peer, and what the peer
/// says meanwhile changes nothing about that.
#[test]
fn a_slow_peer_gets_all_of_it_whatever_it_says_meanwhile() {
    let daemon = Launch::new(&["-l", "127.0.0.1:0=echo"])
        .configured("[connection]\nidle_timeout_secs = 1\n")
        .start();
    let mut endpoint = attach_with(&named(&daemon, "a").slots(4).send_ring(1 << 20));
    let mut client = connect_with_small_window(listen(&mut endpoint));
    let id = accepted(&mut endpoint);
    let mut bytes = vec![0; 1 << 20];
    Pattern::new(9).fill(&mut bytes);
    send(&mut endpoint, id, &bytes);
    endpoint.connection(id).unwrap().close();
    endpoint.flush();
    let mut pattern = Pattern::new(9);
    // Slower than the idle time-out, but not idle.
    for _ in 0..10 {
        client.write_all(b"forgotten").unwrap();
        std::thread::sleep(Duration::from_millis(200));
        check_pattern(&client, &mut pattern, 8 * 1024);
    }
    check_pattern_to_end(&client, &mut pattern);
    assert_eq!(pattern.position(), 1 << 20);
}

#[test]
fn who_dies_while_attaching_is_in_nobodys_way() {
    let daemon = daemon();
    let hello = Hello { name: "hasty".to_owned(), ..Hello::default() };
    for number in 0..300 {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        socket.connect(&SockAddr::unix(daemon.socket()).unwrap()).unwrap();
        send_hello(&socket, &hello).unwrap();
        // It hangs up before, while or after it is answered.
        (0..number * 50).for_each(|_| std::hint::spin_loop());
        drop(socket);
        let endpoint = attach(&daemon, "hasty");
        if number % 2 == 0 {
            endpoint.detach();
        }
    }
    assert_eq!(daemon.counters().total.connections, 0);
}
