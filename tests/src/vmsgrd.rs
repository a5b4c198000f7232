//! The daemon, started for one test.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::activity::Activity;
use crate::binary;
use crate::counters::Counters;
use crate::eventually::{PATIENCE, eventually};
use crate::lines::Lines;
use crate::process::Process;

/// A daemon about to be started.
#[derive(Debug)]
pub struct Launch {
    wrapper: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: Option<TempDir>,
}

/// A running daemon that has said `ready`. It is killed when the test is done with it.
#[derive(Debug)]
pub struct Vmsgrd {
    process: Process,
    listening: Vec<Listening>,
    /// One question at a time: signals that are pending together arrive as one.
    asking: Mutex<()>,
    socket: PathBuf,
    _folders: (Option<TempDir>, TempDir),
}

/// One `listening` line of the daemon's.
#[derive(Debug, Clone)]
pub struct Listening {
    /// The address that was really bound.
    pub address: SocketAddr,
    /// The service behind it, as the daemon spells it.
    pub service: String,
}

/// How a daemon ended that was not expected to serve.
#[derive(Debug)]
pub struct Refusal {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its lines on standard output.
    pub stdout: Vec<String>,
    /// Its lines on standard error.
    pub stderr: Vec<String>,
}

/// The `-l` argument of a relay to `upstream`, on a port of the kernel's choice.
pub fn relay_to(upstream: SocketAddr) -> String {
    format!("127.0.0.1:0=relay:{upstream}")
}

