//! The rules of sessions, one by one: what a client does by what its server says.

use std::time::{Duration, Instant};

use vmsgr_messenger::msgr2::*;

use crate::played::{Played, ident, introduction, lossless, message_frame, reconnect};
use crate::world::{World, config, message, name};

/// A client of a lossless session with the peer at an address.
struct Dialling {
    played: Played,
    session: SessionId,
    ours: u8,
    peer: u8,
    /// Of what the peer says to welcome us.
    global_seq: u64,
}

impl Dialling {
    fn new(policy: Policy) -> Self {
        Self::between(2, 1, policy)
    }

    /// From the one address to the other.
    fn between(ours: u8, peer: u8, policy: Policy) -> Self {
        let now = Instant::now();
        let auth = Box::new(AuthNone::new(EntityType::OSD, "0", 0));
        let config = Config { policy, ..config(EntityType::OSD, ours) };
        let mut endpoint = Endpoint::new(config, auth, now);
        let target = Target { address: name(peer), entity: None, policy, reopen: false };
        let session = endpoint.connect(target, now).unwrap();
        let stream = endpoint.connected(session, now).unwrap();
        Self { played: Played { endpoint, stream, now }, session, ours, peer, global_seq: 1 }
    }

    /// The server lets it in; what it says then.
    fn let_in(&mut self) -> Vec<Control> {
        let mut bytes = Banner::OURS.encode().to_vec();
        bytes.extend(control_frame(&Control::Hello(Hello {
            entity: EntityType::OSD,
            peer: name(self.ours),
        })));
        let done = AuthDone { global_id: 1, mode: 1, payload: Default::default() };
        bytes.extend(control_frame(&Control::AuthDone(done)));
        bytes.extend(control_frame(&Control::AuthSignature([0; 32])));
        self.played.give(&bytes);
        let mut said = self.played.said();
        // Behind HELLO, AUTH_REQUEST and the signature.
        said.split_off(3)
    }

    fn welcome(&mut self, flags: u64) {
        self.welcome_as(name(self.peer), flags);
    }

    /// The server is there, it says.
    fn welcome_as(&mut self, name: EntityAddr, flags: u64) {
        self.played.give(&control_frame(&Control::ServerIdent(ServerIdent {
            addresses: name.into(),
            gid: 0,
            global_seq: self.global_seq,
            supported: u64::MAX,
            required: 0,
            flags,
            cookie: 77,
        })));
    }

    /// The stream is lost, and made again.
    fn lose(&mut self) -> Vec<Control> {
        self.played.events();
        self.played.endpoint.closed(self.played.stream, self.played.now);
        while !self.played.events().iter().any(|event| matches!(event, Event::Connect { .. })) {
            self.played.now = self.played.endpoint.deadline().expect("it tries again");
            self.played.endpoint.handle_timeout(self.played.now);
        }
        self.played.stream = self.played.endpoint.connected(self.session, self.played.now).unwrap();
        self.let_in()
    }

    /// The peer makes a connection of its own and says this on it; the answer, and the stream that
    /// was ours.
    fn race(&mut self, say: &Control) -> (Control, StreamId) {
        let dialled = self.played.stream;
        let from = name(self.peer).socket.expect("it has one");
        self.played.stream = self.played.endpoint.accept(from, self.played.now);
        self.played.give(&introduction(self.peer));
        self.played.said();
        (self.played.answer(say), dialled)
    }
}

/// What the peer at address 1 or 2 says to the other to begin a session.
fn begun_by(peer: u8) -> ClientIdent {
    ClientIdent { addresses: name(peer).into(), target: name(3 - peer), ..ident(5, 1) }
}

fn resumption(said: &[Control]) -> SessionReconnect {
    let [Control::SessionReconnect(reconnect)] = said else { panic!("{said:?}") };
    reconnect.clone()
}

#[test]
fn a_client_goes_on_where_both_are() {
    let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
    client.let_in();
    client.welcome(0);
    for number in 1..=3 {
        client.played.endpoint.send(client.session, message(number), client.played.now).unwrap();
    }
    client.played.said();
    client.played.give(&message_frame(MessageHeader { seq: 1, ..Default::default() }));
    let said = resumption(&client.lose());
    assert_eq!((said.server_cookie, said.connect_seq, said.msg_seq), (77, 1, 1));
    // It counts on from where it is told to.
    let retry = client.played.answer(&Control::SessionRetry(5));
    assert_eq!(resumption(&[retry]).connect_seq, 6);
    let retry = client.played.answer(&Control::SessionRetryGlobal(40));
    assert_eq!(resumption(&[retry]).global_seq, 41);
    // What the server has need not be kept.
    client.played.give(&control_frame(&Control::SessionReconnectOk(3)));
    assert_eq!(client.played.endpoint.outbox_bytes(client.session), 0);
}

