//! The tap sees what was in the captured sessions.

use std::time::Duration;

use vmsgr_messenger::msgr2::*;
use vmsgr_messenger::tap::{Kind, Sums, Tap, TappedConnection, operation_name};

use crate::vectors::{Stream, cuts, pairs};

/// Lets a connection pass, both directions cut in the same way, a piece of the one after a piece of
/// the other, each a millisecond after the last one; how often something was said.
fn pass(tap: &Tap, client: &Stream, server: &Stream, cut: usize) -> Vec<CannotFollow> {
    let mut connection = tap.connection(None);
    let mut said = Vec::new();
    let (client, server) = (cuts(&client.bytes), cuts(&server.bytes));
    let (client, server) = (&client[cut], &server[cut]);
    for n in 0..client.len().max(server.len()) {
        let now = Duration::from_millis(n as u64);
        if let Some(piece) = client.get(n) {
            said.extend(connection.pass(Side::Initiator, now, piece));
        }
        if let Some(piece) = server.get(n) {
            said.extend(connection.pass(Side::Acceptor, now, piece));
        }
    }
    said
}

/// Both sides say that they begin.
fn begin(connection: &mut TappedConnection) {
    for side in [Side::Initiator, Side::Acceptor] {
        assert_eq!(connection.pass(side, Duration::ZERO, &Banner::OURS.encode()), None);
    }
}

fn whole(message: &Message) -> Vec<u8> {
    let header = message.header.encode();
    crc_frame(Tag::Message, &[&header, &message.front, &[], &message.data])
}

fn message(kind: u16, tid: u64) -> Vec<u8> {
    let header = MessageHeader { kind, tid, ..Default::default() };
    whole(&Message { header, front: "front".into(), ..Default::default() })
}

fn request() -> OsdRequest {
    let (object, time) = (b"object".to_vec(), Timestamp::default());
    OsdRequest { pool: 1, hash: 0, group: 0, epoch: 1, object, time }
}

fn run(name: &str, cut: usize) -> (Sums, usize) {
    let tap = Tap::default();
    let mut said = 0;
    for (client, server) in pairs(name) {
        said += pass(&tap, &client, &server, cut).len();
    }
    (tap.sums(), said)
}

fn check_operations(sums: &Sums) {
    // Reads: get; of the script two, and one of an absent object. Writes: put; of the script
    // write_full, write, append, 8 times write_full. Others: stat, setxattr, getxattr, remove.
    let of = |kind| (sums.kind(kind).operations, sums.kind(kind).errors, sums.kind(kind).bytes);
    let (reads, writes, others) = (of(Kind::Read), of(Kind::Write), of(Kind::Other));
    assert_eq!(reads, (4, 1, 10_014));
    assert_eq!(writes, (12, 0, 5000 + 5000 + 60 + 4 + 800));
    assert_eq!((others.0, others.1), (4, 0));
    assert_eq!((sums.in_flight, sums.abandoned, sums.unmatched, sums.untracked), (0, 0, 0, 0));
    let slowest = sums.slowest();
    assert_eq!(slowest.len(), 16);
    assert!(slowest.iter().all(|slow| slow.pool == Some(1)));
    assert!(
        slowest.iter().any(|slow| slow.object == "vec-full"
            && slow.code.and_then(operation_name) == Some("writefull"))
    );
}

#[test]
fn every_operation_of_a_session_is_seen_and_matched() {
    for name in ["none-crc", "cephx-crc"] {
        // Whole, every operation comes before its reply; in random pieces that is not so.
        for cut in [0, 2, 3] {
            let (sums, said) = run(name, cut);
            assert_eq!((sums.connections, said), (11, 0));
            assert_eq!(sums.messages[&42].from_client.messages, 20, "{name}");
            assert_eq!(sums.messages[&43].from_server.messages, 20, "{name}");
            if cut == 0 {
                check_operations(&sums);
            }
        }
    }
}

#[test]
fn encryption_is_said_once_for_each_connection() {
    let (sums, said) = run("cephx-secure", 0);
    // In one piece the client's direction comes first, and makes no sense before the server's says
    // why.
    assert_eq!((sums.connections, said), (11, 11));
    assert_eq!(sums.blind.secure + sums.blind.broken, 11);
    assert!(!sums.messages.contains_key(&42));
}

#[test]
fn operations_without_a_reply_are_in_flight_and_then_abandoned() {
    let (client, _) =
        pairs("none-crc").into_iter().find(|(c, _)| c.connection.ends_with("osd-3")).unwrap();
    let tap = Tap::default();
    let mut connection = tap.connection(None);
    assert_eq!(connection.pass(Side::Initiator, Duration::ZERO, &client.bytes), None);
    assert_eq!((tap.sums().in_flight, tap.sums().most_in_flight), (18, 18));
    drop(connection);
    assert_eq!((tap.sums().in_flight, tap.sums().abandoned), (0, 18));
}

#[test]
fn what_is_in_flight_is_bounded_and_the_rest_is_counted() {
    let tap = Tap::default();
    let mut connection = tap.connection(None);
    begin(&mut connection);
    for tid in 0..5000 {
        connection.pass(Side::Initiator, Duration::ZERO, &message(OSD_OP, tid));
    }
    // The same once more takes no more room.
    connection.pass(Side::Initiator, Duration::from_millis(3), &message(OSD_OP, 7));
    let sums = tap.sums();
    assert_eq!((sums.in_flight, sums.untracked, sums.repeated), (4096, 904, 1));
    for tid in [7, 4999] {
        connection.pass(Side::Acceptor, Duration::from_millis(5), &message(OSD_OP_REPLY, tid));
    }
    let sums = tap.sums();
    assert_eq!((sums.in_flight, sums.unmatched), (4095, 1));
    // From the first time that it was sent.
    assert_eq!(sums.slowest()[0].latency, Duration::from_millis(5));
}

