//! What a process writes, line by line, as it writes it.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The lines of one output stream of a process. A thread drains the stream, so that the process never
/// blocks on a full pipe, whether or not the test looks.
#[derive(Debug, Clone)]
pub struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Starts to drain `stream`, until it ends.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                writer.change(|state| state.lines.push(text));
                line.clear();
            }
            writer.change(|state| state.ended = true);
        });
        Self { shared }
    }

    /// How many lines there are so far: a place to look from with [`Lines::wait_from`].
    pub fn count(&self) -> usize {
        self.shared.look(|state| state.lines.len())
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.shared.look(|state| state.lines.clone())
    }

    /// The first line that is `wanted`, at or after line number `from`; waits for it until the
    /// deadline. `None` when it does not come, or the stream ends without it.
    pub fn wait_from(
        &self,
        from: usize,
        deadline: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let until = Instant::now() + deadline;
        let mut looked_at = from;
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let unseen = state.lines.get(looked_at..).unwrap_or_default();
            if let Some(line) = unseen.iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            looked_at = looked_at.max(state.lines.len());
            let left = until.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self
                .shared
                .grown
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until the stream has ended: every process that held its writing end is gone.
    pub fn wait_for_end(&self, deadline: Duration) -> bool {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.grown.wait_timeout_while(state, deadline, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.grown.notify_all();
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