#[test]
fn a_reset_is_as_full_as_it_says() {
    for full in [false, true] {
        let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
        client.let_in();
        // It says that there is a session, which it forgets.
        client.welcome(0);
        client.played.endpoint.send(client.session, message(1), client.played.now).unwrap();
        resumption(&client.lose());
        client.played.events();
        let answer = client.played.answer(&Control::SessionReset(full));
        assert!(matches!(answer, Control::ClientIdent(_)), "{answer:?}");
        let (session, lost) = (client.session, u64::from(full));
        assert!(client.played.events().contains(&Event::Reset { session, lost }));
        assert_eq!(client.played.endpoint.outbox_bytes(client.session) > 0, !full);
    }
}

/// It has let the peer begin a session and sent a message in it: the peer has gone on with it since, says
/// that it has the message, or asks to count from elsewhere.
#[test]
fn a_peer_that_knew_the_session_has_forgotten_it() {
    let known = [
        vec![Control::SessionReconnectOk(1), Control::SessionReset(false)],
        vec![Control::SessionRetry(3), Control::SessionReset(false)],
        vec![Control::SessionRetryGlobal(9), Control::SessionReset(false)],
    ];
    for said in known {
        let mut client = Dialling::between(1, 2, Policy::LOSSLESS_PEER);
        client.let_in();
        client.played.endpoint.closed(client.played.stream, client.played.now);
        client.race(&Control::ClientIdent(begun_by(2)));
        for number in 1..=2 {
            let sent =
                client.played.endpoint.send(client.session, message(number), client.played.now);
            sent.unwrap();
        }
        client.played.said();
        resumption(&client.lose());
        for control in said {
            client.played.events();
            client.played.give(&control_frame(&control));
            if matches!(control, Control::SessionReconnectOk(_)) {
                resumption(&client.lose());
            }
        }
        let reset = Event::Reset { session: client.session, lost: 0 };
        assert!(client.played.events().contains(&reset));
    }
}

/// The peer lets it begin on its own stream, before it tries on another one to go on, or after that.
#[test]
fn what_the_peer_said_before_it_tried_to_go_on_it_says_again_and_is_not_heard_before() {
    for (ours, later) in [(1, false), (1, true), (2, false), (2, true)] {
        let mut client = Dialling::between(ours, 3 - ours, Policy::LOSSLESS_PEER);
        let said = client.let_in();
        let [Control::ClientIdent(ident)] = &said[..] else { panic!("{said:?}") };
        let back = SessionReconnect {
            addresses: name(3 - ours).into(),
            global_seq: client.global_seq + 1,
            ..reconnect(ident.cookie, 77)
        };
        let (answer, own) = client.race(&Control::SessionReconnect(back));
        assert_eq!(answer, Control::SessionReset(false));
        client.played.events();
        client.played.stream = own;
        client.global_seq += if later { 2 } else { 0 };
        client.welcome(0);
        let message = message_frame(MessageHeader { seq: 1, ..Default::default() });
        assert_eq!(client.played.give(&message), usize::from(later));
        assert_eq!(client.played.refusal(), (!later).then_some(Reason::Stale));
    }
}

#[test]
fn a_session_that_waits_to_be_over_is_once_the_peer_says_that_it_has_everything() {
    let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
    client.let_in();
    client.welcome(0);
    client.played.endpoint.send(client.session, message(1), client.played.now).unwrap();
    client.played.said();
    client.played.endpoint.finish(client.session, client.played.now + Duration::from_secs(60));
    resumption(&client.lose());
    client.played.events();
    client.played.give(&control_frame(&Control::SessionReconnectOk(1)));
    let events = client.played.events();
    let reason = events.iter().find_map(|event| match event {
        Event::Ended { error, .. } => Some(error.reason.clone()),
        _ => None,
    });
    assert_eq!(reason, Some(Reason::Local), "{events:?}");
}

