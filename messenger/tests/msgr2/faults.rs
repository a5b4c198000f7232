//! Wrong input in every state ends the stream with an error that names state, tag and rule.

use std::time::{Duration, Instant};

use vmsgr_messenger::msgr2::Side::{Acceptor, Initiator};
use vmsgr_messenger::msgr2::*;

use crate::world::{config, message, name, raw};

/// An endpoint, a stream of it, and the bytes that a good peer would send on that.
struct Victim {
    endpoint: Endpoint,
    stream: StreamId,
    now: Instant,
}

/// The one who talks to it; its address is the greater one.
const PEER: u8 = 3;

fn hello() -> Vec<u8> {
    control_frame(&Control::Hello(Hello { entity: EntityType::OSD, peer: name(2) }))
}

fn request(method: u32) -> Vec<u8> {
    let payload = Default::default();
    control_frame(&Control::AuthRequest(AuthRequest { method, modes: vec![1], payload }))
}

fn done() -> Vec<u8> {
    control_frame(&Control::AuthDone(AuthDone {
        global_id: 1,
        mode: 1,
        payload: Default::default(),
    }))
}

fn ident() -> Vec<u8> {
    control_frame(&Control::ClientIdent(ClientIdent {
        addresses: name(PEER).into(),
        target: name(2),
        gid: 1,
        global_seq: 1,
        supported: u64::MAX,
        required: 0,
        flags: 0,
        cookie: 5,
    }))
}

fn server_ident() -> Vec<u8> {
    control_frame(&Control::ServerIdent(ServerIdent {
        addresses: name(PEER).into(),
        gid: 1,
        global_seq: 1,
        supported: u64::MAX,
        required: 0,
        flags: 0,
        cookie: 6,
    }))
}

/// The side that it is on, and how far its stream has come.
type Place = (Side, State);

const PLACES: [Place; 12] = [
    (Acceptor, State::Hello),
    (Acceptor, State::Authenticating),
    (Acceptor, State::Signature),
    (Acceptor, State::Accepting),
    (Acceptor, State::Superseded),
    (Acceptor, State::Ready),
    (Initiator, State::Hello),
    (Initiator, State::Authenticating),
    (Initiator, State::Signature),
    (Initiator, State::Identifying),
    (Initiator, State::Reconnecting),
    (Initiator, State::Ready),
];

/// Of those, where the handshake goes on.
fn unready() -> impl Iterator<Item = Place> {
    PLACES.into_iter().filter(|(_, state)| *state != State::Ready)
}

/// What a good peer says up to there.
fn up_to((side, state): Place) -> Vec<u8> {
    let (request, ident) = match side {
        Acceptor => (request(1), ident()),
        Initiator => (done(), server_ident()),
    };
    let steps = [
        (State::Banner, Banner::OURS.encode().to_vec()),
        (State::Hello, hello()),
        (State::Authenticating, request),
        (State::Signature, control_frame(&Control::AuthSignature([0; 32]))),
        (State::Accepting, ident),
    ];
    let last = match state {
        State::Identifying | State::Reconnecting => State::Accepting,
        other => other,
    };
    steps.into_iter().take_while(|(of, _)| *of != last).flat_map(|(_, bytes)| bytes).collect()
}

