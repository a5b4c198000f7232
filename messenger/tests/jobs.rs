//! Jobs: what a messenger is asked to do and what it answers, over real sockets.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use vmsgr_messenger::*;
use vmsgr_reactor::CoreMask;

const DEADLINE: Duration = Duration::from_secs(10);

/// Where nobody listens, and no other test ever will: a port that port 0 does not give.
const NOBODY: &str = "127.0.0.1:1";

fn start(options: Options) -> Messenger {
    Messenger::start(&CoreMask::all().unwrap(), options).unwrap()
}

/// The first event that `wanted` makes something of.
fn wait<T>(messenger: &mut Messenger, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        messenger.publish();
        if let Some(found) = messenger.take().and_then(&mut wanted) {
            return found;
        }
        assert!(Instant::now() < deadline, "nothing heard");
        std::thread::yield_now();
    }
}

fn listen(messenger: &mut Messenger, service: Service) -> (JobId, SocketAddr) {
    let any = "127.0.0.1:0".parse().unwrap();
    let bound = Bound::bind(any, messenger.cores(), &SocketOptions::default()).unwrap();
    let address = bound.address();
    let job = messenger.submit(Job::Listen { bound, service }).unwrap();
    for _ in 0..messenger.cores() {
        wait(messenger, |event| match event {
            Event::Listening { job: told, .. } if told == job => Some(()),
            _ => None,
        });
    }
    (job, address)
}

fn connect(messenger: &mut Messenger, targets: &[SocketAddr], service: Service) -> JobId {
    messenger.submit(Job::Connect { targets: targets.into(), service }).unwrap()
}

