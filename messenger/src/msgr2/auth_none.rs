//! Authentication *none*: everybody is who they say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::auth::{
    AuthError, Authenticator, ClientAuth, MODE_CRC, Secrets, ServerAnswer, ServerAuth,
};
use super::control::{AuthBadMethod, AuthDone, AuthRequest, EntityType};
use super::error::Rule;
use super::wire::{Reader, Writer};

/// Its number.
const METHOD: u32 = 1;

/// `AUTH_MODE_AUTHORIZER`, to daemons.
const TO_DAEMON: u8 = 1;
/// `AUTH_MODE_MON`, to monitors.
const TO_MONITOR: u8 = 10;

/// EOPNOTSUPP, as Ceph answers.
const NOT_SUPPORTED: i32 = -95;

/// Names longer than this nobody has.
const MOST_ID: u32 = 256;

/// Says who we are, and believes what the others say.
#[derive(Debug, Clone)]
pub struct AuthNone {
    entity: EntityType,
    id: String,
    global_id: u64,
    /// What clients that have no number get.
    next_global_id: Arc<AtomicU64>,
}

impl AuthNone {
    /// As this entity: its type, the name without it (`admin`), and its number in the cluster, or
    /// 0 if it has none yet.
    pub fn new(entity: EntityType, id: impl Into<String>, global_id: u64) -> Self {
        let next_global_id = Arc::new(AtomicU64::new(4096));
        Self { entity, id: id.into(), global_id, next_global_id }
    }
}

impl Authenticator for AuthNone {
    fn client(&self, server: EntityType) -> Box<dyn ClientAuth> {
        let mut payload = Vec::new();
        payload.put_u8(if server == EntityType::MON { TO_MONITOR } else { TO_DAEMON });
        payload.put_u32(u32::from(self.entity.0));
        payload.put_blob(self.id.as_bytes());
        payload.put_u64(self.global_id);
        Box::new(NoneClient { payload: payload.into() })
    }

    fn server(&self, _client: EntityType) -> Box<dyn ServerAuth> {
        Box::new(NoneServer { next_global_id: Arc::clone(&self.next_global_id) })
    }
}

#[derive(Debug)]
struct NoneClient {
    payload: Bytes,
}

impl ClientAuth for NoneClient {
    fn begin(&mut self) -> AuthRequest {
        AuthRequest { method: METHOD, modes: vec![MODE_CRC], payload: self.payload.clone() }
    }

    fn bad_method(&mut self, _answer: &AuthBadMethod) -> Option<AuthRequest> {
        None
    }

    fn more(&mut self, _payload: &[u8]) -> Result<Bytes, AuthError> {
        Err(AuthError("method none has one step"))
    }

    fn done(&mut self, _done: &AuthDone) -> Result<Secrets, AuthError> {
        Ok(Secrets::default())
    }
}

#[derive(Debug)]
struct NoneServer {
    next_global_id: Arc<AtomicU64>,
}

impl ServerAuth for NoneServer {
    fn request(&mut self, request: &AuthRequest) -> Result<ServerAnswer, AuthError> {
        // Without a list of modes the only one that there is.
        let crc = request.modes.is_empty() || request.modes.contains(&MODE_CRC);
        if request.method != METHOD || !crc {
            return Ok(ServerAnswer::BadMethod(AuthBadMethod {
                method: request.method,
                result: NOT_SUPPORTED,
                methods: vec![METHOD],
                modes: vec![MODE_CRC],
            }));
        }
        let said = global_id(&request.payload)
            .map_err(|_| AuthError("the request of method none is malformed"))?;
        // It only tells clients apart; on no two of them depends anything here.
        let global_id = match said {
            0 => self.next_global_id.fetch_add(1, Ordering::Relaxed),
            said => said,
        };
        let done = AuthDone { global_id, mode: MODE_CRC, payload: Bytes::new() };
        Ok(ServerAnswer::Done(done, Secrets::default()))
    }

    fn more(&mut self, _payload: &[u8]) -> Result<ServerAnswer, AuthError> {
        Err(AuthError("method none has one step"))
    }
}

/// The number that a client says it has; 0 if it has none.
fn global_id(payload: &[u8]) -> Result<u64, Rule> {
    if payload.is_empty() {
        return Ok(0);
    }
    let mut reader = Reader::new(payload);
    reader.u8("mode")?;
    reader.u32("entity type")?;
    let id = reader.blob("entity id")?;
    if id.len() > MOST_ID as usize {
        return Err(Rule::Truncated("entity id"));
    }
    reader.u64("global id")
}