impl Victim {
    /// With a stream that was made, on which a peer can bring it there.
    fn on_the_way_to((side, state): Place) -> Self {
        let now = Instant::now();
        let mut config = config(EntityType::OSD, 2);
        config.policy = Policy::LOSSLESS_PEER;
        let auth = Box::new(AuthNone::new(EntityType::OSD, "0", 0));
        let mut endpoint = Endpoint::new(config, auth, now);
        let mut dial = || {
            let policy = Policy::LOSSLESS_PEER;
            let target = Target { address: name(PEER), entity: None, policy, reopen: false };
            let session = endpoint.connect(target, now).unwrap();
            (session, endpoint.connected(session, now).unwrap())
        };
        if side == Initiator {
            let (session, stream) = dial();
            let mut victim = Self { endpoint, stream, now };
            if state == State::Reconnecting {
                victim.give(&up_to((Initiator, State::Ready)));
                // It works, so that another is made at once.
                victim.give(&control_frame(&Control::Ack(0)));
                victim.endpoint.send(session, message(1), now).unwrap();
                victim.endpoint.closed(stream, now);
                victim.endpoint.handle_timeout(now);
                victim.stream = victim.endpoint.connected(session, now).unwrap();
                // What became of the first.
                assert!(victim.closes().is_empty());
            }
            return victim;
        }
        if state == State::Superseded {
            // Its own connection wins.
            dial();
        }
        let stream = endpoint.accept("10.0.0.1:1234".parse().unwrap(), now);
        Self { endpoint, stream, now }
    }

    fn at(place: Place) -> Self {
        let mut victim = Self::on_the_way_to(place);
        victim.give(&up_to(place));
        assert_eq!(victim.error(), None, "{place:?}");
        victim
    }

    /// A server in this state.
    fn in_state(state: State) -> Self {
        Self::at((Acceptor, state))
    }

    fn give(&mut self, mut bytes: &[u8]) {
        while self.endpoint.receive(self.stream, &mut bytes, self.now).is_some() {}
    }

    /// Takes what it sends.
    fn output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        loop {
            let slices = self.endpoint.poll_send(self.stream, self.now);
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            if bytes.is_empty() {
                return output;
            }
            self.endpoint.sent(self.stream, bytes.len());
            output.extend(bytes);
        }
    }

    /// Why the stream was closed.
    fn closes(&mut self) -> Vec<ConnectionError> {
        let stream = self.stream;
        let closes =
            std::iter::from_fn(|| self.endpoint.poll_event()).filter_map(|event| match event {
                Event::Close { stream: of, error } if of == stream => Some(error),
                _ => None,
            });
        closes.collect()
    }

    fn error(&mut self) -> Option<ConnectionError> {
        self.closes().pop()
    }
}

/// What it says to these bytes there.
fn error_at(place: Place, bytes: &[u8]) -> ConnectionError {
    let mut victim = Victim::at(place);
    let (streams, sessions) = (victim.endpoint.streams(), victim.endpoint.sessions());
    victim.give(bytes);
    let error = victim.error().unwrap_or_else(|| panic!("nothing is wrong with it: {place:?}"));
    assert_eq!(error.state, place.1);
    assert_eq!(victim.endpoint.streams(), streams - 1);
    // A session outlives its streams, whatever comes on them.
    assert_eq!(victim.endpoint.sessions(), sessions);
    error
}

/// What a server says to these bytes in this state.
fn error_of(state: State, bytes: &[u8]) -> ConnectionError {
    error_at((Acceptor, state), bytes)
}

fn violation(tag: Option<Tag>, rule: Rule) -> Reason {
    Reason::Violation(Violation { tag, rule })
}

/// Tags that have a place there.
fn admitted(place: Place) -> &'static [Tag] {
    match place {
        (_, State::Hello) => &[Tag::Hello],
        (Acceptor, State::Authenticating) => &[Tag::AuthRequest, Tag::AuthRequestMore],
        (Initiator, State::Authenticating) => {
            &[Tag::AuthBadMethod, Tag::AuthReplyMore, Tag::AuthDone]
        }
        (_, State::Signature) => &[Tag::AuthSignature],
        (_, State::Accepting) => &[Tag::ClientIdent, Tag::SessionReconnect],
        (_, State::Identifying) => &[Tag::ServerIdent, Tag::IdentMissingFeatures, Tag::Wait],
        (_, State::Reconnecting) => &[
            Tag::SessionReconnectOk,
            Tag::SessionReset,
            Tag::SessionRetry,
            Tag::SessionRetryGlobal,
            Tag::Wait,
        ],
        (_, State::Ready) => &[Tag::Message, Tag::Ack, Tag::Keepalive2, Tag::Keepalive2Ack],
        _ => &[],
    }
}