/// Of the session that it has let the peer begin; whether the peer heard of it shows what it says.
#[test]
fn a_peer_that_may_never_have_heard_of_the_session_has_not_forgotten_it() {
    for heard in [false, true] {
        let mut client = Dialling::between(1, 2, Policy::LOSSLESS_PEER);
        client.let_in();
        client.played.endpoint.closed(client.played.stream, client.played.now);
        let (answer, _) = client.race(&Control::ClientIdent(begun_by(2)));
        assert!(matches!(answer, Control::ServerIdent(_)), "{answer:?}");
        if heard {
            client.played.give(&control_frame(&Control::Ack(0)));
        }
        client.played.endpoint.send(client.session, message(1), client.played.now).unwrap();
        resumption(&client.lose());
        client.played.events();
        let answer = client.played.answer(&Control::SessionReset(false));
        let Control::ClientIdent(again) = answer else { panic!("{answer:?}") };
        assert_eq!(again.cookie, 5, "the session keeps its name");
        let reset = Event::Reset { session: client.session, lost: 0 };
        assert_eq!(client.played.events().contains(&reset), heard);
        assert!(client.played.endpoint.outbox_bytes(client.session) > 0, "it is sent again");
    }
}

/// The peer has ended the stream right behind its handshake, or it has stood for long, or something came.
#[test]
fn a_stream_that_worked_is_made_again_at_once_and_another_later_and_later() {
    let again = |stood: Duration, said: &[u8]| {
        let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
        client.let_in();
        client.welcome(0);
        [0; 4].map(|_| {
            client.played.give(said);
            client.played.now += stood;
            let lost = client.played.now;
            client.lose();
            let reconnected = control_frame(&Control::SessionReconnectOk(0));
            client.played.give(&reconnected);
            (client.played.now - lost).as_millis()
        })
    };
    let most = BackoffLimits::default().most;
    let short = most - Duration::from_millis(1);
    assert_eq!(again(Duration::ZERO, &[]), [200, 400, 800, 1600]);
    assert_eq!(again(short, &[]), [200, 400, 800, 1600]);
    assert_eq!(again(most, &[]), [0; 4]);
    let alive = [Control::Keepalive2, Control::Keepalive2Ack].map(|it| it(Timestamp::default()));
    let mut came = alive.map(|control| control_frame(&control)).to_vec();
    came.push(control_frame(&Control::Ack(0)));
    came.push(message_frame(MessageHeader { seq: 1, ..Default::default() }));
    for said in came {
        assert_eq!(again(Duration::ZERO, &said), [0; 4], "{said:?}");
    }
}

#[test]
fn a_session_is_as_lossy_as_the_server_says() {
    for flags in [0, FLAG_LOSSY] {
        let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
        client.let_in();
        client.welcome(flags);
        client.played.endpoint.closed(client.played.stream, client.played.now);
        let ended = |event: &Event| matches!(event, Event::Ended { .. });
        assert_eq!(client.played.events().iter().any(ended), flags == FLAG_LOSSY);
    }
}

#[test]
fn who_is_told_to_wait_does_so_for_as_long_as_a_handshake_takes() {
    let mut client = Dialling::new(Policy::LOSSLESS_PEER);
    client.let_in();
    client.played.events();
    client.played.give(&control_frame(&Control::Wait));
    assert_eq!(client.played.refusal(), Some(Reason::Race));
    let until = client.played.endpoint.deadline().expect("it waits");
    assert_eq!(until - client.played.now, Duration::from_secs(10));
    client.played.endpoint.handle_timeout(until);
    let asks = |event: &Event| matches!(event, Event::Connect { .. });
    assert!(client.played.events().iter().any(asks), "nobody came");
}

#[test]
fn who_begins_at_the_same_time_is_told_to_wait_by_the_smaller_address_only() {
    for (ours, peer) in [(1, 2), (2, 1)] {
        let mut client = Dialling::between(ours, peer, Policy::LOSSLESS_PEER);
        client.let_in();
        let (answer, dialled) = client.race(&Control::ClientIdent(begun_by(peer)));
        if ours < peer {
            assert_eq!(answer, Control::Wait);
            client.played.stream = dialled;
            client.welcome(0);
        } else {
            assert!(matches!(answer, Control::ServerIdent(_)), "{answer:?}");
        }
        let message = message_frame(MessageHeader { seq: 1, ..Default::default() });
        assert_eq!(client.played.give(&message), 1, "the session goes on there");
        assert_eq!(client.played.endpoint.sessions(), 1);
    }
}

