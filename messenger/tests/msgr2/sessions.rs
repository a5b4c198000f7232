//! Sessions between two endpoints: every message once and in order, whatever happens to the path.

use std::time::Duration;

use vmsgr_messenger::msgr2::*;

use crate::world::{Dice, World, address, config, message, name};

const SECOND: Duration = Duration::from_secs(1);

/// A session of the first two over which a hundred messages pass each way: its ids at both.
pub fn converse(world: &mut World) -> [SessionId; 2] {
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    (1..=100).for_each(|number| world.send(0, session, number));
    world.settle();
    assert_eq!(world.numbers(1), (1..=100).collect::<Vec<_>>());
    let back = world.opened(1)[0].0;
    (1..=100).for_each(|number| world.send(1, back, number));
    world.settle();
    assert_eq!(world.numbers(0), (1..=100).collect::<Vec<_>>());
    assert_eq!((world.made, world.closes(0), world.closes(1)), (1, vec![], vec![]));
    [session, back]
}

#[test]
fn messages_pass_both_ways() {
    let mut world = World::peers(1);
    let [session, back] = converse(&mut world);
    // The last acknowledgement waits for company, not for long.
    world.pass(SECOND);
    assert_eq!(world.nodes[0].endpoint.outbox_bytes(session), 0);
    assert_eq!(world.nodes[1].endpoint.outbox_bytes(back), 0);
    assert_eq!(world.nodes[0].endpoint.deadline(), None, "nothing is left to wait for");
}

fn is_reset(event: &&Event) -> bool {
    matches!(event, Event::Reset { .. })
}

/// Both send all the time while the path is cut again and again.
pub fn cut_often(mut world: World, seed: u64) -> World {
    let mut dice = Dice::new(seed + 1000);
    let ours = world.dial(0, 1, Policy::LOSSLESS_PEER);
    let mut theirs = None;
    let mut sent = [0; 2];
    for cut in 0..100 {
        for _ in 0..dice.below(4) {
            for _ in 0..dice.below(20) {
                sent[0] += 1;
                world.send(0, ours, sent[0]);
                if let Some(theirs) = theirs {
                    sent[1] += 1;
                    world.send(1, theirs, sent[1]);
                }
            }
            world.steps(dice.below(60));
            theirs = theirs.or_else(|| world.opened(1).first().map(|(session, _)| *session));
        }
        if dice.below(2) == 0 {
            world.cut();
        } else {
            world.sever();
        }
        if cut == 50 {
            // For longer than any back-off.
            world.up = false;
            world.pass(60 * SECOND);
            world.up = true;
        }
        world.pass(Duration::from_millis(dice.below(400)));
    }
    world.pass(120 * SECOND);
    assert!(sent[0] > 500 && sent[1] > 500, "{sent:?}");
    assert!(world.numbers(1) == (1..=sent[0]).collect::<Vec<_>>(), "seed {seed}");
    assert!(world.numbers(0) == (1..=sent[1]).collect::<Vec<_>>(), "seed {seed}");
    for node in 0..2 {
        let endpoint = &world.nodes[node].endpoint;
        // Without a stream only if it was cut when there was nothing left to say.
        assert!(endpoint.sessions() == 1 && endpoint.streams() <= 1);
        assert_eq!(world.nodes[node].events.iter().find(is_reset), None);
    }
    assert_eq!(world.nodes[0].endpoint.outbox_bytes(ours), 0);
    world
}

#[test]
fn a_path_that_is_cut_a_hundred_times_loses_and_doubles_nothing() {
    (1..=20).for_each(|seed| drop(cut_often(World::peers(seed), seed)));
}

#[test]
fn what_came_is_not_sent_again_when_the_stream_is_lost_with_its_acknowledgement() {
    let mut world = World::peers(3);
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    world.settle();
    (1..=5).for_each(|number| world.send(0, session, number));
    world.settle();
    assert_eq!(world.numbers(1).len(), 5);
    assert!(world.nodes[0].endpoint.outbox_bytes(session) > 0, "nothing is acknowledged yet");
    world.cut();
    world.pass(SECOND);
    assert_eq!(world.numbers(1), [1, 2, 3, 4, 5]);
    let endpoint = &world.nodes[0].endpoint;
    assert_eq!(endpoint.outbox_bytes(session), 0, "the peer said what it has");
    assert_eq!(endpoint.messages_sent(), 5);
}

