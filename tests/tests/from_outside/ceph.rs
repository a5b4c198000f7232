//! Our endpoint and Ceph's own programs.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use vmsgr_messenger::msgr2::*;
use vmsgr_tests::{Driver, MiniCeph, Namespace, PATIENCE, Pinged, ceph_ping, report};

const PING: u16 = 2;
const MON_MAP: u16 = 4;
const MON_SUBSCRIBE: u16 = 15;

fn client(cluster: &MiniCeph<'_>, keepalive: Option<Keepalive>) -> (Driver, SessionId) {
    let mon = cluster.env("CEPH_MON_ADDR").parse().expect("an address");
    let mut config = Config::new(EntityType::CLIENT, EntityAddrs::default());
    config.nonce = std::process::id();
    config.keepalive = keepalive;
    let target = Target {
        address: EntityAddr::msgr2(mon, 0),
        entity: Some(EntityType::MON),
        policy: Policy::LOSSY_CLIENT,
        reopen: true,
    };
    Driver::dial(config, target)
}

fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

/// MMonSubscribe: the map called `name`, from its first epoch on.
fn subscribe(name: &str) -> Message {
    let mut front = 1_u32.to_le_bytes().to_vec();
    put_blob(&mut front, name.as_bytes());
    front.extend(0_u64.to_le_bytes());
    front.push(0);
    put_blob(&mut front, b"here");
    let header =
        MessageHeader { kind: MON_SUBSCRIBE, version: 3, compat_version: 1, ..Default::default() };
    Message { header, front: front.into(), ..Default::default() }
}

/// Of a monitor's map: the cluster's fsid, the epoch, and the monitors' names.
#[derive(Debug)]
struct MonMap {
    fsid: String,
    epoch: u32,
    names: Vec<String>,
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = bytes.split_first_chunk().expect("the map is complete");
    *bytes = rest;
    *taken
}

fn take_u32(bytes: &mut &[u8]) -> u32 {
    u32::from_le_bytes(take(bytes))
}

fn take_blob<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = take_u32(bytes) as usize;
    let (blob, rest) = bytes.split_at(length);
    *bytes = rest;
    blob
}

/// Takes version, compat and length of a structure; what is in it.
fn take_struct<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    take::<2>(bytes);
    take_blob(bytes)
}

fn decode_mon_map(mut front: &[u8]) -> MonMap {
    let mut map = take_blob(&mut front);
    let mut map = take_struct(&mut map);
    let fsid = take::<16>(&mut map).iter().map(|byte| format!("{byte:02x}")).collect();
    let epoch = take_u32(&mut map);
    // When it was changed and made.
    take::<16>(&mut map);
    take_struct(&mut map);
    take_struct(&mut map);
    let count = take_u32(&mut map);
    let names = (0..count).map(|_| {
        let name = String::from_utf8(take_blob(&mut map).to_vec()).expect("a name");
        take_struct(&mut map);
        name
    });
    MonMap { fsid, epoch, names: names.collect() }
}

fn ask_for_mon_map(driver: &mut Driver, session: SessionId, cluster: &MiniCeph<'_>) {
    driver.endpoint.send(session, subscribe("monmap"), Instant::now()).expect("it is open");
    let map = decode_mon_map(&driver.message(MON_MAP, PATIENCE).front);
    report(&format!("{map:?}"));
    assert_eq!(map.fsid, cluster.conf("fsid").replace('-', ""));
    assert_eq!((map.epoch, map.names), (1, vec!["a".to_owned()]));
}

fn has(driver: &mut Driver, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
    let found = driver.events.iter().position(wanted)?;
    Some(driver.events.remove(found))
}

#[test]
fn a_session_with_a_monitor_survives_its_restart() {
    let Some(namespace) = Namespace::new() else { return };
    let Some(cluster) = MiniCeph::start(&namespace, "none", "crc") else { return };
    namespace.enter(|| subscribe_across_a_restart(&cluster));
}

fn subscribe_across_a_restart(cluster: &MiniCeph<'_>) {
    let keepalive = Keepalive { after: Duration::from_millis(200), patience: PATIENCE };
    let (mut driver, session) = client(cluster, Some(keepalive));
    ask_for_mon_map(&mut driver, session, cluster);
    for _ in 0..3 {
        let after = driver.until("an answer to a keepalive", PATIENCE, |driver| {
            has(driver, |event| matches!(event, Event::Alive { .. }))
        });
        report(&format!("{after:?}"));
    }
    cluster.kill_mon();
    driver.until("the loss", PATIENCE, |driver| {
        has(driver, |event| matches!(event, Event::Lost { .. }))
    });
    has(&mut driver, |event| matches!(event, Event::Opened { .. })).expect("it was open");
    cluster.start_mon();
    driver.until("the session", PATIENCE, |driver| {
        has(driver, |event| matches!(event, Event::Opened { session: id, .. } if *id == session))
    });
    ask_for_mon_map(&mut driver, session, cluster);
}

