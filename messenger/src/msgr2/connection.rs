//! A connection: the state of one stream, up to the point where a session takes part.
//!
//! It does by itself what concerns no session: banner, HELLO, authentication, signatures,
//! keepalives. The rest it passes on, in order, once it has a place in the state.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

use super::address::{AddressKind, EntityAddr};
use super::auth::{Authenticator, ClientAuth, MODE_CRC, Secrets, ServerAnswer, ServerAuth};
use super::banner::Banner;
use super::config::Config;
use super::control::{AuthRequest, Control, EntityType, Hello, Timestamp};
use super::error::{Rule, Violation};
use super::failure::{ConnectionError, Reason};
use super::frame::{Frame, FrameDecoder, control_frame};
use super::header::MessageHeader;
use super::ids::SessionId;
use super::keepalive::Pulse;
use super::limits::Limits;
use super::output::Output;
use super::preamble::SEGMENTS;
use super::secure::{SecureFrameDecoder, Side, from_connection_secret};
use super::segment::{Place, Segment};
use super::state::State;
use super::tag::Tag;
use super::transcript::Transcript;

/// Steps that a peer may take back and forth in one handshake, each part of it.
const MOST_STEPS: u32 = 32;

/// Bytes of an AUTH_SIGNATURE.
const SIGNATURE: u32 = 32;

/// What a connection passes on.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Both signatures are right: the session's part of the handshake begins.
    Authenticated,
    /// A frame of that part, or an ACK.
    Session(Control),
    /// A keepalive, which is answered.
    Asked,
    /// The answer to a keepalive.
    Alive(Timestamp),
    /// A message, and bytes of its data that were not kept.
    Message(MessageHeader, [Segment<'a>; 3], usize),
}

/// A frame that has a place in the state.
enum Came<'a> {
    Control(Control),
    /// A message, which is passed on.
    Message(Step<'a>),
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it is, as it says.
    pub entity: EntityType,
    /// Our address, as it sees it.
    pub sees_us_at: EntityAddr,
    /// What the banner said.
    pub banner: Banner,
    /// The client's number, as authentication has it.
    pub global_id: u64,
    /// Of the frames: 1 crc, 2 secure.
    pub mode: u32,
}

#[derive(Debug)]
enum Decoder {
    Plain(FrameDecoder),
    Secure(Box<SecureFrameDecoder>),
}

impl Decoder {
    fn is_placed(&self) -> bool {
        matches!(self, Self::Plain(decoder) if decoder.is_placed())
    }

    fn set_limits(&mut self, limits: Limits) {
        match self {
            Self::Plain(decoder) => decoder.set_limits(limits),
            Self::Secure(decoder) => decoder.set_limits(limits),
        }
    }
}

/// Our side of authentication.
#[derive(Debug)]
enum Conversation {
    NotBegun,
    Client(Box<dyn ClientAuth>),
    Server {
        auth: Box<dyn ServerAuth>,
        /// We have asked for more.
        more: bool,
    },
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) side: Side,
    pub(super) state: State,
    pub(super) output: Output,
    pub(super) pulse: Pulse,
    pub(super) peer: Peer,
    /// The other end of the stream.
    pub(super) socket: Option<SocketAddr>,
    /// The session that it is for, once that is known.
    pub(super) session: Option<SessionId>,
    /// When it must be ready.
    pub(super) handshake_deadline: Instant,
    /// Somebody was told that there is something to write.
    pub(super) announced: bool,
    /// Somebody was told that nothing is read, since its session is full.
    pub(super) held: bool,
    /// Only the latest is answered: a peer that asks faster than it reads does not fill the queue.
    pub(super) keepalive_ack: Option<Timestamp>,
    /// RETRYs that came.
    pub(super) retries: u64,
    /// `global_seq` of the peer's latest attempt, on a stream of its own, to go on with the session that
    /// we begin on this one; 0 without any.
    pub(super) peer_tried: u64,
    /// Steps that this part of the handshake has taken.
    steps: u32,
    limits: Limits,
    banner: Vec<u8>,
    decoder: Decoder,
    transcript: Option<Transcript>,
    secrets: Secrets,
    conversation: Conversation,
    /// What we want authentication to be for: the kind of the server.
    server: Option<EntityType>,
    /// How we present ourselves and see the peer.
    hello: Hello,
}

