//! Applications that are entities of Ceph's protocol: their messages, throttles and deaths.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use vmsgr_messenger::client::{
    self, AttachOptions, ConnectionId, Endpoint as Attached, EntityId, EntityOptions, Event,
    Incoming,
};
use vmsgr_messenger::msgr2::{self, *};
use vmsgr_tests::application::{attach, attach_with, listen_as, named, until};
use vmsgr_tests::{
    Application, Driver, PATIENCE, Pinged, Random, Vmsgrd, ceph_ping, eventually, report,
    resident_bytes, vmsgrctl,
};

const PING: u16 = 2;

/// What an operation of one that is in the ring is lies in one part of the example's.
const PIPELINED: u64 = 32;

fn daemon() -> Vmsgrd {
    Vmsgrd::start(&["-l", "127.0.0.1:0=echo"])
}

/// A client of an OSD there, and its session.
fn client(to: SocketAddr) -> (Driver, SessionId) {
    Driver::client(to, EntityType::OSD)
}

fn object() -> OsdRequest {
    let (object, time) = (b"an-object".to_vec(), Timestamp::default());
    OsdRequest { pool: 1, hash: 7, group: 7, epoch: 3, object, time }
}

fn write(driver: &mut Driver, session: SessionId, tid: u64, bytes: usize) {
    driver.send(session, object().write(tid, 0, Bytes::from(vec![tid as u8; bytes])));
}

/// Sends operations, so many of them at a time, until all are answered in order.
fn converse(driver: &mut Driver, session: SessionId, tids: std::ops::Range<u64>, bytes: usize) {
    converse_counted(driver, session, tids, bytes, &AtomicU64::new(0));
}

/// The same, and counts the answers as they come.
fn converse_counted(
    driver: &mut Driver,
    session: SessionId,
    tids: std::ops::Range<u64>,
    bytes: usize,
    answers: &AtomicU64,
) {
    let (mut next, mut answered) = (tids.start, tids.start);
    driver.until("all answers", PATIENCE, |driver| {
        for reply in driver.deliveries.drain(..) {
            assert_eq!((reply.header.kind, reply.header.tid), (OSD_OP_REPLY, answered));
            answered += 1;
            answers.fetch_add(1, Ordering::Relaxed);
        }
        while next < tids.end && next < answered + PIPELINED {
            write(driver, session, next, bytes);
            next += 1;
        }
        (answered == tids.end).then_some(())
    });
}

#[test]
fn an_application_answers_operations_of_every_size() {
    let daemon = daemon();
    let osd = Application::example("osd_null", &daemon, &["127.0.0.1:0"]);
    let (mut driver, session) = client(osd.listening(0));
    let mut tid = 1;
    for (bytes, count) in
        [(64, 1000), (4 << 10, 1000), (64 << 10, 200), (1 << 20, 40), (100 << 20, 1)]
    {
        let begin = Instant::now();
        converse(&mut driver, session, tid..tid + count, bytes);
        report(&format!("{count} writes of {bytes} bytes in {:?}", begin.elapsed()));
        tid += count;
    }
    for bytes in [64, 4 << 10, 1 << 20, 4 << 20] {
        driver.send(session, object().read(tid, 0, bytes));
        let reply = driver.message(OSD_OP_REPLY, PATIENCE);
        assert_eq!((reply.header.tid, reply.data.len() as u64), (tid, bytes));
        assert!(reply.data.iter().all(|byte| *byte == 0));
        tid += 1;
    }
    let counts = daemon.counters().msgr2.expect("an entity");
    assert_eq!((&counts["messages_in"], &counts["sessions"]), (&(tid - 1).into(), &1.into()));
    drop(driver);
    daemon.eventually("the client is gone", |now| now.total.connections == 0);
    let counts = daemon.counters().msgr2.expect("an entity");
    assert_eq!((&counts["streams"], &counts["sessions"]), (&0.into(), &0.into()));
}

