//! What a daemon tells anybody: banner, HELLO, and which authentication it would take.

use super::diagnosis::Diagnosis;
use super::wire::Wire;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use vmsgr_messenger::msgr2::{AuthRequest, Banner, Control, EntityAddr, EntityType, Hello};

/// A method that nobody allows: who asks with it is told which ones are.
const NO_METHOD: u32 = 0;

/// Modes that we would take; the daemon tells its own.
const MODES: [u32; 2] = [1, 2];

/// What a daemon has told.
#[derive(Debug)]
pub struct Found {
    pub address: SocketAddr,
    pub banner: Banner,
    pub entity: EntityType,
    /// Us, as it sees us.
    pub seen_as: EntityAddr,
    /// Methods of authentication that it allows, and modes of the connection.
    pub methods: Vec<u32>,
    pub modes: Vec<u32>,
    pub connect: Duration,
    /// From the connection to its HELLO.
    pub handshake: Duration,
}

/// Asks the daemon at `address`; leaves the connection ready for a request to authenticate.
pub fn probe(address: SocketAddr, time_out: Duration) -> Result<(Wire, Found), Diagnosis> {
    let begun = Instant::now();
    let (mut wire, banner, connect) = Wire::connect(address, time_out)?;
    let peer = EntityAddr::msgr2(address, 0);
    let ours = Hello { entity: EntityType::CLIENT, peer };
    wire.send(&Control::Hello(ours.clone()))?;
    let hello = match wire.receive("HELLO")? {
        // A client listens nowhere, and no daemon sees us at its own address.
        Control::Hello(hello) if hello == ours => return Err(Diagnosis::Echo),
        Control::Hello(hello) => hello,
        other => return Err(unexpected("HELLO", &other)),
    };
    let handshake = begun.elapsed() - connect;
    let modes = MODES.to_vec();
    let payload = Default::default();
    wire.send(&Control::AuthRequest(AuthRequest { method: NO_METHOD, modes, payload }))?;
    let allowed = match wire.receive("AUTH_REQUEST")? {
        Control::AuthBadMethod(allowed) => allowed,
        other => return Err(unexpected("AUTH_REQUEST of no method", &other)),
    };
    let found = Found {
        address,
        banner,
        entity: hello.entity,
        seen_as: hello.peer,
        methods: allowed.methods,
        modes: allowed.modes,
        connect,
        handshake,
    };
    Ok((wire, found))
}

pub fn unexpected(asked: &'static str, answer: &Control) -> Diagnosis {
    Diagnosis::Unexpected { asked, answer: answer.tag().to_string() }
}