#[test]
fn what_the_reply_to_a_write_carries_is_none_of_its_data() {
    let request = request();
    for (asked, kind, bytes) in [
        (request.write(1, 0, vec![0; 4].into()), Kind::Write, 4),
        (request.read(1, 0, 100), Kind::Read, 100),
    ] {
        let tap = Tap::default();
        let mut connection = tap.connection(None);
        begin(&mut connection);
        let mut answer = OsdNull::new(0).answer(&asked.header, &asked.front).unwrap().unwrap();
        answer.data = vec![0; 100].into();
        for (side, message) in [(Side::Initiator, &asked), (Side::Acceptor, &answer)] {
            connection.pass(side, Duration::ZERO, &whole(message));
        }
        assert_eq!((tap.sums().kind(kind).operations, tap.sums().kind(kind).bytes), (1, bytes));
    }
}

#[test]
fn only_clients_ask_and_only_servers_answer() {
    let tap = Tap::default();
    let client = ([10, 0, 0, 1], 5).into();
    let mut connection = tap.connection(Some(client));
    begin(&mut connection);
    let mut pass = |side, ms, bytes: &[u8]| connection.pass(side, Duration::from_millis(ms), bytes);
    pass(Side::Acceptor, 0, &message(OSD_OP, 1));
    pass(Side::Initiator, 0, &message(OSD_OP_REPLY, 1));
    let sums = tap.sums();
    assert_eq!(
        (sums.in_flight, sums.unmatched, sums.messages[&OSD_OP].from_server.messages),
        (0, 0, 1)
    );
    for tid in 2..5 {
        pass(Side::Initiator, 1, &message(OSD_OP, tid));
    }
    pass(Side::Initiator, 2, &message(OSD_OP_REPLY, 2));
    pass(Side::Acceptor, 3, &message(OSD_OP_REPLY, 2));
    pass(Side::Acceptor, 4, &message(OSD_OP_REPLY, 3));
    pass(Side::Initiator, 5, &message(OSD_OP, 6));
    let sums = tap.sums();
    assert_eq!((sums.in_flight, sums.most_in_flight, sums.unmatched), (2, 3, 0));
    let slowest: Vec<_> = sums.slowest().iter().map(|it| (it.latency, it.client)).collect();
    assert_eq!(slowest, [3, 2].map(|ms| (Duration::from_millis(ms), Some(client))));
}

#[test]
fn a_result_below_zero_is_an_error_and_no_other_is() {
    let tap = Tap::default();
    let mut connection = tap.connection(None);
    begin(&mut connection);
    let asked = request().read(1, 0, 0);
    for (result, errors) in [(0, 0), (5, 0), (-5, 1), (i32::MIN, 2)] {
        let mut answer = OsdNull::new(0).answer(&asked.header, &asked.front).unwrap().unwrap();
        // Behind the object's name, its placement group and the flags.
        let at = 4 + "object".len() + 17 + 8;
        let mut front = answer.front.to_vec();
        front[at..at + 4].copy_from_slice(&i32::to_le_bytes(result));
        answer.front = front.into();
        connection.pass(Side::Initiator, Duration::ZERO, &whole(&asked));
        connection.pass(Side::Acceptor, Duration::ZERO, &whole(&answer));
        assert_eq!(tap.sums().kind(Kind::Read).errors, errors, "{result}");
    }
}

#[test]
fn all_connections_of_a_core_together_have_a_bound() {
    let tap = Tap::default();
    let mut connections: Vec<_> = (0..17).map(|_| tap.connection(None)).collect();
    let operations: Vec<_> = (0..4096).flat_map(|tid| message(OSD_OP, tid)).collect();
    for connection in &mut connections {
        begin(connection);
        connection.pass(Side::Initiator, Duration::ZERO, &operations);
    }
    let sums = tap.sums();
    assert_eq!((sums.in_flight, sums.untracked), (65_536, 4096));
    drop(connections);
    assert_eq!((tap.sums().in_flight, tap.sums().abandoned), (0, 65_536));
}

#[test]
fn why_nothing_can_be_seen_any_more_is_counted_once() {
    let tap = Tap::default();
    let mut connection = tap.connection(None);
    begin(&mut connection);
    connection.pass(Side::Initiator, Duration::ZERO, &message(OSD_OP, 1));
    // Bytes are missing.
    assert!(connection.lose());
    assert!(!connection.lose());
    let sums = tap.sums();
    assert_eq!((sums.blind.broken, sums.in_flight, sums.abandoned), (1, 0, 1));
    assert_eq!(connection.pass(Side::Initiator, Duration::ZERO, b"noise"), None);

    let mut connection = tap.connection(None);
    begin(&mut connection);
    let done = control_frame(&Control::CompressionDone { on: true, method: 1 });
    let said = connection.pass(Side::Acceptor, Duration::ZERO, &done);
    assert_eq!(said, Some(CannotFollow::Compressed));
    assert_eq!(connection.pass(Side::Acceptor, Duration::ZERO, &done), None);

    // The server alone says that they have agreed on encryption.
    for (_, server) in pairs("cephx-secure") {
        let mut connection = tap.connection(None);
        let said = connection.pass(Side::Acceptor, Duration::ZERO, &server.bytes);
        assert_eq!(said, Some(CannotFollow::Secure));
    }
    let blind = tap.sums().blind;
    assert_eq!((blind.secure, blind.compressed, blind.broken), (11, 1, 1));
}
