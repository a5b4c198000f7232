//! The other side of keyed sessions. It brings the handshake through as client or as server, hears what
//! it is told, and says under its seal what the fuzzer wants said; unless its options have it be somebody
//! else, or somebody on the way meddle.

use aws_lc_rs::hmac;
use vmsgr_messenger::msgr2::*;

use crate::keyed::{Distort, Keyed};

/// A byte of options.
#[derive(Clone, Copy)]
pub struct Options(pub u8);

impl Options {
    /// The mode, as the server has it.
    const SECURE: u8 = 0x01;
    /// How often the server is not content, less one.
    const ROUNDS: u8 = 0x06;
    /// It has another key.
    const OTHER_KEY: u8 = 0x08;
    /// Of the first stream: we have no secret to seal with.
    const NO_SECRET: u8 = 0x80;

    const KEY: &[u8] = b"the key that both have";

    fn is(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    fn wrong(self) -> Wrong {
        match self.0 >> 4 & 7 {
            0 => Wrong::Flipped,
            1 => Wrong::Short,
            2 => Wrong::Order,
            3 => Wrong::Twice,
            4 => Wrong::SessionKey,
            5 => Wrong::ConnectionSecret,
            6 => Wrong::Transcript,
            _ => Wrong::NoSessionKey,
        }
    }

    /// Whether nothing of it is wrong before the first frame that is marked.
    pub fn are_good(self) -> bool {
        self.0 & (Self::OTHER_KEY | Self::NO_SECRET) == 0 && self.0 >> 4 & 7 < 4
    }

    pub fn may_seal(self) -> bool {
        !self.is(Self::NO_SECRET)
    }

    fn keyed(self, key: &[u8], distort: Distort) -> Keyed {
        let mode = if self.is(Self::SECURE) { MODE_SECURE } else { MODE_CRC };
        let rounds = u64::from(self.0 & Self::ROUNDS) / 2 + 1;
        Keyed { mode, rounds, distort, ..Keyed::new(key) }
    }

    /// As we have it.
    pub fn ours(self) -> Keyed {
        let distort: Distort = match self.may_seal() {
            true => |_| {},
            false => |secrets| secrets.connection_secret = None,
        };
        self.keyed(Self::KEY, distort)
    }

    fn theirs(self) -> Keyed {
        let distort: Distort = match self.wrong() {
            Wrong::SessionKey => |secrets| secrets.session_key.as_mut().unwrap()[0] ^= 1,
            Wrong::ConnectionSecret => {
                |secrets| secrets.connection_secret.as_mut().unwrap()[0] ^= 1
            }
            Wrong::NoSessionKey => |secrets| secrets.session_key = None,
            _ => |_| {},
        };
        let key = if self.is(Self::OTHER_KEY) { b"another" } else { Self::KEY };
        self.keyed(key, distort)
    }
}

/// What goes wrong. The first four befall only the frames that are marked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// A bit is another.
    Flipped,
    /// The end lacks.
    Short,
    /// The one behind it comes first.
    Order,
    /// It comes twice.
    Twice,
    /// It signs with another key than was agreed on.
    SessionKey,
    /// It seals with another.
    ConnectionSecret,
    /// What it hears before it signs is not what we said.
    Transcript,
    /// It signs with zeros.
    NoSessionKey,
}

enum Auth {
    Client(Box<dyn ClientAuth>),
    Server(Box<dyn ServerAuth>),
}

/// What it says next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Banner,
    Hello,
    /// The first of a client.
    Request,
    /// As it is asked.
    Answer,
    Signature,
    Session,
    Over,
}

pub struct Peer {
    options: Options,
    auth: Auth,
    stage: Stage,
    /// What is to be answered.
    asked: Option<Control>,
    /// What was said and heard before both agreed.
    sent: Vec<u8>,
    heard: Vec<u8>,
    /// Of the banner, so many bytes are to come.
    banner: usize,
    plain: FrameDecoder,
    agreed: Option<Agreed>,
    /// The fuzzer has said nothing in between.
    clean: bool,
    /// What comes cannot be read.
    deaf: bool,
}

struct Agreed {
    session_key: Option<Vec<u8>>,
    sealed: Option<Box<(FrameSealer, SecureFrameDecoder)>>,
}

impl Peer {
    pub fn new(options: Options, side: Side) -> Self {
        let keyed = options.theirs();
        let auth = match side {
            Side::Initiator => Auth::Client(keyed.client(EntityType::OSD)),
            Side::Acceptor => Auth::Server(keyed.server(EntityType::OSD)),
        };
        Self {
            options,
            auth,
            stage: Stage::Banner,
            asked: None,
            sent: Vec::new(),
            heard: Vec::new(),
            banner: Banner::BYTES,
            plain: FrameDecoder::new(Limits::default()),
            agreed: None,
            clean: true,
            deaf: false,
        }
    }

