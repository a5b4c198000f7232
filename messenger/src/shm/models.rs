//! What loom makes of the contract: every order in which the two sides may see each other's writes.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p vmsgr-messenger --lib models` must pass; with
//! `--cfg vmsgr_weak_fence` added, which weakens the fences, the models that need them must fail,
//! and do so as `should_panic` tests. Where the order of two steps is what matters, a model of the
//! wrong order shows that it would be noticed.

#![allow(unsafe_code)] // Cells that loom watches.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::intent;
use super::layout::OfApplication;
use super::ring::{Pusher, Ring, Taker};
use super::signs::{QueuedSign, RoomSign, SleepSign};
use super::sync::{AtomicU32, AtomicU64, Ordering, full_fence};

/// A ready ring, and the sleep sign of who takes from it.
struct Way {
    pushed: AtomicU64,
    taken: AtomicU64,
    entries: Vec<[AtomicU64; 1]>,
    sleep: SleepSign,
}

impl Way {
    fn new(entries: usize) -> Self {
        Self {
            pushed: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            entries: (0..entries).map(|_| [AtomicU64::new(0)]).collect(),
            sleep: SleepSign::default(),
        }
    }

    fn ring(&self) -> Ring<'_, 1> {
        Ring { pushed: &self.pushed, taken: &self.taken, entries: &self.entries }
    }
}

/// One pushes and looks whether the other sleeps, the other goes to sleep: it sees the entry, or is
/// rung for. Never neither.
#[test]
#[cfg_attr(vmsgr_weak_fence, should_panic(expected = "slept through an entry"))]
fn no_entry_is_slept_through() {
    loom::model(|| {
        let way = Arc::new(Way::new(2));
        let producer = {
            let way = Arc::clone(&way);
            thread::spawn(move || {
                assert_eq!(Pusher::default().push(way.ring(), [7]), Ok(true));
                full_fence();
                way.sleep.rouse()
            })
        };
        way.sleep.declare();
        full_fence();
        let sleeps = !Taker::default().has_some(way.ring());
        let rung = producer.join().unwrap();
        assert!(!sleeps || rung, "slept through an entry");
    });
}

/// Several cores push to one application that sleeps: one of them rings.
#[test]
#[cfg_attr(vmsgr_weak_fence, ignore = "does not depend on the fence")]
fn a_sleeper_is_rung_once() {
    loom::model(|| {
        let sleep = Arc::new(SleepSign::default());
        sleep.declare();
        let other = {
            let sleep = Arc::clone(&sleep);
            thread::spawn(move || sleep.rouse())
        };
        let first = sleep.rouse();
        let second = other.join().unwrap();
        assert!(first ^ second, "rung {} times", u8::from(first) + u8::from(second));
    });
}

/// What was pushed is what is taken.
#[test]
#[cfg_attr(vmsgr_weak_fence, ignore = "does not depend on the fence")]
fn entries_come_whole_and_in_order() {
    loom::model(|| {
        let way = Arc::new(Way::new(1));
        let producer = {
            let way = Arc::clone(&way);
            thread::spawn(move || {
                let mut pusher = Pusher::default();
                let first = pusher.push(way.ring(), [1]).unwrap();
                let second = pusher.push(way.ring(), [2]).unwrap();
                (first, second)
            })
        };
        let mut taker = Taker::default();
        let early = taker.take(way.ring()).unwrap();
        let (first, second) = producer.join().unwrap();
        assert!(first && matches!(early, None | Some([1])));
        assert!(!second || early.is_some(), "pushed over one that was not taken");
        let expected = if early.is_none() { Some([1]) } else { second.then_some([2]) };
        assert_eq!(taker.take(way.ring()), Ok(expected));
    });
}

const GENERATION: u32 = 5;

/// A connection's position, and the flag that its number is in a ring.
struct Raised {
    way: Way,
    queued: QueuedSign,
    position: AtomicU64,
}

