//! `ceph-ping`: what a Ceph daemon is and offers, and how fast it answers, without credentials.
//!
//! `target` is the address as written, `wire` a connection with frames, `probe` what anybody is
//! told (`tls` who says nothing), `session` what needs one, `round_trips` the sums, `diagnosis`
//! what is wrong, `output` what is printed.

mod diagnosis;
mod output;
mod probe;
mod round_trips;
mod session;
mod target;
mod tls;
mod wire;

use self::diagnosis::Diagnosis;
use self::probe::Found;
use self::round_trips::RoundTrips;
use self::session::METHOD_NONE;
use self::target::Target;
use self::wire::Wire;
use crate::standard_streams::{Reader, say};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use vmsgr_messenger::msgr2::EntityType;

/// Asks a Ceph daemon what it is and offers, and how fast it answers. Needs no credentials.
///
/// Prints its kind, the features of its protocol, the address at which it sees us, and which
/// authentication and connection modes it allows. Where authentication "none" is allowed, begins a
/// session and measures round trips of keepalives.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The daemon: HOST (port 3300, the monitors'), HOST:PORT, v2:HOST:PORT/NONCE as `ceph osd
    /// dump` prints it, or [v2:HOST:PORT/NONCE,v1:HOST:PORT/NONCE] as mon_host has it, of which the
    /// v2 address counts. IPv6 addresses are written in brackets. A session with a daemon other
    /// than a monitor needs the nonce.
    #[arg(value_name = "ADDR")]
    target: Target,

    /// Round trips to measure, at most 1000000.
    #[arg(short, long, value_name = "N", default_value_t = 4, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    count: u32,

    /// Time between them, 0 to 3600 seconds.
    #[arg(short, long, value_name = "SECS", default_value = "1", value_parser = interval)]
    #[arg(allow_negative_numbers = true)]
    interval: Duration,

    /// How long to wait for each answer, 0.001 to 3600 seconds.
    #[arg(short, long, value_name = "SECS", default_value = "5", value_parser = time_out)]
    #[arg(allow_negative_numbers = true)]
    timeout: Duration,

    /// Print one object of JSON instead of lines.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  vmsgrctl ceph-ping mon1.example
      A monitor on its usual port
  vmsgrctl ceph-ping --count 0 10.0.0.1:6801
      What is there? No round trips
  vmsgrctl ceph-ping v2:10.0.0.1:6801/3142 --interval 0.1 --count 100
      Round trips to an OSD that allows authentication 'none'
  vmsgrctl ceph-ping '[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]'
      A monitor as mon_host in ceph.conf has it; the quotes are for the shell
  vmsgrctl ceph-ping --json mon1.example | jq .daemon.methods
      For scripts

Exit codes:
  0  a Ceph daemon answered; of the round trips, if any, at least one came back
  1  a Ceph daemon answered, and failed later: session refused, no round trip came back;
     or what it said cannot be written
  2  bad command line
  3  cannot be reached: name not found, refused, filtered, unreachable
  4  something answers that does not speak msgr2.1: a legacy port, an old release, TLS, HTTP,
     an echo, silence";

fn interval(text: &str) -> Result<Duration, String> {
    seconds(text, 0.0)
}

fn time_out(text: &str) -> Result<Duration, String> {
    seconds(text, 0.001)
}

fn seconds(text: &str, least: f64) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (least..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("write a number from {least} to 3600 seconds")),
    }
}

