//! Control frames of msgr2, and what two endpoints make of them: a handshake, a keepalive.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use crate::harness::rounds;
use crate::msgr2::{
    AuthBadMethod, AuthDone, AuthNone, AuthRequest, ClientIdent, Config, Control, Cookies,
    Endpoint, EntityAddr, EntityType, Event, Hello, Policy, ServerIdent, SessionId,
    SessionReconnect, StreamId, Target, Timestamp,
};

/// Control frames: one of each kind.
pub(crate) const KINDS: usize = 21;

const SERVER: &str = "10.0.0.1:6800";
const CLIENT: &str = "10.0.0.2:40000";

fn address(text: &str) -> EntityAddr {
    EntityAddr::msgr2(socket(text), 7)
}

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("it is an address")
}

/// One of each kind, as long as Ceph's are.
fn kinds() -> [Control; KINDS] {
    let addresses = address(SERVER).into();
    let payload = Bytes::from_static(&[3; 36]);
    let (gid, global_seq, supported, required) = (4100, 9, u64::MAX >> 2, 1 << 40);
    let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
    [
        Control::Hello(Hello { entity: EntityType::OSD, peer: address(CLIENT) }),
        Control::AuthRequest(AuthRequest {
            method: 2,
            modes: vec![2, 1],
            payload: payload.clone(),
        }),
        Control::AuthBadMethod(AuthBadMethod {
            method: 1,
            result: -95,
            methods: vec![2],
            modes: vec![2, 1],
        }),
        Control::AuthReplyMore(payload.clone()),
        Control::AuthRequestMore(payload.clone()),
        Control::AuthDone(AuthDone { global_id: gid, mode: 1, payload }),
        Control::AuthSignature([4; 32]),
        Control::ClientIdent(ClientIdent {
            addresses,
            target: address(SERVER),
            gid,
            global_seq,
            supported,
            required,
            flags: 1,
            cookie: 0,
        }),
        Control::ServerIdent(ServerIdent {
            addresses: address(SERVER).into(),
            gid,
            global_seq,
            supported,
            required,
            flags: 1,
            cookie: 0,
        }),
        Control::IdentMissingFeatures(required),
        Control::SessionReconnect(SessionReconnect {
            addresses: address(SERVER).into(),
            client_cookie: 1,
            server_cookie: 2,
            global_seq,
            connect_seq: 3,
            msg_seq: 100,
        }),
        Control::SessionReset(true),
        Control::SessionRetry(3),
        Control::SessionRetryGlobal(9),
        Control::SessionReconnectOk(100),
        Control::Wait,
        Control::Keepalive2(time),
        Control::Keepalive2Ack(time),
        Control::Ack(100),
        Control::CompressionRequest { wanted: false, methods: vec![1, 3] },
        Control::CompressionDone { on: false, method: 0 },
    ]
}

/// The payloads of one of each kind are read.
pub(crate) fn control_decode() {
    let payloads = kinds().map(|control| {
        let mut payload = Vec::new();
        control.encode(&mut payload);
        (control.tag(), payload)
    });
    rounds(
        &mut payloads.as_slice(),
        |_, _| (),
        |payloads, _| {
            for (tag, payload) in payloads.iter() {
                let control = Control::decode(*tag, black_box(payload)).expect("it is right");
                black_box(control);
            }
        },
        |_, _| (),
    );
}

/// And written.
pub(crate) fn control_encode() {
    let kinds = kinds();
    rounds(
        &mut Vec::with_capacity(4096),
        |out: &mut Vec<u8>, _| out.clear(),
        |out, _| kinds.iter().for_each(|control| black_box(control).encode(out)),
        |out, _| assert!(!out.is_empty()),
    );
}

/// A client and a server, and the stream between them.
struct Pair {
    client: Endpoint,
    server: Endpoint,
    now: Instant,
    session: Option<SessionId>,
    streams: Option<(StreamId, StreamId)>,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let endpoint = |entity, at, policy| {
            let mut config = Config::new(entity, address(at).into());
            config.cookies = Cookies::From(1);
            config.policy = policy;
            Endpoint::new(config, Box::new(AuthNone::new(entity, "0", 0)), now)
        };
        let client = endpoint(EntityType::CLIENT, CLIENT, Policy::LOSSY_CLIENT);
        let server = endpoint(EntityType::OSD, SERVER, Policy::STATELESS_SERVER);
        Self { client, server, now, session: None, streams: None }
    }

    fn connect(&mut self) {
        let (address, policy) = (address(SERVER), Policy::LOSSY_CLIENT);
        let target = Target { address, entity: None, policy, reopen: false };
        let session = self.client.connect(target, self.now).expect("it has an address");
        let asked = self.client.poll_event();
        assert!(matches!(asked, Some(Event::Connect { .. })), "{asked:?}");
        let ours = self.client.connected(session, self.now).expect("it was asked for");
        let theirs = self.server.accept(socket(CLIENT), self.now);
        (self.session, self.streams) = (Some(session), Some((ours, theirs)));
    }

    /// Hands on what either says until neither says anything.
    fn talk(&mut self) {
        let (ours, theirs) = self.streams.expect("they are connected");
        while carry((&mut self.client, ours), (&mut self.server, theirs), self.now)
            | carry((&mut self.server, theirs), (&mut self.client, ours), self.now)
        {}
    }

    /// Whether the client has been told that messages pass.
    fn is_open(&mut self) -> bool {
        let mut opened = false;
        while let Some(event) = self.client.poll_event() {
            opened |= matches!(event, Event::Opened { .. });
        }
        while self.server.poll_event().is_some() {}
        opened
    }

    fn part(&mut self) {
        let (ours, theirs) = self.streams.take().expect("they are connected");
        self.client.close(self.session.take().expect("it has begun"));
        self.client.closed(ours, self.now);
        self.server.closed(theirs, self.now);
        self.is_open();
        assert_eq!((self.client.streams(), self.server.streams()), (0, 0));
        assert_eq!((self.client.sessions(), self.server.sessions()), (0, 0));
    }
}

/// Hands on what one endpoint says to another on a stream; whether that was anything.
fn carry(from: (&mut Endpoint, StreamId), to: (&mut Endpoint, StreamId), now: Instant) -> bool {
    let mut carried = 0;
    for slice in from.0.poll_send(from.1, now).iter() {
        let mut slice = &slice[..];
        carried += slice.len();
        assert!(to.0.receive(to.1, &mut slice, now).is_none(), "nobody sends a message");
        assert!(slice.is_empty());
    }
    from.0.sent(from.1, carried);
    carried > 0
}

/// From the first banner to where messages pass, both sides, in crc mode and without keys.
pub(crate) fn handshake() {
    rounds(
        &mut Pair::new(),
        |pair, _| pair.connect(),
        |pair, _| pair.talk(),
        |pair, _| {
            assert!(pair.is_open());
            pair.part();
        },
    );
}

/// A keepalive and its answer, both sides.
pub(crate) fn keepalive() {
    let mut pair = Pair::new();
    pair.connect();
    pair.talk();
    assert!(pair.is_open());
    rounds(
        &mut pair,
        |_, _| (),
        |pair, _| {
            pair.client.ping(pair.session.expect("it is open"), pair.now);
            pair.talk();
        },
        |pair, _| {
            let alive = std::iter::from_fn(|| pair.client.poll_event());
            assert_eq!(alive.filter(|event| matches!(event, Event::Alive { .. })).count(), 1);
            while pair.server.poll_event().is_some() {}
        },
    );
}