impl Connection {
    /// On a stream that was just made, to or from `socket`.
    pub(super) fn new(
        side: Side,
        socket: Option<SocketAddr>,
        config: &Config,
        now: Instant,
    ) -> Self {
        let peer = EntityAddr { kind: AddressKind::Msgr2, nonce: 0, socket };
        let mut decoder = FrameDecoder::new(before_session(&config.limits));
        decoder.forget_data(config.forget_data);
        let mut connection = Self {
            side,
            state: State::Banner,
            output: Output::default(),
            pulse: Pulse::new(now),
            peer: Peer {
                entity: EntityType(0),
                sees_us_at: EntityAddr::NONE,
                banner: Banner { supported: 0, required: 0 },
                global_id: 0,
                mode: MODE_CRC,
            },
            socket,
            session: None,
            handshake_deadline: now + config.handshake_time,
            announced: false,
            held: false,
            keepalive_ack: None,
            retries: 0,
            peer_tried: 0,
            steps: 0,
            limits: config.limits,
            banner: Vec::new(),
            decoder: Decoder::Plain(decoder),
            transcript: Some(Transcript::new(config.limits.unauthenticated_bytes)),
            secrets: Secrets::default(),
            conversation: Conversation::NotBegun,
            server: None,
            hello: Hello { entity: config.entity, peer },
        };
        // It is shorter than any bound that leaves room for a handshake.
        let _ = connection.record_sent(Banner::OURS.encode().to_vec().into());
        connection
    }

    /// Tells the server's nonce and kind, for its HELLO and for authentication.
    pub(super) fn expect(&mut self, target: EntityAddr, server: Option<EntityType>) {
        self.hello.peer.nonce = target.nonce;
        self.server = server;
    }