/// Twice as long as Ceph's own clients wait for an answer to a keepalive.
const MINUTE: Duration = Duration::from_secs(60);

/// It takes its minute beside the other tests.
#[test]
fn a_session_with_a_monitor_lives_for_a_minute_of_keepalives() {
    let Some(namespace) = Namespace::new() else { return };
    let Some(cluster) = MiniCeph::start(&namespace, "none", "crc") else { return };
    namespace.enter(|| stay_for_a_minute(&cluster));
}

fn stay_for_a_minute(cluster: &MiniCeph<'_>) {
    let after = Duration::from_secs(2);
    let (mut driver, session) = client(cluster, Some(Keepalive { after, patience: PATIENCE }));
    ask_for_mon_map(&mut driver, session, cluster);
    let end = Instant::now() + MINUTE;
    let mut alive = 0;
    driver.until("the minute's end", MINUTE + PATIENCE, |driver| {
        while has(driver, |event| matches!(event, Event::Alive { .. })).is_some() {
            alive += 1;
        }
        (Instant::now() >= end).then_some(())
    });
    report(&format!("{alive} keepalives were answered"));
    // One after each silence, and silence begins anew with each answer.
    assert!((15..=30).contains(&alive), "{alive}");
    let opened =
        |event: &Event| matches!(event, Event::Opened { session: id, .. } if *id == session);
    assert!(
        matches!(&driver.events[..], [Event::Connect { .. }, event] if opened(event)),
        "{:?}",
        driver.events
    );
    ask_for_mon_map(&mut driver, session, cluster);
}

#[test]
fn a_monitor_that_wants_cephx_says_so() {
    let Some(namespace) = Namespace::new() else { return };
    let Some(cluster) = MiniCeph::start(&namespace, "cephx", "crc") else { return };
    namespace.enter(|| be_refused(&cluster));
}

fn be_refused(cluster: &MiniCeph<'_>) {
    let (mut driver, _) = client(cluster, None);
    let ended = driver.until("the end", PATIENCE, |driver| {
        has(driver, |event| matches!(event, Event::Ended { .. }))
    });
    let Event::Ended { error, .. } = ended else { unreachable!("it was looked for") };
    report(&error.to_string());
    let Reason::BadMethod(bad) = error.reason else { panic!("{error}") };
    assert_eq!((bad.method, bad.methods, bad.modes), (1, vec![2], vec![1]));
}

/// Answers every ping with this text, as a monitor does, until `done`.
fn serve(listener: TcpListener, text: &str, mut done: impl FnMut() -> bool) -> usize {
    let address = listener.local_addr().expect("it is bound");
    let config = Config::new(EntityType::MON, EntityAddr::msgr2(address, 0).into());
    let auth = Box::new(AuthNone::new(EntityType::MON, "a", 0));
    let endpoint = Endpoint::new(config, auth, Instant::now());
    let mut pings = 0;
    Driver::new(endpoint, Some(listener)).until("the client's end", PATIENCE, |driver| {
        for delivery in std::mem::take(&mut driver.deliveries) {
            if delivery.header.kind == PING {
                pings += 1;
                let mut front = Vec::new();
                put_blob(&mut front, text.as_bytes());
                let header = MessageHeader {
                    kind: PING,
                    version: 1,
                    compat_version: 1,
                    ..Default::default()
                };
                let answer = Message { header, front: front.into(), ..Default::default() };
                let _ = driver.endpoint.send(delivery.session, answer, Instant::now());
            }
        }
        done().then_some(pings)
    })
}

#[test]
fn cephs_own_client_pings_us() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let Some(child) = ceph_ping(address) else { return };
    let pings = serve(listener, "{\"we\": \"are vmsgr\"}", || child.is_finished());
    let Pinged { text, crashes } = child.join().expect("it succeeds");
    assert!(text.contains("are vmsgr"), "{text}");
    assert!((1..=1 + crashes).contains(&pings), "{pings} pings, {crashes} crashes");
}
