//! I2, I3 and I7: sleeping, waking, and what belongs to one core.

mod util;

use std::io::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::unistd::gettid;
use util::*;
use vmsgr_reactor::{
    Budget, Core, CoreMask, Counters, Exit, Loop, Marks, SpinPolicy, Threads, mesh,
};

#[test]
fn a_loop_with_idle_streams_sleeps_without_waking() {
    let mut ports = mesh(2).unwrap();
    let mut control = ports.pop().unwrap();
    let port = ports.pop().unwrap();
    let (sender, started) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut tested = on(port, Budget::default());
        let mut peers: Vec<_> =
            (0..100).map(|_| add(&mut tested, Does::Echo, Marks::default()).1).collect();
        for peer in &mut peers {
            peer.write_all(b"awake").unwrap();
        }
        turn_until(&mut tested, |tested| tested.counters().bytes_out == 500);
        // One turn more than the last byte, and a timer that has been cancelled.
        sender.send(gettid().as_raw()).unwrap();
        let before = tested.counters();
        tested.turn().unwrap();
        (before, tested.counters(), peers)
    });
    let tid = started.recv_timeout(DEADLINE).unwrap();
    wait_until_asleep(tid);
    let before = context_switches(tid);
    // The window in which nothing may happen is what is measured here.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(context_switches(tid), before, "I2");
    control.post(0, 7).unwrap();
    control.publish(&mut Counters::default());
    let (before, after, _peers) = thread.join().unwrap();
    assert_eq!(after.turns - before.turns, 1, "the turn lasted all the while");
    assert_eq!((after.mesh_in, after.wakeups_empty), (1, before.wakeups_empty));
}

#[test]
fn a_loop_that_looks_again_gives_up_and_sleeps() {
    let mut ports = mesh(2).unwrap();
    let mut control = ports.pop().unwrap();
    let port = ports.pop().unwrap();
    let (sender, started) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let spin = SpinPolicy::Fixed(Duration::from_millis(2));
        let server = Server { answers: true, ..Server::default() };
        let mut tested = Loop::new(server, port, spin, Budget::default()).unwrap();
        sender.send(gettid().as_raw()).unwrap();
        while tested.counters().mesh_in < 2 {
            tested.turn().unwrap();
        }
        tested.counters()
    });
    let tid = started.recv_timeout(DEADLINE).unwrap();
    let mut counters = Counters::default();
    for message in [1, 3] {
        // Its window is over; nothing but the doorbell ends this.
        wait_until_asleep(tid);
        control.post(0, message).unwrap();
        control.publish(&mut counters);
        let deadline = Instant::now() + DEADLINE;
        let answer = std::iter::from_fn(|| Some(control.take())).find(|answer| {
            assert!(Instant::now() < deadline, "no answer");
            answer.is_some()
        });
        assert_eq!(answer.flatten(), Some((0, message + 1)));
    }
    assert_eq!(counters.doorbells_rung, 2);
    let counters = thread.join().unwrap();
    // It looked before its first sleep and after the first message.
    assert_eq!((counters.spins, counters.spin_hits), (2, 0));
    assert_eq!((counters.wakeups, counters.wakeups_empty), (2, 0));
}

#[test]
fn what_is_left_for_later_is_told_when_there_is_nothing_else_to_do_and_before_a_sleep() {
    let mut tested = alone(Budget::default());
    let (_, mut first) = add(&mut tested, Does::Echo, Marks::default());
    let (_, mut second) = add(&mut tested, Does::Echo, Marks::default());
    tested.handler().0.withholds = true;
    first.write_all(b"one").unwrap();
    tested.turn().unwrap();
    second.write_all(b"two").unwrap();
    tested.turn().unwrap();
    assert_eq!(tested.handler().0.readable.len(), 2);
    assert_eq!(tested.handler().0.told, [0; 0], "there was something else to do");
    // Nothing else: it tells before it sleeps, and is woken by this alone.
    tested.handler().1.arm(Duration::from_millis(1), 1);
    turn_until(&mut tested, |tested| !tested.handler().0.fired.is_empty());
    assert_eq!(tested.handler().0.told, [2]);
    assert_eq!(tested.counters().wakeups_empty, 0);
}

