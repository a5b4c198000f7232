//! The running daemon: the main thread, which starts the messenger and then sleeps until a signal,
//! a core or an application has something to say.

use crate::applications::{self, Applications, FIRST_TOKEN};
use crate::attached::{Attached, Attaching};
use crate::cycle;
use crate::limits::DescriptorLimit;
use crate::log_writer::Lines;
use crate::notify;
use crate::refusal::Refusal;
use crate::report::{Reports, Told};
use crate::settings::{ListenSettings, Settings};
use crate::signals::{Signal, Signals};
use crate::unbound;
use log::{error, info, warn};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use vmsgr_messenger::{
    ApplicationOptions, Bound, ConnectOptions, ConnectionOptions, Event, Job, Messenger, Options,
    SocketOptions,
};
use vmsgr_reactor::{Budget, Exit, Marks};

const SIGNALS: Token = Token(0);
const DOORBELL: Token = Token(1);

/// Listeners with their sockets.
type Listeners = Vec<(Bound, ListenSettings)>;

/// Runs until a signal says to stop, or a loop ends that should not.
pub fn run(
    settings: Settings,
    (bound, applications): (Listeners, applications::Bound),
    limit: DescriptorLimit,
    signals: Signals,
    log: Lines,
) -> ExitCode {
    limit.report(&settings);
    std::panic::set_hook(Box::new(log_panic));
    if settings.listens_by_default {
        info!("nobody named a listener: echo on 127.0.0.1:7400; try it: nc 127.0.0.1 7400");
    }
    let served = Messenger::start(&settings.core_mask, options(&settings))
        .and_then(|messenger| Daemon::new(&settings, signals, messenger, bound, applications, log))
        .and_then(Daemon::serve);
    served.unwrap_or_else(|error| {
        error!("the daemon cannot go on: {error}");
        ExitCode::FAILURE
    })
}

/// Binds every listener: the last thing that can be refused, before there is any other thread.
pub fn bind(settings: &Settings) -> Result<Listeners, Refusal> {
    let cores = settings.core_mask.cores().len();
    let bind = |listen: &ListenSettings| {
        let options = socket_options(settings, listen.backlog);
        Bound::bind(listen.address, cores, &options).map(|bound| (bound, listen.clone())).map_err(
            |error| {
                let reason = unbound::explained(&error, listen.address);
                Refusal::new(format_args!("listen {}", listen.address), reason)
            },
        )
    };
    let bound: Listeners = settings.listen.iter().map(bind).collect::<Result<_, _>>()?;
    // Port 0 may have become one that a relay goes to.
    cycle::refuse(settings, bound.iter().map(|(bound, _)| bound.address()))?;
    Ok(bound)
}

fn socket_options(settings: &Settings, backlog: u32) -> SocketOptions {
    SocketOptions {
        keepalive: settings.socket.keepalive,
        send_buffer_bytes: settings.socket.send_buffer_bytes,
        receive_buffer_bytes: settings.socket.receive_buffer_bytes,
        // In 1..=65535.
        backlog: backlog as i32,
    }
}

fn options(settings: &Settings) -> Options {
    let connection = &settings.connection;
    Options {
        placement: settings.placement,
        spin: settings.spin,
        budget: Budget::default(),
        max_connections: Some(settings.max_connections),
        socket: socket_options(settings, settings.socket.backlog),
        connect: ConnectOptions {
            time_out: settings.relay.connect_timeout,
            mark: settings.relay.mark,
            source: settings.relay.source,
            family: settings.relay.family,
        },
        connection: ConnectionOptions {
            idle_time_out: connection.idle_timeout,
            marks: Marks::new(connection.low_water_bytes, connection.high_water_bytes)
                .expect("the settings were checked"),
        },
        applications: ApplicationOptions { held_bytes: settings.applications.max_held_bytes },
    }
}

/// A panic is logged like everything else; the loop that it ends is reported by [`Daemon`].
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    error!("thread '{}': {}", thread.name().unwrap_or("?"), panic.to_string().replace('\n', ": "));
}