#[test]
fn a_tag_without_a_place_in_the_state_is_named_with_it() {
    for place in PLACES {
        let state = place.1;
        for tag in Tag::ALL {
            if *tag == Tag::Message || admitted(place).contains(tag) {
                continue;
            }
            let error = error_at(place, &raw(*tag, &[0; 8]));
            assert_eq!(error.reason, violation(Some(*tag), Rule::Unexpected), "{state} {tag}");
            let said = format!("{state}: {tag}: this frame has no place in this state");
            assert_eq!(error.to_string(), said);
        }
    }
}

#[test]
fn a_step_of_authentication_that_was_not_asked_for_has_no_place() {
    let more = control_frame(&Control::AuthRequestMore("more".into()));
    let error = error_of(State::Authenticating, &more);
    assert_eq!(error.reason, violation(Some(Tag::AuthRequestMore), Rule::Unexpected));
    let mut victim = Victim::at((Initiator, State::Authenticating));
    victim.give(&control_frame(&Control::AuthReplyMore("more".into())));
    let error = victim.error().unwrap();
    assert_eq!(error.reason, Reason::Authentication(AuthError("method none has one step")));
    // Another attempt would come to the same end.
    assert_eq!(victim.endpoint.sessions(), 0);
}

#[test]
fn no_message_is_taken_before_there_is_a_session() {
    for place in unready() {
        let header = MessageHeader { seq: 1, ..Default::default() }.encode();
        let error = error_at(place, &raw(Tag::Message, &header));
        assert_eq!(error.reason, violation(Some(Tag::Message), Rule::Unexpected));
        let segments: [&[u8]; 4] = [&header, b"front", &[], &[]];
        let envelope = Envelope::new(Tag::Message, &segments);
        // It is refused with its preamble.
        let error = error_at(place, envelope.preamble());
        let rule = Rule::SegmentLength { segment: 1, length: 5, limit: 0 };
        assert_eq!(error.reason, violation(Some(Tag::Message), rule));
    }
}

#[test]
fn a_wrong_crc_is_found_in_every_state() {
    for place in PLACES {
        let tag = *admitted(place).first().unwrap_or(&Tag::Ack);
        let mut bytes = match place.1 {
            State::Ready => raw(tag, &MessageHeader { seq: 1, ..Default::default() }.encode()),
            _ => raw(tag, &[0; 32]),
        };
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        let error = error_at(place, &bytes);
        let Reason::Violation(Violation { tag: named, rule }) = error.reason else { panic!() };
        assert_eq!(named, Some(tag));
        assert!(matches!(rule, Rule::SegmentCrc { segment: 0, .. }), "{rule}");
        bytes[3] ^= 1;
        let error = error_at(place, &bytes);
        let Reason::Violation(Violation { rule, .. }) = error.reason else { panic!() };
        assert!(matches!(rule, Rule::PreambleCrc { .. }), "{rule}");
    }
}

#[test]
fn a_payload_that_ends_too_early_is_found_in_every_state() {
    for place in PLACES {
        for tag in admitted(place) {
            let bytes: &[u8] = match tag {
                // It has none, and its header has one length.
                Tag::Wait | Tag::Message => continue,
                Tag::SessionReset => &[],
                _ => &[1],
            };
            let error = error_at(place, &raw(*tag, bytes));
            let Reason::Violation(Violation { tag: named, rule }) = error.reason else { panic!() };
            assert_eq!(named, Some(*tag));
            assert!(matches!(rule, Rule::Truncated(_)), "{rule}");
        }
    }
}

