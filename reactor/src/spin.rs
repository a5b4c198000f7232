//! Looking again before sleeping: how long a loop with nothing to do goes on looking.
//!
//! On a virtual machine going to sleep and being woken costs 80-100 us that a loop which still
//! looks does not pay. But looking burns the core, so the window has to earn itself, in the manner
//! of the kernel's haltpoll governor and of KVM's halt_poll_ns: it grows while sleeps turn out to
//! have been shorter than the longest window, and halves each time they were not, so that a loop
//! which falls idle looks once more, for a fraction of a millisecond, and then sleeps.
//!
//! Two things that those do not have to look at: while a turn finds several connections ready, many
//! requests are under way at once, a sleep delays none of them by much and lets more of them
//! gather, so looking would only break up the batches; and while others want this core, looking
//! takes it from them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// How long a loop that just worked looks for more before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpinPolicy {
    /// A window that grows while it pays and dies out when it does not.
    #[default]
    Auto,
    /// Always this long after a turn with work; zero: sleep at once. At most 10 ms.
    Fixed(Duration),
}

/// The text is neither `auto` nor a number of microseconds in range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spin '{0}' is neither 'auto' nor a number of microseconds from 0 to 10000")]
pub struct SpinPolicyError(String);

impl FromStr for SpinPolicy {
    type Err = SpinPolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse::<u64>() {
            Ok(us @ 0..=10_000) => Ok(Self::Fixed(Duration::from_micros(us))),
            _ => Err(SpinPolicyError(text.to_owned())),
        }
    }
}

impl fmt::Display for SpinPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(window) => write!(f, "{}", window.as_micros()),
        }
    }
}

/// The window with which a loop begins to look.
const FIRST_WINDOW: Duration = Duration::from_micros(25);

/// The longest window, and so the longest sleep that looking could have saved.
const LAST_WINDOW: Duration = Duration::from_micros(200);

/// Above this many ready things per turn, on average, there is no looking.
const BATCH: f32 = 1.5;

/// How much of the average the newest turn makes.
const BATCH_WEIGHT: f32 = 1.0 / 16.0;

/// How often a looking loop asks whether it was preempted.
const PREEMPTED_CHECK: Duration = Duration::from_millis(2);

/// So many preemptions between two checks mean that others want the core; one may be chance.
const PREEMPTED_OFTEN: i64 = 2;

/// For how long there is no looking then.
const PREEMPTED_BAR: Duration = Duration::from_millis(100);

/// Decides whether and how long a loop looks for work before it sleeps.
#[derive(Debug)]
pub(crate) struct Spin {
    policy: SpinPolicy,
    window: Duration,
    /// Ready things per turn that found any; a moving average.
    batch: f32,
    /// When the loop ran out of work, spinning included.
    idle_since: Option<Instant>,
    preempted: Preempted,
}

impl Spin {
    pub(crate) fn new(policy: SpinPolicy) -> Self {
        let window = match policy {
            SpinPolicy::Auto => Duration::ZERO,
            SpinPolicy::Fixed(window) => window,
        };
        Self { policy, window, batch: 1.0, idle_since: None, preempted: Preempted::default() }
    }

    /// The window now, in microseconds.
    pub(crate) fn window_us(&self) -> u64 {
        self.window.as_micros() as u64
    }

    /// A turn found this many things to do.
    pub(crate) fn worked(&mut self, found: usize) {
        if found > 0 {
            self.idle_since = None;
            self.batch += (found as f32 - self.batch) * BATCH_WEIGHT;
        }
    }

    /// The loop has run out of work: until when it is to look for more, if at all.
    ///
    /// A loop that has slept for nothing does not look: only work starts it.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Instant> {
        if self.idle_since.is_some() {
            return None;
        }
        self.idle_since = Some(now);
        let looks = match self.policy {
            SpinPolicy::Fixed(_) => true,
            SpinPolicy::Auto => self.batch <= BATCH && !self.preempted.is_barred(now),
        };
        (looks && !self.window.is_zero()).then(|| now + self.window)
    }

    /// The loop has looked until `now`.
    pub(crate) fn end(&mut self, now: Instant) {
        if self.policy == SpinPolicy::Auto && self.preempted.check(now, preemptions) {
            self.window = Duration::ZERO;
        }
    }

    /// The loop has given way `times` times to those whom it has woken: that the kernel took the
    /// core from it so often does not mean that others want it.
    pub(crate) fn gave_way(&mut self, times: u64) {
        self.preempted.asked_for += times as i64;
    }

    /// The loop has slept and was woken.
    pub(crate) fn woke_up(&mut self, now: Instant) {
        let Some(since) = self.idle_since.filter(|_| self.policy == SpinPolicy::Auto) else {
            return;
        };
        self.window = if self.preempted.is_barred(now) {
            Duration::ZERO
        } else if now.saturating_duration_since(since) <= LAST_WINDOW {
            (self.window * 2).clamp(FIRST_WINDOW, LAST_WINDOW)
        } else if self.window > FIRST_WINDOW {
            self.window / 2
        } else {
            Duration::ZERO
        };
    }
}