#[test]
fn two_loops_wake_each_other_and_never_in_vain() {
    const ROUNDS: u32 = 2000;
    let mut ports = mesh(2).unwrap();
    let other = ports.pop().unwrap();
    let mine = ports.pop().unwrap();
    let thread = std::thread::spawn(move || {
        let server = Server { answers: true, ..Server::default() };
        let spin = SpinPolicy::Fixed(Duration::ZERO);
        let mut tested = Loop::new(server, other, spin, Budget::default()).unwrap();
        while tested.counters().mesh_out < u64::from(ROUNDS) {
            tested.turn().unwrap();
        }
        tested.counters()
    });
    let mut tested = on(mine, Budget::default());
    for round in 0..ROUNDS {
        tested.handler().1.post(1, round * 2).unwrap();
        // Published at the end of a turn, and a turn begins with a wait: something due at once.
        tested.handler().1.arm(Duration::ZERO, round);
        turn_until(&mut tested, |tested| tested.counters().mesh_in == u64::from(round) + 1);
    }
    let counters = [tested.counters(), thread.join().unwrap()];
    for counters in counters {
        assert!(counters.wakeups_empty * 100 <= counters.wakeups, "I3: {counters:?}");
        let published = counters.doorbells_rung + counters.doorbells_saved;
        assert_eq!(published, u64::from(ROUNDS), "I3: one doorbell or none for each message");
    }
}

#[test]
fn timers_fire_no_earlier_than_asked_and_wake_nobody_when_cancelled() {
    let mut tested = alone(Budget::default());
    let start = Instant::now();
    let cancelled = tested.handler().1.arm(Duration::from_millis(1), 1);
    tested.handler().1.arm(Duration::from_micros(2500), 2);
    tested.handler().1.cancel(cancelled);
    turn_until(&mut tested, |tested| !tested.handler().0.fired.is_empty());
    assert!(start.elapsed() >= Duration::from_micros(2500), "{:?}", start.elapsed());
    assert_eq!(tested.handler().0.fired, [2]);
    assert_eq!(tested.counters().wakeups, 1, "rounded up: no wakeup just before it is due");
}

#[test]
fn a_loop_that_panics_says_so_and_the_others_go_on() {
    let mask = CoreMask::first().unwrap();
    let cores = [mask.cores()[0]; 2];
    let mut ports = mesh(3).unwrap();
    let mut control = ports.pop().unwrap();
    let threads = Threads::start(
        &cores,
        ports,
        &control.waker(),
        SpinPolicy::Auto,
        Budget::default(),
        |_| Server { answers: true, ..Server::default() },
    )
    .unwrap();
    let mut counters = Counters::default();
    let wait = |control: &mut vmsgr_reactor::Port<u32>| {
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "nothing heard");
            if let Some((_, exit)) = threads.exited() {
                return Ok(exit);
            }
            if let Some((_, message)) = control.take() {
                return Err(message);
            }
        }
    };
    control.post(0, PANIC).unwrap();
    control.publish(&mut counters);
    match wait(&mut control) {
        Ok(Exit::Panicked(message)) => assert_eq!(message, "asked to panic"),
        other => panic!("{other:?}"),
    }
    control.post(1, 5).unwrap();
    control.publish(&mut counters);
    assert!(matches!(wait(&mut control), Err(6)));
    control.post(1, STOP).unwrap();
    control.publish(&mut counters);
    assert!(matches!(wait(&mut control), Ok(Exit::Stopped)));
    threads.join();
}

/// I7: what belongs to a loop cannot leave its thread. (Ambiguous, and so no program, if `Core`
/// were `Send`.)
#[allow(dead_code)]
fn a_core_is_not_send() {
    trait Ambiguous<A> {
        fn check() {}
    }
    struct IsSend;
    impl<T: ?Sized> Ambiguous<()> for T {}
    impl<T: ?Sized + Send> Ambiguous<IsSend> for T {}
    <Core<Server> as Ambiguous<_>>::check();
}
