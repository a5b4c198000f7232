//! Our handshakes beside those of Ceph's own: fed what the one side said, we say what the other did.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use vmsgr_messenger::msgr2::*;

use crate::vectors::{Stream, pairs, secrets};

const RUNS: [&str; 3] = ["none-crc", "cephx-crc", "cephx-secure"];

/// The control frames at the beginning of a stream, and how many bytes they have with the banner.
fn controls(stream: &Stream) -> (Vec<Control>, usize) {
    let bytes = &stream.bytes[..];
    let mut rest = &bytes[Banner::BYTES..];
    let mut plain = FrameDecoder::new(Limits::default());
    let mut sealed = sealed(stream);
    let (mut controls, mut length, mut agreed) = (Vec::new(), Banner::BYTES, false);
    loop {
        let frame = match &mut sealed {
            Some(sealed) if agreed => sealed.decode(&mut rest).unwrap(),
            _ => plain.decode(&mut rest).unwrap(),
        };
        let Some(frame) = frame.filter(|frame| frame.tag != Tag::Message) else { break };
        // The last that each side says in the clear.
        agreed = frame.tag == if stream.from_client { Tag::AuthRequestMore } else { Tag::AuthDone }
            || agreed;
        controls.push(Control::decode(frame.tag, &frame.segments[0]).unwrap());
        length = bytes.len() - rest.len();
    }
    (controls, length)
}

/// What opens the frames of a stream in secure mode.
fn sealed(stream: &Stream) -> Option<SecureFrameDecoder> {
    let secret = agreed(&stream.connection).connection_secret?;
    let reader = if stream.from_client { Side::Acceptor } else { Side::Initiator };
    Some(from_connection_secret(&secret, reader, Limits::default()).unwrap().1)
}

/// What authentication agreed on.
fn agreed(connection: &str) -> Secrets {
    if connection.starts_with("none") {
        return Secrets::default();
    }
    let secrets = secrets(connection);
    let some = |secret: Vec<u8>| Some(secret).filter(|secret| !secret.is_empty());
    Secrets {
        session_key: some(secrets.session_key),
        connection_secret: some(secrets.connection_secret),
    }
}

/// Says what one side said, and agrees on what it agreed on, whatever the other side says.
#[derive(Debug, Clone)]
struct Replay {
    said: VecDeque<Control>,
    secrets: Secrets,
}

impl Replay {
    fn new(stream: &Stream, said: &[Control]) -> Box<Self> {
        let said = said
            .iter()
            .filter(|said| !matches!(said, Control::Hello(_) | Control::AuthSignature(_)));
        Box::new(Self { said: said.cloned().collect(), secrets: agreed(&stream.connection) })
    }

    fn answer(&mut self) -> ServerAnswer {
        match self.said.pop_front() {
            Some(Control::AuthReplyMore(payload)) => ServerAnswer::More(payload),
            Some(Control::AuthDone(done)) => ServerAnswer::Done(done, self.secrets.clone()),
            other => panic!("{other:?}"),
        }
    }
}

impl Authenticator for Replay {
    fn client(&self, _server: EntityType) -> Box<dyn ClientAuth> {
        Box::new(self.clone())
    }

    fn server(&self, _client: EntityType) -> Box<dyn ServerAuth> {
        Box::new(self.clone())
    }
}

