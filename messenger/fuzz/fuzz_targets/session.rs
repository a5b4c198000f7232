//! Sessions in every state, and over several streams. The first bytes say which side we are and how
//! far a good peer brings the handshake; then come frames (tag, length, payload) with crcs that are
//! right, and bytes as they are. Between the frames [`CUT`] begins another stream, and a byte like the
//! first says what that is: one that we are asked to make, or one that the peer makes.
//!
//! With [`KEYED`] both sides have a key, and behind each of those bytes comes one of [`Options`]. The peer
//! then brings the handshake through itself, and the frames are said under its seal. Whatever they are, no
//! session is with somebody who has not proved who they are, and nothing comes of what was changed on
//! its way.
#![no_main]

#[path = "../../tests/msgr2/keyed.rs"]
mod keyed;
mod peer;
mod talk;

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use peer::Options;
use talk::Talk;
use vmsgr_messenger::msgr2::*;

fn address(number: u8) -> EntityAddr {
    EntityAddr::msgr2(([10, 0, 0, number], 6800).into(), number.into())
}

fn frame(tag: Tag, payload: &[u8], out: &mut Vec<u8>) {
    let segments = [payload, &[], &[], &[]];
    Envelope::new(tag, &segments).append(&segments, out);
}

fn control(control: &Control, out: &mut Vec<u8>) {
    out.extend(control_frame(control));
}

/// In the place of a frame's tag: the next stream begins here.
const CUT: u8 = 0xff;

/// Streams of one input at most.
const STREAMS: usize = 8;

/// Of the first byte of a stream: we make it.
const DIAL: u8 = 0x80;
/// Of the first stream: there is a session already, which we have begun.
const BEGUN: u8 = 0x40;
/// The peer goes on with its session, and says that it does with ours.
const RESUMED: u8 = 0x20;
/// The peer has seen one message of ours.
const SEEN: u8 = 0x10;

/// Of the first stream: both have a key.
const KEYED: u8 = 0x08;
/// Of the others: the stream before stays open, too.
const KEPT: u8 = 0x08;

/// In the place of a frame's tag, with a key: the peer says what it would say next by itself.
const STEP: u8 = 0xfe;
/// In the place of a frame's tag, with a key: the peer says what it says of the session, too early or again.
const SESSION: u8 = 0xfd;
/// Of a frame's tag, with a key: it does not come as it was said.
const SPOILT: u8 = 0x80;

/// Our cookies: counted from the first.
const OUR_COOKIE: u64 = 2;
const PEER_COOKIE: u64 = 9;

/// What a good peer says in the first steps of its so many-th stream.
fn handshake(how: u8, streams: usize) -> Vec<u8> {
    let dial = how & DIAL != 0;
    let mut out = Vec::new();
    for step in 0..how & 7 {
        match (step, dial) {
            (0, _) => out.extend(Banner::OURS.encode()),
            (1, _) => {
                let hello = Hello { entity: EntityType::OSD, peer: address(1) };
                control(&Control::Hello(hello), &mut out);
            }
            (2, true) => {
                let done = AuthDone { global_id: 1, mode: MODE_CRC, payload: Default::default() };
                control(&Control::AuthDone(done), &mut out);
            }
            (2, false) => {
                let payload = Default::default();
                let request = AuthRequest { method: 1, modes: vec![MODE_CRC], payload };
                control(&Control::AuthRequest(request), &mut out);
            }
            (3, _) => control(&Control::AuthSignature([0; 32]), &mut out),
            (4, _) => control(&session(how, streams as u64), &mut out),
            _ => {}
        }
    }
    out
}

/// What it says of the session.
fn session(how: u8, streams: u64) -> Control {
    let seen = u64::from(how & SEEN != 0);
    match (how & DIAL != 0, how & RESUMED != 0) {
        (true, true) => Control::SessionReconnectOk(seen),
        (true, false) => Control::ServerIdent(ServerIdent {
            addresses: address(2).into(),
            gid: 2,
            global_seq: streams,
            supported: u64::MAX,
            required: 0,
            flags: 0,
            cookie: PEER_COOKIE,
        }),
        (false, true) => Control::SessionReconnect(SessionReconnect {
            addresses: address(2).into(),
            client_cookie: PEER_COOKIE,
            server_cookie: OUR_COOKIE,
            global_seq: streams,
            connect_seq: streams - 1,
            msg_seq: seen,
        }),
        (false, false) => Control::ClientIdent(ClientIdent {
            addresses: address(2).into(),
            target: address(1),
            gid: 2,
            global_seq: streams,
            supported: u64::MAX,
            required: 0,
            flags: 0,
            cookie: PEER_COOKIE,
        }),
    }
}

