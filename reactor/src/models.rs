//! What loom makes of the flags: every order in which two threads may see each other's writes.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p vmsgr-reactor --lib models` must pass; with
//! `--cfg vmsgr_weak_fence` added, which weakens the fences, the same models must fail, and do so
//! as `should_panic` tests.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::room::RoomFlag;
use crate::sleep::SleepFlag;

/// A ring as far as the flags are concerned: cursors that one side writes and the other reads, with
/// the orderings that ringbuf uses.
struct Cursors {
    written: AtomicUsize,
    read: AtomicUsize,
}

impl Cursors {
    fn new(written: usize) -> Self {
        Self { written: AtomicUsize::new(written), read: AtomicUsize::new(0) }
    }

    fn is_empty(&self) -> bool {
        self.written.load(Ordering::Acquire) == self.read.load(Ordering::Acquire)
    }

    fn has_room(&self, capacity: usize) -> bool {
        self.written.load(Ordering::Acquire) - self.read.load(Ordering::Acquire) < capacity
    }
}

/// A sender publishes while the receiver falls asleep: the receiver sees the message, or the
/// sender rings. Never neither.
#[test]
#[cfg_attr(vmsgr_weak_fence, should_panic(expected = "slept through a message"))]
fn no_message_is_slept_through() {
    loom::model(|| {
        let ring = Arc::new(Cursors::new(0));
        let sleep = Arc::new(SleepFlag::new());
        let sender = {
            let (ring, sleep) = (Arc::clone(&ring), Arc::clone(&sleep));
            thread::spawn(move || {
                ring.written.store(1, Ordering::Release);
                sleep.rouse()
            })
        };
        sleep.declare();
        let sleeps = ring.is_empty();
        let rung = sender.join().unwrap();
        assert!(!sleeps || rung, "slept through a message");
    });
}

/// Two senders publish to one sleeper: it is rung exactly once.
#[test]
#[cfg_attr(vmsgr_weak_fence, ignore = "does not depend on the fence")]
fn a_sleeper_is_rung_once() {
    loom::model(|| {
        let sleep = Arc::new(SleepFlag::new());
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

/// A receiver takes from a full ring while the sender, which holds a message back, falls asleep:
/// the sender sees the room, or the receiver rings. Never neither.
#[test]
#[cfg_attr(vmsgr_weak_fence, should_panic(expected = "slept through room"))]
fn no_room_is_slept_through() {
    loom::model(|| {
        let ring = Arc::new(Cursors::new(1));
        let sleep = Arc::new(SleepFlag::new());
        let room = Arc::new(RoomFlag::new());
        let receiver = {
            let (ring, sleep, room) = (Arc::clone(&ring), Arc::clone(&sleep), Arc::clone(&room));
            thread::spawn(move || {
                ring.read.store(1, Ordering::Release);
                room.made(&sleep)
            })
        };
        room.want(true);
        sleep.declare();
        let sleeps = !ring.has_room(1);
        let rung = receiver.join().unwrap();
        assert!(!sleeps || rung, "slept through room");
    });
}

/// Who has nothing held back is not rung for room.
#[test]
#[cfg_attr(vmsgr_weak_fence, ignore = "does not depend on the fence")]
fn nobody_is_rung_for_room_in_vain() {
    loom::model(|| {
        let sleep = Arc::new(SleepFlag::new());
        let room = Arc::new(RoomFlag::new());
        sleep.declare();
        let receiver = {
            let (sleep, room) = (Arc::clone(&sleep), Arc::clone(&room));
            thread::spawn(move || room.made(&sleep))
        };
        assert!(!receiver.join().unwrap());
    });
}
