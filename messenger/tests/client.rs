//! Applications and a real messenger, over real sockets.

mod host;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use host::Host;
use vmsgr_messenger::client::{AttachError, AttachOptions, ConnectionId, Endpoint, Event, JobId};

const DEADLINE: Duration = Duration::from_secs(20);

fn options(host: &Host, name: &str) -> AttachOptions {
    AttachOptions::new(name).socket(host.path())
}

fn attach(host: &Host, name: &str) -> Endpoint {
    Endpoint::attach(&options(host, name)).unwrap()
}

/// The next event, whatever it is.
fn next(endpoint: &mut Endpoint) -> Event {
    loop {
        if let Some(event) = endpoint.next_event() {
            return event;
        }
        assert!(endpoint.wait(Some(DEADLINE)).unwrap(), "nothing happens");
    }
}

fn listen(endpoint: &mut Endpoint) -> (JobId, SocketAddr) {
    let asked = endpoint.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    match next(endpoint) {
        Event::Listening { job, address } if job == asked => (job, address),
        event => panic!("{event:?}"),
    }
}

fn accepted(endpoint: &mut Endpoint) -> ConnectionId {
    match next(endpoint) {
        Event::Accepted { connection, .. } => connection,
        event => panic!("{event:?}"),
    }
}

fn dial(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    socket
}

fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|n| (n % 251) as u8).collect()
}

/// Sends the pattern and checks that it comes back.
fn talk(address: SocketAddr, bytes: usize, piece: usize) {
    let mut socket = dial(address);
    let mut other = socket.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for from in (0..bytes).step_by(piece) {
                other.write_all(&pattern(from, piece.min(bytes - from))).unwrap();
            }
            other.shutdown(Shutdown::Write).unwrap();
        });
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        assert!(answer == pattern(0, bytes), "{} of {bytes}", answer.len());
    });
}

/// Echoes until it is told to end.
fn echo(endpoint: &mut Endpoint, ends: &AtomicBool) {
    while !ends.load(Ordering::SeqCst) {
        while let Some(event) = endpoint.next_event() {
            match event {
                Event::Readable(id) | Event::Writable(id) | Event::PeerEnded(id) => {
                    let Some(mut connection) = endpoint.connection(id) else { continue };
                    connection.forward(usize::MAX);
                    if connection.peer_has_ended() && connection.unread() == 0 {
                        connection.close();
                    }
                }
                Event::Accepted { .. } => {}
                event => panic!("{event:?}"),
            }
        }
        endpoint.wait(Some(Duration::from_millis(20))).unwrap();
    }
}

#[test]
fn bytes_come_back_from_an_echo() {
    let host = Host::start();
    let options = options(&host, "echo").slots(4).receive_ring(4096).send_ring(8192);
    let mut endpoint = Endpoint::attach(&options).unwrap();
    let (_, address) = listen(&mut endpoint);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let echoing = scope.spawn(|| echo(&mut endpoint, &ends));
        // More than there are slots: the others wait in the backlog.
        let talks: Vec<_> = [(0, 1), (1, 1), (3_000_000, 70_000), (300_000, 17), (500_000, 4096)]
            .into_iter()
            .cycle()
            .take(10)
            .map(|(bytes, piece)| scope.spawn(move || talk(address, bytes, piece)))
            .collect();
        let talks: Vec<_> = talks.into_iter().map(|talk| talk.join()).collect();
        ends.store(true, Ordering::SeqCst);
        echoing.join().unwrap();
        assert!(talks.iter().all(Result::is_ok));
    });
    assert_eq!(endpoint.connections().count(), 0);
}

#[test]
fn connections_are_made_or_refused() {
    let host = Host::start();
    let mut endpoint = attach(&host, "connects");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = endpoint.connect(address).unwrap();
    let id = match next(&mut endpoint) {
        Event::Connected { connection, job, peer, .. } if job == asked => {
            assert_eq!(peer, address);
            connection
        }
        event => panic!("{event:?}"),
    };
    let (mut peer, from) = listener.accept().unwrap();
    let mut connection = endpoint.connection(id).unwrap();
    assert_eq!((connection.local(), connection.peer()), (from, address));
    connection.write_all(b"hello").unwrap();
    connection.shutdown();
    drop(connection);
    endpoint.flush();
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"hello");
    drop(peer);
    assert!(matches!(next(&mut endpoint), Event::PeerEnded(told) if told == id));
    assert!(matches!(next(&mut endpoint), Event::Closed { error: None, .. }));

    drop(listener);
    // A port that port 0 does not give.
    let refused = endpoint.connect("127.0.0.1:1".parse().unwrap()).unwrap();
    match next(&mut endpoint) {
        Event::Failed { job, error } if job == refused => {
            assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ECONNREFUSED as i32));
        }
        event => panic!("{event:?}"),
    }
}