/// One side adds and raises, twice; the other takes numbers and looks. `look_first` is wrong.
fn news(look_first: bool) {
    loom::model(move || {
        // Room for one number: if it were in the ring twice, it would not fit.
        let way = Way::new(1);
        let both =
            Arc::new(Raised { way, queued: QueuedSign::default(), position: AtomicU64::new(0) });
        let producer = {
            let both = Arc::clone(&both);
            thread::spawn(move || {
                let mut pusher = Pusher::default();
                for position in 1..=2 {
                    both.position.store(position, Ordering::Release);
                    if both.queued.raise(GENERATION) {
                        let pushed = pusher.push(both.way.ring(), [GENERATION.into()]);
                        assert_eq!(pushed, Ok(true), "the number is in the ring twice");
                    }
                }
            })
        };
        let mut taker = Taker::default();
        let mut seen = 0;
        let mut look = |taker: &mut Taker| {
            while let Some([generation]) = taker.take(both.way.ring()).unwrap() {
                if look_first {
                    seen = both.position.load(Ordering::Acquire);
                }
                assert!(both.queued.lower(generation as u32), "the number was not raised");
                if !look_first {
                    seen = both.position.load(Ordering::Acquire);
                }
            }
        };
        look(&mut taker);
        producer.join().unwrap();
        look(&mut taker);
        assert_eq!(seen, 2, "news were lost");
    });
}

/// What is added is seen, whenever the other side looks; and the number is in the ring once.
#[test]
#[cfg_attr(vmsgr_weak_fence, ignore = "does not depend on the fence")]
fn no_news_are_lost_and_no_number_is_pushed_twice() {
    news(false);
}

#[test]
#[should_panic(expected = "news were lost")]
#[cfg_attr(vmsgr_weak_fence, ignore = "does not depend on the fence")]
fn who_looks_before_lowering_the_flag_loses_news() {
    news(true);
}

/// A ring's consumed position and a wish for room in it.
struct Roomy {
    consumed: AtomicU64,
    wish: RoomSign,
}

impl Roomy {
    fn new() -> Arc<Self> {
        Arc::new(Self { consumed: AtomicU64::new(0), wish: RoomSign::default() })
    }
}

/// A full ring of 2: the producer wants all of it and looks again, the consumer makes room in two
/// steps. The producer sees it, or is told, and told only when there is as much as it wants.
#[test]
#[cfg_attr(vmsgr_weak_fence, should_panic(expected = "room was lost"))]
fn no_room_is_lost() {
    loom::model(|| {
        let roomy = Roomy::new();
        let consumer = {
            let roomy = Arc::clone(&roomy);
            thread::spawn(move || {
                let mut told = 0;
                for consumed in 1..=2 {
                    roomy.consumed.store(consumed, Ordering::Release);
                    full_fence();
                    if roomy.wish.made(consumed as u32, 2) {
                        assert_eq!(consumed, 2, "told of less than is wanted");
                        told += 1;
                    }
                }
                told
            })
        };
        roomy.wish.want(2);
        let waits = roomy.consumed.load(Ordering::Acquire) < 2;
        let told = consumer.join().unwrap();
        assert!(told <= 1);
        assert!(!waits || told == 1, "room was lost");
    });
}

/// As the application consumes: a first look without a fence, and a second one behind it.
#[test]
#[cfg_attr(vmsgr_weak_fence, should_panic(expected = "room was lost"))]
fn a_look_without_a_fence_does_not_spoil_the_one_with_it() {
    loom::model(|| {
        let roomy = Roomy::new();
        let consumer = {
            let roomy = Arc::clone(&roomy);
            thread::spawn(move || {
                roomy.consumed.store(1, Ordering::Release);
                let early = roomy.wish.is_wanted() && {
                    full_fence();
                    roomy.wish.made(1, 2)
                };
                full_fence();
                early || roomy.wish.made(1, 2)
            })
        };
        roomy.wish.want(1);
        let waits = roomy.consumed.load(Ordering::Acquire) < 1;
        let told = consumer.join().unwrap();
        assert!(!waits || told, "room was lost");
    });
}

/// A ring of one byte whose beginning moves.
struct Moving {
    byte: UnsafeCell<u8>,
    base: AtomicU64,
    position: AtomicU64,
    consumed: AtomicU64,
}

