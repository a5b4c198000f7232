//! The rules of sessions, one by one: what a server answers to a frame, and what a client does.

use std::time::{Duration, Instant};

use vmsgr_messenger::msgr2::*;

use crate::world::{World, config, message, name};

/// An endpoint, and a stream to it or from it of which the test plays the other side.
struct Played {
    endpoint: Endpoint,
    stream: StreamId,
    now: Instant,
}

fn message_frame(header: MessageHeader) -> Vec<u8> {
    let header = header.encode();
    let segments: [&[u8]; 4] = [&header, b"front", &[], b"data"];
    let envelope = Envelope::new(Tag::Message, &segments);
    envelope.slices(&segments).iter().flat_map(|slice| slice.to_vec()).collect()
}

/// What the peer at this address says up to its session.
fn introduction(peer: u8) -> Vec<u8> {
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

fn ident(cookie: u64, global_seq: u64) -> ClientIdent {
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
fn reconnect(client_cookie: u64, server_cookie: u64) -> SessionReconnect {
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
    fn server(config: Config) -> Self {
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
    fn again(&mut self) {
        self.stream = self.endpoint.accept("10.0.0.1:1235".parse().unwrap(), self.now);
        self.give(&introduction(1));
        self.said();
    }

    /// Gives bytes; how many messages came of them.
    fn give(&mut self, mut bytes: &[u8]) -> usize {
        let mut messages = 0;
        while let Some(received) = self.endpoint.receive(self.stream, &mut bytes, self.now) {
            let (session, count) = (received.session, received.bytes() as u64);
            self.endpoint.taken(session, 1, count, self.now);
            messages += 1;
        }
        messages
    }

    /// The control frames that it says now.
    fn said(&mut self) -> Vec<Control> {
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

    fn answer(&mut self, control: &Control) -> Control {
        self.give(&control_frame(control));
        let said = self.said();
        let [answer] = &said[..] else { panic!("{said:?} to {control:?}") };
        answer.clone()
    }

    /// Begins a session with this cookie; that of the server.
    fn begin(&mut self, cookie: u64) -> u64 {
        match self.answer(&Control::ClientIdent(ident(cookie, 1))) {
            Control::ServerIdent(ident) => ident.cookie,
            other => panic!("{other:?}"),
        }
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.endpoint.poll_event()).collect()
    }

    fn refusal(&mut self) -> Option<Reason> {
        let events = self.events();
        events.into_iter().find_map(|event| match event {
            Event::Close { error, .. } => Some(error.reason),
            _ => None,
        })
    }
}

fn lossless(policy: Policy) -> Config {
    let mut config = config(EntityType::OSD, 2);
    config.policy = policy;
    config
}

#[test]
fn only_who_knows_both_cookies_goes_on() {
    for policy in [Policy::LOSSLESS_PEER, Policy::STATEFUL_SERVER] {
        let mut server = Played::server(lossless(policy));
        let cookie = server.begin(5);
        // Whether it is to forget its messages, too, depends on what is expected of it.
        let reset = Control::SessionReset(policy.reset_check);
        for (client, theirs) in [(6, cookie), (5, cookie + 1)] {
            server.again();
            let answer = server.answer(&Control::SessionReconnect(reconnect(client, theirs)));
            assert_eq!(answer, reset, "{client} {theirs}");
        }
        server.again();
        let answer = server.answer(&Control::SessionReconnect(reconnect(5, cookie)));
        assert_eq!(answer, Control::SessionReconnectOk(0));
        // Whom it has never heard of.
        let mut server = Played::server(lossless(policy));
        let answer = server.answer(&Control::SessionReconnect(reconnect(5, cookie)));
        assert_eq!(answer, reset);
    }
}

#[test]
fn who_counts_behind_is_told_from_where_to_count() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let cookie = server.begin(5);
    server.again();
    let later = SessionReconnect { global_seq: 9, connect_seq: 4, ..reconnect(5, cookie) };
    let answer = server.answer(&Control::SessionReconnect(later.clone()));
    assert_eq!(answer, Control::SessionReconnectOk(0));
    server.again();
    let behind = SessionReconnect { global_seq: 8, ..later.clone() };
    let answer = server.answer(&Control::SessionReconnect(behind));
    assert_eq!(answer, Control::SessionRetryGlobal(9));
    let behind = SessionReconnect { connect_seq: 3, ..later };
    let answer = server.answer(&Control::SessionReconnect(behind));
    assert_eq!(answer, Control::SessionRetry(4));
    // And who begins with an older connection than the latest is not heard.
    server.again();
    server.events();
    server.give(&control_frame(&Control::ClientIdent(ident(5, 8))));
    assert_eq!(server.refusal(), Some(Reason::Stale));
}

#[test]
fn who_goes_on_is_told_what_came() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let cookie = server.begin(5);
    let sent = |seq| message_frame(MessageHeader { seq, ..Default::default() });
    assert_eq!(server.give(&[sent(1), sent(2)].concat()), 2);
    server.again();
    let answer = server.answer(&Control::SessionReconnect(reconnect(5, cookie)));
    assert_eq!(answer, Control::SessionReconnectOk(2));
    // Who does not listen and says it all again is heard once.
    assert_eq!(server.give(&[sent(1), sent(2), sent(3)].concat()), 1);
}

#[test]
fn a_peer_that_begins_anew_is_owed_only_what_its_policy_says() {
    for policy in [Policy::LOSSLESS_PEER, Policy::STATEFUL_SERVER] {
        let mut server = Played::server(lossless(policy));
        server.begin(5);
        let opened = server.events().into_iter().find_map(|event| match event {
            Event::Opened { session, .. } => Some(session),
            _ => None,
        });
        let session = opened.unwrap();
        server.endpoint.send(session, message(1), server.now).unwrap();
        server.again();
        server.give(&control_frame(&Control::ClientIdent(ident(6, 2))));
        let lost = u64::from(policy.reset_check);
        let events = server.events();
        assert!(events.contains(&Event::Reset { session, lost }), "{events:?}");
        let kept = server.endpoint.outbox_bytes(session) > 0;
        assert_eq!(kept, !policy.reset_check, "{policy:?}");
    }
}

#[test]
fn who_looks_for_another_process_or_lacks_features_is_refused() {
    let mut config = lossless(Policy::LOSSLESS_PEER);
    config.only_for_us = true;
    config.supported = 0xff;
    config.required = 0x3;
    let target = EntityAddr { nonce: 3, ..name(2) };
    let mut server = Played::server(config.clone());
    server.give(&control_frame(&Control::ClientIdent(ClientIdent { target, ..ident(5, 1) })));
    assert_eq!(server.refusal(), Some(Reason::NotUs));
    let mut server = Played::server(config.clone());
    let demanding = ClientIdent { required: 0x1ff, ..ident(5, 1) };
    server.give(&control_frame(&Control::ClientIdent(demanding)));
    assert_eq!(server.refusal(), Some(Reason::MissingFeatures(0x100)));
    let mut server = Played::server(config);
    let simple = ClientIdent { supported: 0x1, ..ident(5, 1) };
    let answer = server.answer(&Control::ClientIdent(simple));
    assert_eq!(answer, Control::IdentMissingFeatures(0x2));
    // It may say who it is once more.
    assert_ne!(server.begin(5), 0);
}

#[test]
fn sessions_are_bounded_on_both_sides() {
    let mut config = lossless(Policy::LOSSLESS_PEER);
    config.sessions = 1;
    let mut server = Played::server(config);
    server.begin(5);
    server.again();
    server.events();
    let another = ClientIdent { addresses: name(3).into(), ..ident(7, 1) };
    server.give(&control_frame(&Control::ClientIdent(another)));
    assert_eq!(server.refusal(), Some(Reason::TooManySessions));
    let policy = Policy::LOSSY_CLIENT;
    let target = Target { address: name(4), entity: None, policy, reopen: false };
    assert_eq!(server.endpoint.connect(target, server.now), None);
}

#[test]
fn a_peer_that_does_not_know_its_address_is_known_by_where_it_comes_from() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let mut nowhere = name(1);
    nowhere.socket = Some("0.0.0.0:6800".parse().unwrap());
    let blind = ClientIdent { addresses: nowhere.into(), ..ident(5, 1) };
    let Control::ServerIdent(theirs) = server.answer(&Control::ClientIdent(blind)) else {
        panic!()
    };
    server.again();
    // By then it knows.
    let known = reconnect(5, theirs.cookie);
    assert_eq!(server.answer(&Control::SessionReconnect(known)), Control::SessionReconnectOk(0));
}