impl ClientAuth for Replay {
    fn begin(&mut self) -> AuthRequest {
        match self.said.pop_front() {
            Some(Control::AuthRequest(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn bad_method(&mut self, _answer: &AuthBadMethod) -> Option<AuthRequest> {
        None
    }

    fn more(&mut self, _payload: &[u8]) -> Result<Bytes, AuthError> {
        match self.said.pop_front() {
            Some(Control::AuthRequestMore(payload)) => Ok(payload),
            other => panic!("{other:?}"),
        }
    }

    fn done(&mut self, _done: &AuthDone) -> Result<Secrets, AuthError> {
        Ok(self.secrets.clone())
    }
}

impl ServerAuth for Replay {
    fn request(&mut self, _request: &AuthRequest) -> Result<ServerAnswer, AuthError> {
        Ok(self.answer())
    }

    fn more(&mut self, _payload: &[u8]) -> Result<ServerAnswer, AuthError> {
        Ok(self.answer())
    }
}

fn client_ident(controls: &[Control]) -> ClientIdent {
    let Some(Control::ClientIdent(ident)) = controls.last() else { panic!("{controls:?}") };
    ident.clone()
}

fn hello(controls: &[Control]) -> Hello {
    let Some(Control::Hello(hello)) = controls.first() else { panic!("{controls:?}") };
    hello.clone()
}

fn server_ident(controls: &[Control]) -> ServerIdent {
    let Some(Control::ServerIdent(ident)) = controls.last() else { panic!("{controls:?}") };
    ident.clone()
}

fn give(endpoint: &mut Endpoint, stream: StreamId, mut bytes: &[u8], now: Instant) {
    while endpoint.receive(stream, &mut bytes, now).is_some() {}
}

fn output(endpoint: &mut Endpoint, stream: StreamId, now: Instant) -> Vec<u8> {
    let mut output = Vec::new();
    loop {
        let slices = endpoint.poll_send(stream, now);
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        if bytes.is_empty() {
            return output;
        }
        endpoint.sent(stream, bytes.len());
        output.extend(bytes);
    }
}

/// Makes so many connections, which count.
fn connect_often(endpoint: &mut Endpoint, address: EntityAddr, times: u64, now: Instant) {
    let policy = Policy::LOSSY_CLIENT;
    for _ in 0..times {
        let target = Target { address, entity: None, policy, reopen: false };
        let before = endpoint.connect(target, now).unwrap();
        endpoint.connected(before, now).unwrap();
    }
}

fn act_as_client(client: &Stream, server: &Stream) {
    let ((said, length), (_, heard)) = (controls(client), controls(server));
    let ident = client_ident(&said);
    let Control::AuthRequest(request) = &said[1] else { panic!("{said:?}") };

    let now = Instant::now();
    let mut config = Config::new(EntityType::CLIENT, EntityAddrs::default());
    config.nonce = ident.addresses.msgr2().nonce;
    config.gid = Some(ident.gid);
    config.required = ident.required;
    config.cookies = Cookies::From(ident.cookie.wrapping_sub(1));
    let auth: Box<dyn Authenticator> = if client.connection.starts_with("none") {
        let global_id = u64::from_le_bytes(*request.payload.last_chunk().unwrap());
        Box::new(AuthNone::new(EntityType::CLIENT, "admin", global_id))
    } else {
        Replay::new(client, &said)
    };
    let mut endpoint = Endpoint::new(config, auth, now);
    let target = Target {
        address: ident.target,
        entity: None,
        policy: match ident.flags & FLAG_LOSSY {
            0 => Policy::LOSSLESS_CLIENT,
            _ => Policy::LOSSY_CLIENT,
        },
        reopen: false,
    };
    // It had made others before.
    connect_often(&mut endpoint, ident.target, ident.global_seq - 1, now);
    let session = endpoint.connect(target, now).unwrap();
    let stream = endpoint.connected(session, now).unwrap();
    give(&mut endpoint, stream, &server.bytes[..heard], now);
    let ours = output(&mut endpoint, stream, now);
    assert!(ours == client.bytes[..length], "{}", client.connection);
    assert!(ours.len() > 300, "the whole handshake");
}

#[test]
fn a_client_says_what_cephs_client_said() {
    for run in RUNS {
        pairs(run).iter().for_each(|(client, server)| act_as_client(client, server));
    }
}

fn act_as_server(client: &Stream, server: &Stream) {
    let ((said, length), (_, heard)) = (controls(server), controls(client));
    let ident = server_ident(&said);

    let now = Instant::now();
    let mut config = Config::new(hello(&said).entity, ident.addresses.clone());
    config.gid = Some(ident.gid);
    config.required = ident.required;
    let none = server.connection.starts_with("none");
    let auth: Box<dyn Authenticator> = match none {
        true => Box::new(AuthNone::new(config.entity, "0", 0)),
        false => Replay::new(server, &said),
    };
    let mut endpoint = Endpoint::new(config, auth, now);
    connect_often(&mut endpoint, ident.addresses.msgr2(), ident.global_seq - 1, now);
    let stream = endpoint.accept(hello(&said).peer.socket.unwrap(), now);
    give(&mut endpoint, stream, &client.bytes[..heard], now);
    let ours = output(&mut endpoint, stream, now);
    if none && server.connection.contains("mon") {
        // A new client's number is the daemon's own affair.
        let ours =
            Stream { bytes: ours, connection: server.connection.clone(), from_client: false };
        let (mut ours, _) = controls(&ours);
        for (ours, theirs) in ours.iter_mut().zip(&said) {
            if let (Control::AuthDone(ours), Control::AuthDone(theirs)) = (ours, theirs) {
                ours.global_id = theirs.global_id;
            }
        }
        assert_eq!(ours, said, "{}", server.connection);
    } else {
        assert!(ours == server.bytes[..length], "{}", server.connection);
    }
}

#[test]
fn a_server_says_what_cephs_daemons_said() {
    for run in RUNS {
        pairs(run).iter().for_each(|(client, server)| act_as_server(client, server));
    }
}

#[test]
fn a_key_that_is_wrong_in_a_bit_signs_and_verifies_nothing() {
    for run in &RUNS[1..] {
        for (client, server) in pairs(run) {
            let ((said, _), (_, heard)) = (controls(&server), controls(&client));
            let now = Instant::now();
            let config = Config::new(hello(&said).entity, server_ident(&said).addresses);
            let mut auth = Replay::new(&server, &said);
            auth.secrets.session_key.as_mut().unwrap()[3] ^= 4;
            let mut endpoint = Endpoint::new(config, auth, now);
            let stream = endpoint.accept(hello(&said).peer.socket.unwrap(), now);
            give(&mut endpoint, stream, &client.bytes[..heard], now);
            let mut errors = std::iter::from_fn(|| endpoint.poll_event()).filter_map(|event| {
                if let Event::Close { error, .. } = event { Some(error) } else { None }
            });
            let error = errors.next().unwrap();
            let violation = Violation { tag: Some(Tag::AuthSignature), rule: Rule::Signature };
            assert_eq!(error.reason, Reason::Violation(violation), "{}", client.connection);
        }
    }
}
