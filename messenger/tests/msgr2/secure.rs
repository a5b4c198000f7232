//! Sessions whose peers prove who they are: several steps of authentication, signatures with a key,
//! and sealed frames, over paths that are cut, changed and listened to.

use std::time::Duration;

use vmsgr_messenger::msgr2::*;

use crate::keyed::{Distort, Keyed};
use crate::sessions::{converse, cut_often};
use crate::world::{World, config, peer};

const SECOND: Duration = Duration::from_secs(1);

const KEY: &[u8] = b"what both of them know";

/// Two peers with these authenticators.
fn peers(first: Keyed, second: Keyed, seed: u64) -> World {
    let mut auths = [first, second].into_iter();
    World::with(vec![peer(1), peer(2)], seed, |_| Box::new(auths.next().unwrap()))
}

fn like_minded(seed: u64) -> World {
    peers(Keyed::new(KEY), Keyed::new(KEY), seed)
}

/// Why the streams of both were closed, each given one chance.
fn failures(first: Keyed, second: Keyed) -> [Vec<ConnectionError>; 2] {
    let mut world = peers(first, second, 1);
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    world.send(0, session, 1);
    world.settle();
    assert_eq!(world.nodes[1].received.len(), 0, "it passes");
    [world.closes(0), world.closes(1)]
}

/// Whether bytes of a message are seen on the way.
fn is_seen(world: &World, number: u64) -> bool {
    let data = crate::world::message(number).data;
    world.overheard.windows(data.len()).any(|window| window == data)
}

#[test]
fn what_passes_is_sealed_unless_the_server_wants_it_otherwise() {
    for mode in [MODE_CRC, MODE_SECURE] {
        let keyed = Keyed { mode, ..Keyed::new(KEY) };
        let mut world = peers(keyed.clone(), keyed, 1);
        converse(&mut world);
        for node in 0..2 {
            let peers = world.nodes[node].events.iter().filter_map(|event| match event {
                Event::Opened { peer, .. } => Some((peer.mode, peer.global_id)),
                _ => None,
            });
            assert_eq!(peers.collect::<Vec<_>>(), [(mode, 4711)]);
        }
        assert_eq!(is_seen(&world, 50), mode == MODE_CRC);
    }
}

#[test]
fn a_path_that_is_cut_a_hundred_times_loses_and_doubles_nothing_that_is_sealed() {
    (1..=10).for_each(|seed| {
        let world = cut_often(like_minded(seed), seed);
        assert!(world.made > 50, "{}", world.made);
        assert!(!is_seen(&world, 50));
    });
}

#[test]
fn both_connecting_at_once_come_to_one_session_that_is_sealed() {
    for seed in 0..100 {
        let mut world = like_minded(seed);
        let first = world.dial(0, 1, Policy::LOSSLESS_PEER);
        let steps = world.dice.below(20);
        world.steps(steps);
        let second = world.dial(1, 0, Policy::LOSSLESS_PEER);
        (1..=3).for_each(|number| world.send(0, first, number));
        (1..=3).for_each(|number| world.send(1, second, number));
        world.pass(60 * SECOND);
        assert_eq!((world.numbers(0), world.numbers(1)), (vec![1, 2, 3], vec![1, 2, 3]));
        for node in 0..2 {
            let endpoint = &world.nodes[node].endpoint;
            assert_eq!((endpoint.sessions(), endpoint.streams()), (1, 1), "seed {seed}");
        }
    }
}

#[test]
fn what_is_changed_on_the_way_ends_the_stream_and_the_session_says_it_again() {
    let mut unsealed = 0;
    for seed in 0..100 {
        let mut world = like_minded(seed);
        let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
        (1..=40).for_each(|number| world.send(0, session, number));
        let steps = world.dice.below(30);
        world.steps(steps);
        let spoilt = world.spoil();
        world.pass(60 * SECOND);
        assert_eq!(world.numbers(1), (1..=40).collect::<Vec<_>>(), "seed {seed}");
        let closes = [world.closes(0), world.closes(1)].concat();
        assert_eq!(spoilt, !closes.is_empty(), "seed {seed}: {closes:?}");
        unsealed += closes
            .iter()
            .filter(|error| {
                matches!(error.reason, Reason::Violation(Violation { rule: Rule::Seal(_), .. }))
            })
            .count();
    }
    assert!(unsealed > 20, "{unsealed}");
}

#[test]
fn a_client_that_has_another_key_is_refused() {
    let [ours, theirs] = failures(Keyed::new(KEY), Keyed::new(b"another"));
    let refused = |who| Reason::Authentication(AuthError(who));
    assert_eq!(theirs[0].reason, refused("the client has another key"));
    assert_eq!((theirs[0].state, theirs.len()), (State::Authenticating, 1));
    assert_eq!(ours[0].reason, Reason::Closed);
}

