//! Wakeups and doorbells under load: none in vain, as far as one can see from outside.

use std::thread;

use vmsgr_tests::sockets::{connect, ping};
use vmsgr_tests::{Counters, Vmsgrd, report, two_cores};

const ECHO: &str = "127.0.0.1:0=echo";

/// Pings from several clients at once and returns the counters afterwards.
fn under_load(arguments: &[&str]) -> Counters {
    let daemon = Vmsgrd::start(arguments);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = connect(daemon.address(0));
                for number in 0..4_000_u64 {
                    ping(&mut client, &number.to_le_bytes());
                }
            });
        }
    });
    daemon.counters()
}

fn assert_hardly_any_in_vain(counters: &Counters) {
    let total = &counters.total;
    report(&format!("{} of {} wakeups found nothing", total.wakeups_empty, total.wakeups));
    assert!(total.wakeups_empty * 100 <= total.wakeups, "{total:#?}");
}

#[test]
fn a_loop_that_sleeps_at_once_hardly_ever_wakes_up_in_vain() {
    assert_hardly_any_in_vain(&under_load(&["--spin-us", "0", "-l", ECHO]));
}

#[test]
fn two_loops_that_hand_over_hardly_ever_wake_up_in_vain() {
    let Some(cores) = two_cores() else { return };
    let placement = ["--core-mask", &cores, "--placement", "round-robin"];
    let counters = under_load(&[&placement[..], &["--spin-us", "0", "-l", ECHO]].concat());
    assert_hardly_any_in_vain(&counters);
    let total = &counters.total;
    assert!(total.handed_over > 0, "{total:#?}");
    assert!(total.doorbells_rung > 0, "handed over to sleepers without a doorbell: {total:#?}");
}

#[test]
fn answers_that_the_kernel_takes_whole_never_register_writable() {
    let total = under_load(&["-l", ECHO]).total;
    assert_eq!((total.writable_armed, total.writable_disarmed), (0, 0), "{total:#?}");
    assert_eq!(total.bytes_in, 8 * 4_000 * 8);
    assert_eq!(total.bytes_out, total.bytes_in);
}
