//! One side of a session, of which the test plays the other, frame by frame.

use std::time::Instant;

use vmsgr_messenger::msgr2::*;

use crate::world::{config, name};

/// An endpoint, and a stream to it or from it of which the test plays the other side.
pub struct Played {
    pub endpoint: Endpoint,
    pub stream: StreamId,
    pub now: Instant,
}

pub fn message_frame(header: MessageHeader) -> Vec<u8> {
    let header = header.encode();
    crc_frame(Tag::Message, &[&header, b"front", &[], b"data"])
}

/// What the peer at this address says up to its session.
pub fn introduction(peer: u8) -> Vec<u8> {
    let mut bytes = Banner::OURS.encode().to_vec();
    bytes.extend(control_frame(&Control::Hello(Hello {
        entity: EntityType::OSD,
        peer: name(peer),
    })));
    let payload = Default::default();
    bytes.extend(control_frame(&Control::AuthRequest(AuthRequest {
        method: 1,
        modes: vec![1],
        payload,
    })));
    bytes.extend(control_frame(&Control::AuthSignature([0; 32])));
    bytes
}

pub fn ident(cookie: u64, global_seq: u64) -> ClientIdent {
    ClientIdent {
        addresses: name(1).into(),
        target: name(2),
        gid: 1,
        global_seq,
        supported: u64::MAX,
        required: 0,
        flags: 0,
        cookie,
    }
}

/// What the peer says to go on.
pub fn reconnect(client_cookie: u64, server_cookie: u64) -> SessionReconnect {
    SessionReconnect {
        addresses: name(1).into(),
        client_cookie,
        server_cookie,
        global_seq: 2,
        connect_seq: 1,
        msg_seq: 0,
    }
}

impl Played {
    /// A server at address 2, and a stream that the peer at address 1 made to it.
    pub fn server(config: Config) -> Self {
        let now = Instant::now();
        let auth = Box::new(AuthNone::new(EntityType::OSD, "0", 0));
        let mut endpoint = Endpoint::new(config, auth, now);
        let stream = endpoint.accept("10.0.0.1:1234".parse().unwrap(), now);
        let mut played = Self { endpoint, stream, now };
        played.give(&introduction(1));
        played.said();
        played
    }

    /// The peer makes another stream.
    pub fn again(&mut self) {
        self.stream = self.endpoint.accept("10.0.0.1:1235".parse().unwrap(), self.now);
        self.give(&introduction(1));
        self.said();
    }

    /// Gives bytes; how many messages came of them.
    pub fn give(&mut self, mut bytes: &[u8]) -> usize {
        let mut messages = 0;
        while let Some(received) = self.endpoint.receive(self.stream, &mut bytes, self.now) {
            let (session, count) = (received.session, received.bytes() as u64);
            self.endpoint.taken(session, 1, count, self.now);
            messages += 1;
        }
        messages
    }

    /// The control frames that it says now.
    pub fn said(&mut self) -> Vec<Control> {
        let mut output = Vec::new();
        loop {
            let slices = self.endpoint.poll_send(self.stream, self.now);
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            if bytes.is_empty() {
                break;
            }
            self.endpoint.sent(self.stream, bytes.len());
            output.extend(bytes);
        }
        let mut input = &output[..];
        if input.starts_with(b"ceph v2\n") {
            input = &input[Banner::BYTES..];
        }
        let mut decoder = FrameDecoder::new(Limits::default());
        let mut controls = Vec::new();
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            if frame.tag != Tag::Message {
                controls.push(Control::decode(frame.tag, &frame.segments[0]).unwrap());
            }
        }
        controls
    }

    pub fn answer(&mut self, control: &Control) -> Control {
        self.give(&control_frame(control));
        let said = self.said();
        let [answer] = &said[..] else { panic!("{said:?} to {control:?}") };
        answer.clone()
    }

    /// Begins a session with this cookie; that of the server.
    pub fn begin(&mut self, cookie: u64) -> u64 {
        match self.answer(&Control::ClientIdent(ident(cookie, 1))) {
            Control::ServerIdent(ident) => ident.cookie,
            other => panic!("{other:?}"),
        }
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.endpoint.poll_event()).collect()
    }

    pub fn refusal(&mut self) -> Option<Reason> {
        let events = self.events();
        events.into_iter().find_map(|event| match event {
            Event::Close { error, .. } => Some(error.reason),
            _ => None,
        })
    }
}

pub fn lossless(policy: Policy) -> Config {
    let mut config = config(EntityType::OSD, 2);
    config.policy = policy;
    config
}
