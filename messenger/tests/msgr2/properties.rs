//! Whatever is encoded is decoded, however it is cut.

use proptest::collection::vec;
use proptest::prelude::*;
use vmsgr_messenger::msgr2::*;

use crate::vectors::random_pieces;

fn segments() -> impl Strategy<Value = [Vec<u8>; SEGMENTS]> {
    let segment = || vec(any::<u8>(), 0..3000);
    (vec(any::<u8>(), 41), segment(), segment(), segment())
        .prop_map(|(header, front, middle, data)| [header, front, middle, data])
}

/// Short ones, of which some are empty, with a header.
fn short_segments() -> impl Strategy<Value = [Vec<u8>; SEGMENTS]> {
    let segment = || prop_oneof![Just(Vec::new()), vec(any::<u8>(), 1..100)];
    (vec(any::<u8>(), 41), segment(), segment(), segment())
        .prop_map(|(header, front, middle, data)| [header, front, middle, data])
}

fn socket() -> impl Strategy<Value = Option<std::net::SocketAddr>> {
    prop_oneof![
        Just(None),
        any::<(std::net::Ipv4Addr, u16)>().prop_map(|address| Some(address.into())),
        any::<(std::net::Ipv6Addr, u16)>().prop_map(|address| Some(address.into())),
    ]
}

fn address() -> impl Strategy<Value = EntityAddr> {
    let kind = prop_oneof![
        Just(AddressKind::None),
        Just(AddressKind::Legacy),
        Just(AddressKind::Msgr2),
        Just(AddressKind::Any),
        (4..u32::MAX).prop_map(AddressKind::Other),
    ];
    (kind, any::<u32>(), socket()).prop_map(|(kind, nonce, socket)| EntityAddr {
        kind,
        nonce,
        socket,
    })
}

fn addresses() -> impl Strategy<Value = EntityAddrs> {
    vec(address(), 0..4).prop_map(EntityAddrs)
}

fn blob() -> impl Strategy<Value = bytes::Bytes> {
    vec(any::<u8>(), 0..500).prop_map(bytes::Bytes::from)
}

fn control() -> impl Strategy<Value = Control> {
    let numbers = || vec(any::<u32>(), 0..9);
    let time = || {
        any::<(u32, u32)>().prop_map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds })
    };
    prop_oneof![
        (any::<u8>(), address())
            .prop_map(|(entity, peer)| Control::Hello(Hello { entity: EntityType(entity), peer })),
        (any::<u32>(), numbers(), blob()).prop_map(|(method, modes, payload)| {
            Control::AuthRequest(AuthRequest { method, modes, payload })
        }),
        (any::<u32>(), any::<i32>(), numbers(), numbers()).prop_map(
            |(method, result, methods, modes)| {
                Control::AuthBadMethod(AuthBadMethod { method, result, methods, modes })
            }
        ),
        blob().prop_map(Control::AuthReplyMore),
        blob().prop_map(Control::AuthRequestMore),
        (any::<u64>(), any::<u32>(), blob()).prop_map(|(global_id, mode, payload)| {
            Control::AuthDone(AuthDone { global_id, mode, payload })
        }),
        any::<[u8; 32]>().prop_map(Control::AuthSignature),
        (addresses(), address(), any::<[u64; 6]>()).prop_map(|(addresses, target, numbers)| {
            let [gid, global_seq, supported, required, flags, cookie] = numbers;
            Control::ClientIdent(ClientIdent {
                addresses,
                target,
                gid,
                global_seq,
                supported,
                required,
                flags,
                cookie,
            })
        }),
        (addresses(), any::<[u64; 6]>()).prop_map(|(addresses, numbers)| {
            let [gid, global_seq, supported, required, flags, cookie] = numbers;
            Control::ServerIdent(ServerIdent {
                addresses,
                gid,
                global_seq,
                supported,
                required,
                flags,
                cookie,
            })
        }),
        any::<u64>().prop_map(Control::IdentMissingFeatures),
        (addresses(), any::<[u64; 5]>()).prop_map(|(addresses, numbers)| {
            let [client_cookie, server_cookie, global_seq, connect_seq, msg_seq] = numbers;
            Control::SessionReconnect(SessionReconnect {
                addresses,
                client_cookie,
                server_cookie,
                global_seq,
                connect_seq,
                msg_seq,
            })
        }),
        any::<bool>().prop_map(Control::SessionReset),
        any::<u64>().prop_map(Control::SessionRetry),
        any::<u64>().prop_map(Control::SessionRetryGlobal),
        any::<u64>().prop_map(Control::SessionReconnectOk),
        Just(Control::Wait),
        time().prop_map(Control::Keepalive2),
        time().prop_map(Control::Keepalive2Ack),
        any::<u64>().prop_map(Control::Ack),
        (any::<bool>(), numbers())
            .prop_map(|(wanted, methods)| Control::CompressionRequest { wanted, methods }),
        (any::<bool>(), any::<u32>())
            .prop_map(|(on, method)| Control::CompressionDone { on, method }),
    ]
}