#[test]
fn acks_do_not_wait_when_many_messages_came() {
    let mut config = lossless(Policy::LOSSLESS_PEER);
    config.ack_every = 3;
    let mut server = Played::server(config);
    server.begin(5);
    let sent = |seq| message_frame(MessageHeader { seq, ..Default::default() });
    server.give(&[sent(1), sent(2)].concat());
    assert_eq!(server.said(), []);
    server.give(&sent(3));
    assert_eq!(server.said(), [Control::Ack(3)]);
}

#[test]
fn a_frame_that_its_sender_gave_up_does_not_count() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    server.begin(5);
    let mut given_up = message_frame(MessageHeader { seq: 1, ..Default::default() });
    // The epilogue: a status, and the crcs of three segments.
    let status = given_up.len() - 13;
    given_up[status] = 1;
    for pieces in [given_up.len(), 7] {
        let came: usize = given_up.chunks(pieces).map(|piece| server.give(piece)).sum();
        assert_eq!((came, server.refusal()), (0, None), "{pieces}");
    }
    assert_eq!(server.give(&message_frame(MessageHeader { seq: 1, ..Default::default() })), 1);
}

#[test]
fn our_own_silence_does_not_count_against_the_peer() {
    let second = Duration::from_secs(1);
    let mut config = lossless(Policy::LOSSLESS_PEER);
    config.keepalive = Some(Keepalive { after: 10 * second, patience: 20 * second });
    config.throttle = ThrottleLimits { messages: 1, bytes: 1 << 20 };
    let mut server = Played::server(config);
    server.begin(5);
    let bytes = message_frame(MessageHeader { seq: 1, ..Default::default() });
    let received = server.endpoint.receive(server.stream, &mut &bytes[..], server.now).unwrap();
    let (session, count) = (received.session, received.bytes() as u64);
    let again = message_frame(MessageHeader { seq: 2, ..Default::default() });
    assert!(server.endpoint.receive(server.stream, &mut &again[..], server.now).is_none());
    assert!(server.endpoint.is_held(server.stream));
    server.events();
    server.now += 1000 * second;
    server.endpoint.handle_timeout(server.now);
    server.endpoint.taken(session, 1, count, server.now);
    assert!(server.events().contains(&Event::Resume(server.stream)));
    // What it sends meanwhile is an acknowledgement, and no question yet.
    server.endpoint.handle_timeout(server.now + second);
    let asked = |said: &Control| matches!(said, Control::Keepalive2(_));
    assert!(!server.said().iter().any(asked));
    assert_eq!(server.refusal(), None);
}

