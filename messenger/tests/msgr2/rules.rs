//! The rules of sessions, one by one: what a server answers to a frame.

use std::time::Duration;

use vmsgr_messenger::msgr2::*;

use crate::played::{Played, ident, lossless, message_frame, reconnect};
use crate::world::{message, name};

#[test]
fn only_who_knows_both_cookies_goes_on() {
    for policy in [Policy::LOSSLESS_PEER, Policy::STATEFUL_SERVER] {
        let mut server = Played::server(lossless(policy));
        let cookie = server.begin(5);
        // Whether it is to forget its messages, too, depends on what is expected of it.
        let reset = Control::SessionReset(policy.reset_check);
        for (client, theirs) in [(6, cookie), (5, cookie + 1)] {
            server.again();
            let answer = server.answer(&Control::SessionReconnect(reconnect(client, theirs)));
            assert_eq!(answer, reset, "{client} {theirs}");
        }
        server.again();
        let answer = server.answer(&Control::SessionReconnect(reconnect(5, cookie)));
        assert_eq!(answer, Control::SessionReconnectOk(0));
        // Whom it has never heard of.
        let mut server = Played::server(lossless(policy));
        let answer = server.answer(&Control::SessionReconnect(reconnect(5, cookie)));
        assert_eq!(answer, reset);
    }
}

#[test]
fn who_counts_behind_is_told_from_where_to_count() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let cookie = server.begin(5);
    server.again();
    let later = SessionReconnect { global_seq: 9, connect_seq: 4, ..reconnect(5, cookie) };
    let answer = server.answer(&Control::SessionReconnect(later.clone()));
    assert_eq!(answer, Control::SessionReconnectOk(0));
    server.again();
    let behind = SessionReconnect { global_seq: 8, ..later.clone() };
    let answer = server.answer(&Control::SessionReconnect(behind));
    assert_eq!(answer, Control::SessionRetryGlobal(9));
    let behind = SessionReconnect { connect_seq: 3, ..later };
    let answer = server.answer(&Control::SessionReconnect(behind));
    assert_eq!(answer, Control::SessionRetry(4));
    // And who begins with an older connection than the latest is not heard.
    server.again();
    server.events();
    server.give(&control_frame(&Control::ClientIdent(ident(5, 8))));
    assert_eq!(server.refusal(), Some(Reason::Stale));
}

#[test]
fn who_goes_on_is_told_what_came() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let cookie = server.begin(5);
    let sent = |seq| message_frame(MessageHeader { seq, ..Default::default() });
    assert_eq!(server.give(&[sent(1), sent(2)].concat()), 2);
    server.again();
    let answer = server.answer(&Control::SessionReconnect(reconnect(5, cookie)));
    assert_eq!(answer, Control::SessionReconnectOk(2));
    // Who does not listen and says it all again is heard once.
    assert_eq!(server.give(&[sent(1), sent(2), sent(3)].concat()), 1);
}

#[test]
fn a_peer_that_begins_anew_is_owed_only_what_its_policy_says() {
    let both = [Policy::LOSSLESS_PEER, Policy::STATEFUL_SERVER];
    for (policy, heard) in both.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let mut server = Played::server(lossless(policy));
        server.begin(5);
        if heard {
            server.give(&control_frame(&Control::Ack(0)));
        }
        let opened = server.events().into_iter().find_map(|event| match event {
            Event::Opened { session, .. } => Some(session),
            _ => None,
        });
        let session = opened.unwrap();
        server.endpoint.send(session, message(1), server.now).unwrap();
        server.again();
        server.give(&control_frame(&Control::ClientIdent(ident(6, 2))));
        let lost = u64::from(policy.reset_check);
        let events = server.events();
        // Who has not been heard may never have heard of what it does not know; but what is lost is told.
        let told = events.contains(&Event::Reset { session, lost });
        assert_eq!(told, heard || lost > 0, "{policy:?} {heard} {events:?}");
        let kept = server.endpoint.outbox_bytes(session) > 0;
        assert_eq!(kept, !policy.reset_check, "{policy:?}");
    }
}

