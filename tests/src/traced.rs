//! A child process that has asked to be traced, one instruction after another.

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// A child that is traced by this thread, which has started it.
#[derive(Debug)]
pub struct Traced {
    pid: Pid,
}

impl Traced {
    /// Waits until the child stops itself; an error if it has ended instead. It is not waited for with
    /// a deadline: the child is to have one of its own.
    ///
    /// # Errors
    ///
    /// How it has ended.
    ///
    /// # Panics
    ///
    /// When it is no child of this thread's.
    #[track_caller]
    pub fn stopped(pid: u32) -> Result<Self, WaitStatus> {
        let pid = Pid::from_raw(i32::try_from(pid).expect("a process id fits"));
        match wait(pid) {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => Ok(Self { pid }),
            other => Err(other),
        }
    }

    /// Runs one instruction; whether it has not stopped itself with it.
    ///
    /// # Panics
    ///
    /// When it cannot be run, or something else comes of it.
    #[track_caller]
    pub fn step(&self) -> bool {
        ptrace::step(self.pid, None).expect("who has stopped can be stepped");
        match wait(self.pid) {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => true,
            WaitStatus::Stopped(_, Signal::SIGSTOP) => false,
            other => panic!("an instruction was stepped, and: {other:?}"),
        }
    }
}

#[track_caller]
fn wait(pid: Pid) -> WaitStatus {
    loop {
        match waitpid(pid, None) {
            Err(Errno::EINTR) => {}
            status => return status.expect("it is a child"),
        }
    }
}