#[test]
fn a_signature_by_another_key_is_refused() {
    for mode in [MODE_CRC, MODE_SECURE] {
        let keyed = Keyed { mode, ..Keyed::new(KEY) };
        let other = |secrets: &mut Secrets| secrets.session_key.as_mut().unwrap()[0] ^= 1;
        let none = |secrets: &mut Secrets| secrets.session_key = None;
        let distortions: [Distort; 2] = [other, none];
        for distort in distortions {
            for [first, second] in [
                [keyed.clone(), Keyed { distort, ..keyed.clone() }],
                [Keyed { distort, ..keyed.clone() }, keyed.clone()],
            ] {
                let violation = Violation { tag: Some(Tag::AuthSignature), rule: Rule::Signature };
                let [ours, theirs] = failures(first, second);
                // One of them reads first and says so; the other may only hear of the end.
                let all = [ours, theirs].concat();
                assert!(all.iter().all(|error| error.state == State::Signature), "{all:?}");
                assert!(all.iter().any(|error| error.reason == Reason::Violation(violation)));
            }
        }
    }
}

#[test]
fn a_seal_by_another_secret_does_not_open() {
    let keyed = Keyed::new(KEY);
    let distort = |secrets: &mut Secrets| secrets.connection_secret.as_mut().unwrap()[0] ^= 1;
    let all = failures(keyed.clone(), Keyed { distort, ..keyed }).concat();
    let seal = Reason::Violation(Rule::Seal(1).into());
    assert!(all.iter().any(|error| (error.state, &error.reason) == (State::Signature, &seal)));
}

#[test]
fn a_mode_that_there_is_no_secret_for_is_refused_by_who_would_use_it() {
    let short = |secrets: &mut Secrets| secrets.connection_secret.as_mut().unwrap().truncate(39);
    let none = |secrets: &mut Secrets| secrets.connection_secret = None;
    let nothing = |_: &mut Secrets| {};
    let cases: [(u32, Distort); 4] =
        [(MODE_SECURE, short), (MODE_SECURE, none), (3, nothing), (0, nothing)];
    for (mode, distort) in cases {
        let violation = Violation { tag: Some(Tag::AuthDone), rule: Rule::Mode(mode) };
        let reason = Reason::Violation(violation);
        let (keyed, good) = (Keyed { mode, distort, ..Keyed::new(KEY) }, Keyed::new(KEY));
        let [_, theirs] = failures(good.clone(), keyed.clone());
        assert_eq!((theirs[0].state, &theirs[0].reason), (State::Authenticating, &reason));
        if mode == MODE_SECURE {
            let [ours, _] = failures(keyed, good);
            assert_eq!((ours[0].state, &ours[0].reason), (State::Authenticating, &reason));
        }
    }
}

#[test]
fn authentication_takes_as_many_steps_as_it_needs_and_not_any_number() {
    let rounds = |rounds| Keyed { rounds, ..Keyed::new(KEY) };
    let mut world = peers(rounds(0), rounds(29), 1);
    let session = world.dial(0, 1, Policy::LOSSLESS_PEER);
    world.send(0, session, 1);
    world.settle();
    assert_eq!(world.numbers(1), [1]);
    let all = failures(rounds(0), rounds(u64::MAX)).concat();
    let endless = |error: &&ConnectionError| {
        matches!(error.reason, Reason::Violation(Violation { rule: Rule::TooManySteps, .. }))
    };
    assert!(all.iter().any(|error| endless(&error)), "{all:?}");
}

#[test]
fn a_client_that_has_no_other_method_gives_up_for_good() {
    let mut none = config(EntityType::OSD, 1);
    none.policy = Policy::LOSSLESS_PEER;
    let mut first = true;
    let mut world =
        World::with(vec![none, peer(2)], 1, |config| match std::mem::take(&mut first) {
            true => Box::new(AuthNone::new(config.entity, "0", 0)),
            false => Box::new(Keyed::new(KEY)),
        });
    world.dial(0, 1, Policy::LOSSLESS_PEER);
    world.pass(60 * SECOND);
    assert_eq!((world.made, world.nodes[0].endpoint.sessions()), (1, 0));
    let error = &world.closes(0)[0];
    assert_eq!(error.state, State::Authenticating);
    let Reason::BadMethod(bad) = &error.reason else { panic!("{error}") };
    assert_eq!((bad.method, &bad.methods[..], &bad.modes[..]), (1, &[2][..], &[2][..]));
}