/// The main thread's part.
#[derive(Debug)]
struct Daemon {
    poll: Poll,
    signals: Signals,
    messenger: Messenger,
    applications: Applications,
    attached: Attached,
    drain_timeout: Duration,
    /// What is listened on, for the lines that say so; taken when they have been written.
    announcement: Option<String>,
    /// Listeners that are not served by every core yet: one for each core and listener.
    unconfirmed: usize,
    reports: Reports,
    log: Lines,
    /// Loops that still run.
    running: usize,
    stopping: bool,
    /// Connections that did not drain in time.
    cut_off: usize,
}

impl Daemon {
    fn new(
        settings: &Settings,
        signals: Signals,
        mut messenger: Messenger,
        bound: Listeners,
        applications: applications::Bound,
        log: Lines,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut signal_source = SourceFd(&signals.as_raw_fd());
        poll.registry().register(&mut signal_source, SIGNALS, Interest::READABLE)?;
        messenger.doorbell().register(poll.registry(), DOORBELL)?;
        let registry = poll.registry().try_clone()?;
        let (asked, cores) = (&settings.applications, messenger.cores());
        let applications = Applications::new(applications, asked, registry, cores)?;
        let attached = Attached::new(poll.registry().try_clone()?);
        let mut announcement = String::new();
        let unconfirmed = bound.len() * messenger.cores();
        for (bound, listen) in bound {
            announcement += &format!("listening {} {}\n", bound.address(), listen.name);
            let job = Job::Listen { bound, service: listen.service };
            messenger.submit(job).map_err(io::Error::other)?;
        }
        Ok(Self {
            poll,
            signals,
            drain_timeout: settings.drain_timeout,
            announcement: Some(announcement),
            unconfirmed,
            reports: Reports::new(settings.core_mask.cores()),
            log,
            running: messenger.cores(),
            messenger,
            applications,
            attached,
            stopping: false,
            cut_off: 0,
        })
    }

