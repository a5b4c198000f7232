//! How an endpoint comes to its daemon.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::doorbells::Doorbells;
use super::lanes::Lanes;
use super::{AttachError, AttachOptions};
use crate::shm::segment::Segment;
use crate::shm::{self, Attached, ExchangeError, Welcome};

/// Attaches to the daemon at the path that the options name, or at the first of the usual ones
/// where somebody answers.
pub(super) fn attach(options: &AttachOptions) -> Result<(Welcome, Lanes), AttachError> {
    let paths = match &options.socket {
        Some(path) => vec![path.clone()],
        None => shm::default_paths(),
    };
    let mut nobody = None;
    for path in paths {
        match shm::attach(&path, &options.hello, options.patience) {
            Ok(attached) => return connect(attached, &path),
            Err(error) => match explain(error, path) {
                AttachError::NoDaemon { path, cause } => {
                    nobody = Some(nearer(nobody, (path, cause)))
                }
                error => return Err(error),
            },
        }
    }
    let (path, cause) = nobody.expect("there is always a path");
    Err(AttachError::NoDaemon { path, cause })
}

/// Where there is no daemon, and what trying it said.
type Nobody = (PathBuf, io::Error);

/// Of two, the one to tell: where nothing is at all, what matters is where the user's own would be.
fn nearer(before: Option<Nobody>, now: Nobody) -> Nobody {
    match before {
        Some(before) if now.1.kind() == io::ErrorKind::NotFound => before,
        _ => now,
    }
}

/// What the error of a handshake means to somebody who wants to be attached.
fn explain(error: ExchangeError, path: PathBuf) -> AttachError {
    match error {
        ExchangeError::Hello(error) => AttachError::Options(error),
        ExchangeError::Refused(refusal) => AttachError::Refused(refusal),
        ExchangeError::Io(source) if source.kind() == io::ErrorKind::WouldBlock => {
            AttachError::NoAnswer { path }
        }
        ExchangeError::Io(cause) => AttachError::NoDaemon { path, cause },
        source => AttachError::Handshake { path, source },
    }
}

/// Maps the segment, and puts the doorbells where they belong.
pub(super) fn connect(attached: Attached, path: &Path) -> Result<(Welcome, Lanes), AttachError> {
    let Attached { socket, welcome, descriptors } = attached;
    let found = descriptors.len();
    let contradiction = || AttachError::Handshake {
        path: path.to_owned(),
        source: ExchangeError::Descriptors { cores: welcome.cores, found },
    };
    let mut descriptors = descriptors.into_iter();
    let (Some(memory), Some(own), Some(daemon)) =
        (descriptors.next(), descriptors.next(), descriptors.next())
    else {
        return Err(contradiction());
    };
    let segment = Segment::open(&memory)?;
    if descriptors.len() != segment.geometry().cores as usize {
        return Err(contradiction());
    }
    let doorbells = Doorbells::new(socket, own, daemon, descriptors.collect()).map_err(
        |error| match error {
            error if error.raw_os_error() == Some(Errno::EINVAL as i32) => contradiction(),
            error => error.into(),
        },
    )?;
    Ok((welcome, Lanes::new(segment, doorbells)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_the_first_place_is_told_and_else_the_last_one_that_is_there() {
        let told = |causes: &[Errno]| {
            let tried = causes.iter().enumerate();
            let tried = tried.map(|(n, cause)| (PathBuf::from(n.to_string()), (*cause).into()));
            tried.fold(None, |before, now| Some(nearer(before, now))).unwrap().0
        };
        assert_eq!(told(&[Errno::ENOENT, Errno::ENOENT]), Path::new("0"));
        assert_eq!(told(&[Errno::ENOENT, Errno::ECONNREFUSED]), Path::new("1"));
        assert_eq!(told(&[Errno::EACCES, Errno::ENOENT]), Path::new("0"));
    }
}