/// One byte, and when that is consumed another one in its place: the consumer finds each where the
/// base says, whole. loom sees to it that no byte is written while it is read.
#[test]
#[cfg_attr(vmsgr_weak_fence, ignore = "does not depend on the fence")]
fn bytes_lie_where_the_base_says() {
    loom::model(|| {
        let ring = Arc::new(Moving {
            byte: UnsafeCell::new(0),
            base: AtomicU64::new(0),
            position: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
        });
        let producer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                // SAFETY: loom's, which tells if somebody else uses the byte meanwhile.
                ring.byte.with_mut(|byte| unsafe { *byte = 1 });
                ring.position.store(1, Ordering::Release);
                if ring.consumed.load(Ordering::Acquire) == 1 {
                    ring.base.store(1, Ordering::Relaxed);
                    // SAFETY: as above.
                    ring.byte.with_mut(|byte| unsafe { *byte = 2 });
                    ring.position.store(2, Ordering::Release);
                }
            })
        };
        let mut consumed = 0;
        for _ in 0..2 {
            let position = ring.position.load(Ordering::Acquire);
            if position > consumed {
                let base = ring.base.load(Ordering::Relaxed);
                assert_eq!(base, consumed, "the base is not that of the byte");
                // SAFETY: as above.
                let byte = ring.byte.with(|byte| unsafe { *byte });
                assert_eq!(u64::from(byte), position);
                consumed = position;
                ring.consumed.store(consumed, Ordering::Release);
            }
        }
        producer.join().unwrap();
    });
}

fn of_application() -> OfApplication {
    OfApplication {
        consumed: AtomicU64::new(0),
        committed: AtomicU64::new(0),
        send_base: AtomicU64::new(0),
        ending: AtomicU64::new(0),
        intent: AtomicU64::new(0),
        intent_consumed: AtomicU64::new(0),
        intent_committed: AtomicU64::new(0),
        cookie: AtomicU64::new(0),
    }
}

/// Who sees the answer committed finds the request consumed, or an intent that says so.
#[test]
#[cfg_attr(vmsgr_weak_fence, ignore = "does not depend on the fence")]
fn a_reply_is_seen_wholly_or_with_its_intent() {
    loom::model(|| {
        let slot = Arc::new(of_application());
        let application = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || intent::reply(&slot, 3, 4))
        };
        let committed = slot.committed.load(Ordering::Acquire);
        let intent = slot.intent.load(Ordering::Acquire);
        let consumed = slot.consumed.load(Ordering::Acquire);
        if intent != 0 {
            assert_eq!(slot.intent_consumed.load(Ordering::Relaxed), 3, "half an intent");
            assert_eq!(slot.intent_committed.load(Ordering::Relaxed), 4, "half an intent");
        } else if committed != 0 {
            assert_eq!((committed, consumed), (4, 3), "half a reply, and no intent");
        }
        application.join().unwrap();
        intent::complete(&slot);
        let positions = (&slot.consumed, &slot.committed);
        let positions = (positions.0.load(Ordering::Relaxed), positions.1.load(Ordering::Relaxed));
        assert_eq!(positions, (3, 4));
    });
}

/// A wish and a flag are one word each: nobody sees half of one.
#[test]
#[cfg_attr(vmsgr_weak_fence, ignore = "does not depend on the fence")]
fn a_flag_of_an_earlier_connection_is_not_taken_for_ours() {
    loom::model(|| {
        let queued = Arc::new(QueuedSign::default());
        let pushed = Arc::new(AtomicU32::new(0));
        assert!(queued.raise(GENERATION - 1));
        let consumer = {
            let queued = Arc::clone(&queued);
            thread::spawn(move || queued.lower(GENERATION - 1))
        };
        if queued.raise(GENERATION) {
            pushed.fetch_add(1, Ordering::Relaxed);
        }
        consumer.join().unwrap();
        assert_eq!(pushed.load(Ordering::Relaxed), 1, "the new connection's number is missing");
        assert!(queued.lower(GENERATION), "the late look took the new connection's flag");
    });
}
