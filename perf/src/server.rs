//! A server as a child process: started, waited for until it is ready, and ended with this value.

mod reports;

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use reports::{Doorbells, Reports};

use crate::standard_streams::say;

use reports::Told;

/// How long a server may take to say that it is ready.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to end once it is told to.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Lines of its stderr that are kept for the error message.
const KEPT_LINES: usize = 10;

/// No address.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A running server. Dropping it ends the process and reaps it, whatever happened before.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    complaints: Tail,
}

/// The last lines of a pipe.
#[derive(Debug)]
struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    told: Arc<Told>,
    reader: JoinHandle<()>,
}

impl Server {
    /// Starts `command`, which must print `listening ADDR ...` and then `ready` on stdout, and
    /// waits until it has.
    ///
    /// # Errors
    /// When the program cannot be started, ends early, or is not ready in time; with the end of its
    /// stderr.
    pub fn start(command: Command) -> Result<Self> {
        Self::start_and_wait(command, |_, stdout| wait_until_ready(stdout))
    }

    /// Starts `command`, which must print `ready`, and may not have an address.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_without_address(command: Command) -> Result<Self> {
        Self::start_and_wait(command, |_, stdout| {
            wait_until_said(stdout).map(|address| address.unwrap_or(NOWHERE))
        })
    }

    /// Starts `command`, which says nothing, and waits until it accepts connections at `address`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_listening(command: Command, address: SocketAddr) -> Result<Self> {
        Self::start_and_wait(command, |child, _| {
            wait_until_connected(child, address).map(|()| address)
        })
    }

    fn start_and_wait(
        mut command: Command,
        wait: impl FnOnce(&mut Child, &Receiver<String>) -> Result<SocketAddr>,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = describe(&command);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stdout = lines(child.stdout.take().context("no stdout")?);
        let complaints = Tail::of(child.stderr.take().context("no stderr")?);
        // From here on the guard ends the process on every way out.
        let mut server = Self { child, address: NOWHERE, complaints };
        match wait(&mut server.child, &stdout) {
            Ok(address) => server.address = address,
            Err(error) => {
                return Err(error.context(format!("{name} did not start{}", server.complaints)));
            }
        }
        Ok(server)
    }

    /// Where it tells its counters, if it is one that does.
    pub fn reports(&self) -> Reports {
        Reports::of(self.pid(), Arc::clone(&self.complaints.told))
    }

    /// Where it listens; nowhere if it was started without an address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when the server has ended by itself.
    ///
    /// # Errors
    /// With the exit status and the end of its stderr.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server ended by itself: {status}{}", self.complaints);
        }
        Ok(())
    }

    /// Ends the process with SIGTERM, after a while with SIGKILL, and reaps it.
    fn stop(&mut self) -> std::io::Result<ExitStatus> {
        let deadline = Instant::now() + STOP_LIMIT;
        // Not reaped yet, so the pid is still this child's.
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        if !ended && let Err(error) = self.stop() {
            say(format_args!("vmsgr-bench: cannot end process {}: {error}", self.child.id()));
        }
    }
}

impl Tail {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(VecDeque::with_capacity(KEPT_LINES)));
        let (kept, told) = (Arc::clone(&lines), Arc::<Told>::default());
        let tells = Arc::clone(&told);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if line.starts_with('{') {
                    tells.take(line);
                    continue;
                }
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == KEPT_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        Self { lines, told, reader }
    }
}

/// As the end of an error message.
impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A server that ended has closed the pipe, and the reader is about to see it; one that
        // hangs has said what it had to say.
        let deadline = Instant::now() + Duration::from_millis(200);
        while !self.reader.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().try_for_each(|line| write!(f, "\n  stderr: {line}"))
    }
}

/// The command as one would type it, with the variables that are set for it, and the program's name
/// alone: the folder says nothing about the figure.
pub fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_string_lossy(), value?.to_string_lossy()))
    });
    let words = std::iter::once(name).chain(command.get_args());
    variables
        .chain(words.map(|word| word.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The lines of a pipe, read by a thread of their own so that the writer never blocks on a full
/// one.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Nobody listens any more: read on all the same.
            sender.send(line).ok();
        }
    });
    receiver
}

fn wait_until_ready(stdout: &Receiver<String>) -> Result<SocketAddr> {
    wait_until_said(stdout)?.context("it said `ready` without `listening ADDR`")
}

/// Until it is ready; where it listens, if it has said so.
fn wait_until_said(stdout: &Receiver<String>) -> Result<Option<SocketAddr>> {
    let deadline = Instant::now() + START_LIMIT;
    let mut address = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match stdout.recv_timeout(left) {
            Ok(line) if line == "ready" => return Ok(address),
            Ok(line) => address = address.or_else(|| parse_listening(&line)),
            Err(RecvTimeoutError::Timeout) => {
                bail!("it did not say `ready` within {} s", START_LIMIT.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => bail!("it ended before it said `ready`"),
        }
    }
}

fn wait_until_connected(child: &mut Child, address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while Instant::now() < deadline {
        if TcpStream::connect_timeout(&address, START_LIMIT).is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("it ended before it accepted a connection: {status}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    bail!("it did not listen on {address} within {} s", START_LIMIT.as_secs())
}

/// The address of a line `listening ADDR SERVICE`.
fn parse_listening(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    (words.next()? == "listening").then(|| words.next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn listening_lines() {
        let address = "127.0.0.1:7400".parse().unwrap();
        assert_eq!(parse_listening("listening 127.0.0.1:7400 echo"), Some(address));
        assert_eq!(parse_listening("listening on port 7400"), None);
        assert_eq!(parse_listening("ready"), None);
    }

    #[test]
    fn a_server_is_ended_and_reaped() {
        let script = "echo listening 127.0.0.1:1 echo; echo ready; exec sleep 60";
        let mut server = Server::start(shell(script)).unwrap();
        assert_eq!(server.address().port(), 1);
        server.check().unwrap();
        let pid = server.pid();
        drop(server);
        assert!(crate::proc::Snapshot::of(pid).is_err());
    }

    #[test]
    fn a_server_that_says_nothing_is_waited_for_until_it_accepts() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::start_listening(shell("exec sleep 60"), address).unwrap();
        assert_eq!(server.address(), address);
        // A port that no test is given: that of a listener just dropped may still be held by a
        // child of another test, between its fork and its exec.
        let nobody = "127.0.0.1:1".parse().unwrap();
        let error = Server::start_listening(shell("echo taken >&2; exit 1"), nobody).unwrap_err();
        assert!(format!("{error:#}").contains("stderr: taken"), "{error:#}");
    }

    #[test]
    fn a_server_that_fails_says_why() {
        let error = Server::start(shell("echo no such core >&2; exit 2")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("stderr: no such core"), "{text}");
        assert!(text.contains("ended before it said `ready`"), "{text}");
    }
}
