//! Endpoints: attaching, jobs, events, sleeping.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{sockaddr, socklen_t};
use vmsgr_messenger::client::{AttachOptions, ConnectionId, Counters, Endpoint, Event, JobId};

use crate::address;
use crate::errors::{Outcome, done, told};
use crate::types::*;

/// # Safety
/// The pointer is null, or one that `vmsgr_attach` has given, which nobody else uses now.
pub(crate) unsafe fn borrow<'a>(endpoint: *mut vmsgr_endpoint) -> Outcome<&'a mut Endpoint> {
    // SAFETY: what the caller promises.
    let endpoint = unsafe { endpoint.as_mut() };
    endpoint.map(|endpoint| &mut endpoint.0).ok_or(Errno::EINVAL.into())
}

/// # Safety
/// The pointer is null, or one to a text that ends with a zero and stays for now.
unsafe fn text<'a>(text: *const c_char) -> &'a CStr {
    // SAFETY: what the caller promises.
    if text.is_null() { c"" } else { unsafe { CStr::from_ptr(text) } }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_options_init(options: *mut vmsgr_options) {
    let defaults = vmsgr_options {
        name: std::ptr::null(),
        socket: std::ptr::null(),
        slots: 1024,
        receive_ring: 64 << 10,
        send_ring: 64 << 10,
        linger_ms: 30_000,
        patience_ms: 5_000,
        spin_us: 0,
        reserved: [0; 4],
    };
    if !options.is_null() {
        // SAFETY: not null, and the caller's to write.
        unsafe { options.write(defaults) };
    }
}

/// # Safety
/// As vmsgr.h says of `vmsgr_attach`.
unsafe fn options_of(options: *const vmsgr_options) -> Outcome<AttachOptions> {
    // SAFETY: null, or the caller's to read.
    let options = unsafe { options.as_ref() }.ok_or(Errno::EINVAL)?;
    if options.reserved != [0; 4] {
        return Err(Errno::EINVAL.into());
    }
    // SAFETY: what the caller promises of both texts.
    let (name, socket) = unsafe { (text(options.name), text(options.socket)) };
    let ms = |ms: u32| Duration::from_millis(ms.into());
    let wanted = AttachOptions::new(name.to_str().map_err(|_| Errno::EINVAL)?)
        .slots(options.slots)
        .receive_ring(options.receive_ring)
        .send_ring(options.send_ring)
        .linger(ms(options.linger_ms))
        .patience(ms(options.patience_ms))
        .spin(Duration::from_micros(options.spin_us.into()));
    Ok(match socket.is_empty() {
        true => wanted,
        false => wanted.socket(OsStr::from_bytes(socket.to_bytes())),
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_attach(options: *const vmsgr_options) -> *mut vmsgr_endpoint {
    // SAFETY: what vmsgr.h asks for.
    let options = unsafe { options_of(options) };
    told(options.and_then(|options| {
        let endpoint = Endpoint::attach(&options)?;
        Ok(Box::into_raw(Box::new(vmsgr_endpoint(endpoint, HashMap::new()))))
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_reattach(endpoint: *mut vmsgr_endpoint) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { borrow(endpoint) }.and_then(|endpoint| Ok(endpoint.reattach()?)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_leave(endpoint: *mut vmsgr_endpoint) {
    if !endpoint.is_null() {
        // SAFETY: made by `vmsgr_attach`, and given up by the caller.
        drop(unsafe { Box::from_raw(endpoint) });
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_detach(endpoint: *mut vmsgr_endpoint) {
    if !endpoint.is_null() {
        // SAFETY: made by `vmsgr_attach`, and given up by the caller.
        unsafe { Box::from_raw(endpoint) }.0.detach();
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_has_taken_over(endpoint: *mut vmsgr_endpoint) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { borrow(endpoint) }.map(|endpoint| endpoint.has_taken_over().into()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_count(
    endpoint: *mut vmsgr_endpoint,
    counters: *mut vmsgr_counters,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    let (endpoint, into) = unsafe { (borrow(endpoint), counters.as_mut()) };
    done(endpoint.and_then(|endpoint| {
        let Counters { ready, doorbells_rung, doorbells_saved, sleeps, sleeps_saved, .. } =
            endpoint.counters();
        *into.ok_or(Errno::EINVAL)? =
            vmsgr_counters { ready, doorbells_rung, doorbells_saved, sleeps, sleeps_saved };
        Ok(())
    }))
}

/// # Safety
/// As vmsgr.h says of `vmsgr_listen`.
pub(crate) unsafe fn ask(
    endpoint: *mut vmsgr_endpoint,
    to: *const sockaddr,
    length: socklen_t,
    job: *mut vmsgr_job,
    ask: impl FnOnce(&mut Endpoint, SocketAddr) -> Outcome<JobId>,
) -> c_int {
    // SAFETY: what the caller promises.
    let (endpoint, to, job) =
        unsafe { (borrow(endpoint), address::read(to, length), job.as_mut()) };
    done(endpoint.and_then(|endpoint| {
        let asked = ask(endpoint, to?)?;
        if let Some(job) = job {
            *job = asked.to_bits();
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_listen(
    endpoint: *mut vmsgr_endpoint,
    address: *const sockaddr,
    length: socklen_t,
    backlog: u32,
    job: *mut vmsgr_job,
) -> c_int {
    let listen = |it: &mut Endpoint, address| Ok(it.listen_with(address, backlog)?);
    // SAFETY: what vmsgr.h asks for.
    unsafe { ask(endpoint, address, length, job, listen) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_connect(
    endpoint: *mut vmsgr_endpoint,
    address: *const sockaddr,
    length: socklen_t,
    job: *mut vmsgr_job,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    unsafe { ask(endpoint, address, length, job, |it, address| Ok(it.connect(address)?)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_unlisten(endpoint: *mut vmsgr_endpoint, job: vmsgr_job) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    let endpoint = unsafe { borrow(endpoint) };
    done(endpoint.and_then(|endpoint| Ok(endpoint.unlisten(JobId::from_bits(job))?)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_cancel(endpoint: *mut vmsgr_endpoint, job: vmsgr_job) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    let endpoint = unsafe { borrow(endpoint) };
    done(endpoint.and_then(|endpoint| Ok(endpoint.cancel(JobId::from_bits(job))?)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_next_event(
    endpoint: *mut vmsgr_endpoint,
    event: *mut vmsgr_event,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { borrow(endpoint) }.and_then(|endpoint| {
        if event.is_null() {
            return Err(Errno::EINVAL.into());
        }
        Ok(match endpoint.next_event() {
            Some(happened) => {
                // SAFETY: not null, and the caller's to write.
                unsafe { tell(happened, event) };
                1
            }
            None => 0,
        })
    }))
}

/// # Safety
/// `into` may be written.
unsafe fn tell(event: Event, into: *mut vmsgr_event) {
    let errno = |error: Option<io::Error>| {
        error.map_or(0, |error| error.raw_os_error().unwrap_or(Errno::EIO as i32))
    };
    let none = JobId::from_bits(0);
    let (kind, connection, job, error, address) = match event {
        Event::Listening { job, address } => (VMSGR_LISTENING, None, job, 0, Some(address)),
        Event::Unlistened { job } => (VMSGR_UNLISTENED, None, job, 0, None),
        Event::Failed { job, error } => (VMSGR_FAILED, None, job, errno(Some(error)), None),
        Event::Accepted { connection, job, peer, .. } => {
            (VMSGR_ACCEPTED, Some(connection), job, 0, Some(peer))
        }
        Event::Connected { connection, job, peer, .. } => {
            (VMSGR_CONNECTED, Some(connection), job, 0, Some(peer))
        }
        Event::Resumed { connection, job, peer, .. } => {
            (VMSGR_RESUMED, Some(connection), job, 0, Some(peer))
        }
        Event::Readable(connection) => (VMSGR_READABLE, Some(connection), none, 0, None),
        Event::Writable(connection) => (VMSGR_WRITABLE, Some(connection), none, 0, None),
        Event::PeerEnded(connection) => (VMSGR_PEER_ENDED, Some(connection), none, 0, None),
        Event::Closed { connection, error } => {
            (VMSGR_CLOSED, Some(connection), none, errno(error), None)
        }
        // Kinds that are added to the client get a number here.
        _ => (VMSGR_DETACHED, None, none, Errno::ENOTCONN as i32, None),
    };
    // SAFETY: what the caller promises. The address is written only where there is one.
    unsafe {
        (&raw mut (*into).kind).write(kind);
        (&raw mut (*into).error).write(error);
        (&raw mut (*into).connection).write(connection.map_or(0, ConnectionId::to_bits));
        (&raw mut (*into).job).write(job.to_bits());
        if let Some(address) = address {
            address::write(&raw mut (*into).address, address);
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_flush(endpoint: *mut vmsgr_endpoint) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { borrow(endpoint) }.map(Endpoint::flush))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_wait(endpoint: *mut vmsgr_endpoint, timeout_ms: c_int) -> c_int {
    let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { borrow(endpoint) }.and_then(|endpoint| Ok(endpoint.wait(timeout)?.into())))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_doorbell(endpoint: *mut vmsgr_endpoint) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { borrow(endpoint) }.map(|endpoint| endpoint.doorbell().as_raw_fd()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_fall_asleep(endpoint: *mut vmsgr_endpoint) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { borrow(endpoint) }.map(|endpoint| endpoint.fall_asleep().into()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_woke_up(endpoint: *mut vmsgr_endpoint) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { borrow(endpoint) }.and_then(|endpoint| Ok(endpoint.woke_up()?)))
}