fn dial(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

fn ping(socket: &mut TcpStream) {
    socket.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

/// Until every core has begun to drain. One that is done with it tells twice.
fn begin_to_drain(messenger: &mut Messenger) {
    messenger.drain(DEADLINE);
    messenger.report();
    let mut told = BTreeSet::new();
    while told.len() < messenger.cores() {
        told.insert(wait(messenger, |event| match event {
            Event::Report { core, .. } | Event::Drained { core, .. } => Some(core),
            _ => None,
        }));
    }
}

fn end(mut messenger: Messenger) {
    messenger.drain(DEADLINE);
    messenger.publish();
    messenger.join();
}

#[test]
fn a_listen_job_serves_until_it_is_closed_and_its_connections_go_on() {
    let mut messenger = start(Options::default());
    let (job, address) = listen(&mut messenger, Service::Echo);
    let mut socket = dial(address);
    ping(&mut socket);
    messenger.submit(Job::Close(job)).unwrap();
    for _ in 0..messenger.cores() {
        wait(&mut messenger, |event| {
            matches!(event, Event::Closed(told) if told == job).then_some(())
        });
    }
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    ping(&mut socket);
    end(messenger);
}

#[test]
fn a_connect_job_tries_its_addresses_in_order_and_serves_the_first_that_answers() {
    let mut messenger = start(Options::default());
    let nobody = NOBODY.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let job = connect(&mut messenger, &[nobody, target], Service::Echo);
    let (id, peer) = wait(&mut messenger, |event| match event {
        Event::Connected { job: told, connection, peer } if told == job => Some((connection, peer)),
        Event::Failed { error, .. } => panic!("{error}"),
        _ => None,
    });
    assert_eq!((peer, id.serial), (target, 1));
    let mut socket = listener.accept().unwrap().0;
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    ping(&mut socket);
    messenger.submit(Job::Close(job)).unwrap();
    wait(&mut messenger, |event| matches!(event, Event::Closed(told) if told == job).then_some(()));
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    end(messenger);
}

#[test]
fn a_connect_job_that_nobody_answers_fails_with_the_reason() {
    let mut messenger = start(Options::default());
    let nobody = NOBODY.parse().unwrap();
    let job = connect(&mut messenger, &[nobody], Service::Discard);
    let error = wait(&mut messenger, |event| match event {
        Event::Failed { job: told, error } if told == job => Some(error),
        _ => None,
    });
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let family = Some(Family::V6);
    let connect_options = ConnectOptions { family, ..ConnectOptions::default() };
    end(messenger);
    let mut messenger = start(Options { connect: connect_options, ..Options::default() });
    connect(&mut messenger, &[nobody], Service::Echo);
    let error = wait(&mut messenger, |event| match event {
        Event::Failed { error, .. } => Some(error),
        _ => None,
    });
    assert!(error.to_string().contains("family"), "{error}");
    end(messenger);
}

#[test]
fn a_connection_from_a_chosen_source_comes_from_there_and_its_end_is_told() {
    let source = Some("127.0.0.9".parse().unwrap());
    let connect_options = ConnectOptions { source, ..ConnectOptions::default() };
    let mut messenger = start(Options { connect: connect_options, ..Options::default() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let job = connect(&mut messenger, &[target], Service::Discard);
    messenger.publish();
    let (socket, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_string(), "127.0.0.9");
    drop(socket);
    wait(&mut messenger, |event| matches!(event, Event::Closed(told) if told == job).then_some(()));
    end(messenger);
}

#[test]
fn jobs_that_make_no_sense_are_refused() {
    let mut messenger = start(Options::default());
    let any = "127.0.0.1:0".parse().unwrap();
    let cores = messenger.cores() + 1;
    let bound = Bound::bind(any, cores, &SocketOptions::default()).unwrap();
    let error = messenger.submit(Job::Listen { bound, service: Service::Echo }).unwrap_err();
    assert!(matches!(error, JobError::Cores { .. }));
    let error = messenger.submit(Job::Connect { targets: [].into(), service: Service::Echo });
    assert!(matches!(error, Err(JobError::NoTarget)));
    let relay = Service::Relay([any].into());
    let error = messenger.submit(Job::Connect { targets: [any].into(), service: relay });
    assert!(matches!(error, Err(JobError::RelayConnects)));
    end(messenger);
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let idle_time_out = Some(Duration::from_millis(200));
    let connection = ConnectionOptions { idle_time_out, ..ConnectionOptions::default() };
    let mut messenger = start(Options { connection, ..Options::default() });
    let (_, address) = listen(&mut messenger, Service::Echo);
    let (mut busy, mut idle) = (dial(address), dial(address));
    idle.set_nonblocking(true).unwrap();
    let start = Instant::now();
    loop {
        ping(&mut busy);
        match idle.read(&mut [0]) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() < DEADLINE);
    }
    assert!(start.elapsed() >= Duration::from_millis(200));
    ping(&mut busy);
    end(messenger);
}

#[test]
fn a_report_comes_from_every_core() {
    let mut messenger = start(Options::default());
    messenger.report();
    let mut cores: Vec<_> = (0..messenger.cores())
        .map(|_| {
            wait(&mut messenger, |event| match event {
                Event::Report { core, counters, .. } => {
                    assert!(counters.mesh_in >= 1);
                    Some(core)
                }
                _ => None,
            })
        })
        .collect();
    cores.sort_unstable();
    assert_eq!(cores, (0..messenger.cores()).collect::<Vec<_>>());
    end(messenger);
}

#[test]
fn draining_loses_nothing_that_a_slow_reader_has_not_got_yet() {
    const TAKEN: usize = 200_000;
    let mut messenger = start(Options::default());
    let (_, address) = listen(&mut messenger, Service::Echo);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.write_all(&vec![7; TAKEN]).unwrap();
    // All of it has been echoed, and most of it lies in the daemon's kernel, not in its memory.
    let mut sent = 0;
    while sent < TAKEN as u64 {
        messenger.report();
        sent = 0;
        for _ in 0..messenger.cores() {
            sent += wait(&mut messenger, |event| match event {
                Event::Report { counters, .. } => Some(counters.bytes_out),
                _ => None,
            });
        }
    }
    begin_to_drain(&mut messenger);
    // Bytes that come now are not taken, and must not cost those that were.
    socket.write_all(b"late").unwrap();
    let mut received = Vec::new();
    socket.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), TAKEN);
    drop(socket);
    messenger.join();
}

#[test]
fn each_core_says_once_that_it_has_drained() {
    let mut messenger = start(Options::default());
    let (_, address) = listen(&mut messenger, Service::Echo);
    let mut sockets: Vec<_> = (0..8).map(|_| dial(address)).collect();
    sockets.iter_mut().for_each(ping);
    messenger.drain(DEADLINE);
    let (mut drained, mut exited) = (vec![0; messenger.cores()], 0);
    while exited < messenger.cores() {
        wait(&mut messenger, |event| match event {
            Event::Drained { core, .. } => {
                drained[core] += 1;
                Some(())
            }
            Event::Exited { .. } => {
                exited += 1;
                Some(())
            }
            _ => None,
        });
    }
    assert!(drained.iter().all(|count| *count == 1), "{drained:?}");
}

/// The counters of all cores, added up.
fn total(messenger: &mut Messenger) -> vmsgr_reactor::Counters {
    messenger.report();
    let mut total = vmsgr_reactor::Counters::default();
    for _ in 0..messenger.cores() {
        total.add(&wait(messenger, |event| match event {
            Event::Report { counters, .. } => Some(*counters),
            _ => None,
        }));
    }
    total
}

/// A connection on which the daemon has read all that came, and holds most of it pending: buffers
/// are small and the peer does not read. The job that made it, its peer, and how much was sent.
fn stuck(options: Options) -> (Messenger, JobId, TcpStream, usize) {
    const SENT: usize = 200_000;
    let socket = SocketOptions { send_buffer_bytes: Some(4096), ..SocketOptions::default() };
    let mut messenger = start(Options { socket, ..options });
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&server).set_recv_buffer_size(4096).unwrap();
    let job = connect(&mut messenger, &[server.local_addr().unwrap()], Service::Echo);
    messenger.publish();
    let mut peer = server.accept().unwrap().0;
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.write_all(&vec![7; SENT]).unwrap();
    while total(&mut messenger).bytes_in < SENT as u64 {}
    assert!(total(&mut messenger).pending_bytes > SENT as u64 / 2);
    (messenger, job, peer, SENT)
}