/// A client of a lossless session with the peer at address 1, whose server has said this name.
struct Dialling {
    played: Played,
    session: SessionId,
}

impl Dialling {
    fn new(policy: Policy) -> Self {
        let now = Instant::now();
        let auth = Box::new(AuthNone::new(EntityType::OSD, "0", 0));
        let mut endpoint = Endpoint::new(config(EntityType::OSD, 2), auth, now);
        let target = Target { address: name(1), entity: None, policy, reopen: false };
        let session = endpoint.connect(target, now).unwrap();
        let stream = endpoint.connected(session, now).unwrap();
        Self { played: Played { endpoint, stream, now }, session }
    }

    /// The server lets it in; what it says then.
    fn let_in(&mut self) -> Vec<Control> {
        let mut bytes = Banner::OURS.encode().to_vec();
        bytes.extend(control_frame(&Control::Hello(Hello {
            entity: EntityType::OSD,
            peer: name(2),
        })));
        let done = AuthDone { global_id: 1, mode: 1, payload: Default::default() };
        bytes.extend(control_frame(&Control::AuthDone(done)));
        bytes.extend(control_frame(&Control::AuthSignature([0; 32])));
        self.played.give(&bytes);
        let mut said = self.played.said();
        // Behind HELLO, AUTH_REQUEST and the signature.
        said.split_off(3)
    }

    fn welcome(&mut self, flags: u64) {
        self.welcome_as(name(1), flags);
    }

    /// The server is there, it says.
    fn welcome_as(&mut self, name: EntityAddr, flags: u64) {
        self.played.give(&control_frame(&Control::ServerIdent(ServerIdent {
            addresses: name.into(),
            gid: 0,
            global_seq: 1,
            supported: u64::MAX,
            required: 0,
            flags,
            cookie: 77,
        })));
    }

    /// The stream is lost, and made again.
    fn lose(&mut self) -> Vec<Control> {
        self.played.events();
        self.played.endpoint.closed(self.played.stream, self.played.now);
        while !self.played.events().iter().any(|event| matches!(event, Event::Connect { .. })) {
            self.played.now = self.played.endpoint.deadline().expect("it tries again");
            self.played.endpoint.handle_timeout(self.played.now);
        }
        self.played.stream = self.played.endpoint.connected(self.session, self.played.now).unwrap();
        self.let_in()
    }
}