#[test]
fn lengths_over_the_limits_are_refused_with_the_preamble() {
    let long = |length: usize| raw(Tag::Hello, &vec![0; length])[..32].to_vec();
    let limit = 64 << 10;
    let error = error_of(State::Hello, &long(limit + 1));
    let rule = Rule::SegmentLength { segment: 0, length: limit as u32 + 1, limit: limit as u32 };
    assert_eq!(error.reason, violation(Some(Tag::Hello), rule));
    let big = message(1);
    let header = big.header.encode();
    let front = vec![0; (16 << 20) + 1];
    let segments: [&[u8]; 4] = [&header, &front, &[], &[]];
    let error = error_of(State::Ready, Envelope::new(Tag::Message, &segments).preamble());
    let rule = Rule::SegmentLength { segment: 1, length: (16 << 20) + 1, limit: 16 << 20 };
    assert_eq!(error.reason, violation(Some(Tag::Message), rule));
}

#[test]
fn a_wrong_or_endless_banner_is_refused_at_once() {
    let error = error_of(State::Banner, b"HTTP/1.1 200 OK");
    assert_eq!(error.reason, violation(None, Rule::Banner));
    let mut bytes = b"ceph v2\n".to_vec();
    bytes.extend(u16::MAX.to_le_bytes());
    let error = error_of(State::Banner, &bytes);
    let rule = Rule::BannerLength { length: u16::MAX, most: 256 };
    assert_eq!(error.reason, violation(None, rule));
    let error = error_of(State::Banner, &Banner { supported: 1, required: 4 }.encode());
    assert_eq!(error.reason, violation(None, Rule::RequiredFeatures(4)));
}

#[test]
fn before_authentication_memory_is_bounded() {
    let mut victim = Victim::in_state(State::Authenticating);
    let request = request(2);
    let mut given = 0;
    let error = loop {
        victim.give(&request);
        given += request.len();
        if let Some(error) = victim.error() {
            break error;
        }
        assert!(given < 70_000, "it takes anything");
    };
    assert_eq!(error.reason, violation(Some(Tag::AuthRequest), Rule::TooManySteps));
    // One long request after the other is too much before they are too many.
    let mut victim = Victim::in_state(State::Authenticating);
    let payload = vec![0; 40_000].into();
    let long =
        control_frame(&Control::AuthRequest(AuthRequest { method: 2, modes: vec![], payload }));
    victim.give(&long);
    assert_eq!(victim.error(), None);
    victim.give(&long);
    let error = victim.error().unwrap();
    assert_eq!(
        error.reason,
        violation(Some(Tag::AuthRequest), Rule::UnauthenticatedBytes(64 << 10))
    );
}

const HANDSHAKE: Duration = Duration::from_secs(10);

#[test]
fn silence_ends_after_ten_seconds_in_every_state_before_ready() {
    let banner = [Acceptor, Initiator].map(|side| (side, State::Banner));
    for place in unready().chain(banner) {
        let mut victim = Victim::at(place);
        let deadline = victim.endpoint.deadline().unwrap();
        assert_eq!(deadline - victim.now, HANDSHAKE);
        victim.endpoint.handle_timeout(deadline - Duration::from_nanos(1));
        assert_eq!(victim.error(), None);
        victim.endpoint.handle_timeout(deadline);
        let error = victim.error().unwrap();
        assert_eq!((error.state, error.reason), (place.1, Reason::HandshakeTime(HANDSHAKE)));
    }
}