    fn serve(mut self) -> io::Result<ExitCode> {
        let mut events = Events::with_capacity(64);
        loop {
            while let Some(signal) = self.signals.next()? {
                if let Some(code) = self.signal(signal) {
                    return Ok(code);
                }
            }
            while let Some(event) = self.messenger.take() {
                if let Some(code) = self.event(event) {
                    return Ok(code);
                }
            }
            let (messenger, attached) = (&mut self.messenger, &mut self.attached);
            self.applications.turn(Instant::now(), &mut Attaching { messenger, attached });
            self.messenger.publish();
            if self.messenger.fall_asleep() {
                // None, but while an application has yet to say what it wants.
                let time_out = self.applications.wait(Instant::now());
                match self.poll.poll(&mut events, time_out) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => self.messenger.woke_up(),
                }
                for token in events.iter().map(mio::event::Event::token) {
                    match self.attached.rung(token) {
                        Some(id) => self.messenger.application_rang(id),
                        None if token.0 >= FIRST_TOKEN => self.applications.mark(token),
                        None => {}
                    }
                }
            }
        }
    }

    /// Acts on a signal; the exit code, if it is the end.
    fn signal(&mut self, signal: Signal) -> Option<ExitCode> {
        match signal {
            Signal::Report => {
                if self.reports.begin() {
                    self.messenger.report();
                }
                self.write_report();
                None
            }
            Signal::Stop if self.stopping => {
                warn!("stopped at once, without waiting for connections to drain");
                Some(ExitCode::FAILURE)
            }
            Signal::Stop => {
                self.stopping = true;
                let seconds = self.drain_timeout.as_secs();
                info!("stopping; connections have {seconds} s to drain, another signal ends that");
                notify::stopping();
                self.applications.stop();
                self.messenger.drain(self.drain_timeout);
                None
            }
        }
    }

    /// Acts on what a core tells; the exit code, if it is the end.
    fn event(&mut self, event: Event) -> Option<ExitCode> {
        match event {
            Event::Listening { .. } => {
                self.unconfirmed -= 1;
                if self.unconfirmed == 0 {
                    self.announce();
                }
                None
            }
            Event::Failed { error, .. } => {
                error!("a listener cannot be served: {error}");
                Some(ExitCode::FAILURE)
            }
            Event::Report { core, counters, tap, entities } => {
                self.reports.told(core, Told { counters: *counters, tap, entities });
                self.write_report();
                None
            }
            Event::Drained { core, cut_off, counters, tap, entities } => {
                self.cut_off += cut_off;
                self.reports.stopped(core, Told { counters: *counters, tap, entities });
                self.write_report();
                // What taps have seen is told at the end without being asked for.
                if self.reports.are_final() && self.reports.are_tapped() && self.reports.begin() {
                    self.write_report();
                }
                None
            }
            Event::Exited { core, exit } => self.exited(core, exit),
            Event::Granted { application, grant } => {
                self.attached.granted(application, *grant, &mut self.applications);
                None
            }
            Event::Detached { application, reason } => {
                self.attached.detached(application, &reason, &mut self.applications);
                None
            }
            Event::Connected { .. } | Event::Closed(_) => None,
        }
    }

    fn write_report(&mut self) {
        if let Some(report) = self.reports.take() {
            self.log.raw(report + "\n");
        }
    }

    /// Says, for scripts, where is listened, and that all is.
    fn announce(&mut self) {
        let Some(announcement) = self.announcement.take() else { return };
        let mut stdout = io::stdout().lock();
        let written = writeln!(stdout, "{announcement}ready").and_then(|()| stdout.flush());
        if let Err(error) = written {
            warn!("standard output: {error}");
        }
        notify::ready();
    }

    fn exited(&mut self, core: usize, exit: Exit) -> Option<ExitCode> {
        match exit {
            Exit::Stopped if self.stopping => {
                self.running -= 1;
                (self.running == 0).then(|| {
                    match self.cut_off {
                        0 => info!("stopped; all connections have drained"),
                        cut_off => warn!("stopped; {cut_off} connections were cut off"),
                    }
                    ExitCode::SUCCESS
                })
            }
            Exit::Stopped => {
                error!("the loop on core {core} has ended by itself; the daemon stops");
                Some(ExitCode::FAILURE)
            }
            Exit::Failed(error) => {
                error!("the loop on core {core} has failed: {error}; the daemon stops");
                Some(ExitCode::FAILURE)
            }
            Exit::Panicked(message) => {
                error!("the loop on core {core} has panicked: {message}; the daemon stops");
                Some(ExitCode::FAILURE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_writer::LogWriter;
    use crate::merge::tests::merge;

    /// `ExitCode` knows no equality.
    fn text(code: Option<ExitCode>) -> String {
        format!("{code:?}")
    }

    #[test]
    fn a_loop_that_ends_by_itself_ends_the_daemon_with_a_failure() {
        let words = ["-l", "127.0.0.1:0=echo", "--socket", "none"];
        let settings = merge(&words, None).unwrap();
        let applications = applications::bind(&settings.applications).unwrap();
        let messenger = Messenger::start(&settings.core_mask, options(&settings)).unwrap();
        let signals = Signals::take_over().unwrap();
        let log = LogWriter::start(io::sink(), |_| ()).unwrap().lines();
        let mut daemon =
            Daemon::new(&settings, signals, messenger, Vec::new(), applications, log).unwrap();
        let failure = text(Some(ExitCode::FAILURE));
        let failed = io::Error::other("no more memory");
        for exit in [Exit::Panicked("a bug".into()), Exit::Failed(failed), Exit::Stopped] {
            assert_eq!(text(daemon.event(Event::Exited { core: 0, exit })), failure);
        }
        assert_eq!(text(daemon.signal(Signal::Stop)), text(None));
        let exited = |exit| Event::Exited { core: 0, exit };
        assert_eq!(text(daemon.event(exited(Exit::Panicked("late".into())))), failure);
        let stopped = daemon.event(exited(Exit::Stopped));
        assert_eq!(text(stopped), text(Some(ExitCode::SUCCESS)));
        assert_eq!(text(daemon.signal(Signal::Stop)), failure, "the second signal");
    }
}
