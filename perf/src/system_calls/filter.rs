//! Of all calls that end, only those that found nothing: filters of tracepoints, which `perf_event`
//! does not set.
#![allow(unsafe_code)] // One ioctl.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::{self, c_char};
use nix::{ioctl_write_ptr_bad, request_code_write};
use perf_event::Counter;

ioctl_write_ptr_bad!(
    /// `PERF_EVENT_IOC_SET_FILTER`; the filter is a string.
    set_filter,
    request_code_write!(b'$', 6, size_of::<*const c_char>()),
    c_char
);

/// Lets `counter`, of the tracepoint at the end of each call, count only what found nothing: waits
/// that nothing ended but the time, and reads (and whatever else) that would have had to wait.
pub fn found_nothing(counter: &Counter) -> io::Result<()> {
    let waits = WAITS.map(|call| format!("id == {call}")).join(" || ");
    let filter = format!("ret == -{} || (ret == 0 && ({waits}))", Errno::EAGAIN as i32);
    let filter = CString::new(filter)?;
    // SAFETY: the descriptor is open for as long as the counter is, and the kernel copies the
    // string up to its end, which a CString has.
    unsafe { set_filter(counter.as_raw_fd(), filter.as_ptr()) }?;
    Ok(())
}

#[cfg(target_arch = "x86_64")]
const WAITS: [libc::c_long; 3] =
    [libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];
#[cfg(not(target_arch = "x86_64"))]
const WAITS: [libc::c_long; 2] = [libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];
