//! Our handshakes beside those of Ceph's own: fed what the one side said, we say what the other did.

use std::time::Instant;

use vmsgr_messenger::msgr2::*;

use crate::vectors::pairs;

/// Payloads of the control frames at the beginning of a stream.
fn controls(mut bytes: &[u8]) -> Vec<Control> {
    let mut decoder = FrameDecoder::new(Limits::default());
    bytes = &bytes[Banner::BYTES..];
    let mut controls = Vec::new();
    while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
        if frame.tag == Tag::Message {
            break;
        }
        controls.push(Control::decode(frame.tag, &frame.segments[0]).unwrap());
    }
    controls
}

fn client_ident(controls: &[Control]) -> ClientIdent {
    let Some(Control::ClientIdent(ident)) = controls.last() else { panic!("{controls:?}") };
    ident.clone()
}

fn hello(controls: &[Control]) -> Hello {
    let Some(Control::Hello(hello)) = controls.first() else { panic!("{controls:?}") };
    hello.clone()
}

fn server_ident(controls: &[Control]) -> ServerIdent {
    let Some(Control::ServerIdent(ident)) = controls.last() else { panic!("{controls:?}") };
    ident.clone()
}

fn give(endpoint: &mut Endpoint, stream: StreamId, mut bytes: &[u8], now: Instant) {
    while endpoint.receive(stream, &mut bytes, now).is_some() {}
}

fn output(endpoint: &mut Endpoint, stream: StreamId, now: Instant) -> Vec<u8> {
    let mut output = Vec::new();
    loop {
        let slices = endpoint.poll_send(stream, now);
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        if bytes.is_empty() {
            return output;
        }
        endpoint.sent(stream, bytes.len());
        output.extend(bytes);
    }
}

fn to_bytes(controls: &[Control]) -> Vec<u8> {
    let mut bytes = Banner::OURS.encode().to_vec();
    for control in controls {
        let mut payload = Vec::new();
        control.encode(&mut payload);
        let segments: [&[u8]; 4] = [&payload, &[], &[], &[]];
        let envelope = Envelope::new(control.tag(), &segments);
        envelope.slices(&segments).iter().for_each(|slice| bytes.extend_from_slice(slice));
    }
    bytes
}

#[test]
fn a_client_says_what_cephs_client_said() {
    for (client, server) in pairs("none-crc") {
        let (said, heard) = (controls(&client.bytes), controls(&server.bytes));
        let ident = client_ident(&said);
        let Control::AuthRequest(request) = &said[1] else { panic!("{said:?}") };
        let global_id = u64::from_le_bytes(*request.payload.last_chunk().unwrap());

        let now = Instant::now();
        let mut config = Config::new(EntityType::CLIENT, EntityAddrs::default());
        config.nonce = ident.addresses.msgr2().nonce;
        config.gid = Some(ident.gid);
        config.required = ident.required;
        config.cookies = Cookies::From(ident.cookie.wrapping_sub(1));
        let auth = Box::new(AuthNone::new(EntityType::CLIENT, "admin", global_id));
        let mut endpoint = Endpoint::new(config, auth, now);
        let target = Target {
            address: ident.target,
            entity: None,
            policy: match ident.flags & FLAG_LOSSY {
                0 => Policy::LOSSLESS_CLIENT,
                _ => Policy::LOSSY_CLIENT,
            },
            reopen: false,
        };
        // It had made others before.
        for _ in 1..ident.global_seq {
            let lossy = Target { policy: Policy::LOSSY_CLIENT, ..target };
            let before = endpoint.connect(lossy, now).unwrap();
            endpoint.connected(before, now).unwrap();
        }
        let session = endpoint.connect(target, now).unwrap();
        let stream = endpoint.connected(session, now).unwrap();
        give(&mut endpoint, stream, &to_bytes(&heard), now);
        let ours = output(&mut endpoint, stream, now);
        assert_eq!(controls(&ours), said, "{}", client.connection);
        assert!(client.bytes.starts_with(&ours), "{}", client.connection);
        assert!(ours.len() > 300, "the whole handshake");
    }
}

#[test]
fn a_server_says_what_cephs_daemons_said() {
    for (client, server) in pairs("none-crc") {
        let (said, heard) = (controls(&server.bytes), controls(&client.bytes));
        let ident = server_ident(&said);

        let now = Instant::now();
        let mut config = Config::new(hello(&said).entity, ident.addresses.clone());
        config.gid = Some(ident.gid);
        config.required = ident.required;
        let auth = Box::new(AuthNone::new(config.entity, "0", 0));
        let mut endpoint = Endpoint::new(config, auth, now);
        let stream = endpoint.accept(hello(&said).peer.socket.unwrap(), now);
        give(&mut endpoint, stream, &to_bytes(&heard), now);
        let ours = output(&mut endpoint, stream, now);
        let mut ours = controls(&ours);
        // A new client's number, and how many connections the daemon had made, are its own affair.
        for (ours, theirs) in ours.iter_mut().zip(&said) {
            match (ours, theirs) {
                (Control::ServerIdent(ours), Control::ServerIdent(theirs)) => {
                    ours.global_seq = theirs.global_seq;
                }
                (Control::AuthDone(ours), Control::AuthDone(theirs))
                    if server.connection.contains("mon") =>
                {
                    ours.global_id = theirs.global_id;
                }
                _ => {}
            }
        }
        assert_eq!(ours, said, "{}", server.connection);
    }
}
