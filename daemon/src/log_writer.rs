//! A thread that writes to stderr, so that nobody else has to wait for who reads it.
//!
//! ```text
//! loops, main thread --hand over--> queue (bounded) --> vmsgr-log --> stderr
//! ```
//!
//! A pipe that nobody reads fills up and then blocks whoever writes to it: a loop would serve no
//! connection any more, for a line that a peer may have caused.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// Lines that wait for stderr at most.
const CAPACITY: usize = 1024;

/// How long the end of the daemon may wait for stderr.
const FLUSH: Duration = Duration::from_secs(1);

/// Writes to stderr what is handed over. Dropping it waits until all of that has been written, for
/// at most a second.
#[derive(Debug)]
pub struct LogWriter {
    queue: Arc<Queue>,
    patience: Duration,
}

/// Hands lines over, one with every write; never waits for stderr.
#[derive(Debug)]
pub struct Lines(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    sender: SyncSender<Entry>,
    state: Mutex<State>,
    /// Nothing is unwritten any more.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Lines handed over and not yet written, in `0..=CAPACITY + 1`: one is being written.
    unwritten: usize,
    /// Lines that found the queue full since the last that did not.
    lost: u64,
}

#[derive(Debug)]
struct Entry {
    line: Box<[u8]>,
    /// Lines lost between the one before and this one.
    lost: u64,
}

impl LogWriter {
    /// Starts the thread, which has the signal mask of its caller. `tell_lost` writes to where
    /// `out` does that so many lines were lost; it is called where the lines are missing.
    ///
    /// # Errors
    /// The kernel starts no more threads.
    pub fn start(
        out: impl Write + Send + 'static,
        tell_lost: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, entries) = sync_channel(CAPACITY);
        let state = Mutex::new(State::default());
        let queue = Arc::new(Queue { sender, state, written: Condvar::new() });
        let thread = Arc::clone(&queue);
        Builder::new()
            .name("vmsgr-log".to_owned())
            .spawn(move || thread.write(&entries, out, tell_lost))?;
        Ok(Self { queue, patience: FLUSH })
    }

    /// Where to write lines.
    pub fn lines(&self) -> Lines {
        Lines(Arc::clone(&self.queue))
    }
}

impl Lines {
    /// Hands over a line as it is, its end included.
    pub fn raw(&self, line: String) {
        self.0.hand_over(line.into_bytes().into());
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let state = self.queue.state();
        let all_written = self
            .queue
            .written
            .wait_timeout_while(state, self.patience, |state| state.unwritten > 0);
        // Who does not read until then does not get it.
        drop(all_written);
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.hand_over(line.into());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    /// Never waits for stderr: the lock is not held while something is written.
    fn hand_over(&self, line: Box<[u8]>) {
        let mut state = self.state();
        match self.sender.try_send(Entry { line, lost: state.lost }) {
            Ok(()) => {
                state.lost = 0;
                state.unwritten += 1;
            }
            Err(TrySendError::Full(_)) => state.lost += 1,
            // The thread ends with the process.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    fn write(&self, entries: &Receiver<Entry>, mut out: impl Write, tell_lost: impl Fn(u64)) {
        for entry in entries {
            if entry.lost > 0 {
                tell_lost(entry.lost);
            }
            // Nothing can be done about a stderr that is gone.
            let _ = out.write_all(&entry.line).and_then(|()| out.flush());
            // No further line may come to say that those before it were lost.
            while let Some(lost) = self.wrote() {
                tell_lost(lost);
            }
        }
    }

    /// One line has been written. If that was the last one and lines were lost after it, it still
    /// counts as unwritten, and the answer is how many.
    fn wrote(&self) -> Option<u64> {
        let mut state = self.state();
        if state.unwritten == 1 && state.lost > 0 {
            return Some(std::mem::take(&mut state.lost));
        }
        state.unwritten -= 1;
        if state.unwritten == 0 {
            self.written.notify_all();
        }
        None
    }

    /// Nothing in here panics half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Instant;

    /// What stderr got, as lines.
    type Written = Arc<Mutex<Vec<String>>>;

    /// A stderr that takes a line for every token, and says when it is asked to take one.
    struct Stalled {
        asked: Sender<()>,
        tokens: Receiver<()>,
        written: Written,
    }

    impl Write for Stalled {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.asked.send(());
            // Without who gives tokens, it takes everything.
            let _ = self.tokens.recv();
            self.written.lock().unwrap().push(String::from_utf8(line.into()).unwrap());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A full queue, with `excess` lines lost.
    fn full(excess: usize) -> (LogWriter, Sender<()>, Written) {
        let (asked, was_asked) = channel();
        let (give, tokens) = channel();
        let written = Written::default();
        let losses = Arc::clone(&written);
        let tell_lost = move |lost| losses.lock().unwrap().push(format!("{lost} lost"));
        let out = Stalled { asked, tokens, written: Arc::clone(&written) };
        let mut writer = LogWriter::start(out, tell_lost).unwrap();
        writer.patience = Duration::from_secs(20);
        let lines = writer.lines();
        lines.raw("line 0".to_owned());
        was_asked.recv().unwrap();
        for number in 1..=CAPACITY + excess {
            lines.raw(format!("line {number}"));
        }
        (writer, give, written)
    }

    #[test]
    fn lines_that_find_the_queue_full_are_counted_and_the_others_keep_their_order() {
        let (writer, give, written) = full(5);
        drop(give);
        drop(writer);
        let mut expected: Vec<_> = (0..=CAPACITY).map(|number| format!("line {number}")).collect();
        expected.push("5 lost".to_owned());
        assert_eq!(*written.lock().unwrap(), expected);
    }

    #[test]
    fn a_loss_is_told_between_the_lines_around_it() {
        let (writer, give, written) = full(3);
        give.send(()).unwrap();
        let started = Instant::now();
        // Until the thread has taken the next one, there is no room.
        while writer.queue.state().lost > 0 {
            assert!(started.elapsed() < Duration::from_secs(20), "there is room again");
            std::thread::yield_now();
            writer.lines().write_all(b"afterwards").unwrap();
        }
        drop(give);
        drop(writer);
        let written = written.lock().unwrap();
        let [.., last, lost, afterwards] = &written[..] else { panic!() };
        assert_eq!((&last[..], &afterwards[..]), ("line 1024", "afterwards"));
        let lost: usize = lost.strip_suffix(" lost").unwrap().parse().unwrap();
        assert!(lost >= 3);
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let (mut writer, _give, written) = full(0);
        writer.patience = Duration::from_millis(1);
        drop(writer);
        assert!(written.lock().unwrap().is_empty());
    }
}