/// Takes frames off the front of what the fuzzer gave, at most 40, up to the next stream; or all
/// that is left of it.
fn frames(bytes: &mut &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..40 {
        let Some(([tag, length], rest)) = bytes.split_first_chunk() else { break };
        if *tag == CUT {
            return out;
        }
        let Ok(tag) = Tag::try_from(*tag) else { break };
        let (payload, rest) = rest.split_at(rest.len().min((*length).into()));
        frame(tag, payload, &mut out);
        *bytes = rest;
    }
    out.extend_from_slice(std::mem::take(bytes));
    out
}

struct Run {
    endpoint: Endpoint,
    now: Instant,
    /// The present stream.
    stream: Option<StreamId>,
    /// Those before it that were not ended.
    kept: Vec<StreamId>,
    /// A stream that is asked for.
    asked: Option<SessionId>,
    /// What we have said and the peer has not heard.
    said: Vec<u8>,
    /// Messages that came.
    received: usize,
    /// Streams on which the peer has proved who it is, and in which mode: only those bring sessions and
    /// messages. `None`: all do.
    proved: Option<Vec<(StreamId, u32)>>,
    /// Sessions that were opened.
    opened: usize,
    /// We have secrets to seal with.
    seals: bool,
}

impl Run {
    fn new(keyed: Option<Options>) -> Self {
        let now = Instant::now();
        let mut config = Config::new(EntityType::OSD, address(1).into());
        config.policy = Policy::LOSSLESS_PEER;
        config.cookies = Cookies::From(OUR_COOKIE - 1);
        let auth: Box<dyn Authenticator> = match keyed {
            Some(options) => Box::new(options.ours()),
            None => Box::new(AuthNone::new(EntityType::OSD, "0", 0)),
        };
        Self {
            endpoint: Endpoint::new(config, auth, now),
            now,
            stream: None,
            kept: Vec::new(),
            asked: None,
            said: Vec::new(),
            received: 0,
            proved: keyed.map(|_| Vec::new()),
            opened: 0,
            seals: keyed.is_some_and(Options::may_seal),
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Connect { session, .. } => self.asked = Some(session),
                Event::Close { stream, error } => {
                    check(&error);
                    if self.stream == Some(stream) {
                        self.stream = None;
                    }
                }
                Event::Opened { stream, peer, .. } => {
                    assert!(self.is_proved(stream, peer.mode), "a session with anybody");
                    self.opened += 1;
                }
                _ => {}
            }
        }
    }

    fn is_proved(&self, stream: StreamId, mode: u32) -> bool {
        self.proved.as_ref().is_none_or(|proved| proved.contains(&(stream, mode)))
    }

    /// Does what is due next; whether anything was.
    fn pass(&mut self) -> bool {
        self.take_events();
        let Some(deadline) = self.endpoint.deadline() else { return false };
        assert!(deadline >= self.now - Duration::from_secs(1), "a deadline does not go back");
        self.now = self.now.max(deadline);
        self.endpoint.handle_timeout(self.now);
        self.take_events();
        true
    }

    fn close(&mut self, stream: StreamId) {
        self.endpoint.closed(stream, self.now);
    }

    /// Has another stream, if there is one to be had.
    fn next_stream(&mut self, how: u8) {
        self.take_events();
        match self.stream.take() {
            Some(stream) if how & KEPT != 0 => self.kept.push(stream),
            Some(stream) => self.close(stream),
            None => {}
        }
        if how & DIAL == 0 {
            self.stream = Some(self.endpoint.accept(([10, 0, 0, 2], 5).into(), self.now));
            return;
        }
        // For as long as it takes to ask.
        for _ in 0..10 {
            if self.asked.is_some() || !self.pass() {
                break;
            }
        }
        let asked = self.asked.take();
        self.stream = asked.and_then(|session| self.endpoint.connected(session, self.now));
    }

    fn give(&mut self, bytes: &[u8], at_a_time: usize) {
        for mut input in bytes.chunks(at_a_time) {
            let Some(stream) = self.stream else { return };
            while let Some(received) = self.endpoint.receive(stream, &mut input, self.now) {
                let (session, bytes) = (received.session, received.bytes() as u64);
                self.received += 1;
                let proved =
                    self.is_proved(stream, MODE_CRC) || self.is_proved(stream, MODE_SECURE);
                assert!(proved, "a message of anybody");
                self.endpoint.taken(session, 1, bytes, self.now);
            }
            self.write_all(stream);
        }
    }

    fn write_all(&mut self, stream: StreamId) {
        loop {
            let before = self.said.len();
            for slice in self.endpoint.poll_send(stream, self.now).iter() {
                self.said.extend_from_slice(slice);
            }
            match self.said.len() - before {
                0 => return,
                count => self.endpoint.sent(stream, count),
            }
        }
    }
}