proptest! {
    #[test]
    fn control_frames_come_back(control in control(), more in vec(any::<u8>(), 0..9)) {
        let mut payload = Vec::new();
        control.encode(&mut payload);
        prop_assert_eq!(Control::decode(control.tag(), &payload), Ok(control.clone()));
        // No prefix of a payload is one, and what follows it is skipped.
        for length in 0..payload.len() {
            prop_assert!(Control::decode(control.tag(), &payload[..length]).is_err());
        }
        payload.extend(more);
        prop_assert_eq!(Control::decode(control.tag(), &payload), Ok(control));
    }

    #[test]
    fn no_payload_makes_a_decoder_panic(tag in 1..=22_u8, payload in vec(any::<u8>(), 0..200)) {
        let tag = Tag::try_from(tag).unwrap();
        let _ = Control::decode(tag, &payload);
    }

    #[test]
    fn frames_come_back(frames in vec(segments(), 1..4), seed in 1..u64::MAX, secure: bool) {
        let limits = Limits::default();
        let secret = [5; 40];
        let (mut sealer, _) = from_connection_secret(&secret, Side::Initiator, limits).unwrap();
        let (_, mut opener) = from_connection_secret(&secret, Side::Acceptor, limits).unwrap();
        let mut plain = FrameDecoder::new(limits);
        let mut bytes = Vec::new();
        for segments in &frames {
            let segments = segments.each_ref().map(Vec::as_slice);
            if secure {
                sealer.seal(Tag::Message, &segments, &mut bytes).unwrap();
            } else {
                Envelope::new(Tag::Message, &segments).append(&segments, &mut bytes);
            }
        }
        let mut frames = frames.into_iter();
        for mut piece in random_pieces(&bytes, seed) {
            loop {
                let frame = match secure {
                    true => opener.decode(&mut piece).unwrap(),
                    false => plain.decode(&mut piece).unwrap(),
                };
                let Some(frame) = frame else { break };
                let segments = frame.segments.map(|segment| segment.to_vec());
                prop_assert_eq!(Some(segments), frames.next());
            }
            prop_assert!(piece.is_empty());
        }
        prop_assert_eq!(frames.next(), None);
    }

    #[test]
    fn a_changed_byte_never_goes_unnoticed(
        segments in prop_oneof![segments(), short_segments()],
        at: prop::sample::Index,
        with in 1..=u8::MAX,
    ) {
        let segments = segments.each_ref().map(Vec::as_slice);
        let mut bytes = crc_frame(Tag::Message, &segments);
        let at = at.index(bytes.len());
        // The high nibble of the late status says nothing.
        let late_status = bytes.len() - 13;
        prop_assume!(segments[1..].iter().all(|s| s.is_empty()) || at != late_status);
        bytes[at] ^= with;
        prop_assert!(FrameDecoder::new(Limits::default()).decode(&mut &bytes[..]).is_err());
    }

    /// Whole frames are looked at in another way than frames in pieces, and come to the same.
    #[test]
    fn in_one_piece_or_byte_by_byte_it_is_the_same(
        frames in vec(short_segments(), 1..4),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        status in prop_oneof![Just(0xe_u8), Just(0x1), any::<u8>()],
        zeros: bool,
        limit in 0..120_u32,
    ) {
        let mut bytes = Vec::new();
        for segments in &frames {
            let segments = segments.each_ref().map(Vec::as_slice);
            let envelope = Envelope::new(Tag::Message, &segments);
            envelope.append(&segments, &mut bytes);
            if let Some(epilogue) = bytes.len().checked_sub(envelope.epilogue().len())
                && let [late, crcs @ ..] = &mut bytes[epilogue..]
            {
                *late = status;
                // As others write what an empty segment has.
                for (segment, crc) in segments[1..].iter().zip(crcs.chunks_mut(4)) {
                    if zeros && segment.is_empty() {
                        crc.fill(0);
                    }
                }
            }
        }
        for (at, with) in changes {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        let limits = Limits { data_bytes: limit, ..Limits::default() };
        let decode = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut decoder = FrameDecoder::new(limits);
            let mut found = Vec::new();
            for mut piece in pieces {
                loop {
                    match decoder.decode(&mut piece) {
                        Ok(None) => break,
                        Ok(Some(frame)) => {
                            found.push((frame.tag, frame.segments.map(|it| it.to_vec())));
                        }
                        Err(error) => return (found, Some(error)),
                    }
                }
            }
            (found, None)
        };
        let whole = decode(&mut [&bytes[..]].into_iter());
        prop_assert_eq!(&whole, &decode(&mut bytes.chunks(1)));
        prop_assert_eq!(&whole, &decode(&mut bytes.chunks(37)));
    }
}
