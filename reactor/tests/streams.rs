//! I1, I4, I5 and I6 over real socket pairs.

mod util;

use std::io::{Read, Write};
use std::net::Shutdown;

use mio::net::UnixStream;
use util::*;
use vmsgr_reactor::{Budget, End, Marks};

#[test]
fn writable_is_registered_once_while_data_is_pending_and_removed_once() {
    let mut tested = alone(Budget::default());
    let marks = Marks::new(64 << 10, 4 << 20).unwrap();
    let (_, mut peer) = add(&mut tested, Does::Echo, marks);
    let sent = pattern(1 << 20);
    let writer = {
        let (mut peer, sent) = (peer.try_clone().unwrap(), sent.clone());
        std::thread::spawn(move || peer.write_all(&sent).unwrap())
    };
    // The peer does not read: what its buffer does not hold is pending.
    turn_until(&mut tested, |tested| tested.counters().bytes_in == 1 << 20);
    writer.join().unwrap();
    let counters = tested.counters();
    assert!(counters.pending_bytes > 0);
    assert_eq!((counters.writable_armed, counters.writable_disarmed), (1, 0));
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; 1 << 20];
        peer.read_exact(&mut received).unwrap();
        (received, peer)
    });
    turn_until(&mut tested, |tested| tested.counters().pending_bytes == 0);
    let (received, _peer) = reader.join().unwrap();
    assert!(received == sent, "I5");
    let counters = tested.counters();
    assert_eq!((counters.writable_armed, counters.writable_disarmed), (1, 1));
}

#[test]
fn small_exchanges_register_nothing_and_never_ask_twice() {
    let mut tested = alone(Budget::default());
    let (_, mut peer) = add(&mut tested, Does::Echo, Marks::default());
    for round in 1..=100 {
        peer.write_all(&[round as u8; 64]).unwrap();
        turn_until(&mut tested, |tested| tested.counters().bytes_out == round * 64);
        let mut answer = [0; 64];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [round as u8; 64]);
    }
    let counters = tested.counters();
    assert_eq!((counters.writable_armed, counters.read_paused), (0, 0));
    assert_eq!(counters.would_block, 0, "a short read says that nothing is left");
    assert_eq!((counters.messages_in, counters.messages_out), (100, 100));
}

#[test]
fn a_peer_that_does_not_read_is_stopped_at_the_high_mark_and_goes_on_at_the_low_one() {
    let mut tested = alone(Budget::default());
    let marks = Marks::new(10_000, 100_000).unwrap();
    let (_, mut peer) = add(&mut tested, Does::Echo, marks);
    let sent = pattern(4 << 20);
    let writer = {
        let (mut peer, sent) = (peer.try_clone().unwrap(), sent.clone());
        std::thread::spawn(move || {
            peer.write_all(&sent).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        })
    };
    turn_until(&mut tested, |tested| tested.counters().paused == 1);
    let held = tested.counters();
    assert_eq!(held.pending_bytes, 100_000, "I4: at the mark and not beyond");
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        received
    });
    turn_until(&mut tested, |tested| tested.counters().connections == 0);
    writer.join().unwrap();
    assert!(reader.join().unwrap() == sent, "I5: all of it, and then the end");
    assert!(matches!(tested.handler().0.closed[..], [End::Finished]));
    assert!(tested.counters().read_paused >= 1);
}

#[test]
fn a_greedy_stream_moves_no_more_than_its_budget_in_a_turn_while_others_are_served() {
    let budget = Budget { bytes: 4096, ..Budget::default() };
    let mut tested = alone(budget);
    let (_, mut greedy) = add(&mut tested, Does::Discard, Marks::default());
    let (_, mut polite) = add(&mut tested, Does::Echo, Marks::default());
    greedy.write_all(&pattern(150_000)).unwrap();
    polite.write_all(b"ping").unwrap();
    tested.turn().unwrap();
    let counters = tested.counters();
    assert_eq!(counters.bytes_in, 4096 + 4, "I6");
    assert_eq!(counters.bytes_out, 4, "I6: the polite one was served in the same turn");
    assert_eq!(counters.budget_exhausted, 1);
    // Nothing of what the budget left is lost, though no edge tells of it.
    turn_until(&mut tested, |tested| tested.counters().bytes_in == 150_004);
}

#[test]
fn what_a_turn_queues_for_a_stream_leaves_in_one_write() {
    let mut tested = alone(Budget::default());
    let (token, mut peer) = add(&mut tested, Does::Echo, Marks::default());
    let (_, core) = tested.handler();
    for part in [b"one ", b"two ", b"six "] {
        assert_eq!(core.queue(token, part), 4);
    }
    // Something to wake up for.
    peer.write_all(b"end").unwrap();
    turn_until(&mut tested, |tested| tested.counters().bytes_out == 15);
    assert_eq!(tested.counters().messages_out, 1);
    let mut received = [0; 15];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"one two six end");
}

#[test]
fn an_end_passes_behind_the_data_that_is_pending() {
    let mut tested = alone(Budget::default());
    let marks = Marks::new(1 << 19, 4 << 20).unwrap();
    let (to, mut reader) = add(&mut tested, Does::Discard, marks);
    let (_, mut writer) = add(&mut tested, Does::Pass(to), marks);
    let sent = pattern(1 << 20);
    let writing = {
        let sent = sent.clone();
        std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
            writer
        })
    };
    turn_until(&mut tested, |tested| tested.counters().bytes_in == 1 << 20);
    let _writer = writing.join().unwrap();
    let reading = std::thread::spawn(move || {
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        received
    });
    turn_until(&mut tested, |tested| tested.counters().bytes_out == 1 << 20);
    // The end leaves in the turn in which the last pending byte does.
    assert!(reading.join().unwrap() == sent);
}

#[test]
fn a_stream_that_is_given_the_place_of_another_does_not_get_its_events() {
    let mut tested = alone(Budget::default());
    let (ours, peers) = UnixStream::pair().unwrap();
    tested.handler().0.spare = Some(ours);
    let (victim, mut victims_peer) = add(&mut tested, Does::Echo, Marks::default());
    let (_, mut killers_peer) = add(&mut tested, Does::Replace(victim), Marks::default());
    // Both are ready in one turn, the killer first.
    killers_peer.write_all(b"kill").unwrap();
    victims_peer.write_all(b"late").unwrap();
    turn_until(&mut tested, |tested| tested.counters().bytes_out == 4);
    let tokens = tested.handler().1.streams();
    let heir = tokens.into_iter().find(|token| token.key() == victim.key()).unwrap();
    assert_ne!(heir, victim, "same place, other name");
    assert_eq!(tested.handler().1.state(victim), None, "the old name finds nothing");
    tested.handler().1.set_reading(victim, false);
    assert_eq!(tested.counters().paused, 0, "and changes nothing");
    assert!(!tested.handler().0.readable.contains(&heir));
    let mut heirs_peer = blocking(peers);
    heirs_peer.write_all(b"mine").unwrap();
    turn_until(&mut tested, |tested| tested.counters().bytes_out == 8);
    let mut answer = [0; 4];
    heirs_peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"mine");
}