#[test]
fn a_peer_has_forgotten_what_it_had_heard_of_and_no_more_than_once() {
    let begin = |server: &mut Played, cookie, global_seq| {
        server.again();
        server.give(&control_frame(&Control::ClientIdent(ident(cookie, global_seq))));
        let reset = |event: &Event| matches!(event, Event::Reset { .. });
        server.events().iter().filter(|event| reset(event)).count()
    };
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let cookie = server.begin(5);
    // It knows both cookies.
    server.again();
    let answer = server.answer(&Control::SessionReconnect(reconnect(5, cookie)));
    assert_eq!(answer, Control::SessionReconnectOk(0));
    // It may ask for the same session again, which keeps its name.
    assert_eq!(begin(&mut server, 5, 3), 0);
    let said = server.said();
    let [Control::ServerIdent(again)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(again.cookie, cookie);
    assert_eq!(begin(&mut server, 6, 4), 1);
    // Of that one nothing was heard.
    assert_eq!(begin(&mut server, 7, 5), 0);
}

#[test]
fn who_says_to_have_what_was_never_sent_does_not_cost_the_session_its_stream() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let cookie = server.begin(5);
    let stream = server.stream;
    server.again();
    server.events();
    let beyond = SessionReconnect { msg_seq: 1, ..reconnect(5, cookie) };
    server.give(&control_frame(&Control::SessionReconnect(beyond)));
    assert!(matches!(server.refusal(), Some(Reason::Violation(_))));
    server.stream = stream;
    assert_eq!(server.give(&message_frame(MessageHeader { seq: 1, ..Default::default() })), 1);
}

#[test]
fn who_looks_for_another_process_or_lacks_features_is_refused() {
    let mut config = lossless(Policy::LOSSLESS_PEER);
    config.only_for_us = true;
    config.supported = 0xff;
    config.required = 0x3;
    let target = EntityAddr { nonce: 3, ..name(2) };
    let mut server = Played::server(config.clone());
    server.give(&control_frame(&Control::ClientIdent(ClientIdent { target, ..ident(5, 1) })));
    assert_eq!(server.refusal(), Some(Reason::NotUs));
    let mut server = Played::server(config.clone());
    let demanding = ClientIdent { required: 0x1ff, ..ident(5, 1) };
    server.give(&control_frame(&Control::ClientIdent(demanding)));
    assert_eq!(server.refusal(), Some(Reason::MissingFeatures(0x100)));
    let mut server = Played::server(config);
    let simple = ClientIdent { supported: 0x1, ..ident(5, 1) };
    let answer = server.answer(&Control::ClientIdent(simple));
    assert_eq!(answer, Control::IdentMissingFeatures(0x2));
    // It may say who it is once more.
    assert_ne!(server.begin(5), 0);
}

#[test]
fn sessions_are_bounded_on_both_sides() {
    let mut config = lossless(Policy::LOSSLESS_PEER);
    config.sessions = 1;
    let mut server = Played::server(config);
    server.begin(5);
    server.again();
    server.events();
    let another = ClientIdent { addresses: name(3).into(), ..ident(7, 1) };
    server.give(&control_frame(&Control::ClientIdent(another)));
    assert_eq!(server.refusal(), Some(Reason::TooManySessions));
    let policy = Policy::LOSSY_CLIENT;
    let target = Target { address: name(4), entity: None, policy, reopen: false };
    assert_eq!(server.endpoint.connect(target, server.now), None);
}

#[test]
fn a_peer_that_does_not_know_its_address_is_known_by_where_it_comes_from() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let mut nowhere = name(1);
    nowhere.socket = Some("0.0.0.0:6800".parse().unwrap());
    let blind = ClientIdent { addresses: nowhere.into(), ..ident(5, 1) };
    let Control::ServerIdent(theirs) = server.answer(&Control::ClientIdent(blind)) else {
        panic!()
    };
    server.again();
    // By then it knows.
    let known = reconnect(5, theirs.cookie);
    assert_eq!(server.answer(&Control::SessionReconnect(known)), Control::SessionReconnectOk(0));
}

