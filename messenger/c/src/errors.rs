//! Errors as C has them: a number in `errno`, and a text for people.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::fmt::Display;
use std::io;
use std::ptr;

use nix::errno::Errno;
use vmsgr_messenger::client::{AttachError, Error};

thread_local! {
    static TEXT: RefCell<CString> = RefCell::default();
}

/// What went wrong, and how it is said.
pub(crate) struct Failure {
    errno: Errno,
    text: Option<String>,
}

/// What a function of ours comes to before C sees it.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn with(errno: Errno, text: impl Display) -> Self {
        Self { errno, text: Some(text.to_string()) }
    }

    /// Sets `errno` and the text.
    fn leave(self) {
        let text = self.text.unwrap_or_else(|| self.errno.desc().to_owned());
        let text = CString::new(text).unwrap_or_default();
        // A thread that is ending has no text any more, but still an errno.
        let _ = TEXT.try_with(|last| last.replace(text));
        self.errno.set();
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, text: None }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let errno = match error.raw_os_error() {
            Some(errno) => Errno::from_raw(errno),
            None => match error.kind() {
                io::ErrorKind::WouldBlock => Errno::EAGAIN,
                io::ErrorKind::BrokenPipe => Errno::EPIPE,
                io::ErrorKind::NotConnected => Errno::ENOTCONN,
                io::ErrorKind::InvalidData => Errno::EPROTO,
                io::ErrorKind::InvalidInput => Errno::EINVAL,
                io::ErrorKind::Unsupported => Errno::EOPNOTSUPP,
                _ => Errno::EIO,
            },
        };
        match errno {
            // The usual one has to be cheap.
            Errno::EAGAIN => errno.into(),
            errno => Self::with(errno, error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        io::Error::from(error).into()
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        let os = |error: &io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        let errno = match &error {
            AttachError::NoDaemon { cause, .. } | AttachError::Segment(cause) => os(cause),
            AttachError::NoAnswer { .. } => Errno::ETIMEDOUT,
            AttachError::Options(_) => Errno::EINVAL,
            AttachError::Refused(refusal) => refusal.errno,
            _ => Errno::EPROTO,
        };
        Self::with(errno, error)
    }
}

/// A result of C's, which has a value that means failure.
pub(crate) trait Fallible {
    const FAILED: Self;
}

impl Fallible for i32 {
    const FAILED: Self = -1;
}

impl Fallible for isize {
    const FAILED: Self = -1;
}

impl<T> Fallible for *mut T {
    const FAILED: Self = ptr::null_mut();
}

/// An outcome as C sees it.
pub(crate) fn told<T: Fallible>(outcome: Outcome<T>) -> T {
    outcome.unwrap_or_else(|failure| {
        failure.leave();
        T::FAILED
    })
}

/// 0, or -1.
pub(crate) fn done(outcome: Outcome<()>) -> i32 {
    told(outcome.map(|()| 0))
}

#[unsafe(no_mangle)]
pub extern "C" fn vmsgr_error() -> *const c_char {
    // As long as the thread does not fail again, its text stays where it is.
    TEXT.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}