#[test]
fn who_says_a_little_again_and_again_has_no_more_time() {
    let banner = [Acceptor, Initiator].map(|side| (side, State::Banner));
    for place in unready().chain(banner) {
        let mut victim = Victim::on_the_way_to(place);
        let start = victim.now;
        // The last frame is never complete.
        let mut bytes = up_to(place);
        bytes.extend(match place.1 {
            State::Banner => b"ceph v2".to_vec(),
            _ => raw(*admitted(place).first().unwrap_or(&Tag::Ack), &[0; 32])[..60].to_vec(),
        });
        let pause = HANDSHAKE / (bytes.len() as u32 + 1);
        for byte in bytes {
            victim.now += pause;
            victim.endpoint.handle_timeout(victim.now);
            victim.give(&[byte]);
            assert_eq!(victim.error(), None, "{place:?}");
        }
        victim.endpoint.handle_timeout(start + HANDSHAKE - Duration::from_nanos(1));
        assert_eq!(victim.error(), None, "{place:?}");
        victim.endpoint.handle_timeout(start + HANDSHAKE);
        let error = victim.error().unwrap();
        assert_eq!((error.state, error.reason), (place.1, Reason::HandshakeTime(HANDSHAKE)));
    }
}

#[test]
fn a_client_that_asks_for_another_method_is_told_what_is_allowed() {
    let mut victim = Victim::in_state(State::Authenticating);
    let _ = victim.output();
    victim.give(&request(2));
    let bad = AuthBadMethod { method: 2, result: -95, methods: vec![1], modes: vec![1] };
    assert_eq!(victim.output(), control_frame(&Control::AuthBadMethod(bad)));
    // It may try again.
    victim.give(&request(1));
    victim.give(&control_frame(&Control::AuthSignature([0; 32])));
    victim.give(&ident());
    assert_eq!(victim.error(), None);
    assert_eq!(victim.endpoint.sessions(), 1);
}

#[test]
fn a_wrong_signature_is_refused() {
    let error = error_of(State::Signature, &control_frame(&Control::AuthSignature([1; 32])));
    assert_eq!(error.reason, violation(Some(Tag::AuthSignature), Rule::Signature));
}

#[test]
fn messages_that_are_missing_and_acks_of_what_was_not_sent_are_refused() {
    let say = |seq, ack_seq| {
        raw(Tag::Message, &MessageHeader { seq, ack_seq, ..Default::default() }.encode())
    };
    let mut bytes = say(1, 0);
    bytes.extend(say(3, 0));
    let error = error_of(State::Ready, &bytes);
    let skipped = Rule::Skipped { expected: 2, got: 3 };
    assert_eq!(error.reason, violation(Some(Tag::Message), skipped));
    let error = error_of(State::Ready, &say(1, 1));
    assert_eq!(error.reason, violation(Some(Tag::Message), Rule::AckBeyond(1)));
    let error = error_of(State::Ready, &control_frame(&Control::Ack(9)));
    assert_eq!(error.reason, violation(Some(Tag::Ack), Rule::AckBeyond(9)));
}

#[test]
fn keepalives_that_nobody_reads_the_answers_of_do_not_pile_up() {
    let mut victim = Victim::in_state(State::Ready);
    let _ = victim.output();
    for seconds in 0..10_000 {
        let time = Timestamp { seconds, nanoseconds: 1 };
        victim.give(&control_frame(&Control::Keepalive2(time)));
    }
    let last = Timestamp { seconds: 9999, nanoseconds: 1 };
    assert_eq!(victim.output(), control_frame(&Control::Keepalive2Ack(last)));
}

#[test]
fn ten_thousand_half_open_handshakes_do_not_disturb_a_session() {
    let mut victim = Victim::in_state(State::Ready);
    let session_stream = victim.stream;
    for _ in 0..10_000 {
        victim.stream = victim.endpoint.accept("10.0.0.9:1".parse().unwrap(), victim.now);
        victim.give(&up_to((Acceptor, State::Authenticating)));
    }
    assert_eq!(victim.endpoint.streams(), 10_001);
    victim.stream = session_stream;
    let header = MessageHeader { seq: 1, ..Default::default() }.encode();
    let bytes = raw(Tag::Message, &header);
    assert!(victim.endpoint.receive(session_stream, &mut &bytes[..], victim.now).is_some());
    victim.endpoint.handle_timeout(victim.now + Duration::from_secs(10));
    assert_eq!((victim.endpoint.streams(), victim.endpoint.sessions()), (1, 1));
}
