//! Applications of the daemon: as processes that are killed and started again, and in the test itself.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use vmsgr_messenger::client::{AttachOptions, ConnectionId, Endpoint, EntityId, Event};

use crate::binary;
use crate::eventually::{PATIENCE, eventually};
use crate::lines::Lines;
use crate::process::Process;
use crate::vmsgrd::Vmsgrd;

/// An application that runs as a process of its own, which is killed when the test is done with it.
#[derive(Debug)]
pub struct Application {
    process: Process,
}

impl Application {
    /// Starts a program that knows the option `--socket`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[track_caller]
    pub fn start(program: impl AsRef<Path>, daemon: &Vmsgrd, arguments: &[&str]) -> Self {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).arg("--socket").arg(daemon.socket());
        Self { process: Process::spawn(&mut command) }
    }

    /// Starts an example of the messenger's.
    ///
    /// # Panics
    ///
    /// When it does not build, or cannot be started.
    #[track_caller]
    pub fn example(name: &str, daemon: &Vmsgrd, arguments: &[&str]) -> Self {
        Self::start(binary::example(name), daemon, arguments)
    }

    /// Where it listens, by its `number`th line that says so; waits for that.
    ///
    /// # Panics
    ///
    /// When it does not say so.
    #[track_caller]
    pub fn listening(&self, number: usize) -> SocketAddr {
        let mut lines = Vec::new();
        eventually("the application listens", PATIENCE, || {
            lines = self.stdout().all();
            lines.retain(|line| line.starts_with("listening on "));
            assert!(!self.stdout().wait_for_end(Duration::ZERO), "{:#?}", self.stderr().all());
            lines.len() > number
        });
        let line = &lines[number];
        let address = line.trim_start_matches("listening on ").split(' ').next();
        address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    }

    /// Waits for a line on its standard output that begins so, at or after line number `from`.
    ///
    /// # Panics
    ///
    /// When it does not come.
    #[track_caller]
    pub fn expect(&self, from: usize, start: &str) -> String {
        let line = self.stdout().wait_from(from, PATIENCE, |line| line.starts_with(start));
        line.unwrap_or_else(|| {
            let (out, err) = (self.stdout().all(), self.process.stderr().all());
            panic!("the application does not say {start:?}: {out:#?} {err:#?}")
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its lines on standard output.
    pub fn stdout(&self) -> &Lines {
        self.process.stdout()
    }

    /// Its lines on standard error.
    pub fn stderr(&self) -> &Lines {
        self.process.stderr()
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

    /// Its exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
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

    /// Kills it with SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// When it had ended by itself before.
    #[track_caller]
    pub fn kill(mut self) {
        if let Some(status) = self.exited() {
            panic!("it has ended by itself, with {status}: {:#?}", self.stderr().all());
        }
        self.signal(Signal::SIGKILL);
        self.wait(PATIENCE);
    }
}

/// What a test attaches with that is itself the application.
pub fn named(daemon: &Vmsgrd, name: &str) -> AttachOptions {
    AttachOptions::new(name).socket(daemon.socket()).patience(PATIENCE)
}

/// Attaches the test itself to a daemon.
///
/// # Panics
///
/// When the daemon does not want it.
#[track_caller]
pub fn attach(daemon: &Vmsgrd, name: &str) -> Endpoint {
    attach_with(&named(daemon, name))
}

/// Attaches the test itself, with these options.
///
/// # Panics
///
/// When the daemon does not want it.
#[track_caller]
pub fn attach_with(options: &AttachOptions) -> Endpoint {
    Endpoint::attach(options).unwrap_or_else(|error| panic!("not attached: {error}"))
}

/// Takes events until one is what is `wanted`; others are forgotten.
///
/// # Panics
///
/// When it does not come in time.
#[track_caller]
pub fn until<T>(
    endpoint: &mut Endpoint,
    what: &str,
    mut wanted: impl FnMut(&mut Endpoint, &Event) -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        while let Some(event) = endpoint.next_event() {
            if let Some(found) = wanted(endpoint, &event) {
                return found;
            }
            seen.push(event);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "not within {PATIENCE:?}: {what}; instead: {seen:#?}");
        // Detached is an event like others; who waits for something else fails at once.
        let waited = endpoint.wait(Some(left));
        assert!(waited.is_ok(), "{what}: {waited:?}; before: {seen:#?}");
    }
}

/// Listens on a loopback port of the kernel's choice, and waits until it does.
///
/// # Panics
///
/// When it does not in time.
#[track_caller]
pub fn listen(endpoint: &mut Endpoint) -> SocketAddr {
    listen_at(endpoint, SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Listens there, and waits until it does.
///
/// # Panics
///
/// When it does not in time.
#[track_caller]
pub fn listen_at(endpoint: &mut Endpoint, address: SocketAddr) -> SocketAddr {
    let asked = endpoint.listen(address).expect("it is attached");
    until(endpoint, "a listener", |_, event| match event {
        Event::Listening { job, address } if *job == asked => Some(*address),
        Event::Failed { job, error } if *job == asked => panic!("listening fails: {error}"),
        _ => None,
    })
}

/// Listens as an entity on a loopback port of the kernel's choice, and waits until it does.
///
/// # Panics
///
/// When it does not in time.
#[track_caller]
pub fn listen_as(endpoint: &mut Endpoint, entity: EntityId) -> SocketAddr {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let asked = endpoint.listen_as(entity, anywhere).expect("it is attached");
    until(endpoint, "a listener", |_, event| match event {
        Event::Listening { job, address } if *job == asked => Some(*address),
        Event::Failed { error, .. } => panic!("listening fails: {error}"),
        _ => None,
    })
}

/// Waits until somebody has connected.
///
/// # Panics
///
/// When nobody does in time.
#[track_caller]
pub fn accepted(endpoint: &mut Endpoint) -> ConnectionId {
    until(endpoint, "an accepted connection", |_, event| match event {
        Event::Accepted { connection, .. } => Some(*connection),
        _ => None,
    })
}