/// Does it; the exit code.
pub fn run(args: &Args) -> ExitCode {
    let mut outcome = Outcome::default();
    let diagnosis = outcome.ask(args).err();
    let Outcome { found, note, trips } = &outcome;
    if args.json {
        let note = note.as_deref();
        output::json(
            &args.target.to_string(),
            found.as_ref(),
            note,
            trips.as_ref(),
            diagnosis.as_ref(),
        );
    } else {
        if let (Some(found), Some(trips)) = (found, trips) {
            output::summary(found, trips);
        }
        if let Some(diagnosis) = &diagnosis {
            say(format_args!("vmsgrctl: {}: {diagnosis}", args.target));
        }
    }
    let lost = trips.as_ref().is_some_and(|trips| trips.sent > 0 && trips.answered() == 0);
    match diagnosis {
        Some(diagnosis) => ExitCode::from(diagnosis.code()),
        None if lost => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}

/// What has been found out so far.
#[derive(Debug, Default)]
struct Outcome {
    found: Option<Found>,
    /// Why there are no round trips, if that is no fault.
    note: Option<String>,
    trips: Option<RoundTrips>,
}

impl Outcome {
    /// Asks, and prints what comes, until nobody reads it.
    fn ask(&mut self, args: &Args) -> Result<(), Diagnosis> {
        let (mut wire, found) = self.probe(args)?;
        let reader = if args.json { Reader::There } else { output::found(&found) };
        let found = &*self.found.insert(found);
        if args.count == 0 || reader == Reader::Gone {
            return Ok(());
        }
        let nonce = match (args.target.nonce, found.entity) {
            _ if !found.methods.contains(&METHOD_NONE) => {
                Err("authentication 'none' is not allowed")
            }
            (Some(nonce), _) => Ok(nonce),
            (None, EntityType::MON) => Ok(0),
            (None, _) => Err("a session needs the daemon's nonce, v2:HOST:PORT/NONCE"),
        };
        let nonce = match nonce {
            Ok(nonce) => nonce,
            Err(reason) => {
                let note = format!("no round trips: {reason}");
                if !args.json {
                    output::note(&note);
                }
                self.note = Some(note);
                return Ok(());
            }
        };
        session::begin(&mut wire, found, nonce)?;
        let trips = self.trips.insert(RoundTrips::default());
        for trip in 0..args.count {
            if trip > 0 {
                std::thread::sleep(args.interval);
            }
            let time = session::round_trip(&mut wire, args.timeout)?;
            trips.add(time);
            if !args.json && output::round_trip(trips, time) == Reader::Gone {
                break;
            }
        }
        Ok(())
    }

    /// Asks the addresses of the target in order, until one can be connected to.
    fn probe(&self, args: &Args) -> Result<(Wire, Found), Diagnosis> {
        let addresses = args.target.resolve().map_err(Diagnosis::Unresolved)?;
        first_reached(addresses, |address| ask(address, args.timeout))
    }
}

/// What comes of the first address that can be connected to, or of the last one if none can.
fn first_reached<T>(
    addresses: Vec<SocketAddr>,
    mut ask: impl FnMut(SocketAddr) -> Result<T, Diagnosis>,
) -> Result<T, Diagnosis> {
    let mut asked = None;
    for address in addresses {
        match ask(address) {
            Err(
                unreached @ (Diagnosis::Refused
                | Diagnosis::Filtered(_)
                | Diagnosis::Unreachable(_)),
            ) => asked = Some(Err(unreached)),
            reached => return reached,
        }
    }
    asked.unwrap_or_else(|| unreachable!("a name without addresses is not resolved"))
}

/// Asks the daemon at one address, and what is there that says nothing.
fn ask(address: SocketAddr, time_out: Duration) -> Result<(Wire, Found), Diagnosis> {
    match probe::probe(address, time_out) {
        Err(Diagnosis::Silent(_) | Diagnosis::ClosedAtOnce) if tls::answers(address, time_out) => {
            Err(Diagnosis::Tls)
        }
        probed => probed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_asked_in_turn_until_one_is_there() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let ask = |answers: &[&dyn Fn() -> Result<u16, Diagnosis>]| {
            let addresses = (0..answers.len() as u16).map(address).collect();
            let mut asked = 0;
            let outcome = first_reached(addresses, |address| {
                asked += 1;
                answers[usize::from(address.port())]()
            });
            (outcome.map_err(|diagnosis| diagnosis.name()), asked)
        };
        let refused = || Err(Diagnosis::Refused);
        let filtered = || Err(Diagnosis::Filtered(Duration::ZERO));
        let legacy = || Err(Diagnosis::Legacy);
        assert_eq!(ask(&[&refused, &filtered, &|| Ok(2), &|| Ok(3)]), (Ok(2), 3));
        assert_eq!(ask(&[&legacy, &|| Ok(1)]), (Err("legacy"), 1), "something is there");
        assert_eq!(ask(&[&refused, &filtered]), (Err("filtered"), 2));
    }
}
