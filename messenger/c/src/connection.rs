//! Connections: their bytes and their ends.

use std::ffi::{c_int, c_void};
use std::io::{Read, Write};
use std::slice;

use nix::errno::Errno;
use nix::libc::{iovec, size_t, sockaddr, socklen_t, ssize_t};
use vmsgr_messenger::client::{Connection, ConnectionId};

use crate::address;
use crate::endpoint::borrow;
use crate::errors::{Outcome, done, told};
use crate::types::{vmsgr_connection, vmsgr_endpoint, vmsgr_positions};

/// # Safety
/// As for [`borrow`]; nobody else uses it as long as the connection is held.
unsafe fn hold<'a>(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> Outcome<Connection<'a>> {
    // SAFETY: what the caller promises.
    let endpoint = unsafe { borrow(endpoint) }?;
    let id = ConnectionId::from_bits(connection);
    endpoint.connection(id).ok_or(Errno::EBADF.into())
}

/// As [`hold`], for functions that deal in bytes.
///
/// # Safety
/// As for [`hold`].
unsafe fn hold_bytes<'a>(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> Outcome<Connection<'a>> {
    // SAFETY: what the caller promises.
    match unsafe { hold(endpoint, connection) }? {
        connection if connection.has_messages() => Err(Errno::EOPNOTSUPP.into()),
        connection => Ok(connection),
    }
}

fn size(bytes: usize) -> ssize_t {
    // No ring is as large as to make it too large.
    ssize_t::try_from(bytes).unwrap_or(ssize_t::MAX)
}

/// True if two pieces together are so long.
fn fits(n: usize, pieces: usize) -> Outcome<()> {
    if n <= pieces { Ok(()) } else { Err(Errno::EINVAL.into()) }
}

#[unsafe(no_mangle)]
pub extern "C" fn vmsgr_slot(connection: vmsgr_connection) -> u32 {
    ConnectionId::from_bits(connection).slot() as u32
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_recv(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    into: *mut c_void,
    n: size_t,
) -> ssize_t {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { hold_bytes(endpoint, connection) }.and_then(|mut connection| {
        if n == 0 {
            return Ok(0);
        }
        if into.is_null() {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: not null; `n` bytes that the caller has for us. They are written, never read.
        let into = unsafe { slice::from_raw_parts_mut(into.cast::<u8>(), n) };
        Ok(size(connection.read(into)?))
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_send(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    bytes: *const c_void,
    n: size_t,
) -> ssize_t {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { hold_bytes(endpoint, connection) }.and_then(|mut connection| {
        if n == 0 {
            return Ok(0);
        }
        if bytes.is_null() {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: not null; `n` bytes of the caller's.
        let bytes = unsafe { slice::from_raw_parts(bytes.cast::<u8>(), n) };
        Ok(size(connection.write(bytes)?))
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_peek(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    pieces: *mut iovec,
) -> ssize_t {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { hold_bytes(endpoint, connection) }.and_then(|connection| {
        let (front, back) = connection.peek();
        // C may not write there, which its `const` cannot say in an iovec.
        let start = |piece: &[u8]| piece.as_ptr().cast_mut();
        // SAFETY: two of them that the caller has for us, or null.
        unsafe { put(pieces, [(start(front), front.len()), (start(back), back.len())]) }
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_reserve(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    n: size_t,
    pieces: *mut iovec,
) -> ssize_t {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { hold_bytes(endpoint, connection) }.and_then(|mut connection| {
        let (front, back) = connection.reserve(n);
        let all = [(front.as_mut_ptr(), front.len()), (back.as_mut_ptr(), back.len())];
        // SAFETY: two of them that the caller has for us, or null.
        unsafe { put(pieces, all) }
    }))
}

/// # Safety
/// `pieces` is null, or two that may be written.
unsafe fn put(pieces: *mut iovec, all: [(*mut u8, usize); 2]) -> Outcome<ssize_t> {
    if pieces.is_null() {
        return Err(Errno::EINVAL.into());
    }
    for (index, (start, length)) in all.into_iter().enumerate() {
        // SAFETY: not null, and there are two.
        unsafe {
            pieces.add(index).write(iovec { iov_base: start.cast(), iov_len: length });
        }
    }
    Ok(size(all[0].1 + all[1].1))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_consume(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    n: size_t,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { hold_bytes(endpoint, connection) }.and_then(|mut connection| {
        fits(n, connection.unread())?;
        connection.consume(n);
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_commit(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    n: size_t,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { hold_bytes(endpoint, connection) }.and_then(|mut connection| {
        fits(n, connection.reserved())?;
        connection.commit(n);
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_reply(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    consume: size_t,
    commit: size_t,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { hold_bytes(endpoint, connection) }.and_then(|mut connection| {
        fits(consume, connection.unread())?;
        fits(commit, connection.reserved())?;
        connection.reply(consume, commit);
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_forward(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    n: size_t,
) -> ssize_t {
    // SAFETY: what vmsgr.h asks for.
    let connection = unsafe { hold_bytes(endpoint, connection) };
    told(connection.map(|mut connection| size(connection.forward(n))))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_unread(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> ssize_t {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { hold_bytes(endpoint, connection) }.map(|connection| size(connection.unread())))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_room(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> ssize_t {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { hold_bytes(endpoint, connection) }.map(|mut connection| size(connection.room())))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_peer_has_ended(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { hold(endpoint, connection) }.map(|connection| connection.peer_has_ended().into()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_shutdown(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { hold(endpoint, connection) }.map(|mut connection| connection.shutdown()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_close(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { hold(endpoint, connection) }.map(Connection::close))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_reset(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { hold(endpoint, connection) }.map(Connection::reset))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_where(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    positions: *mut vmsgr_positions,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    let (connection, into) = unsafe { (hold(endpoint, connection), positions.as_mut()) };
    done(connection.and_then(|connection| {
        let at = connection.positions();
        *into.ok_or(Errno::EINVAL)? = vmsgr_positions {
            received: at.received,
            consumed: at.consumed,
            committed: at.committed,
            sent: at.sent,
        };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_peer(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    into: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { hold(endpoint, connection) }.and_then(|connection| {
        // SAFETY: what vmsgr.h asks for.
        unsafe { address::write_cut(into, length, connection.peer()) }
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_local(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    into: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { hold(endpoint, connection) }.and_then(|connection| {
        // SAFETY: what vmsgr.h asks for.
        unsafe { address::write_cut(into, length, connection.local()) }
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_cookie(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    cookie: *mut u64,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    let (connection, into) = unsafe { (hold(endpoint, connection), cookie.as_mut()) };
    done(connection.and_then(|connection| {
        *into.ok_or(Errno::EINVAL)? = connection.cookie();
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_set_cookie(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    cookie: u64,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { hold(endpoint, connection) }.map(|mut it| it.set_cookie(cookie)))
}
