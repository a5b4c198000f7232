//! What a server tells when it is asked.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long it may take to tell its counters.
const REPORT_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer is waited for until it is asked again.
const REPORT_AGAIN: Duration = Duration::from_millis(250);

/// What was reported: lines of JSON, which are no complaints.
#[derive(Debug, Default)]
pub struct Told {
    answers: Mutex<Answers>,
    news: Condvar,
}

/// Reports name no request. But each is begun because of a signal, and one signal begins one at
/// most: when more of them have come than signals had been sent before a request, the last was
/// begun because of that request.
#[derive(Debug, Default)]
struct Answers {
    /// Signals sent.
    asked: u64,
    /// Reports that came, `asked` at most: of signals that come before it looks, a server sees one.
    told: u64,
    /// The last report.
    last: String,
}

/// Asks a server for its counters, as `vmsgrd` tells them: SIGUSR1, and a line of JSON on stderr.
#[derive(Debug, Clone)]
pub struct Reports {
    pid: u32,
    told: Arc<Told>,
}

/// Doorbells, as their ringer counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doorbells {
    /// Of others who slept.
    pub rung: u64,
    /// Not rung, since the other side was awake.
    pub saved: u64,
}

impl Doorbells {
    /// How many there were from `earlier` to now.
    pub fn since(self, earlier: Self) -> Self {
        Self { rung: self.rung - earlier.rung, saved: self.saved - earlier.saved }
    }
}

impl Reports {
    /// Of process `pid`, whose reports come to `told`.
    pub(super) fn of(pid: u32, told: Arc<Told>) -> Self {
        Self { pid, told }
    }

    /// The doorbells that the server has rung and saved so far.
    ///
    /// # Errors
    /// When it does not answer, or something else.
    pub fn doorbells(&self) -> Result<Doorbells> {
        let report: Value = serde_json::from_str(&self.next()?)?;
        let figure = |name: &str| {
            let value = report["total"][name].as_u64();
            value.with_context(|| format!("no {name} in what process {} reports", self.pid))
        };
        Ok(Doorbells { rung: figure("doorbells_rung")?, saved: figure("doorbells_saved")? })
    }

    /// A report that was begun after this was called, whatever is still to come of what was asked
    /// for before.
    fn next(&self) -> Result<String> {
        let mut answers = self.told.answers();
        let (before, begun) = (answers.asked, Instant::now());
        while answers.told <= before {
            if begun.elapsed() >= REPORT_LIMIT {
                bail!("process {} has not told its counters", self.pid);
            }
            // Again and again: who was just about to sleep sleeps through the first.
            kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGUSR1)?;
            answers.asked += 1;
            let told = answers.told;
            let news = &self.told.news;
            let waited = news.wait_timeout_while(answers, REPORT_AGAIN, |now| now.told == told);
            (answers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        Ok(answers.last.clone())
    }
}

impl Told {
    /// Takes in the next report.
    pub fn take(&self, report: String) {
        let mut answers = self.answers();
        answers.told += 1;
        answers.last = report;
        self.news.notify_all();
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Server;
    use super::super::tests::shell;
    use super::*;

    /// A server that does this when it is asked for its counters.
    fn reporter(tell: &str) -> Server {
        let report = r#"{"total":{"doorbells_rung":'$n',"doorbells_saved":7}}"#;
        let tell = format!("say() {{ echo '{report}' >&2; }}; tell() {{ {tell}; }}");
        let script = format!("n=0; {tell}; trap tell USR1; echo ready; while :; do :; done");
        Server::start_without_address(shell(&script)).unwrap()
    }

    #[test]
    fn reports_are_asked_for_and_are_no_complaints() {
        let server = reporter("n=$((n+2)); say");
        let before = server.reports().doorbells().unwrap();
        assert_eq!(before, Doorbells { rung: 2, saved: 7 });
        let after = server.reports().doorbells().unwrap();
        assert_eq!(after.since(before), Doorbells { rung: 2, saved: 0 });
        assert_eq!(server.complaints.to_string(), "");
    }

    #[test]
    fn a_late_answer_is_not_taken_for_that_to_a_later_request() {
        // Each answer comes with the next request only: the first is waited for in vain. It comes
        // last in the trap, which the request that follows it interrupts.
        let server = reporter("n=$((made)); made=$((n+1)); if [ $n -gt 0 ]; then say; fi");
        let mut last = server.reports().doorbells().unwrap();
        for _ in 0..3 {
            let next = server.reports().doorbells().unwrap();
            // That by one more was made before this request, and is the first to come.
            assert!(next.since(last).rung >= 2, "{next:?} after {last:?}");
            last = next;
        }
    }
}