#[test]
fn both_connecting_at_once_come_to_one_session() {
    for seed in 0..200 {
        let mut world = World::peers(seed);
        let first = world.dial(0, 1, Policy::LOSSLESS_PEER);
        let steps = world.dice.below(12);
        world.steps(steps);
        let second = world.dial(1, 0, Policy::LOSSLESS_PEER);
        (1..=3).for_each(|number| world.send(0, first, number));
        (1..=3).for_each(|number| world.send(1, second, number));
        world.pass(60 * SECOND);
        assert_eq!(world.numbers(0), [1, 2, 3], "seed {seed}");
        assert_eq!(world.numbers(1), [1, 2, 3], "seed {seed}");
        // The other one either came too late or has lost.
        one_stream(&world, 0, seed);
    }
}

/// Each may take the other's stream when its own is cut, and be cut before the other hears of it: then
/// either side has begun a session of which the other does not know.
#[test]
fn nothing_is_forgotten_of_a_session_that_was_cut_before_both_had_heard_of_it() {
    let reset = control_frame(&Control::SessionReset(false));
    let mut unknown = 0;
    for seed in 0..5000 {
        let mut world = World::peers(seed);
        let ids = [(0, 1), (1, 0)].map(|(from, to)| {
            let steps = world.dice.below(8);
            world.steps(steps);
            world.dial(from, to, Policy::LOSSLESS_PEER)
        });
        for (node, id) in ids.into_iter().enumerate() {
            (1..=3).for_each(|number| world.send(node, id, number));
        }
        for _ in 0..4 {
            let steps = world.dice.below(16);
            world.steps(steps);
            world.sever();
            let pause = world.dice.below(600);
            world.pass(Duration::from_millis(pause));
        }
        world.pass(60 * SECOND);
        for node in 0..2 {
            assert_eq!(world.numbers(node), [1, 2, 3], "seed {seed}");
            assert_eq!(world.nodes[node].endpoint.sessions(), 1, "seed {seed}");
            assert_eq!(world.nodes[node].events.iter().find(is_reset), None, "seed {seed}");
        }
        unknown += usize::from(world.overheard.windows(reset.len()).any(|it| it == reset));
    }
    assert!(unknown > 0, "it happens");
    println!("{unknown} times somebody went on with a session that the other did not know");
}

/// The peer has let it begin, which it has not heard. Then both try at once, and what they say crosses.
#[test]
fn who_cross_after_a_beginning_of_which_only_one_has_heard_agree_at_once() {
    let latency = Duration::from_millis(20);
    for (first, difference) in [(0, 0), (0, 10), (1, 0), (1, 10)] {
        let second = 1 - first;
        let mut world = World::peers(1);
        world.latency = latency;
        let ours = world.dial(first, second, Policy::LOSSLESS_PEER);
        while world.opened(second).is_empty() {
            world.pass(Duration::from_millis(1));
        }
        assert!(world.opened(first).is_empty(), "it is told, and does not know yet");
        let theirs = world.opened(second)[0].0;
        world.send(first, ours, 1);
        world.cut();
        // The first tries again then, and the other as soon as it has something to say.
        let again = BackoffLimits::default().first;
        world.pass(again - Duration::from_millis(difference));
        world.send(second, theirs, 1);
        let both = world.now + Duration::from_millis(difference) + 12 * latency;
        let settled = |world: &World| (0..2).all(|node| world.numbers(node) == [1]);
        while !settled(&world) {
            assert!(world.now < both, "{first} {difference}: they have agreed by then");
            world.pass(Duration::from_millis(1));
        }
        assert_eq!(world.made, 3, "each has tried once more");
        for node in &world.nodes {
            assert_eq!(node.events.iter().find(is_reset), None);
        }
    }
}

/// Each side has one session, and one stream: that which the winner has made.
#[track_caller]
fn one_stream(world: &World, winner: usize, seed: u64) {
    for node in &world.nodes {
        let counts = (node.endpoint.sessions(), node.endpoint.streams());
        assert_eq!(counts, (1, 1), "seed {seed}");
    }
    assert_eq!(world.makers(), [winner], "seed {seed}");
}

