//! Deadlines.
//!
//! A heap of four children per node, with each timer knowing its place in it, so that arming and
//! cancelling cost O(log n) and nothing is ever searched. Postponing, what an idle time-out does
//! with every message, is O(1): the timer keeps its place and only notes the later deadline; the
//! note is taken up when the timer reaches the top. While no timer is armed nothing is done at all.

use std::time::{Duration, Instant};

use slab::Slab;

const CHILDREN: usize = 4;

/// Postponed timers that one call moves to their later places: a bound on the work of a turn.
const POSTPONED_PER_CALL: usize = 64;

/// Names an armed timer; stale once it has fired or was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerId {
    key: usize,
    generation: u64,
}

/// Armed timers, each with a `T` that is handed back when it comes due.
#[derive(Debug)]
pub struct Timers<T> {
    /// A heap by the first field, the time at which the timer is looked at; the second is the key.
    heap: Vec<(Instant, usize)>,
    timers: Slab<Timer<T>>,
    /// The generation of the next timer.
    generation: u64,
}

#[derive(Debug)]
struct Timer<T> {
    /// When it is due: at or after its time in the heap.
    deadline: Instant,
    /// Its index in the heap.
    place: usize,
    generation: u64,
    value: T,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: Vec::new(), timers: Slab::new(), generation: 0 }
    }
}

impl<T> Timers<T> {
    /// Timers that are armed.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// No timer is armed.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Arms a timer that comes due at `deadline`, never before.
    pub fn arm(&mut self, deadline: Instant, value: T) -> TimerId {
        let generation = self.generation;
        self.generation += 1;
        let place = self.heap.len();
        let key = self.timers.insert(Timer { deadline, place, generation, value });
        self.heap.push((deadline, key));
        self.sift_up(place);
        TimerId { key, generation }
    }

    /// Gives an armed timer another deadline; O(1) if it is a later one. False if it is not armed.
    pub fn rearm(&mut self, id: TimerId, deadline: Instant) -> bool {
        let Some(timer) = self.timers.get_mut(id.key).filter(|t| t.generation == id.generation)
        else {
            return false;
        };
        timer.deadline = deadline;
        let place = timer.place;
        if deadline < self.heap[place].0 {
            self.heap[place].0 = deadline;
            self.sift_up(place);
        }
        true
    }