fn resumption(said: &[Control]) -> SessionReconnect {
    let [Control::SessionReconnect(reconnect)] = said else { panic!("{said:?}") };
    reconnect.clone()
}

#[test]
fn a_client_goes_on_where_both_are() {
    let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
    client.let_in();
    client.welcome(0);
    for number in 1..=3 {
        client.played.endpoint.send(client.session, message(number), client.played.now).unwrap();
    }
    client.played.said();
    client.played.give(&message_frame(MessageHeader { seq: 1, ..Default::default() }));
    let said = resumption(&client.lose());
    assert_eq!((said.server_cookie, said.connect_seq, said.msg_seq), (77, 1, 1));
    // It counts on from where it is told to.
    let retry = client.played.answer(&Control::SessionRetry(5));
    assert_eq!(resumption(&[retry]).connect_seq, 6);
    let retry = client.played.answer(&Control::SessionRetryGlobal(40));
    assert_eq!(resumption(&[retry]).global_seq, 41);
    // What the server has need not be kept.
    client.played.give(&control_frame(&Control::SessionReconnectOk(3)));
    assert_eq!(client.played.endpoint.outbox_bytes(client.session), 0);
}

#[test]
fn a_reset_is_as_full_as_it_says() {
    for full in [false, true] {
        let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
        client.let_in();
        client.welcome(0);
        client.played.endpoint.send(client.session, message(1), client.played.now).unwrap();
        resumption(&client.lose());
        client.played.events();
        let answer = client.played.answer(&Control::SessionReset(full));
        assert!(matches!(answer, Control::ClientIdent(_)), "{answer:?}");
        let (session, lost) = (client.session, u64::from(full));
        assert!(client.played.events().contains(&Event::Reset { session, lost }));
        assert_eq!(client.played.endpoint.outbox_bytes(client.session) > 0, !full);
    }
}

#[test]
fn a_session_is_as_lossy_as_the_server_says() {
    for flags in [0, FLAG_LOSSY] {
        let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
        client.let_in();
        client.welcome(flags);
        client.played.endpoint.closed(client.played.stream, client.played.now);
        let ended = |event: &Event| matches!(event, Event::Ended { .. });
        assert_eq!(client.played.events().iter().any(ended), flags == FLAG_LOSSY);
    }
}

#[test]
fn who_is_told_to_wait_does_so_for_as_long_as_a_handshake_takes() {
    let mut client = Dialling::new(Policy::LOSSLESS_PEER);
    client.let_in();
    client.played.events();
    client.played.give(&control_frame(&Control::Wait));
    assert_eq!(client.played.refusal(), Some(Reason::Race));
    let until = client.played.endpoint.deadline().expect("it waits");
    assert_eq!(until - client.played.now, Duration::from_secs(10));
    client.played.endpoint.handle_timeout(until);
    let asks = |event: &Event| matches!(event, Event::Connect { .. });
    assert!(client.played.events().iter().any(asks), "nobody came");
}

#[test]
fn a_standby_session_without_anything_to_say_waits() {
    for (policy, tries) in [(Policy::LOSSLESS_PEER, 0), (Policy::LOSSLESS_CLIENT, 1)] {
        let mut world = World::peers(1);
        world.dial(0, 1, policy);
        world.settle();
        world.cut();
        world.pass(Duration::from_secs(60));
        assert_eq!(world.made, 1 + tries, "{policy:?}");
    }
}

#[test]
fn a_connection_that_worked_is_made_again_at_once() {
    let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
    client.let_in();
    client.welcome(0);
    for seq in 1..=5 {
        // Only what comes on it shows that it works.
        client.played.give(&message_frame(MessageHeader { seq, ..Default::default() }));
        let before = client.played.now;
        client.lose();
        assert_eq!(client.played.now, before);
        client.played.give(&control_frame(&Control::SessionReconnectOk(0)));
    }
}