#[test]
fn a_connection_that_is_closed_with_bytes_pending_is_reset() {
    let (mut messenger, job, mut peer, _) = stuck(Options::default());
    messenger.submit(Job::Close(job)).unwrap();
    wait(&mut messenger, |event| matches!(event, Event::Closed(told) if told == job).then_some(()));
    let copied = std::io::copy(&mut peer, &mut std::io::sink());
    assert_eq!(copied.unwrap_err().kind(), ErrorKind::ConnectionReset, "I5");
    end(messenger);
}

#[test]
fn a_slow_download_is_not_idle() {
    let idle_time_out = Some(Duration::from_millis(200));
    let connection = ConnectionOptions { idle_time_out, ..ConnectionOptions::default() };
    let (messenger, _, mut peer, sent) = stuck(Options { connection, ..Options::default() });
    // Several time-outs long the daemon receives nothing, while we read bit by bit.
    let (start, mut received) = (Instant::now(), 0);
    let mut piece = [0; 2000];
    while received < sent {
        if start.elapsed() >= Duration::from_millis(10) * (received / piece.len()) as u32 {
            let count = peer.read(&mut piece).unwrap();
            assert_ne!(count, 0, "ended after {received} of {sent}");
            received += count;
        }
        std::thread::yield_now();
    }
    assert!(start.elapsed() >= Duration::from_millis(800));
    drop(peer);
    end(messenger);
}

/// A relay to a server of ours, with one client through it.
fn relayed(messenger: &mut Messenger) -> (TcpStream, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, address) = listen(messenger, Service::Relay([server.local_addr().unwrap()].into()));
    let client = dial(address);
    messenger.publish();
    let upstream = server.accept().unwrap().0;
    upstream.set_read_timeout(Some(DEADLINE)).unwrap();
    (client, upstream)
}

#[test]
fn a_drain_waits_for_the_answer_to_a_request_that_was_passed_on() {
    for ends_first in [false, true] {
        let mut messenger = start(Options::default());
        let (mut client, mut upstream) = relayed(&mut messenger);
        client.write_all(b"question").unwrap();
        if ends_first {
            client.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut question = [0; 8];
        upstream.read_exact(&mut question).unwrap();
        messenger.drain(DEADLINE);
        messenger.report();
        let told =
            |event| matches!(event, Event::Report { .. } | Event::Drained { .. }).then_some(());
        (0..messenger.cores()).for_each(|_| wait(&mut messenger, told));
        upstream.write_all(b"answer").unwrap();
        drop(upstream);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
        drop(client);
        messenger.join();
    }
}

#[test]
fn a_drain_waits_for_the_end_of_an_answer_when_the_client_has_ended() {
    let mut messenger = start(Options::default());
    let (mut client, mut upstream) = relayed(&mut messenger);
    let mut buffer = [0; 8];
    client.write_all(b"question").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(upstream.read(&mut buffer).unwrap(), 8);
    assert_eq!(upstream.read(&mut buffer).unwrap(), 0);
    upstream.write_all(b"half ").unwrap();
    assert_eq!(client.read(&mut buffer).unwrap(), 5);
    begin_to_drain(&mut messenger);
    upstream.write_all(b"done").unwrap();
    drop(upstream);
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "done");
    messenger.join();
}

#[test]
fn a_drain_ends_a_relay_whose_questions_have_been_answered() {
    let mut messenger = start(Options::default());
    let (mut client, mut upstream) = relayed(&mut messenger);
    let mut buffer = [0; 8];
    client.write_all(b"question").unwrap();
    upstream.read_exact(&mut buffer).unwrap();
    upstream.write_all(b"answer").unwrap();
    client.read_exact(&mut buffer[..6]).unwrap();
    let start = Instant::now();
    messenger.drain(DEADLINE);
    messenger.publish();
    assert_eq!(client.read(&mut buffer).unwrap(), 0);
    assert_eq!(upstream.read(&mut buffer).unwrap(), 0);
    messenger.join();
    assert!(start.elapsed() < DEADLINE / 2, "it did not wait for the deadline");
}
