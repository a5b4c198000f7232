//! The built binary while it serves, as far as its main thread and its log are concerned.

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};
use nix::unistd::Pid;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, PipeReader, Read, Write, pipe};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vmsgr_reactor::CoreMask;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// A daemon that is ready. It ends with the test.
struct Daemon {
    process: Child,
    addresses: Vec<SocketAddr>,
    stderr: PipeReader,
}

impl Daemon {
    /// Without applications, so that tests do not meet at the default path.
    fn start(words: &[&str]) -> Self {
        Self::start_as(|command| command.args(words).args(["--socket", "none"]))
    }

    fn start_as(said: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let (stderr, writer) = pipe().unwrap();
        // The least that a pipe can hold.
        fcntl(&stderr, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmsgrd"));
        said(&mut command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(writer);
        let process = command.env_remove("NOTIFY_SOCKET").spawn().unwrap();
        let mut daemon = Self { process, addresses: Vec::new(), stderr };
        let stdout = daemon.process.stdout.take().unwrap();
        for line in BufReader::new(stdout).lines().map(Result::unwrap) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["listening", address, _] => daemon.addresses.push(address.parse().unwrap()),
                _ => return daemon,
            }
        }
        panic!("the daemon does not get ready");
    }

    fn connect(&self, listener: usize) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[listener]).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Fills the pipe that is its stderr, through a description of its own: that of the daemon goes
    /// on to block.
    fn fill_stderr(&self) {
        let path = format!("/proc/self/fd/{}", self.stderr.as_raw_fd());
        let flags = OFlag::O_NONBLOCK.bits();
        let mut pipe = OpenOptions::new().write(true).custom_flags(flags).open(path).unwrap();
        while pipe.write(b"\n").is_ok() {}
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }

    /// The exit code, once it has one.
    fn ended(&mut self) -> Option<i32> {
        let mut code = None;
        eventually("the daemon ends", || {
            code = self.process.try_wait().unwrap();
            code.is_some()
        });
        code.and_then(|status| status.code())
    }

    fn loops(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let name = |task: &io::Result<fs::DirEntry>| {
            fs::read_to_string(task.as_ref().unwrap().path().join("comm"))
        };
        tasks.filter(|task| name(task).is_ok_and(|name| name.starts_with("vmsgr/"))).count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port where nobody listens, for as long as it is held.
fn refusing() -> (OwnedFd, String) {
    let kind = (AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC);
    let held = socket(kind.0, kind.1, kind.2, None).unwrap();
    bind(held.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let address = SocketAddrV4::from(getsockname::<SockaddrIn>(held.as_raw_fd()).unwrap());
    (held, format!("127.0.0.1:0=relay:{address}"))
}

/// Makes the daemon log a line: the relay is its first listener.
fn be_turned_away(daemon: &Daemon) {
    let error = daemon.connect(0).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the relay goes on");
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_a_core_nor_the_end() {
    let (_held, relay) = refusing();
    let mut daemon = Daemon::start(&["-l", &relay, "-l", "127.0.0.1:0=echo"]);
    daemon.fill_stderr();
    for _ in 0..50 {
        be_turned_away(&daemon);
        daemon.signal(Signal::SIGUSR1);
    }
    let mut echo = daemon.connect(1);
    echo.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    echo.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    drop(echo);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(), Some(0));
}

#[test]
fn a_log_that_is_read_late_is_complete() {
    let (_held, relay) = refusing();
    let mut daemon = Daemon::start(&["-l", &relay]);
    daemon.fill_stderr();
    // As many as may come at once.
    (0..20).for_each(|_| be_turned_away(&daemon));
    daemon.signal(Signal::SIGUSR1);
    daemon.signal(Signal::SIGTERM);
    let mut log = String::new();
    daemon.stderr.read_to_string(&mut log).unwrap();
    assert_eq!(daemon.ended(), Some(0));
    assert_eq!(log.matches("could not be reached").count(), 20, "{log}");
    assert_eq!(log.matches("\n{\"cores\":[{").count(), 1, "{log}");
    assert!(log.ends_with("stopped; all connections have drained\n"), "{log}");
}

#[test]
fn a_report_during_a_drain_counts_the_cores_that_have_drained() {
    let mask = CoreMask::all().unwrap();
    let &[first, second, ..] = mask.cores() else {
        eprintln!("skipped: needs two cores");
        return;
    };
    let cores = format!("{first},{second}");
    let words = ["--core-mask", &cores, "-l", "127.0.0.1:0=echo", "--drain-timeout", "600"];
    let mut daemon = Daemon::start(&words);
    let mut stuck = daemon.connect(0);
    stuck.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while stuck.write(&[7; 1 << 16]).is_ok() {}

    daemon.signal(Signal::SIGTERM);
    eventually("one core has drained", || daemon.loops() == 1);
    for _ in 0..2 {
        daemon.signal(Signal::SIGUSR1);
        let report = next_report(&mut daemon.stderr);
        for core in [first, second] {
            assert!(report.contains(&format!("\"core\":{core},")), "{report}");
        }
    }
    assert_eq!(daemon.loops(), 1, "still draining");
    drop(stuck);
    assert_eq!(daemon.ended(), Some(0));
}

/// Waits for the next line of JSON.
fn next_report(stderr: &mut PipeReader) -> String {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    let mut line = String::new();
    loop {
        let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(DEADLINE).unwrap();
        assert_eq!(poll(&mut fds, patience).unwrap(), 1, "the daemon reports in time");
        let mut byte = [0];
        stderr.read_exact(&mut byte).unwrap();
        match byte[0] {
            b'\n' if line.starts_with('{') => return line,
            b'\n' => line.clear(),
            other => line.push(char::from(other)),
        }
    }
}

#[test]
fn a_default_path_that_cannot_be_used_is_a_warning() {
    let above = tempfile::TempDir::new().unwrap();
    let start = |runtime_folder: &Path| {
        Daemon::start_as(|command| {
            command.args(["-l", "127.0.0.1:0=echo"]).env("XDG_RUNTIME_DIR", runtime_folder)
        })
    };
    let serves = |daemon: &Daemon| {
        let mut echo = daemon.connect(0);
        echo.write_all(b"hello").unwrap();
        echo.read_exact(&mut [0; 5]).unwrap();
    };
    let path = above.path().join("vmsgr/vmsgrd.sock");
    let mut first = start(above.path());
    assert!(path.exists());
    let mut second = start(above.path());
    serves(&second);
    let nowhere = above.path().join("no/such");
    let mut third = start(&nowhere);
    serves(&third);

    let way_out = "; name another with --socket PATH, or have no applications: --socket none";
    for (daemon, part) in [
        (&mut second, format!("{}: another vmsgrd serves applications there", path.display())),
        (&mut third, format!("{}/vmsgr cannot be made: No such", nowhere.display())),
    ] {
        daemon.signal(Signal::SIGTERM);
        let mut log = String::new();
        daemon.stderr.read_to_string(&mut log).unwrap();
        assert_eq!(daemon.ended(), Some(0));
        let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
        let [warning] = warnings[..] else { panic!("not one warning: {log}") };
        assert!(warning.contains("applications cannot attach: "), "{warning}");
        assert!(warning.contains(&part) && warning.ends_with(way_out), "{warning}");
    }
    assert!(path.exists(), "the first one's is left alone");
    first.signal(Signal::SIGTERM);
    assert_eq!(first.ended(), Some(0));
    assert!(!path.exists());
}