/// Behind a relay it is reached at another address than its own, from which it comes back.
#[test]
fn a_peer_that_says_it_is_elsewhere_comes_back_from_there() {
    let elsewhere = EntityAddr { socket: name(3).socket, ..name(1) };
    let mut client = Dialling::new(Policy::LOSSLESS_PEER);
    let said = client.let_in();
    let [Control::ClientIdent(ident)] = &said[..] else { panic!("{said:?}") };
    client.welcome_as(elsewhere, 0);
    let now = client.played.now;
    client.played.endpoint.closed(client.played.stream, now);
    client.played.stream = client.played.endpoint.accept("10.0.0.3:1234".parse().unwrap(), now);
    client.played.give(&introduction(3));
    client.played.said();
    let back = SessionReconnect { addresses: elsewhere.into(), ..reconnect(ident.cookie, 77) };
    let answer = client.played.answer(&Control::SessionReconnect(back));
    assert_eq!(answer, Control::SessionReconnectOk(0));
    assert_eq!(client.played.endpoint.sessions(), 1);
    // With the session both its names are forgotten.
    client.played.endpoint.close(client.session);
    for address in [name(1), elsewhere] {
        let target = Target { address, entity: None, policy: Policy::LOSSLESS_PEER, reopen: false };
        assert_ne!(client.played.endpoint.connect(target, now), Some(client.session));
    }
    assert_eq!(client.played.endpoint.sessions(), 2);
}

#[test]
fn a_peer_that_begins_anew_elsewhere_is_known_there_only() {
    let policy = Policy::LOSSLESS_CLIENT;
    let at = |number| EntityAddr { socket: name(number).socket, ..name(1) };
    let mut client = Dialling::new(policy);
    client.let_in();
    client.welcome_as(at(3), 0);
    client.lose();
    client.played.give(&control_frame(&Control::SessionReset(true)));
    client.welcome_as(at(4), 0);
    for (number, known) in [(1, true), (3, false), (4, true)] {
        let target = Target { address: at(number), entity: None, policy, reopen: false };
        let session = client.played.endpoint.connect(target, client.played.now);
        assert_eq!(session == Some(client.session), known, "{number}");
    }
}

#[test]
fn nobody_connects_to_a_client_that_does_not_listen() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let addresses = EntityAddr::client("10.0.0.1".parse().unwrap(), 9).into();
    server.answer(&Control::ClientIdent(ClientIdent { addresses, ..ident(5, 1) }));
    let events = server.events();
    let opened = events.iter().find_map(|event| match event {
        Event::Opened { session, .. } => Some(*session),
        _ => None,
    });
    server.endpoint.send(opened.unwrap(), message(1), server.now).unwrap();
    server.endpoint.closed(server.stream, server.now);
    let events = server.events();
    assert!(matches!(events[..], [.., Event::Lost { .. }]), "{events:?}");
    server.now += Config::new(EntityType::OSD, EntityAddrs::default()).linger;
    server.endpoint.handle_timeout(server.now);
    let events = server.events();
    let ended = |event: &Event| matches!(event, Event::Ended { error, .. } if matches!(error.reason, Reason::Lingered(_)));
    assert!(matches!(&events[..], [event] if ended(event)), "{events:?}");
}

#[test]
fn whoever_counts_to_the_end_breaks_nothing() {
    let last = u64::MAX;
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let cookie = server.begin(5);
    let message = message_frame(MessageHeader { seq: last, ..Default::default() });
    assert_eq!((server.give(&message), server.give(&message)), (1, 0), "the other is the same");
    server.again();
    let end = SessionReconnect { connect_seq: last, global_seq: last, ..reconnect(5, cookie) };
    let answer = server.answer(&Control::SessionReconnect(end));
    assert_eq!(answer, Control::SessionReconnectOk(last));
    let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
    client.let_in();
    client.welcome(0);
    client.lose();
    // That is as far as it goes, so each has had enough.
    for retry in [Control::SessionRetry(last), Control::SessionRetry(last - 1)] {
        client.played.give(&control_frame(&retry));
        client.lose();
    }
    client.played.give(&control_frame(&Control::SessionRetryGlobal(last - 1)));
    assert_eq!(resumption(&client.played.said()).global_seq, last);
    assert_eq!(resumption(&client.lose()).global_seq, last);
}

#[test]
fn a_peer_is_told_no_more_addresses_than_it_listens_to_and_the_first_stays() {
    let mut server = Played::server(lossless(Policy::STATEFUL_SERVER));
    for port in 1..=200 {
        server.endpoint.add_address(EntityAddr::msgr2(([10, 0, 0, 2], port).into(), 2));
    }
    let answer = server.answer(&Control::ClientIdent(ident(5, 1)));
    let Control::ServerIdent(ident) = answer else { panic!("{answer:?}") };
    assert_eq!((ident.addresses.0.len(), ident.addresses.0[0]), (64, name(2)));
    let last = EntityAddr::msgr2(([10, 0, 0, 2], 200).into(), 2);
    assert_eq!(ident.addresses.0.last(), Some(&last));
}