/// It says where and by what a rule was broken, where there is a frame.
fn check(error: &ConnectionError) {
    let Reason::Violation(Violation { tag, rule }) = error.reason else { return };
    let text = error.to_string();
    assert!(
        text.starts_with(&error.state.to_string()) && text.ends_with(&rule.to_string()),
        "{text}"
    );
    match rule {
        Rule::Signature => assert_eq!(error.state, State::Signature),
        Rule::Mode(_) => assert_eq!(error.state, State::Authenticating),
        Rule::Seal(unit) => assert_eq!(tag.is_some(), unit > 1, "{text}"),
        Rule::SegmentCrc { .. } | Rule::Padding | Rule::Unexpected | Rule::Skipped { .. } => {
            assert!(tag.is_some(), "{text}");
        }
        _ => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([how, piece], mut bytes)) = bytes.split_first_chunk() else { return };
    let mut options = None;
    if how & KEYED != 0 {
        let Some((first, rest)) = bytes.split_first() else { return };
        (options, bytes) = (Some(Options(*first)), rest);
    }
    let ours = options;
    let mut run = Run::new(ours);
    let mut begun = None;
    if how & (DIAL | BEGUN) != 0 {
        let policy = Policy::LOSSLESS_PEER;
        let target = Target { address: address(2), entity: None, policy, reopen: false };
        begun = run.endpoint.connect(target, run.now);
    }
    run.next_stream(*how);
    if let Some(session) = begun {
        let message = Message { front: "one".into(), ..Default::default() };
        let _ = run.endpoint.send(session, message, run.now);
    }
    let at_a_time = usize::from(*piece).max(1) * 16;
    let mut how = *how;
    for streams in 1..=STREAMS {
        match options {
            None => {
                let mut wire = handshake(how, streams);
                wire.extend(frames(&mut bytes));
                run.give(&wire, at_a_time);
                run.said.clear();
            }
            Some(options) => {
                let good = ours.is_some_and(Options::are_good) && options.are_good();
                let mut talk = Talk::new(&mut run, options, how, streams, at_a_time);
                let all = talk.handshake();
                // Nothing stands in the way of the first.
                let first = streams == 1 && how & RESUMED == 0 && how & (DIAL | BEGUN) != BEGUN;
                assert!(
                    !(all && first && good) || talk.has_opened(),
                    "the handshake comes through"
                );
                talk.frames(&mut bytes);
            }
        }
        // What is left begins with CUT.
        let Some(([_, next], rest)) = bytes.split_first_chunk() else { break };
        (how, bytes) = (*next, rest);
        if options.is_some() {
            let Some((next, rest)) = bytes.split_first() else { break };
            (options, bytes) = (Some(Options(*next)), rest);
        }
        run.next_stream(how);
    }
    for _ in 0..10 {
        if !run.pass() {
            break;
        }
        if let Some(stream) = run.stream {
            run.write_all(stream);
        }
    }
    run.take_events();
    let kept = std::mem::take(&mut run.kept);
    kept.into_iter().chain(run.stream).for_each(|stream| run.close(stream));
    // Ours, and those of the peer under the names that it gave itself.
    assert!(run.endpoint.streams() == 0 && run.endpoint.sessions() <= 1 + STREAMS);
});
