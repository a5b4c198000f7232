//! Authentication: the seam between the handshake and its methods.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use super::control::{AuthBadMethod, AuthDone, AuthRequest, EntityType};

/// Connection mode in which frames carry crcs.
pub const MODE_CRC: u32 = 1;
/// Connection mode in which frames are encrypted.
pub const MODE_SECURE: u32 = 2;

/// What authentication agreed on.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Signs what was said before; without one the signatures are zeros.
    pub session_key: Option<Vec<u8>>,
    /// Encrypts what follows; needed in [`MODE_SECURE`].
    pub connection_secret: Option<Vec<u8>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only whether there are some.
        f.debug_struct("Secrets")
            .field("session_key", &self.session_key.is_some())
            .field("connection_secret", &self.connection_secret.is_some())
            .finish()
    }
}

/// Authentication failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("authentication failed: {0}")]
pub struct AuthError(pub &'static str);

/// Makes the conversations of an endpoint's connections.
pub trait Authenticator: fmt::Debug {
    /// Of a connection that we make, to an entity of this kind.
    fn client(&self, server: EntityType) -> Box<dyn ClientAuth>;

    /// Of a connection that was made to us, by an entity of this kind as it says.
    fn server(&self, client: EntityType) -> Box<dyn ServerAuth>;
}

/// The client's side of one conversation.
pub trait ClientAuth: fmt::Debug {
    /// What to begin with.
    fn begin(&mut self) -> AuthRequest;

    /// The server does not take the method: another one, if there is one.
    fn bad_method(&mut self, answer: &AuthBadMethod) -> Option<AuthRequest>;

    /// The server wants more.
    fn more(&mut self, payload: &[u8]) -> Result<Bytes, AuthError>;

    /// The server is convinced; are we?
    fn done(&mut self, done: &AuthDone) -> Result<Secrets, AuthError>;
}

/// What a server says to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAnswer {
    /// It is convinced.
    Done(AuthDone, Secrets),
    /// It wants more.
    More(Bytes),
    /// It does not take the method.
    BadMethod(AuthBadMethod),
}

/// The server's side of one conversation.
pub trait ServerAuth: fmt::Debug {
    /// The client asks.
    fn request(&mut self, request: &AuthRequest) -> Result<ServerAnswer, AuthError>;

    /// The client says more.
    fn more(&mut self, payload: &[u8]) -> Result<ServerAnswer, AuthError>;
}
