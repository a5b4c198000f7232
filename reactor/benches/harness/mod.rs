//! Plays the scenarios of a bench, one per argument.
//!
//! Under callgrind what happens inside [`counted`] is counted, and nothing else; see
//! `.ci/instructions`. Each scenario's name is printed with what the rounds that were counted are worth.

use std::env;
use std::process::ExitCode;

/// Rounds that are played before any is counted: what is allocated once is there by then.
pub(crate) const WARM_UP: usize = 20;

/// Rounds that are counted.
pub(crate) const ROUNDS: usize = 200;

/// A scenario, and how many messages (or turns, or timers) one round of it is worth.
pub(crate) type Scenario = (&'static str, usize, fn());

/// Plays those of `scenarios` that the arguments name; all of them, if none is named.
pub(crate) fn main(scenarios: &[Scenario]) -> ExitCode {
    // cargo bench says --bench to whatever it runs.
    let asked: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if asked.iter().any(|argument| argument == "--list") {
        scenarios.iter().for_each(|(name, _, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = asked.iter().find(|name| scenarios.iter().all(|s| s.0 != **name)) {
        eprintln!("instructions: no scenario '{unknown}'; --list names them");
        return ExitCode::FAILURE;
    }
    for (name, worth, play) in scenarios {
        if asked.is_empty() || asked.iter().any(|argument| argument == name) {
            play();
            println!("{name} {}", ROUNDS * worth);
        }
    }
    ExitCode::SUCCESS
}

/// What callgrind counts. Never inlined, since it is found by its name.
#[inline(never)]
fn counted(work: impl FnOnce()) {
    work();
}

/// Plays `before`, `work` and `after` again and again; only `work` is counted.
pub(crate) fn rounds<S>(
    scene: &mut S,
    before: impl Fn(&mut S, usize),
    work: impl Fn(&mut S, usize),
    after: impl Fn(&mut S, usize),
) {
    for round in 0..WARM_UP + ROUNDS {
        before(scene, round);
        play(round, || work(scene, round));
        after(scene, round);
    }
}

/// Plays the part of a round that is counted, unless this one is for warming up.
pub(crate) fn play(round: usize, work: impl FnOnce()) {
    if round < WARM_UP { work() } else { counted(work) }
}
