//! Sessions in every state. The first bytes say which side we are and how far a good peer brings the
//! handshake; the rest are frames (tag, length, payload) with crcs that are right, then bytes as
//! they are.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use vmsgr_messenger::msgr2::*;

fn address(number: u8) -> EntityAddr {
    EntityAddr::msgr2(([10, 0, 0, number], 6800).into(), number.into())
}

fn frame(tag: Tag, payload: &[u8], out: &mut Vec<u8>) {
    let segments = [payload, &[], &[], &[]];
    let envelope = Envelope::new(tag, &segments);
    envelope.slices(&segments).iter().for_each(|slice| out.extend_from_slice(slice));
}

fn control(control: &Control, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    control.encode(&mut payload);
    frame(control.tag(), &payload, out);
}

/// What a good peer says in the first so many steps.
fn handshake(dial: bool, steps: u8) -> Vec<u8> {
    let mut out = Vec::new();
    for step in 0..steps {
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
            (4, true) => {
                let ident = ServerIdent {
                    addresses: address(2).into(),
                    gid: 2,
                    global_seq: 1,
                    supported: u64::MAX,
                    required: 0,
                    flags: 0,
                    cookie: 9,
                };
                control(&Control::ServerIdent(ident), &mut out);
            }
            (4, false) => {
                let ident = ClientIdent {
                    addresses: address(2).into(),
                    target: address(1),
                    gid: 2,
                    global_seq: 1,
                    supported: u64::MAX,
                    required: 0,
                    flags: 0,
                    cookie: 9,
                };
                control(&Control::ClientIdent(ident), &mut out);
            }
            _ => {}
        }
    }
    out
}

/// Frames off the front of what the fuzzer gave, at most 40; then what is left of it.
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..40 {
        let Some(([tag, length], rest)) = bytes.split_first_chunk() else { break };
        let Ok(tag) = Tag::try_from(*tag) else { break };
        let (payload, rest) = rest.split_at(rest.len().min((*length).into()));
        frame(tag, payload, &mut out);
        bytes = rest;
    }
    out.extend_from_slice(bytes);
    out
}

fn write_all(endpoint: &mut Endpoint, stream: StreamId, now: Instant) {
    loop {
        let count = endpoint.poll_send(stream, now).iter().map(|slice| slice.len()).sum();
        if count == 0 {
            return;
        }
        endpoint.sent(stream, count);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([how, piece], bytes)) = bytes.split_first_chunk() else { return };
    let dial = how & 0x80 != 0;
    let mut now = Instant::now();
    let mut config = Config::new(EntityType::OSD, address(1).into());
    config.policy = Policy::LOSSLESS_PEER;
    config.cookies = Cookies::From(1);
    let auth = Box::new(AuthNone::new(EntityType::OSD, "0", 0));
    let mut endpoint = Endpoint::new(config, auth, now);
    let mut session = None;
    if dial || how & 0x40 != 0 {
        let policy = Policy::LOSSLESS_PEER;
        let target = Target { address: address(2), entity: None, policy, reopen: false };
        session = endpoint.connect(target, now);
    }
    let dialled = session.filter(|_| dial).and_then(|session| endpoint.connected(session, now));
    let stream = dialled.unwrap_or_else(|| endpoint.accept(([10, 0, 0, 2], 5).into(), now));
    if let Some(session) = session {
        let _ = endpoint.send(session, Message { front: "one".into(), ..Default::default() }, now);
    }
    let mut wire = handshake(dial, how & 7);
    wire.extend(frames(bytes));
    for mut input in wire.chunks(usize::from(*piece).max(1) * 16) {
        while let Some(received) = endpoint.receive(stream, &mut input, now) {
            let (session, bytes) = (received.session, received.bytes() as u64);
            endpoint.taken(session, 1, bytes, now);
        }
        write_all(&mut endpoint, stream, now);
    }
    for _ in 0..10 {
        while endpoint.poll_event().is_some() {}
        let Some(deadline) = endpoint.deadline() else { break };
        assert!(deadline >= now - Duration::from_secs(1), "a deadline does not go back");
        now = now.max(deadline);
        endpoint.handle_timeout(now);
        write_all(&mut endpoint, stream, now);
    }
    endpoint.closed(stream, now);
    // Ours, and that of the peer if it gave itself another name.
    assert!(endpoint.streams() == 0 && endpoint.sessions() <= 2);
});