#[test]
fn acks_do_not_wait_when_many_messages_came() {
    let mut config = lossless(Policy::LOSSLESS_PEER);
    config.ack_every = 3;
    let mut server = Played::server(config);
    server.begin(5);
    let sent = |seq| message_frame(MessageHeader { seq, ..Default::default() });
    server.give(&[sent(1), sent(2)].concat());
    assert_eq!(server.said(), []);
    server.give(&sent(3));
    assert_eq!(server.said(), [Control::Ack(3)]);
}

#[test]
fn a_frame_that_its_sender_gave_up_does_not_count() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    server.begin(5);
    let mut given_up = message_frame(MessageHeader { seq: 1, ..Default::default() });
    // The epilogue: a status, and the crcs of three segments.
    let status = given_up.len() - 13;
    given_up[status] = 1;
    for pieces in [given_up.len(), 7] {
        let came: usize = given_up.chunks(pieces).map(|piece| server.give(piece)).sum();
        assert_eq!((came, server.refusal()), (0, None), "{pieces}");
    }
    assert_eq!(server.give(&message_frame(MessageHeader { seq: 1, ..Default::default() })), 1);
}

#[test]
fn our_own_silence_does_not_count_against_the_peer() {
    let second = Duration::from_secs(1);
    let mut config = lossless(Policy::LOSSLESS_PEER);
    config.keepalive = Some(Keepalive { after: 10 * second, patience: 20 * second });
    config.throttle = ThrottleLimits { messages: 1, bytes: 1 << 20 };
    let mut server = Played::server(config);
    server.begin(5);
    let bytes = message_frame(MessageHeader { seq: 1, ..Default::default() });
    let received = server.endpoint.receive(server.stream, &mut &bytes[..], server.now).unwrap();
    let (session, count) = (received.session, received.bytes() as u64);
    let again = message_frame(MessageHeader { seq: 2, ..Default::default() });
    assert!(server.endpoint.receive(server.stream, &mut &again[..], server.now).is_none());
    assert!(server.endpoint.is_held(server.stream));
    server.events();
    server.now += 1000 * second;
    server.endpoint.handle_timeout(server.now);
    server.endpoint.taken(session, 1, count, server.now);
    assert!(server.events().contains(&Event::Resume(server.stream)));
    // What it sends meanwhile is an acknowledgement, and no question yet.
    server.endpoint.handle_timeout(server.now + second);
    let asked = |said: &Control| matches!(said, Control::Keepalive2(_));
    assert!(!server.said().iter().any(asked));
    assert_eq!(server.refusal(), None);
}

#[test]
fn nobody_connects_to_a_client_that_does_not_listen() {
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let addresses = EntityAddr::client("10.0.0.1".parse().unwrap(), 9).into();
    server.answer(&Control::ClientIdent(ClientIdent { addresses, ..ident(5, 1) }));
    let events = server.events();
    let opened = events.iter().find_map(|event| match event {
        Event::Opened { session, .. } => Some(*session),
        _ => None,
    });
    server.endpoint.send(opened.unwrap(), message(1), server.now).unwrap();
    server.endpoint.closed(server.stream, server.now);
    let events = server.events();
    assert!(matches!(events[..], [.., Event::Lost { .. }]), "{events:?}");
    server.now += Config::new(EntityType::OSD, EntityAddrs::default()).linger;
    server.endpoint.handle_timeout(server.now);
    let events = server.events();
    let ended = |event: &Event| matches!(event, Event::Ended { error, .. } if matches!(error.reason, Reason::Lingered(_)));
    assert!(matches!(&events[..], [event] if ended(event)), "{events:?}");
}

#[test]
fn a_peer_is_told_no_more_addresses_than_it_listens_to_and_the_first_stays() {
    let mut server = Played::server(lossless(Policy::STATEFUL_SERVER));
    for port in 1..=200 {
        server.endpoint.add_address(EntityAddr::msgr2(([10, 0, 0, 2], port).into(), 2));
    }
    let answer = server.answer(&Control::ClientIdent(ident(5, 1)));
    let Control::ServerIdent(ident) = answer else { panic!("{answer:?}") };
    assert_eq!((ident.addresses.0.len(), ident.addresses.0[0]), (64, name(2)));
    let last = EntityAddr::msgr2(([10, 0, 0, 2], 200).into(), 2);
    assert_eq!(ident.addresses.0.last(), Some(&last));
}