    /// Disarms a timer; its value, if it was armed.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.timers.get(id.key).filter(|timer| timer.generation == id.generation)?;
        Some(self.remove(id.key))
    }

    /// How long to sleep at most, `None` for ever. Zero if a timer is due.
    pub fn time_out(&mut self, now: Instant) -> Option<Duration> {
        self.place_postponed();
        self.heap.first().map(|(time, _)| time.saturating_duration_since(now))
    }

    /// Takes one timer that is due.
    pub fn expired(&mut self, now: Instant) -> Option<T> {
        self.place_postponed();
        let &(time, key) = self.heap.first()?;
        // A timer above the bound of `place_postponed` may be looked at too early; not taken.
        (time <= now && self.timers[key].deadline <= now).then(|| self.remove(key))
    }

    /// Moves postponed timers at the top to where they belong now.
    fn place_postponed(&mut self) {
        for _ in 0..POSTPONED_PER_CALL {
            let Some(&(time, key)) = self.heap.first() else { return };
            let deadline = self.timers[key].deadline;
            if deadline == time {
                return;
            }
            self.heap[0].0 = deadline;
            self.sift_down(0);
        }
    }

    fn remove(&mut self, key: usize) -> T {
        let timer = self.timers.remove(key);
        self.heap.swap_remove(timer.place);
        if timer.place < self.heap.len() {
            self.timers[self.heap[timer.place].1].place = timer.place;
            self.sift_down(timer.place);
            self.sift_up(timer.place);
        }
        timer.value
    }

    fn sift_up(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.heap[parent].0 <= self.heap[place].0 {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let first = place * CHILDREN + 1;
            let children = first..self.heap.len().min(first + CHILDREN);
            let Some(least) = children.min_by_key(|&child| self.heap[child].0) else { break };
            if self.heap[place].0 <= self.heap[least].0 {
                break;
            }
            self.swap(place, least);
            place = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.timers[self.heap[a].1].place = a;
        self.timers[self.heap[b].1].place = b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn timers_fire_in_order_and_never_early() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for count in [30, 10, 20] {
            timers.arm(start + ms(count), count);
        }
        assert_eq!(timers.time_out(start), Some(ms(10)));
        assert_eq!(timers.expired(start + ms(10) - Duration::from_nanos(1)), None);
        assert_eq!(timers.expired(start + ms(25)), Some(10));
        assert_eq!(timers.expired(start + ms(25)), Some(20));
        assert_eq!(timers.expired(start + ms(25)), None);
        assert_eq!(timers.time_out(start + ms(25)), Some(ms(5)));
    }

    #[test]
    fn nothing_is_waited_for_while_nothing_is_armed() {
        let start = Instant::now();
        let mut timers = Timers::default();
        assert_eq!(timers.time_out(start), None);
        let id = timers.arm(start, ());
        assert!(timers.cancel(id).is_some());
        assert!(timers.cancel(id).is_none());
        assert!(!timers.rearm(id, start));
        assert_eq!(timers.time_out(start), None);
    }

    #[test]
    fn a_postponed_timer_is_not_woken_for_at_its_old_deadline() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let id = timers.arm(start + ms(10), ());
        assert!(timers.rearm(id, start + ms(50)));
        assert_eq!(timers.time_out(start), Some(ms(50)));
    }

    #[test]
    fn a_hundred_thousand_timers_are_postponed_in_constant_time_each() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let ids: Vec<_> = (0..100_000).map(|n| timers.arm(start + ms(n % 1000), n)).collect();
        let order: Vec<_> = timers.heap.iter().map(|(_, key)| *key).collect();
        for id in &ids {
            assert!(timers.rearm(*id, start + ms(60_000)));
        }
        // Nothing moved: that is what makes it cheap.
        assert!(timers.heap.iter().map(|(_, key)| *key).eq(order));
        assert_eq!(timers.expired(start + ms(59_999)), None);
        let mut fired = 0;
        while timers.time_out(start + ms(60_000)).is_some() {
            fired += usize::from(timers.expired(start + ms(60_000)).is_some());
        }
        assert_eq!(fired, 100_000);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Arm(u64),
        Rearm(usize, u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..200).prop_map(Step::Arm),
            (any::<usize>(), 0u64..400).prop_map(|(n, at)| Step::Rearm(n, at)),
            any::<usize>().prop_map(Step::Cancel),
            (0u64..50).prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// Against a list that is searched: the same timers fire, each at or after its deadline.
        #[test]
        fn timers_behave_like_a_sorted_list(steps in proptest::collection::vec(step(), 1..200)) {
            let start = Instant::now();
            let mut timers = Timers::default();
            let mut model: Vec<(TimerId, u64, u64)> = Vec::new();
            let (mut now, mut next) = (0, 0);
            for step in steps {
                match step {
                    Step::Arm(after) => {
                        model.push((timers.arm(start + ms(now + after), next), now + after, next));
                        next += 1;
                    }
                    Step::Rearm(n, after) if !model.is_empty() => {
                        let index = n % model.len();
                        model[index].1 = now + after;
                        prop_assert!(timers.rearm(model[index].0, start + ms(now + after)));
                    }
                    Step::Cancel(n) if !model.is_empty() => {
                        let (id, _, value) = model.remove(n % model.len());
                        prop_assert_eq!(timers.cancel(id), Some(value));
                    }
                    Step::Advance(by) => {
                        now += by;
                        let mut due: Vec<_> =
                            model.iter().filter(|t| t.1 <= now).map(|t| t.2).collect();
                        model.retain(|t| t.1 > now);
                        let mut fired: Vec<u64> = Vec::new();
                        while let Some(value) = timers.expired(start + ms(now)) {
                            fired.push(value);
                        }
                        due.sort_unstable();
                        fired.sort_unstable();
                        prop_assert_eq!(fired, due);
                    }
                    _ => {}
                }
                let earliest = model.iter().map(|t| t.1).min();
                let expected = earliest.map(|at| ms(at.saturating_sub(now)));
                prop_assert_eq!(timers.time_out(start + ms(now)), expected);
            }
        }
    }
}