    /// Where the next bytes of the stream belong. In secure mode they have to be opened on their
    /// way.
    pub(super) fn place(&mut self) -> Option<Place<'_>> {
        match &mut self.decoder {
            Decoder::Plain(decoder) => decoder.place(),
            Decoder::Secure(_) => None,
        }
    }

    /// Takes from `input` up to the next thing to pass on; `None` when all of it is taken.
    pub(super) fn receive<'a>(
        &mut self,
        input: &mut &'a [u8],
        authenticator: &dyn Authenticator,
        now: Instant,
    ) -> Result<Option<Step<'a>>, ConnectionError> {
        if !input.is_empty() || self.decoder.is_placed() {
            self.pulse.heard(now);
        }
        loop {
            if self.state == State::Banner {
                let state = self.state;
                match self.receive_banner(input) {
                    Ok(true) => continue,
                    Ok(false) => return Ok(None),
                    Err(rule) => return Err(ConnectionError::rule(state, None, rule)),
                }
            }
            let state = self.state;
            let violation = |violation: Violation| ConnectionError {
                state,
                reason: Reason::Violation(violation),
            };
            let came = match self.state {
                State::Hello | State::Authenticating => self.receive_recorded(input),
                _ => self.receive_frame(input),
            };
            let step = match came.map_err(violation)? {
                None => return Ok(None),
                Some(Came::Message(step)) => Some(step),
                Some(Came::Control(control)) => self
                    .control(control, authenticator)
                    .map_err(|reason| ConnectionError { state, reason })?,
            };
            if step.is_some() {
                return Ok(step);
            }
        }
    }

    /// Whether the banner is complete.
    fn receive_banner(&mut self, input: &mut &[u8]) -> Result<bool, Rule> {
        // Byte by byte: nothing beyond the banner is taken, and it is short.
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            self.banner.push(*byte);
            let Some((banner, _)) = Banner::decode(&self.banner)? else { continue };
            let bytes = std::mem::take(&mut self.banner);
            self.transcript()?.received(bytes.into())?;
            banner.check()?;
            self.peer.banner = banner;
            self.state = State::Hello;
            let hello = Control::Hello(self.hello.clone());
            self.send_recorded(&hello)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// A frame that our signature covers. It is gathered where it is kept, so that it is held once.
    fn receive_recorded<'a>(&mut self, input: &mut &[u8]) -> Result<Option<Came<'a>>, Violation> {
        let transcript = self.transcript.as_mut().ok_or(Rule::Unexpected)?;
        let limits = before_session(&self.limits);
        let Some(frame) = transcript.take_frame(input, &limits)? else { return Ok(None) };
        let control = self.state.read(self.side, &frame)?;
        Ok(Some(Came::Control(control)))
    }

    fn receive_frame<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Came<'a>>, Violation> {
        let frame = match &mut self.decoder {
            Decoder::Plain(decoder) => decoder.decode(input)?,
            Decoder::Secure(decoder) => decoder.decode(input)?,
        };
        let Some(frame) = frame else { return Ok(None) };
        match frame.tag {
            Tag::Message if self.state.admits(self.side, Tag::Message) => {
                message(frame).map(Some).map_err(Violation::of(Tag::Message))
            }
            _ => self.state.read(self.side, &frame).map(Came::Control).map(Some),
        }
    }

    fn control(
        &mut self,
        control: Control,
        authenticator: &dyn Authenticator,
    ) -> Result<Option<Step<'static>>, Reason> {
        match control {
            Control::Hello(hello) => self.hello(hello, authenticator)?,
            Control::AuthSignature(signature) => {
                self.verify(&signature).map_err(Violation::of(Tag::AuthSignature))?;
                return Ok(Some(Step::Authenticated));
            }
            Control::Keepalive2(time) => {
                self.keepalive_ack = Some(time);
                return Ok(Some(Step::Asked));
            }
            Control::Keepalive2Ack(time) => return Ok(Some(Step::Alive(time))),
            Control::Ack(_) => return Ok(Some(Step::Session(control))),
            control if self.state == State::Authenticating => self.authenticate(&control)?,
            control => {
                self.count_step().map_err(Violation::of(control.tag()))?;
                return Ok(Some(Step::Session(control)));
            }
        }
        Ok(None)
    }

    fn count_step(&mut self) -> Result<(), Rule> {
        self.steps += 1;
        if self.steps > MOST_STEPS { Err(Rule::TooManySteps) } else { Ok(()) }
    }

    fn hello(&mut self, hello: Hello, authenticator: &dyn Authenticator) -> Result<(), Reason> {
        self.peer.entity = hello.entity;
        self.peer.sees_us_at = hello.peer;
        self.state = State::Authenticating;
        self.conversation = match self.side {
            Side::Initiator => {
                let server = self.server.unwrap_or(hello.entity);
                let mut auth = authenticator.client(server);
                let request = auth.begin();
                self.send_request(request)?;
                Conversation::Client(auth)
            }
            Side::Acceptor => {
                Conversation::Server { auth: authenticator.server(hello.entity), more: false }
            }
        };
        Ok(())
    }

    fn send_request(&mut self, request: AuthRequest) -> Result<(), Reason> {
        let request = Control::AuthRequest(request);
        Ok(self.send_recorded(&request).map_err(Violation::of(Tag::AuthRequest))?)
    }

    fn authenticate(&mut self, control: &Control) -> Result<(), Reason> {
        let rule = Violation::of(control.tag());
        self.count_step().map_err(&rule)?;
        // It is put back unless it is over.
        match (std::mem::replace(&mut self.conversation, Conversation::NotBegun), control) {
            (Conversation::Client(mut auth), Control::AuthBadMethod(bad)) => {
                let another = auth.bad_method(bad).ok_or_else(|| Reason::BadMethod(bad.clone()))?;
                self.conversation = Conversation::Client(auth);
                self.send_request(another)
            }
            (Conversation::Client(mut auth), Control::AuthReplyMore(payload)) => {
                let more = auth.more(payload)?;
                self.conversation = Conversation::Client(auth);
                Ok(self.send_recorded(&Control::AuthRequestMore(more)).map_err(rule)?)
            }
            (Conversation::Client(mut auth), Control::AuthDone(done)) => {
                let secrets = auth.done(done)?;
                self.peer.global_id = done.global_id;
                Ok(self.agree(done.mode, secrets).map_err(rule)?)
            }
            (Conversation::Server { mut auth, more: false }, Control::AuthRequest(request)) => {
                let answer = auth.request(request)?;
                self.answer(auth, answer)
            }
            (Conversation::Server { mut auth, more: true }, Control::AuthRequestMore(payload)) => {
                let answer = auth.more(payload)?;
                self.answer(auth, answer)
            }
            _ => Err(rule(Rule::Unexpected).into()),
        }
    }

    fn answer(&mut self, auth: Box<dyn ServerAuth>, answer: ServerAnswer) -> Result<(), Reason> {
        let more = matches!(answer, ServerAnswer::More(_));
        self.conversation = Conversation::Server { auth, more };
        let control = match answer {
            ServerAnswer::Done(done, secrets) => {
                let (global_id, mode) = (done.global_id, done.mode);
                let tag = Tag::AuthDone;
                self.send_recorded(&Control::AuthDone(done)).map_err(Violation::of(tag))?;
                self.peer.global_id = global_id;
                return Ok(self.agree(mode, secrets).map_err(Violation::of(tag))?);
            }
            ServerAnswer::More(payload) => Control::AuthReplyMore(payload),
            ServerAnswer::BadMethod(bad) => Control::AuthBadMethod(bad),
        };
        Ok(self.send_recorded(&control).map_err(Violation::of(control.tag()))?)
    }

    /// The mode is agreed on; our signature is the first frame in it.
    fn agree(&mut self, mode: u32, secrets: Secrets) -> Result<(), Rule> {
        // The peer is not authenticated yet, and what it says has one length.
        let limits = Limits { control_bytes: SIGNATURE, ..before_session(&self.limits) };
        match (mode, &secrets.connection_secret) {
            (MODE_CRC, _) => self.decoder.set_limits(limits),
            (super::auth::MODE_SECURE, Some(secret)) => {
                let (sealer, opener) =
                    from_connection_secret(secret, self.side, limits).ok_or(Rule::Mode(mode))?;
                self.output.seal_with(sealer);
                self.decoder = Decoder::Secure(Box::new(opener));
            }
            _ => return Err(Rule::Mode(mode)),
        }
        self.peer.mode = mode;
        self.conversation = Conversation::NotBegun;
        self.state = State::Signature;
        let transcript = self.transcript.as_ref().ok_or(Rule::Unexpected)?;
        let signature = transcript.sign(secrets.session_key.as_deref());
        self.secrets = secrets;
        self.output.control(&Control::AuthSignature(signature))
    }

    fn verify(&mut self, signature: &[u8; 32]) -> Result<(), Rule> {
        // What was said is of no more use.
        let transcript = self.transcript.take().ok_or(Rule::Unexpected)?;
        let secrets = std::mem::take(&mut self.secrets);
        transcript.verify(secrets.session_key.as_deref(), signature)?;
        self.steps = 0;
        self.decoder.set_limits(before_session(&self.limits));
        self.state = State::Accepting;
        Ok(())
    }

    fn transcript(&mut self) -> Result<&mut Transcript, Rule> {
        self.transcript.as_mut().ok_or(Rule::Unexpected)
    }

    /// Sends a control frame that the peer's signature covers.
    fn send_recorded(&mut self, control: &Control) -> Result<(), Rule> {
        self.record_sent(control_frame(control).into())
    }

    /// What was said lies where it waits to be written, and is held once.
    fn record_sent(&mut self, bytes: Bytes) -> Result<(), Rule> {
        self.transcript()?.sent(bytes.clone())?;
        self.output.kept(bytes);
        Ok(())
    }

    /// Sends a control frame of the session.
    pub(super) fn send(&mut self, control: &Control) -> Result<(), ConnectionError> {
        let state = self.state;
        match self.output.control(control) {
            Ok(()) => Ok(()),
            Err(rule) => Err(ConnectionError::rule(state, Some(control.tag()), rule)),
        }
    }

    /// Messages may pass.
    pub(super) fn become_ready(&mut self) {
        self.state = State::Ready;
        self.decoder.set_limits(self.limits);
    }

    /// An error in the present state.
    pub(super) fn error(&self, reason: Reason) -> ConnectionError {
        ConnectionError { state: self.state, reason }
    }
}

/// Before there is a session no messages come, and nothing long.
fn before_session(limits: &Limits) -> Limits {
    let control_bytes = limits.control_bytes.min(limits.unauthenticated_bytes);
    Limits { control_bytes, front_bytes: 0, middle_bytes: 0, data_bytes: 0, ..*limits }
}

fn message(frame: Frame<'_>) -> Result<Came<'_>, Rule> {
    let [header, front, middle, data]: [Segment<'_>; SEGMENTS] = frame.segments;
    let header = MessageHeader::decode(&header)?;
    Ok(Came::Message(Step::Message(header, [front, middle, data], frame.forgotten)))
}
