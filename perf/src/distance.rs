//! How far one core is from another: how long a cache line takes from there to here and back.
//!
//! The cores of a virtual machine are threads of its host, which moves them as it likes: now they
//! are neighbours that share a cache, and a moment later on two chips. Everything that a server and
//! its load hand to each other then takes several times as long, of both sides' CPU time, too, and
//! nothing else tells: no time is stolen, and each core for itself is as fast as before.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::cores;

/// A try goes so often there and back; the shortest of so many tries counts. All of it is less than
/// a millisecond, where nobody else wants the other core.
const TRIPS: u32 = 100;
const TRIES: usize = 10;

/// So long is waited at most for an answer, from a core that others want, too.
const PATIENCE: Duration = Duration::from_millis(20);

/// Looks for an answer before another one at the clock.
const LOOKS: usize = 10_000;

/// A line of the cache, and its neighbour, which some processors fetch with it.
#[repr(align(128))]
#[derive(Default)]
struct Line<T>(T);

/// There and back, in nanoseconds, between the core of the calling thread, to which it has to be
/// pinned, and another. `None` if nobody answers from there in time.
///
/// # Errors
/// When this process may not use the other core.
pub fn round_trip_ns(core: usize) -> Result<Option<f64>> {
    let (line, over) = (Line(AtomicU64::new(0)), Line(AtomicBool::new(false)));
    let (ready, is_ready) = mpsc::channel();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let pinned = cores::move_to(core);
            let go_on = pinned.is_ok();
            // Who asks is there until this thread has ended.
            let _ = ready.send(pinned);
            if go_on {
                answer(&line.0, &over.0);
            }
        });
        // Asleep, since the other thread begins on this core.
        let shortest = is_ready.recv()?.map(|()| ask(&line.0));
        over.0.store(true, Ordering::Relaxed);
        other.join().map_err(|_| anyhow!("who answers panicked"))?;
        shortest
    })
}

/// Says odd numbers, and waits for the even ones that follow them.
fn ask(line: &AtomicU64) -> Option<f64> {
    let until = Instant::now() + PATIENCE;
    let mut said = 0;
    let mut shortest: Option<Duration> = None;
    for _ in 0..TRIES {
        let begun = Instant::now();
        for _ in 0..TRIPS {
            line.store(said + 1, Ordering::Release);
            said += 2;
            let mut looks = 0;
            while line.load(Ordering::Acquire) != said {
                looks += 1;
                if looks % LOOKS == 0 && Instant::now() > until {
                    return shortest.map(per_trip);
                }
            }
        }
        let took = begun.elapsed();
        shortest = Some(shortest.map_or(took, |shortest| shortest.min(took)));
    }
    shortest.map(per_trip)
}

fn per_trip(took: Duration) -> f64 {
    took.as_secs_f64() * 1e9 / f64::from(TRIPS)
}

fn answer(line: &AtomicU64, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let said = line.load(Ordering::Acquire);
        if said % 2 == 1 {
            line.store(said + 1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_answers() {
        let all = core_affinity::get_core_ids().expect("Linux says so");
        let [first, .., last] = &all[..] else {
            println!("skipped: there is one core only");
            return;
        };
        let between = thread::scope(|scope| {
            let measure = scope.spawn(|| {
                cores::pin(first.id)?;
                round_trip_ns(last.id)
            });
            measure.join().expect("it does not panic")
        });
        // Others may have either core all the time.
        if let Some(between) = between.expect("both cores are there") {
            assert!((1.0..1e6).contains(&between), "{between} ns");
        }
    }

    #[test]
    fn a_core_that_nobody_may_use_is_an_error() {
        let error = round_trip_ns(100_000).expect_err("there is none").to_string();
        assert_eq!(error, "cannot pin to core 100000");
    }

    #[test]
    fn nobody_answers() {
        let begun = Instant::now();
        assert_eq!(ask(&AtomicU64::new(0)), None);
        assert!(begun.elapsed() >= PATIENCE);
    }
}