#[test]
fn ceph_ping_takes_an_application_for_an_osd() {
    let daemon = daemon();
    let osd = Application::example("osd_null", &daemon, &["127.0.0.1:0"]);
    // Only with a nonce are there sessions with others than monitors. Applications have none: 0.
    let target = format!("v2:{}/0", osd.listening(0));
    let output = vmsgrctl(&[], &["ceph-ping", "--json", "--interval", "0.01", &target]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(answer["daemon"]["entity"], "osd", "{answer}");
    let keepalive = &answer["keepalive"];
    assert_eq!((&keepalive["sent"], &keepalive["answered"]), (&4.into(), &4.into()), "{answer}");
}

#[test]
fn cephs_own_client_pings_an_application() {
    let daemon = daemon();
    let mut monitor = attach(&daemon, "mon");
    let entity = monitor.entity(&EntityOptions::new(EntityType::MON, "a")).expect("attached");
    let address = listen_as(&mut monitor, entity);
    let Some(child) = ceph_ping(address) else { return };
    let text = b"{\"we\": \"are shared\"}";
    let mut front = (text.len() as u32).to_le_bytes().to_vec();
    front.extend(text);
    let header = MessageHeader { kind: PING, version: 1, compat_version: 1, ..Default::default() };
    let mut pings = 0;
    let end = Instant::now() + PATIENCE;
    while !child.is_finished() {
        assert!(Instant::now() < end, "the client does not end");
        while let Some(event) = monitor.next_event() {
            let Event::Readable(id) = event else { continue };
            let Some(mut connection) = monitor.connection(id) else { continue };
            let mut messages = connection.messages().expect("a session");
            while let Some(incoming) = messages.peek() {
                let is_ping = matches!(incoming, Incoming::Message(it) if it.header.kind == PING);
                if is_ping {
                    pings += 1;
                    let answer = client::Message::new(header, &front);
                    assert!(messages.reply(&answer).expect("it may"));
                } else {
                    messages.consume();
                }
            }
        }
        monitor.wait(Some(Duration::from_millis(10))).expect("the daemon is there");
    }
    let Pinged { text, crashes } = child.join().expect("it succeeds");
    assert!(text.contains("are shared"), "{text}");
    assert!((1..=1 + crashes).contains(&pings), "{pings} pings, {crashes} crashes");
}

/// How many messages lie in a session's ring; they are consumed.
fn take_all(endpoint: &mut Attached, id: ConnectionId) -> Vec<u64> {
    let mut tids = Vec::new();
    let Some(mut connection) = endpoint.connection(id) else { return tids };
    let mut messages = connection.messages().expect("a session");
    while let Some(incoming) = messages.peek() {
        if let Incoming::Message(message) = incoming {
            tids.push(message.header.tid);
        }
        messages.consume();
    }
    tids
}

#[test]
fn who_takes_nothing_throttles_its_peer_and_nobody_else() {
    const MESSAGES: u64 = 4000;
    let daemon = daemon();
    let mut lazy = attach(&daemon, "lazy");
    let options = EntityOptions::new(EntityType::OSD, "1").throttle(100, 1 << 20);
    let entity = lazy.entity(&options).expect("attached");
    let address = listen_as(&mut lazy, entity);
    let osd = Application::example("osd_null", &daemon, &["127.0.0.1:0"]);
    let (mut other, others) = client(osd.listening(0));
    let (mut driver, session) = client(address);
    converse(&mut other, others, 1..100, 4096);
    let before = resident_bytes(daemon.pid());
    for tid in 0..MESSAGES {
        write(&mut driver, session, tid, 16 << 10);
    }
    driver.until("a stop", PATIENCE, |_| (daemon.counters().total.paused == 1).then_some(()));
    let more = resident_bytes(daemon.pid()).saturating_sub(before);
    report(&format!("{} KiB more", more >> 10));
    assert!(more < 32 << 20, "{more} bytes more");
    converse(&mut other, others, 100..2000, 4096);
    assert_eq!(daemon.counters().total.paused, 1, "it is not read still");
    let mut taken = Vec::new();
    driver.until("all are taken", PATIENCE, |_| {
        loop {
            while let Some(event) = lazy.next_event() {
                if let Event::Accepted { connection, .. } | Event::Readable(connection) = event {
                    taken.extend(take_all(&mut lazy, connection));
                }
            }
            if !lazy.wait(Some(Duration::from_millis(1))).expect("the daemon is there") {
                break;
            }
        }
        (taken.len() as u64 == MESSAGES).then_some(())
    });
    assert!(taken.iter().copied().eq(0..MESSAGES), "in order, each once");
    daemon.eventually("it is read again", |now| now.total.paused == 0);
}

/// Its ring is never full, so that only the throttle makes anybody ask what it has taken.
#[test]
fn who_takes_at_once_and_says_nothing_is_not_throttled_for_good() {
    const MESSAGES: u64 = 2000;
    let daemon = daemon();
    let mut silent = attach(&daemon, "silent");
    let options = EntityOptions::new(EntityType::OSD, "1").throttle(4, 1 << 20);
    let entity = silent.entity(&options).expect("attached");
    let (mut driver, session) = client(listen_as(&mut silent, entity));
    for tid in 0..MESSAGES {
        write(&mut driver, session, tid, 64);
    }
    let mut taken = Vec::new();
    driver.until("all are taken", PATIENCE, |_| {
        loop {
            while let Some(event) = silent.next_event() {
                if let Event::Accepted { connection, .. } | Event::Readable(connection) = event {
                    taken.extend(take_all(&mut silent, connection));
                }
            }
            if !silent.wait(Some(Duration::from_millis(1))).expect("the daemon is there") {
                break;
            }
        }
        (taken.len() as u64 == MESSAGES).then_some(())
    });
    assert!(taken.iter().copied().eq(0..MESSAGES), "in order, each once");
}

#[test]
fn twenty_kills_under_load_answer_every_operation_once() {
    const KILLS: usize = 20;
    /// The most answers between two kills.
    const APART: u64 = 500;
    let daemon = daemon();
    let mut osd = Application::example("osd_null", &daemon, &["127.0.0.1:0"]);
    let address = osd.listening(0);
    let done = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = [64, 4096, 65_536]
        .map(|bytes| {
            let (done, answers) = (Arc::clone(&done), Arc::clone(&answers));
            thread::spawn(move || {
                let (mut driver, session) = client(address);
                let mut tid = 1;
                // In order and each once, or this fails: the session lasts.
                while !done.load(Ordering::Relaxed) {
                    converse_counted(&mut driver, session, tid..tid + 100, bytes, &answers);
                    tid += 100;
                }
                assert!(driver.deliveries.is_empty());
                tid
            })
        })
        .into();
    let mut random = Random::new(20);
    for _ in 0..KILLS {
        let most = answers.load(Ordering::Relaxed) + random.below(APART);
        eventually("some answers more", PATIENCE, || {
            assert!(clients.iter().all(|client| !client.is_finished()));
            answers.load(Ordering::Relaxed) >= most
        });
        osd.kill();
        osd = Application::example("osd_null", &daemon, &[&address.to_string()]);
        osd.listening(0);
        assert!(clients.iter().all(|client| !client.is_finished()));
    }
    done.store(true, Ordering::Relaxed);
    let answered: Vec<_> = clients.into_iter().map(|it| it.join().expect("no loss")).collect();
    report(&format!("{KILLS} kills; {answered:?} operations"));
}

#[test]
fn addresses_entities_and_slots_are_refused_as_they_should_be() {
    let daemon = daemon();
    let options: AttachOptions = named(&daemon, "few").slots(1);
    let mut few = attach_with(&options);
    let osd = EntityOptions::new(EntityType::OSD, "0");
    let entity = few.entity(&osd).expect("attached");
    let address = listen_as(&mut few, entity);
    let failed = |endpoint: &mut Attached, asked| {
        until(endpoint, "a failure", |_, event| match event {
            Event::Failed { job, error } if *job == asked => error.raw_os_error(),
            _ => None,
        })
    };
    let asked = few.listen_as(entity, address).expect("attached");
    assert_eq!(failed(&mut few, asked), nix::libc::EADDRINUSE);
    let mut other = attach(&daemon, "other");
    let asked = other.listen(address).expect("attached");
    assert_eq!(failed(&mut other, asked), nix::libc::EADDRINUSE);
    let asked = other.listen_as(EntityId::from_bits(77), address).expect("attached");
    assert_eq!(failed(&mut other, asked), nix::libc::ENOENT);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entity = other.entity(&EntityOptions::new(EntityType::CLIENT, "x")).expect("attached");
    let asked = other.connect_as(entity, nobody, None).expect("attached");
    assert_eq!(failed(&mut other, asked), nix::libc::ECONNREFUSED);

    let asked = other.connect_as(entity, address, None).expect("attached");
    let (first, job) = until(&mut other, "a session", |_, event| match event {
        Event::Connected { connection, job, .. } => Some((*connection, *job)),
        _ => None,
    });
    assert_eq!(job, asked);
    let peer = other.connection(first).expect("it is open").peer_entity().expect("it has said");
    assert_eq!((peer.kind, peer.number, peer.address), (EntityType::OSD, 0, Some(address)));
    // There is one slot, and so one session.
    let (mut second, _) = client(address);
    second.until("the end", PATIENCE, |driver| {
        driver.events.iter().any(|event| matches!(event, msgr2::Event::Ended { .. })).then_some(())
    });
    daemon.expect_log(&["all 1 slots of application="]);
    // What was sent before a close arrives.
    let mut connection = other.connection(first).expect("it is open");
    let header = MessageHeader { tid: 9, kind: PING, ..Default::default() };
    let message = client::Message::new(header, b"farewell");
    assert!(connection.messages().expect("a session").send(&message).expect("it may"));
    connection.close();
    other.flush();
    let mut tids = Vec::new();
    until(&mut few, "the end", |few, event| match event {
        Event::Readable(id) => {
            tids.extend(take_all(few, *id));
            None
        }
        Event::Closed { .. } => Some(()),
        _ => None,
    });
    assert_eq!(tids, [9]);
}