    fn side(&self) -> Side {
        match self.auth {
            Auth::Client(_) => Side::Initiator,
            Auth::Server(_) => Side::Acceptor,
        }
    }

    /// In which mode it has proved by its signature that it is whom it says: it has the key, and nobody
    /// meddled.
    pub fn proved(&self) -> Option<u32> {
        let signed = matches!(self.stage, Stage::Session | Stage::Over) && self.agreed.is_some();
        let seals = self.is_sealed() && self.options.wrong() == Wrong::ConnectionSecret;
        let wrong = self.options.is(Options::OTHER_KEY) || self.signs_wrongly() || seals;
        let mode = if self.is_sealed() { MODE_SECURE } else { MODE_CRC };
        (signed && !wrong).then_some(mode)
    }

    fn signs_wrongly(&self) -> bool {
        let wrong = self.options.wrong();
        matches!(wrong, Wrong::SessionKey | Wrong::NoSessionKey | Wrong::Transcript)
    }

    /// Whether what it says is sealed.
    pub fn is_sealed(&self) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| agreed.sealed.is_some())
    }

    /// Whether a marked frame cannot but end the stream.
    pub fn must_end(&self) -> bool {
        self.is_sealed() && self.clean && self.options.wrong() != Wrong::Short
    }

    /// The next of what it says by itself; of its session it says this.
    pub fn say(&mut self, session: impl FnOnce() -> Control) -> Option<Vec<u8>> {
        match self.stage {
            Stage::Banner => {
                self.stage = Stage::Hello;
                self.sent.extend(Banner::OURS.encode());
                Some(self.sent.clone())
            }
            Stage::Hello => {
                self.stage = match self.auth {
                    Auth::Client(_) => Stage::Request,
                    Auth::Server(_) => Stage::Answer,
                };
                let hello = Hello { entity: EntityType::OSD, peer: crate::address(1) };
                Some(self.control(&Control::Hello(hello)))
            }
            Stage::Request => {
                self.stage = Stage::Answer;
                let Auth::Client(auth) = &mut self.auth else { return None };
                let request = auth.begin();
                Some(self.control(&Control::AuthRequest(request)))
            }
            Stage::Answer => {
                let asked = self.asked.take()?;
                self.answer(asked)
            }
            Stage::Signature => {
                self.stage = Stage::Session;
                let mut heard = self.heard.clone();
                if let (Wrong::Transcript, Some(last)) = (self.options.wrong(), heard.last_mut()) {
                    *last ^= 1;
                }
                let signature = self.agreed.as_ref()?.sign(&heard);
                Some(self.control(&Control::AuthSignature(signature)))
            }
            Stage::Session => {
                self.stage = Stage::Over;
                Some(self.control(&session()))
            }
            Stage::Over => None,
        }
    }

    fn answer(&mut self, asked: Control) -> Option<Vec<u8>> {
        let answer = match (&mut self.auth, asked) {
            (Auth::Client(auth), Control::AuthBadMethod(bad)) => {
                let request = auth.bad_method(&bad)?;
                return Some(self.control(&Control::AuthRequest(request)));
            }
            (Auth::Client(auth), Control::AuthReplyMore(payload)) => {
                let more = auth.more(&payload).ok()?;
                return Some(self.control(&Control::AuthRequestMore(more)));
            }
            (Auth::Server(auth), Control::AuthRequest(request)) => auth.request(&request),
            (Auth::Server(auth), Control::AuthRequestMore(payload)) => auth.more(&payload),
            _ => return None,
        };
        Some(match answer {
            Ok(ServerAnswer::Done(done, secrets)) => {
                let mode = done.mode;
                let bytes = self.control(&Control::AuthDone(done));
                self.agree(mode, secrets);
                bytes
            }
            Ok(ServerAnswer::More(payload)) => self.control(&Control::AuthReplyMore(payload)),
            Ok(ServerAnswer::BadMethod(bad)) => self.control(&Control::AuthBadMethod(bad)),
            // It is not convinced, and would have us be.
            Err(_) => {
                self.stage = Stage::Over;
                let done = AuthDone { global_id: 1, mode: MODE_CRC, payload: "?".into() };
                self.control(&Control::AuthDone(done))
            }
        })
    }

    fn agree(&mut self, mode: u32, secrets: Secrets) {
        let sealed = secrets.connection_secret.filter(|_| mode == MODE_SECURE).map(|secret| {
            let limits = Limits::default();
            Box::new(
                from_connection_secret(&secret, self.side(), limits).expect("it is long enough"),
            )
        });
        self.agreed = Some(Agreed { session_key: secrets.session_key, sealed });
        self.stage = Stage::Signature;
    }

    fn control(&mut self, control: &Control) -> Vec<u8> {
        let mut payload = Vec::new();
        control.encode(&mut payload);
        self.put(control.tag(), &[&payload, &[], &[], &[]])
    }

    fn put(&mut self, tag: Tag, segments: &[&[u8]; SEGMENTS]) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(Agreed { sealed: Some(sealed), .. }) = &mut self.agreed {
            sealed.0.seal(tag, segments, &mut out).expect("there are more nonces than frames");
            return out;
        }
        Envelope::new(tag, segments).append(segments, &mut out);
        self.record(&out);
        out
    }

    /// What it signs for or we do.
    fn record(&mut self, said: &[u8]) {
        if self.agreed.is_none() {
            self.sent.extend_from_slice(said);
        }
    }

    /// Says what the fuzzer wants said. A message has what lies behind its header in three segments.
    pub fn frame(&mut self, tag: Tag, payload: &[u8]) -> Vec<u8> {
        self.clean &= self.agreed.is_some();
        if tag != Tag::Message {
            return self.put(tag, &[payload, &[], &[], &[]]);
        }
        let (header, rest) = payload.split_at(payload.len().min(41));
        let (front, rest) = rest.split_at(rest.len() / 4);
        let (middle, data) = rest.split_at(rest.len() / 3);
        self.put(tag, &[header, front, middle, data])
    }

    /// Says something of its own when the fuzzer wants it said.
    pub fn untimely(&mut self, control: &Control) -> Vec<u8> {
        self.clean &= self.agreed.is_some();
        self.control(control)
    }

    /// Says it so that it does not come as it was said: what does, and what then does not.
    pub fn spoilt(&mut self, tag: Tag, payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = self.frame(tag, payload);
        let at = payload.first().map_or(0, |byte| usize::from(*byte));
        match self.options.wrong() {
            // By a whole tag: less of one could be guessed.
            Wrong::Short => bytes.truncate(bytes.len().saturating_sub(16 + at % 24)),
            Wrong::Order => {
                let second = self.frame(Tag::Keepalive2, &[0; 8]);
                bytes.splice(..0, second);
            }
            Wrong::Twice => return (bytes.clone(), bytes),
            _ => {
                let at = at % bytes.len();
                bytes[at] ^= 1 << (at % 8);
            }
        }
        (Vec::new(), bytes)
    }

    /// Something goes by that is no frame of its own.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.clean &= self.agreed.is_some();
        self.record(bytes);
    }

    /// Hears what we say. All of that can be read, unless the fuzzer knew how to agree with us.
    pub fn hear(&mut self, mut said: &[u8]) {
        let banner = said.len().min(self.banner);
        self.banner -= banner;
        self.heard.extend_from_slice(&said[..banner]);
        said = &said[banner..];
        while !self.deaf {
            let (before, agreed) = (said, self.agreed.is_some());
            let frame = match &mut self.agreed {
                Some(Agreed { sealed: Some(sealed), .. }) => sealed.1.decode(&mut said),
                _ => self.plain.decode(&mut said),
            };
            if !agreed {
                self.heard.extend_from_slice(&before[..before.len() - said.len()]);
            }
            match frame {
                Ok(Some(frame)) if frame.tag == Tag::Message => {}
                Ok(Some(frame)) => {
                    let control = Control::decode(frame.tag, &frame.segments[0]);
                    self.take(control.expect("what we say has sense"));
                }
                Ok(None) => return,
                Err(violation) => {
                    let other = self.is_sealed() && self.options.wrong() == Wrong::ConnectionSecret;
                    assert!(other || !self.clean, "what we say is refused: {violation}");
                    self.deaf = true;
                }
            }
        }
    }

    fn take(&mut self, control: Control) {
        match (control, &mut self.auth) {
            (Control::AuthDone(done), Auth::Client(auth)) => {
                if let Ok(secrets) = auth.done(&done) {
                    self.agree(done.mode, secrets);
                }
            }
            (Control::AuthSignature(signature), _) => {
                if self.clean && !self.signs_wrongly() {
                    let agreed = self.agreed.as_ref().expect("we sign what both agreed on");
                    assert_eq!(signature, agreed.sign(&self.sent), "we sign what we heard");
                }
            }
            (control, _) => self.asked = Some(control),
        }
    }
}

impl Agreed {
    fn sign(&self, bytes: &[u8]) -> [u8; 32] {
        let mut signature = [0; 32];
        if let Some(key) = &self.session_key {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            signature.copy_from_slice(hmac::sign(&key, bytes).as_ref());
        }
        signature
    }
}
