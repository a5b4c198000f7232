//! Looking again for a moment before sleeping: the application's side of it, off unless asked for.

use std::time::{Duration, Instant};

/// The window with which looking begins.
const FIRST: Duration = Duration::from_micros(10);

/// Below this, looking costs as much as it saves.
const LEAST: Duration = Duration::from_micros(2);

/// Looks between two looks at the clock.
const LOOKS: u32 = 32;

/// Decides for how long to look, as the kernel's haltpoll governor does: longer while sleeps turn
/// out to have been short, and less while they do not.
#[derive(Debug)]
pub(super) struct Spin {
    /// Zero: never looks.
    most: Duration,
    window: Duration,
}

impl Spin {
    pub(super) fn new(most: Duration) -> Self {
        Self { most, window: Duration::ZERO }
    }

    /// Looks until something is found or the window has passed; true if something was found.
    pub(super) fn find(&mut self, mut found: impl FnMut() -> bool) -> bool {
        if self.window.is_zero() {
            return false;
        }
        let begin = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if found() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if begin.elapsed() >= self.window {
                break;
            }
        }
        self.window = Some(self.window / 2).filter(|half| *half >= LEAST).unwrap_or_default();
        false
    }

    /// When a sleep begins, if its length matters.
    pub(super) fn begin_sleep(&self) -> Option<Instant> {
        (!self.most.is_zero()).then(Instant::now)
    }

    /// A sleep that began then was ended by a ring.
    pub(super) fn rung(&mut self, since: Option<Instant>) {
        if since.is_some_and(|since| since.elapsed() <= self.most) {
            self.window = (self.window * 2).max(FIRST).min(self.most);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_while_it_would_have_paid_and_dies_out_when_it_does_not() {
        let most = Duration::from_secs(3600);
        let mut spin = Spin::new(most);
        assert!(!spin.find(|| true), "looked before any sleep was short");
        spin.rung(spin.begin_sleep());
        assert_eq!(spin.window, FIRST);
        spin.rung(spin.begin_sleep());
        assert_eq!(spin.window, 2 * FIRST);
        assert!(spin.find(|| true));
        assert_eq!(spin.window, 2 * FIRST);
        let mut looks = 0;
        while !spin.window.is_zero() {
            let window = spin.window;
            assert!(!spin.find(|| {
                looks += 1;
                false
            }));
            assert!(spin.window <= window / 2);
        }
        assert!(looks >= LOOKS);
    }

    #[test]
    fn who_did_not_ask_for_it_never_looks() {
        let mut spin = Spin::new(Duration::ZERO);
        spin.rung(spin.begin_sleep());
        assert!(!spin.find(|| panic!("looked")));
    }
}
