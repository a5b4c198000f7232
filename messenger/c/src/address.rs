//! Addresses as C has them.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

use nix::errno::Errno;
use nix::libc::{sockaddr, sockaddr_storage, socklen_t};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use socket2::SockAddr;

use crate::errors::Outcome;

/// # Safety
/// `address` is null, or points to so many bytes.
pub(crate) unsafe fn read(address: *const sockaddr, length: socklen_t) -> Outcome<SocketAddr> {
    if address.is_null() {
        return Err(Errno::EINVAL.into());
    }
    // SAFETY: not null; the caller promises the rest.
    let storage = unsafe { SockaddrStorage::from_raw(address, Some(length)) };
    let storage = storage.ok_or(Errno::EINVAL)?;
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
    let v6 = storage.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into());
    v4.or(v6).ok_or(Errno::EAFNOSUPPORT.into())
}

/// # Safety
/// `into` points to a `sockaddr_storage` that may be written.
pub(crate) unsafe fn write(into: *mut sockaddr_storage, address: SocketAddr) {
    let address = SockAddr::from(address);
    let length = address.len() as usize;
    // SAFETY: an address is at most as long as a `sockaddr_storage`, which `into` is.
    unsafe { ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), into.cast(), length) };
}

/// As getpeername(2) does: what is too long is cut off, and `length` says how long it is.
///
/// # Safety
/// Both are null, or `length` points to a number, and `into` to so many bytes that may be written.
pub(crate) unsafe fn write_cut(
    into: *mut sockaddr,
    length: *mut socklen_t,
    address: SocketAddr,
) -> Outcome<()> {
    if into.is_null() || length.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let address = SockAddr::from(address);
    // SAFETY: not null; the caller promises the rest.
    unsafe {
        let room = (*length).min(address.len()) as usize;
        ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), into.cast(), room);
        *length = address.len();
    }
    Ok(())
}
