//! A session without credentials, and keepalives in it.

use super::diagnosis::Diagnosis;
use super::probe::{Found, unexpected};
use super::wire::Wire;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use vmsgr_messenger::msgr2::{
    AuthRequest, ClientIdent, Control, EntityAddr, EntityType, FLAG_LOSSY, Timestamp,
};

/// Authentication without credentials.
pub const METHOD_NONE: u32 = 1;

const MODE_CRC: u32 = 1;

/// What the request to authenticate says of its purpose.
const TO_DAEMON: u8 = 1;
const TO_MONITOR: u8 = 10;

/// Under this name the daemons' logs show us. Nothing is asked for that it would need rights for.
const NAME: &str = "vmsgrctl";

/// Features of messages that a client of Ceph 16.2 has; no message is ever read here.
const FEATURES: u64 = 0x3f01_cfbd_fffd_ffff;

/// Begins a session with a daemon that allows authentication *none*; `nonce` is the daemon's own.
pub fn begin(wire: &mut Wire, found: &Found, nonce: u32) -> Result<(), Diagnosis> {
    wire.send(&Control::AuthRequest(AuthRequest {
        method: METHOD_NONE,
        modes: vec![MODE_CRC],
        payload: credentials(found.entity).into(),
    }))?;
    let gid = match wire.receive("AUTH_REQUEST")? {
        Control::AuthDone(done) => done.global_id,
        other => return Err(unexpected("AUTH_REQUEST of method none", &other)),
    };
    // Without a session key there is nothing to sign with.
    wire.send(&Control::AuthSignature([0; 32]))?;
    match wire.receive("AUTH_SIGNATURE")? {
        Control::AuthSignature(_) => {}
        other => return Err(unexpected("AUTH_SIGNATURE", &other)),
    }
    let local = wire.local().map_err(Diagnosis::Failed)?;
    let random = RandomState::new().hash_one(local);
    wire.send(&Control::ClientIdent(ClientIdent {
        addresses: EntityAddr::client(local.ip(), random as u32).into(),
        target: EntityAddr::msgr2(found.address, nonce),
        gid,
        global_seq: 1,
        supported: FEATURES,
        required: 0,
        flags: FLAG_LOSSY,
        cookie: random | 1,
    }))?;
    match wire.receive("CLIENT_IDENT").map_err(|diagnosis| match diagnosis {
        // It looks whether the target is itself before anything else.
        Diagnosis::Closed(_) => Diagnosis::WrongNonce(nonce),
        other => other,
    })? {
        Control::ServerIdent(_) => Ok(()),
        other => Err(unexpected("CLIENT_IDENT", &other)),
    }
}

/// The payload of a request to authenticate without credentials.
fn credentials(to: EntityType) -> Vec<u8> {
    let mode = if to == EntityType::MON { TO_MONITOR } else { TO_DAEMON };
    let mut payload = vec![mode];
    payload.extend(u32::from(EntityType::CLIENT.0).to_le_bytes());
    payload.extend((NAME.len() as u32).to_le_bytes());
    payload.extend(NAME.as_bytes());
    // The number in the cluster, which the monitor has yet to give.
    payload.extend(0_u64.to_le_bytes());
    payload
}

/// Sends a keepalive, and how long it took to come back; `None` if it did not in time.
pub fn round_trip(wire: &mut Wire, time_out: Duration) -> Result<Option<Duration>, Diagnosis> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = Timestamp { seconds: now.as_secs() as u32, nanoseconds: now.subsec_nanos() };
    let sent = Instant::now();
    wire.send(&Control::Keepalive2(time))?;
    while let Some(control) = wire.receive_until("KEEPALIVE2", sent + time_out)? {
        match control {
            Control::Keepalive2Ack(of) if of == time => return Ok(Some(sent.elapsed())),
            // It may ask the same of us.
            Control::Keepalive2(theirs) => wire.send(&Control::Keepalive2Ack(theirs))?,
            // Also what came too late.
            _ => {}
        }
    }
    Ok(None)
}