impl Launch {
    /// `vmsgrd` with these arguments.
    pub fn new(arguments: &[&str]) -> Self {
        Self {
            wrapper: Vec::new(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            folder: None,
        }
    }

    /// Run by another program that then becomes the daemon, with the same process id: `prlimit`,
    /// `ip netns exec`.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With `-c` and a file that holds `toml`.
    #[must_use]
    pub fn configured(mut self, toml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("vmsgrd.toml");
        fs::write(&file, toml).expect("a file in the temporary folder");
        self.arguments.splice(0..0, ["-c".to_owned(), file.display().to_string()]);
        self.folder = Some(folder);
        self
    }

    /// Starts it and waits until it is ready. Unless an argument says otherwise, applications attach
    /// to it at a [socket](Vmsgrd::socket) of its own.
    ///
    /// # Panics
    ///
    /// When it ends instead, or is not ready in time.
    #[track_caller]
    pub fn start(mut self) -> Vmsgrd {
        let own = tempfile::tempdir().expect("a temporary folder");
        let named = self.arguments.iter().position(|argument| argument == "--socket");
        let socket = match named.and_then(|index| self.arguments.get(index + 1)) {
            Some(path) => PathBuf::from(path),
            None => {
                let path = own.path().join("vmsgrd.sock");
                self.arguments.extend(["--socket".to_owned(), path.display().to_string()]);
                path
            }
        };
        let process = Process::spawn(&mut self.command());
        let ready = process.stdout().wait_from(0, PATIENCE, |line| line == "ready");
        assert!(
            ready.is_some(),
            "vmsgrd {:?} does not get ready: {:#?}",
            self.arguments,
            process.stderr().all()
        );
        let listening = process.stdout().all().iter().filter_map(|l| Listening::parse(l)).collect();
        let (asking, _folders) = (Mutex::new(()), (self.folder, own));
        Vmsgrd { process, listening, asking, socket, _folders }
    }

    /// Starts it and waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it does not end.
    #[track_caller]
    pub fn run_to_end(self) -> Refusal {
        let mut process = Process::spawn(&mut self.command());
        let status = process.wait(PATIENCE * 2);
        Refusal {
            code: status.code(),
            stdout: process.stdout().all(),
            stderr: process.stderr().all(),
        }
    }

    fn command(&self) -> Command {
        let mut command = match self.wrapper.split_first() {
            None => Command::new(binary::vmsgrd()),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary::vmsgrd());
                command
            }
        };
        command.args(&self.arguments);
        // What the tests' own environment asks of the daemon must not change what they measure.
        command.env_remove("NOTIFY_SOCKET").env_remove("RUST_LOG");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Vmsgrd {
    /// Starts `vmsgrd` with these arguments and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it does not get ready.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        Launch::new(arguments).start()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where applications attach.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it listens on, in the order in which it said so.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// The address of its `index`th listener.
    ///
    /// # Panics
    ///
    /// When it has no such listener.
    #[track_caller]
    pub fn address(&self, index: usize) -> SocketAddr {
        self.listening
            .get(index)
            .unwrap_or_else(|| panic!("vmsgrd has no listener {index}"))
            .address
    }

    /// Its lines on standard output.
    pub fn stdout(&self) -> &Lines {
        self.process.stdout()
    }

    /// Its log.
    pub fn log(&self) -> &Lines {
        self.process.stderr()
    }

    /// Waits for a log line that contains all of `words`, in any case.
    ///
    /// # Panics
    ///
    /// When it does not come in time.
    #[track_caller]
    pub fn expect_log(&self, words: &[&str]) -> String {
        let words: Vec<_> = words.iter().map(|word| word.to_lowercase()).collect();
        let wanted = |line: &str| {
            let line = line.to_lowercase();
            !Counters::is_line(&line) && words.iter().all(|word| line.contains(word))
        };
        let line = self.log().wait_from(0, PATIENCE, wanted);
        line.unwrap_or_else(|| panic!("no log line with {words:?} in {:#?}", self.log().all()))
    }

    /// Asks for its counters with SIGUSR1.
    ///
    /// # Panics
    ///
    /// When it does not answer in time, or with a line that lacks a counter.
    #[track_caller]
    pub fn counters(&self) -> Counters {
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let from = self.log().count();
        self.process.signal(Signal::SIGUSR1);
        let line = self.log().wait_from(from, PATIENCE, Counters::is_line);
        Counters::parse(&line.unwrap_or_else(|| panic!("no counters after SIGUSR1")))
    }

    /// Waits until its counters are as `condition` wants them, and returns them.
    ///
    /// # Panics
    ///
    /// When they are not in time.
    #[track_caller]
    pub fn eventually(&self, what: &str, condition: impl Fn(&Counters) -> bool) -> Counters {
        let mut counters = self.counters();
        let until = Instant::now() + PATIENCE;
        while !condition(&counters) {
            assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}; {counters:#?}");
            thread::sleep(Duration::from_millis(5));
            counters = self.counters();
        }
        counters
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When it is gone already.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.exited().is_none()
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it has not at the deadline.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        self.process.wait(deadline)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(PATIENCE)
    }

    /// What its loops have done so far.
    pub fn activity(&self) -> Activity {
        Activity::of(self.pid(), "vmsgr/")
    }

    /// Waits until its loops sleep: nothing switched for a tenth of a second. Returns their activity
    /// up to then.
    ///
    /// # Panics
    ///
    /// When they do not come to rest.
    #[track_caller]
    pub fn asleep(&self) -> Activity {
        let mut before = self.activity();
        eventually("the loops sleep", PATIENCE, || {
            thread::sleep(Duration::from_millis(100));
            let after = self.activity();
            let still = before == after;
            before = after;
            still
        });
        before
    }

    /// Checks that its loops come to rest, and then do nothing at all for `window`.
    ///
    /// # Panics
    ///
    /// When one of them wakes up.
    #[track_caller]
    pub fn expect_idle(&self, window: Duration) {
        let before = self.asleep();
        thread::sleep(window);
        assert_eq!(before, self.activity(), "the loops woke up in {window:?} with nothing to do");
    }
}

impl Listening {
    fn parse(line: &str) -> Option<Self> {
        let (address, service) = line.strip_prefix("listening ")?.split_once(' ')?;
        Some(Self { address: address.parse().ok()?, service: service.to_owned() })
    }
}