#[test]
fn a_peer_that_resets_is_an_error() {
    let host = Host::start();
    let mut endpoint = attach(&host, "reset");
    let (_, address) = listen(&mut endpoint);
    let socket = dial(address);
    let id = accepted(&mut endpoint);
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
    match next(&mut endpoint) {
        Event::Closed { connection, error: Some(error) } if connection == id => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        event => panic!("{event:?}"),
    }
    let socket = dial(address);
    let mut connection = endpoint.connection(id).unwrap();
    assert!(connection.read(&mut [0]).is_err());
    connection.close();
    // And ours.
    let id = accepted(&mut endpoint);
    endpoint.connection(id).unwrap().reset();
    endpoint.flush();
    let error = (&socket).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn who_takes_over_goes_on_where_the_other_was() {
    let host = Host::start();
    let mut endpoint = attach(&host, "survivor");
    let (job, address) = listen(&mut endpoint);
    let mut socket = dial(address);
    let id = accepted(&mut endpoint);
    socket.write_all(&pattern(0, 1000)).unwrap();
    while endpoint.connection(id).unwrap().unread() < 1000 {
        next(&mut endpoint);
    }
    let mut connection = endpoint.connection(id).unwrap();
    connection.consume(400);
    connection.send(b"first ");
    connection.set_cookie(7);
    // Not even told to the core.
    std::mem::forget(connection);
    endpoint.detach();
    // Comes while nobody is there, one connection too.
    socket.write_all(&pattern(1000, 500)).unwrap();
    let _other = dial(address);

    let mut endpoint = attach(&host, "survivor");
    assert!(endpoint.has_taken_over());
    assert_eq!(endpoint.listen(address), Ok(job));
    assert!(matches!(next(&mut endpoint), Event::Listening { .. }));
    assert!(matches!(next(&mut endpoint), Event::Resumed { connection, .. } if connection == id));
    let mut connection = endpoint.connection(id).unwrap();
    assert_eq!(connection.cookie(), 7);
    assert_eq!(connection.positions().consumed, 400);
    assert_eq!(connection.positions().committed, 6);
    connection.send(b"second");
    drop(connection);
    while endpoint.connection(id).unwrap().unread() < 1100 {
        next(&mut endpoint);
    }
    let mut rest = vec![0; 2000];
    let n = endpoint.connection(id).unwrap().recv(&mut rest);
    assert_eq!(&rest[..n], pattern(400, 1100));
    endpoint.connection(id).unwrap().close();
    endpoint.flush();
    let mut heard = Vec::new();
    socket.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"first second");
}

#[test]
fn names_are_taken_and_given_back() {
    let host = Host::start();
    let endpoint = attach(&host, "name");
    let error = Endpoint::attach(&options(&host, "name")).unwrap_err();
    assert!(matches!(error, AttachError::Refused(_)), "{error}");
    assert!(error.to_string().contains("attached already"), "{error}");
    drop(endpoint);
    // It has said goodbye, which the daemon has heard when it is gone.
    let again = loop {
        match Endpoint::attach(&options(&host, "name")) {
            Ok(endpoint) => break endpoint,
            Err(AttachError::Refused(_)) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(!again.has_taken_over(), "what it had is gone");
}

#[test]
fn a_daemon_that_is_gone_is_noticed_and_another_one_found() {
    let host = Host::start();
    let mut endpoint = attach(&host, "orphan");
    let (_, address) = listen(&mut endpoint);
    let _socket = dial(address);
    accepted(&mut endpoint);
    let path = host.path();
    drop(host);
    while !matches!(next(&mut endpoint), Event::Detached { .. }) {}
    let error = endpoint.reattach().unwrap_err();
    assert!(
        matches!(&error, AttachError::NoDaemon { path: tried, .. } if *tried == path),
        "{error}"
    );

    // The same path, which the next one gets by a link.
    let host = Host::start();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(host.path(), &path).unwrap();
    endpoint.reattach().unwrap();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    assert!(
        matches!(next(&mut endpoint), Event::Listening { address: told, .. } if told == address)
    );
    let _socket = dial(address);
    accepted(&mut endpoint);
}

#[test]
fn endpoints_of_one_address_share_what_comes() {
    let host = Host::start();
    let mut endpoints = ["one", "two"].map(|name| attach(&host, name));
    let (_, address) = listen(&mut endpoints[0]);
    endpoints[1].listen(address).unwrap();
    assert!(matches!(next(&mut endpoints[1]), Event::Listening { .. }));
    // One after the other: cores that accept at the same time do not see each other's.
    let _sockets: Vec<_> = (0..10)
        .map(|n| {
            let socket = dial(address);
            let deadline = Instant::now() + DEADLINE;
            while endpoints.iter().map(|it| it.connections().count()).sum::<usize>() <= n {
                for endpoint in &mut endpoints {
                    while endpoint.next_event().is_some() {}
                    endpoint.wait(Some(Duration::from_millis(1))).unwrap();
                }
                assert!(Instant::now() < deadline, "nobody accepts");
            }
            socket
        })
        .collect();
    assert_eq!(endpoints.map(|endpoint| endpoint.connections().count()), [5, 5]);
}
