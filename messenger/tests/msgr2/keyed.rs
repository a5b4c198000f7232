//! An authenticator with a key, one step more than a request, and secrets for signature and seal: a
//! stand-in for those of clusters.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use bytes::Bytes;
use vmsgr_messenger::msgr2::*;

/// What no server here knows, and clients try first.
pub const UNKNOWN: u32 = 7;
/// The method that both know.
pub const METHOD: u32 = 2;

/// A change of secrets.
pub type Distort = fn(&mut Secrets);

/// Everybody with the same key is whom they say.
#[derive(Clone)]
pub struct Keyed {
    pub key: Vec<u8>,
    /// As the server has it.
    pub mode: u32,
    /// Changes what both sides agree on, after it was.
    pub distort: Distort,
    /// So often a server is not content with the answer.
    pub rounds: u64,
    /// Numbers that are used once.
    pub nonces: Arc<AtomicU64>,
}

impl Keyed {
    pub fn new(key: &[u8]) -> Self {
        let (key, nonces) = (key.to_vec(), Arc::new(AtomicU64::new(1)));
        Self { key, mode: MODE_SECURE, distort: |_| {}, rounds: 1, nonces }
    }

    fn converse(&self) -> Conversation {
        let nonce = self.nonces.fetch_add(1, Ordering::Relaxed);
        Conversation { keyed: self.clone(), nonce, peer: Bytes::new(), rounds: 0 }
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Authenticator for Keyed {
    fn client(&self, _server: EntityType) -> Box<dyn ClientAuth> {
        Box::new(self.converse())
    }

    fn server(&self, _client: EntityType) -> Box<dyn ServerAuth> {
        Box::new(self.converse())
    }
}

/// One side of a conversation.
#[derive(Debug)]
struct Conversation {
    keyed: Keyed,
    nonce: u64,
    /// The other side's nonce.
    peer: Bytes,
    rounds: u64,
}

impl Conversation {
    fn nonce(&self) -> [u8; 8] {
        self.nonce.to_le_bytes()
    }

    /// Who has the key can say this.
    fn proof(&self, of: &str, client: &[u8], server: &[u8]) -> Vec<u8> {
        let key = Key::new(HMAC_SHA256, &self.keyed.key);
        sign(&key, &[of.as_bytes(), client, server].concat()).as_ref().to_vec()
    }

    fn secrets(&self, client: &[u8], server: &[u8]) -> Secrets {
        let of = |what| self.proof(what, client, server);
        let mut secrets = Secrets {
            session_key: Some(of("session")),
            connection_secret: Some([of("connection"), of("more of it")].concat()),
        };
        (self.keyed.distort)(&mut secrets);
        secrets
    }
}

impl ClientAuth for Conversation {
    fn begin(&mut self) -> AuthRequest {
        AuthRequest { method: UNKNOWN, modes: vec![MODE_CRC], payload: "?".into() }
    }

    fn bad_method(&mut self, answer: &AuthBadMethod) -> Option<AuthRequest> {
        let payload = Bytes::copy_from_slice(&self.nonce());
        let (method, modes) = (METHOD, answer.modes.clone());
        answer.methods.contains(&METHOD).then_some(AuthRequest { method, modes, payload })
    }

    fn more(&mut self, payload: &[u8]) -> Result<Bytes, AuthError> {
        self.peer = Bytes::copy_from_slice(payload);
        Ok(self.proof("client", &self.nonce(), payload).into())
    }

    fn done(&mut self, done: &AuthDone) -> Result<Secrets, AuthError> {
        if *done.payload != self.proof("server", &self.nonce(), &self.peer) {
            return Err(AuthError("the server has another key"));
        }
        Ok(self.secrets(&self.nonce(), &self.peer))
    }
}

impl ServerAuth for Conversation {
    fn request(&mut self, request: &AuthRequest) -> Result<ServerAnswer, AuthError> {
        if request.method != METHOD {
            let (methods, modes) = (vec![METHOD], vec![self.keyed.mode]);
            let method = request.method;
            return Ok(ServerAnswer::BadMethod(AuthBadMethod {
                method,
                result: -95,
                methods,
                modes,
            }));
        }
        self.peer = request.payload.clone();
        Ok(ServerAnswer::More(Bytes::copy_from_slice(&self.nonce())))
    }

    fn more(&mut self, payload: &[u8]) -> Result<ServerAnswer, AuthError> {
        if payload != self.proof("client", &self.peer, &self.nonce()) {
            return Err(AuthError("the client has another key"));
        }
        self.rounds += 1;
        if self.rounds < self.keyed.rounds {
            return Ok(ServerAnswer::More(Bytes::copy_from_slice(&self.nonce())));
        }
        let payload = self.proof("server", &self.peer, &self.nonce()).into();
        let done = AuthDone { global_id: 4711, mode: self.keyed.mode, payload };
        Ok(ServerAnswer::Done(done, self.secrets(&self.peer, &self.nonce())))
    }
}