#[test]
fn who_goes_on_at_the_same_time_is_told_to_wait_by_the_smaller_address_only() {
    // Who has tried more often is in no race with us.
    for (ours, peer, connect_seq) in [(1, 2, 1), (2, 1, 1), (1, 2, 2)] {
        let mut client = Dialling::between(ours, peer, Policy::LOSSLESS_PEER);
        let said = client.let_in();
        let [Control::ClientIdent(ident)] = &said[..] else { panic!("{said:?}") };
        client.welcome(0);
        client.played.endpoint.send(client.session, message(1), client.played.now).unwrap();
        assert_eq!(resumption(&client.lose()).connect_seq, 1);
        let addresses = name(peer).into();
        let back = SessionReconnect { addresses, connect_seq, ..reconnect(ident.cookie, 77) };
        let (answer, dialled) = client.race(&Control::SessionReconnect(back));
        if ours < peer && connect_seq == 1 {
            assert_eq!(answer, Control::Wait);
            client.played.stream = dialled;
            client.played.give(&control_frame(&Control::SessionReconnectOk(0)));
        } else {
            assert_eq!(answer, Control::SessionReconnectOk(0));
        }
        let message = message_frame(MessageHeader { seq: 1, ..Default::default() });
        assert_eq!(client.played.give(&message), 1, "the session goes on there");
        assert_eq!(client.played.endpoint.sessions(), 1);
    }
}

#[test]
fn a_standby_session_without_anything_to_say_waits() {
    for (policy, tries) in [(Policy::LOSSLESS_PEER, 0), (Policy::LOSSLESS_CLIENT, 1)] {
        let mut world = World::peers(1);
        world.dial(0, 1, policy);
        world.settle();
        world.cut();
        world.pass(Duration::from_secs(60));
        assert_eq!(world.made, 1 + tries, "{policy:?}");
    }
}

/// Behind a relay it is reached at another address than its own, from which it comes back.
#[test]
fn a_peer_that_says_it_is_elsewhere_comes_back_from_there() {
    let elsewhere = EntityAddr { socket: name(3).socket, ..name(1) };
    let mut client = Dialling::new(Policy::LOSSLESS_PEER);
    let said = client.let_in();
    let [Control::ClientIdent(ident)] = &said[..] else { panic!("{said:?}") };
    client.welcome_as(elsewhere, 0);
    let now = client.played.now;
    client.played.endpoint.closed(client.played.stream, now);
    client.played.stream = client.played.endpoint.accept("10.0.0.3:1234".parse().unwrap(), now);
    client.played.give(&introduction(3));
    client.played.said();
    let back = SessionReconnect { addresses: elsewhere.into(), ..reconnect(ident.cookie, 77) };
    let answer = client.played.answer(&Control::SessionReconnect(back));
    assert_eq!(answer, Control::SessionReconnectOk(0));
    assert_eq!(client.played.endpoint.sessions(), 1);
    // With the session both its names are forgotten.
    client.played.endpoint.close(client.session);
    for address in [name(1), elsewhere] {
        let target = Target { address, entity: None, policy: Policy::LOSSLESS_PEER, reopen: false };
        assert_ne!(client.played.endpoint.connect(target, now), Some(client.session));
    }
    assert_eq!(client.played.endpoint.sessions(), 2);
}

#[test]
fn a_peer_that_begins_anew_elsewhere_is_known_there_only() {
    let policy = Policy::LOSSLESS_CLIENT;
    let at = |number| EntityAddr { socket: name(number).socket, ..name(1) };
    let mut client = Dialling::new(policy);
    client.let_in();
    client.welcome_as(at(3), 0);
    client.lose();
    client.played.give(&control_frame(&Control::SessionReset(true)));
    client.welcome_as(at(4), 0);
    for (number, known) in [(1, true), (3, false), (4, true)] {
        let target = Target { address: at(number), entity: None, policy, reopen: false };
        let session = client.played.endpoint.connect(target, client.played.now);
        assert_eq!(session == Some(client.session), known, "{number}");
    }
}

#[test]
fn whoever_counts_to_the_end_breaks_nothing() {
    let last = u64::MAX;
    let mut server = Played::server(lossless(Policy::LOSSLESS_PEER));
    let cookie = server.begin(5);
    let message = message_frame(MessageHeader { seq: last, ..Default::default() });
    assert_eq!((server.give(&message), server.give(&message)), (1, 0), "the other is the same");
    server.again();
    let end = SessionReconnect { connect_seq: last, global_seq: last, ..reconnect(5, cookie) };
    let answer = server.answer(&Control::SessionReconnect(end));
    assert_eq!(answer, Control::SessionReconnectOk(last));
    let mut client = Dialling::new(Policy::LOSSLESS_CLIENT);
    client.let_in();
    client.welcome(0);
    client.lose();
    // That is as far as it goes, so each has had enough.
    for retry in [Control::SessionRetry(last), Control::SessionRetry(last - 1)] {
        client.played.give(&control_frame(&retry));
        client.lose();
    }
    client.played.give(&control_frame(&Control::SessionRetryGlobal(last - 1)));
    assert_eq!(resumption(&client.played.said()).global_seq, last);
    assert_eq!(resumption(&client.lose()).global_seq, last);
}
