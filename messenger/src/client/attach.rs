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
                // Where nothing is at all, what matters is where a daemon of ours would be.
                AttachError::NoDaemon { cause, .. }
                    if nobody.is_some() && cause.kind() == io::ErrorKind::NotFound => {}
                error @ AttachError::NoDaemon { .. } => nobody = Some(error),
                error => return Err(error),
            },
        }
    }
    Err(nobody.expect("there is always a path"))
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
