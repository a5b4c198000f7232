//! Why the program ends without having done what it was asked for: what it says, and its exit code.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Error, anyhow};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use vmsgr_perf::standard_streams::say;

use crate::unbound;

/// A failure, as it is told apart by its exit code.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was begun: the command line names what there is not, or cannot be used.
    Usage(Error),
    /// It was begun and did not come to its end.
    Failed(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Failure {
    /// Says it on stderr, in one line; the exit code.
    pub fn told(&self) -> ExitCode {
        let (error, code) = match self {
            Self::Usage(error) => (error, 2),
            Self::Failed(error) => (error, 1),
        };
        say(format_args!("vmsgr-bench: {}", once(error)));
        ExitCode::from(code)
    }
}

/// The error and what has caused it, which some errors say themselves already.
fn once(error: &Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

/// The errno in its chain.
fn errno(error: &Error) -> Option<Errno> {
    error.chain().find_map(|cause| {
        let of_io = || cause.downcast_ref::<io::Error>()?.raw_os_error().map(Errno::from_raw);
        cause.downcast_ref::<Errno>().copied().or_else(of_io)
    })
}

/// What comes of a load on `address`, with the way out: the daemon's `service`, or the built-in
/// `server`, that would listen there.
pub fn under_load(error: Error, address: SocketAddr, (service, server): (&str, &str)) -> Error {
    let way_out = match errno(&error) {
        Some(Errno::ECONNREFUSED) => format!(
            "nothing listens there; start a server: vmsgrd --listen {address}={service}, or \
             vmsgr-bench serve {server} --listen {address}"
        ),
        Some(Errno::EMFILE) => {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
            format!("{hard} may be open (ulimit -Hn); name fewer with --connections")
        }
        _ => return error,
    };
    anyhow!("{}; {way_out}", once(&error))
}

/// What comes of listening on `address`, with the way out.
pub fn listening(error: Error, address: SocketAddr) -> Error {
    match error.downcast_ref::<io::Error>() {
        Some(cause) => {
            anyhow!("cannot listen on {address}: {}", unbound::explained(cause, address))
        }
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    const LOAD: (&str, &str) = ("echo", "epoll");

    #[test]
    fn a_cause_is_said_once() {
        let broken = || io::Error::other("broken");
        let error = Error::from(broken()).context("cannot do it");
        assert_eq!(once(&error), "cannot do it: broken");
        let error = Error::from(broken()).context("it is broken").context("cannot do it");
        assert_eq!(once(&error), "cannot do it: it is broken");
    }

    #[test]
    fn nobody_there_and_too_many_open_say_the_way_out() {
        let address = "127.0.0.1:7400".parse().unwrap();
        for error in [Error::from(Errno::ECONNREFUSED), io::Error::from(Errno::ECONNREFUSED).into()]
        {
            let text = once(&under_load(error.context("connection 0"), address, LOAD));
            assert!(text.starts_with("connection 0: "), "{text}");
            assert!(text.contains("; nothing listens there; start a server: vmsgrd "), "{text}");
            assert!(text.ends_with("vmsgr-bench serve epoll --listen 127.0.0.1:7400"), "{text}");
        }
        let full: anyhow::Result<()> = Err(io::Error::from(Errno::EMFILE)).context("connection 9");
        let text = once(&under_load(full.unwrap_err(), address, LOAD));
        assert!(text.contains("ulimit -Hn") && text.contains("--connections"), "{text}");
        let other = under_load(anyhow!("closed"), address, LOAD);
        assert_eq!(once(&other), "closed");
    }
}