#[test]
fn in_a_race_the_side_with_the_smaller_address_wins() {
    for seed in 0..100 {
        let mut world = World::peers(seed);
        world.dial(0, 1, Policy::LOSSLESS_PEER);
        world.dial(1, 0, Policy::LOSSLESS_PEER);
        world.pass(SECOND);
        assert_eq!(world.made, 2, "seed {seed}");
        let given_up = [0, 1].map(|node| {
            let reasons = world.closes(node).into_iter().map(|error| error.reason);
            reasons.filter(|it| matches!(it, Reason::Replaced | Reason::Race)).count()
        });
        assert_eq!(given_up, [0, 1], "seed {seed}");
        one_stream(&world, 0, seed);
    }
}

#[test]
fn both_reconnecting_at_once_go_on_with_one_session() {
    for seed in 0..200 {
        let mut world = World::peers(seed);
        let ours = world.dial(0, 1, Policy::LOSSLESS_PEER);
        world.send(0, ours, 1);
        world.settle();
        let theirs = world.opened(1)[0].0;
        let mut sent = 1;
        for _ in 0..10 {
            world.cut();
            sent += 1;
            world.send(0, ours, sent);
            world.send(1, theirs, sent - 1);
            let steps = world.dice.below(30);
            world.steps(steps);
        }
        world.pass(60 * SECOND);
        assert_eq!(world.numbers(1), (1..=sent).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(world.numbers(0), (1..sent).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(world.nodes[0].endpoint.streams(), 1);
    }
}

/// A client and a server of these policies.
fn client_and_server(policy: Policy) -> World {
    let client = Config::new(EntityType::CLIENT, EntityAddrs::default());
    let mut server = config(EntityType::MON, 2);
    server.policy = policy;
    World::new(vec![client, server], 1)
}

#[test]
fn a_lossy_session_ends_with_its_stream_on_both_sides() {
    let mut world = client_and_server(Policy::STATELESS_SERVER);
    let session = world.dial(0, 1, Policy::LOSSY_CLIENT);
    world.send(0, session, 1);
    world.settle();
    assert_eq!(world.numbers(1), [1]);
    world.cut();
    world.settle();
    for node in 0..2 {
        assert_eq!(world.nodes[node].endpoint.sessions(), 0);
        assert!(matches!(world.nodes[node].events.last(), Some(Event::Ended { .. })));
    }
    let gone = world.nodes[0].endpoint.send(session, message(2), world.now);
    assert_eq!(gone, Err(SendError::Gone(Box::new(message(2)))));
}

#[test]
fn a_lossy_session_that_reopens_begins_again_without_its_messages() {
    let mut world = client_and_server(Policy::STATELESS_SERVER);
    let target =
        Target { address: name(2), entity: None, policy: Policy::LOSSY_CLIENT, reopen: true };
    let session = world.nodes[0].endpoint.connect(target, world.now).unwrap();
    world.send(0, session, 1);
    world.settle();
    world.up = false;
    world.cut();
    world.send(0, session, 2);
    world.pass(5 * SECOND);
    world.up = true;
    world.pass(15 * SECOND);
    world.send(0, session, 3);
    world.settle();
    assert_eq!(world.numbers(1), [1, 3]);
    assert_eq!(world.opened(0), [(session, false), (session, false)]);
    let lost = |event: &&Event| matches!(event, Event::Lost { lost: 1, .. });
    assert_eq!(world.nodes[0].events.iter().filter(lost).count(), 1);
}

#[test]
fn a_stateful_server_waits_for_its_client_and_forgets_it_in_the_end() {
    let mut world = client_and_server(Policy::STATEFUL_SERVER);
    world.dial(0, 1, Policy::LOSSLESS_CLIENT);
    world.settle();
    let theirs = world.opened(1)[0].0;
    world.up = false;
    world.cut();
    world.send(1, theirs, 1);
    world.pass(60 * SECOND);
    assert_eq!(world.made, 1, "a server never connects");
    world.up = true;
    world.pass(20 * SECOND);
    assert_eq!(world.numbers(0), [1]);
    assert_eq!(world.opened(1), [(theirs, false), (theirs, true)]);
    world.up = false;
    world.cut();
    world.pass(400 * SECOND);
    assert_eq!(world.nodes[1].endpoint.sessions(), 0);
    // It comes back to a server that does not know it.
    world.up = true;
    world.pass(20 * SECOND);
    assert_eq!(world.nodes[0].events.iter().filter(is_reset).count(), 1);
    assert_eq!(world.opened(0).last().map(|(_, resumed)| *resumed), Some(false));
}

#[test]
fn attempts_back_off_up_to_fifteen_seconds() {
    let mut world = World::peers(1);
    world.up = false;
    let start = world.now;
    world.dial(0, 1, Policy::LOSSLESS_CLIENT);
    let mut attempts = Vec::new();
    while attempts.len() < 10 {
        assert!(world.now - start < 100 * SECOND, "{attempts:?}");
        world.pass(Duration::from_millis(100));
        let connects = |event: &&Event| matches!(event, Event::Connect { .. });
        let count = world.nodes[0].events.iter().filter(connects).count();
        if count > attempts.len() {
            attempts.push((world.now - start).as_millis() as u64 / 100);
        }
    }
    let gaps: Vec<u64> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [1, 4, 8, 16, 32, 64, 128, 150, 150]);
}

/// A peer with nothing to say is left alone once the session has begun, and not before.
#[test]
fn a_session_with_a_peer_is_asked_for_again_until_it_has_begun() {
    for policy in [Policy::LOSSLESS_PEER, Policy::LOSSLESS_CLIENT] {
        let mut world = World::peers(1);
        world.up = false;
        let session = world.dial(0, 1, policy);
        world.pass(5 * SECOND);
        assert_eq!(world.made, 0);
        world.up = true;
        world.pass(10 * SECOND);
        assert_eq!(world.opened(0), [(session, false)]);
        // And one whose streams are cut in their handshakes.
        for seed in 0..100 {
            let mut world = World::peers(seed);
            let session = world.dial(0, 1, policy);
            let steps = world.dice.below(12);
            world.steps(steps);
            world.cut();
            world.pass(10 * SECOND);
            assert_eq!(world.opened(0).first(), Some(&(session, false)), "seed {seed}");
        }
    }
    let mut world = World::peers(1);
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    world.settle();
    world.cut();
    world.pass(60 * SECOND);
    assert_eq!((world.made, world.opened(0)), (1, vec![(session, false)]));
}

#[test]
fn a_silent_peer_is_asked_and_given_up() {
    let keepalive = Keepalive { after: 10 * SECOND, patience: 20 * SECOND };
    let mut world = World::peers(1);
    let mut config = config(EntityType::OSD, 1);
    config.keepalive = Some(keepalive);
    config.policy = Policy::LOSSLESS_PEER;
    let auth = Box::new(AuthNone::new(EntityType::OSD, "0", 0));
    world.nodes[0].endpoint = Endpoint::new(config, auth, world.now);
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    world.pass(100 * SECOND);
    let alive = |event: &&Event| matches!(event, Event::Alive { .. });
    let heard = world.nodes[0].events.iter().filter(alive).count();
    assert!((9..=10).contains(&heard), "{heard}");
    assert_eq!(world.closes(0), []);
    world.lose_streams_silently();
    world.pass(31 * SECOND);
    let error = world.closes(0).pop().unwrap();
    assert_eq!(error.reason, Reason::KeepaliveTime(20 * SECOND));
    // The peer has not noticed, and takes the new stream for the session.
    world.send(0, session, 1);
    world.pass(SECOND);
    assert_eq!(world.numbers(1), [1]);
    assert_eq!(world.closes(1).pop().unwrap().reason, Reason::Replaced);
}

#[test]
fn a_full_session_is_not_read_until_its_messages_are_taken() {
    let mut config = config(EntityType::OSD, 2);
    config.policy = Policy::LOSSLESS_PEER;
    config.throttle = ThrottleLimits { messages: 10, bytes: 1 << 20 };
    let mut peer = crate::world::config(EntityType::OSD, 1);
    peer.policy = Policy::LOSSLESS_PEER;
    let mut world = World::new(vec![peer, config], 1);
    world.nodes[1].takes = false;
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    (1..=100).for_each(|number| world.send(0, session, number));
    world.settle();
    assert_eq!(world.numbers(1).len(), 10);
    let theirs = world.opened(1)[0].0;
    for taken in 1..=9 {
        let bytes = world.nodes[1].received[taken - 1].3.len() as u64 + 8;
        world.nodes[1].endpoint.taken(theirs, 1, bytes, world.now);
        world.settle();
        assert_eq!(world.numbers(1).len(), 10 + taken);
    }
    world.nodes[1].takes = true;
    world.nodes[1].endpoint.taken(theirs, 10, 1 << 20, world.now);
    world.settle();
    assert_eq!(world.numbers(1), (1..=100).collect::<Vec<_>>());
}

#[test]
fn a_full_queue_gives_the_message_back_and_says_when_there_is_room() {
    let mut peer = config(EntityType::OSD, 1);
    peer.policy = Policy::LOSSLESS_PEER;
    peer.outbox_bytes = 10_000;
    let mut other = config(EntityType::OSD, 2);
    other.policy = Policy::LOSSLESS_PEER;
    let mut world = World::new(vec![peer, other], 1);
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    let mut number = 1;
    while world.nodes[0].endpoint.send(session, message(number), world.now).is_ok() {
        number += 1;
    }
    assert!(number < 30, "{number}");
    world.pass(SECOND);
    let room = |event: &&Event| **event == Event::Room(session);
    assert_eq!(world.nodes[0].events.iter().filter(room).count(), 1);
    world.send(0, session, number);
    world.settle();
    assert_eq!(world.numbers(1), (1..=number).collect::<Vec<_>>());
}

#[test]
fn features_that_one_side_lacks_are_named() {
    let mut client = config(EntityType::OSD, 1);
    client.supported = 0xff;
    let mut server = config(EntityType::OSD, 2);
    server.required = 0x1ff;
    let mut world = World::new(vec![client, server], 1);
    world.dial(0, 1, Policy::LOSSY_CLIENT);
    world.settle();
    let error = world.closes(0).pop().unwrap();
    assert_eq!(error.reason, Reason::MissingFeatures(0x100));
    assert_eq!(error.to_string(), "awaiting SERVER_IDENT: features 0x100 are missing");
}

#[test]
fn another_process_at_the_address_is_not_taken_for_the_peer() {
    let mut world = World::peers(1);
    let address = EntityAddr::msgr2(address(2), 77);
    let target = Target { address, entity: None, policy: Policy::LOSSLESS_PEER, reopen: false };
    world.nodes[0].endpoint.connect(target, world.now).unwrap();
    world.settle();
    let wrong = Reason::WrongPeer { wanted: 77, found: 2 };
    assert_eq!(world.closes(0).pop().unwrap().reason, wrong);
    assert_eq!(world.nodes[0].endpoint.sessions(), 0);
}

#[test]
fn a_session_that_is_finished_ends_by_its_time_whatever_else_it_waits_for() {
    // An acknowledgement of ours is due before that, and ours never comes.
    let mut world = World::peers(1);
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    world.settle();
    let back = world.opened(1)[0].0;
    world.send(1, back, 1);
    world.settle();
    world.send(0, session, 2);
    world.lose_streams_silently();
    let until = world.now + 10 * SECOND;
    world.nodes[0].endpoint.finish(session, until);
    world.pass(20 * SECOND);
    assert_eq!(world.nodes[0].endpoint.sessions(), 0);
    // Another attempt is due before that, and comes to a peer that takes nothing.
    let mut slow = config(EntityType::OSD, 2);
    slow.policy = Policy::LOSSLESS_PEER;
    slow.throttle = ThrottleLimits { messages: 1, bytes: 1 };
    let mut world = World::new(vec![config(EntityType::OSD, 1), slow], 1);
    (world.up, world.nodes[1].takes) = (false, false);
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    (1..=3).for_each(|number| world.send(0, session, number));
    world.settle();
    world.up = true;
    let until = world.now + 10 * SECOND;
    world.nodes[0].endpoint.finish(session, until);
    world.pass(5 * SECOND);
    assert_eq!((world.nodes[0].endpoint.sessions(), world.numbers(1)), (1, vec![1]));
    world.pass(20 * SECOND);
    assert_eq!(world.nodes[0].endpoint.sessions(), 0);
}