/// Whether others want this core: the kernel took it from the thread while it looked.
#[derive(Debug, Default)]
struct Preempted {
    /// When was asked last, and the count then.
    checked: Option<(Instant, i64)>,
    /// Preemptions since, that the loop itself has asked for.
    asked_for: i64,
    barred_until: Option<Instant>,
}

impl Preempted {
    /// True if the thread was preempted often since the last check, which bars looking for a while.
    fn check(&mut self, now: Instant, preemptions: impl FnOnce() -> i64) -> bool {
        if self.checked.is_some_and(|(at, _)| now < at + PREEMPTED_CHECK) {
            return false;
        }
        let count = preemptions();
        let (at, before) = self.checked.replace((now, count)).unwrap_or((now, count));
        let asked_for = std::mem::take(&mut self.asked_for);
        // Over a longer time the same number says nothing.
        let often = count - before - asked_for >= PREEMPTED_OFTEN && now < at + PREEMPTED_CHECK * 4;
        if often {
            self.barred_until = Some(now + PREEMPTED_BAR);
        }
        often
    }

    fn is_barred(&self, now: Instant) -> bool {
        self.barred_until.is_some_and(|until| now < until)
    }
}

/// How often the kernel has taken the core from this thread for another.
fn preemptions() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    /// A loop on a clock of its own, with gaps between the pieces of work.
    struct Day {
        spin: Spin,
        now: Instant,
        sleeps: u32,
        spun: Duration,
    }

    impl Day {
        fn new(policy: SpinPolicy) -> Self {
            let now = Instant::now();
            Self { spin: Spin::new(policy), now, sleeps: 0, spun: Duration::ZERO }
        }

        /// Work of `found` things arrives `gap` after the last.
        fn work_after(&mut self, gap: Duration, found: usize) {
            let arrival = self.now + gap;
            if let Some(until) = self.spin.begin(self.now) {
                let end = until.min(arrival);
                self.spun += end - self.now;
                self.now = end;
                self.spin.end(end);
            }
            if self.now < arrival {
                self.now = arrival;
                self.sleeps += 1;
                self.spin.woke_up(arrival);
            }
            self.spin.worked(found);
        }

        fn works(&mut self, times: u32, gap: Duration, found: usize) {
            (self.sleeps, self.spun) = (0, Duration::ZERO);
            (0..times).for_each(|_| self.work_after(gap, found));
        }
    }

    #[test]
    fn short_gaps_are_soon_bridged_without_sleeping() {
        let mut day = Day::new(SpinPolicy::Auto);
        day.works(100, us(60), 1);
        assert!(day.sleeps <= 4, "{}", day.sleeps);
    }

    #[test]
    fn long_gaps_end_the_looking_within_a_millisecond() {
        let mut day = Day::new(SpinPolicy::Auto);
        day.works(100, us(150), 1);
        day.works(50, us(5000), 1);
        assert_eq!(day.sleeps, 50);
        assert!(day.spun < us(1000), "{:?}", day.spun);
        assert_eq!(day.spin.window_us(), 0);
    }

    #[test]
    fn batches_are_not_broken_up() {
        let mut day = Day::new(SpinPolicy::Auto);
        day.works(100, us(30), 8);
        day.works(100, us(30), 8);
        assert_eq!((day.sleeps, day.spun), (100, Duration::ZERO));
    }

    #[test]
    fn a_fixed_window_stays() {
        let mut day = Day::new(SpinPolicy::Fixed(us(50)));
        day.works(10, us(5000), 3);
        assert_eq!((day.sleeps, day.spun), (10, us(500)));
        let mut day = Day::new(SpinPolicy::Fixed(Duration::ZERO));
        day.works(10, us(10), 1);
        assert_eq!((day.sleeps, day.spun), (10, Duration::ZERO));
    }

    #[test]
    fn a_wakeup_for_nothing_starts_no_looking() {
        let mut spin = Spin::new(SpinPolicy::Fixed(us(50)));
        let now = Instant::now();
        assert!(spin.begin(now).is_some());
        spin.woke_up(now + us(100));
        assert!(spin.begin(now + us(100)).is_none());
        spin.worked(1);
        assert!(spin.begin(now + us(200)).is_some());
    }

    #[test]
    fn preemption_bars_looking_for_a_while() {
        let mut preempted = Preempted::default();
        let start = Instant::now();
        assert!(!preempted.check(start, || 100));
        assert!(!preempted.check(start + us(100), || unreachable!("not asked this often")));
        assert!(!preempted.check(start + us(2000), || 101), "one may be chance");
        assert!(preempted.check(start + us(4000), || 110));
        assert!(preempted.is_barred(start + us(50_000)));
        assert!(!preempted.is_barred(start + us(104_000)));
        assert!(!preempted.check(start + us(200_000), || 150), "spread over a long time");
    }

    #[test]
    fn policies_parse_and_print_back() {
        for text in ["auto", "0", "50", "10000"] {
            assert_eq!(text.parse::<SpinPolicy>().unwrap().to_string(), text);
        }
        for text in ["", "-1", "10001", "Auto", "5us"] {
            let error = text.parse::<SpinPolicy>().unwrap_err().to_string();
            assert!(error.contains("0 to 10000"), "{error}");
        }
    }
}
