//! Messages of connections of entities.

use std::ffi::c_int;
use std::slice;

use nix::errno::Errno;
use nix::libc::iovec;
use vmsgr_messenger::client::{
    Connection, ConnectionId, Incoming, Message, Messages, Notice, PeerEntity, Pieces, SendError,
};
use vmsgr_messenger::msgr2::MessageHeader;

use crate::address;
use crate::errors::{Failure, Outcome, done, told};
use crate::types::*;

/// # Safety
/// The pointer is null, or one that `vmsgr_attach` has given, which nobody else uses now.
unsafe fn whole<'a>(endpoint: *mut vmsgr_endpoint) -> Outcome<&'a mut vmsgr_endpoint> {
    // SAFETY: what the caller promises.
    unsafe { endpoint.as_mut() }.ok_or(Errno::EINVAL.into())
}

fn hold(endpoint: &mut vmsgr_endpoint, id: vmsgr_connection) -> Outcome<Connection<'_>> {
    let id = ConnectionId::from_bits(id);
    endpoint.0.connection(id).ok_or(Errno::EBADF.into())
}

fn messages<'a>(connection: &'a mut Connection<'_>) -> Outcome<Messages<'a>> {
    connection.messages().ok_or(Errno::EOPNOTSUPP.into())
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let errno = match error {
            SendError::Ended => Errno::EPIPE,
            SendError::TooLarge { .. } | SendError::LargerThanRing { .. } => Errno::EMSGSIZE,
            SendError::Unfinished | SendError::Another => Errno::EBUSY,
            SendError::NoRequest => Errno::ENOMSG,
            _ => Errno::EINVAL,
        };
        Self::with(errno, error)
    }
}

/// # Safety
/// The iovecs name memory of the caller's, which stays for now.
unsafe fn pieces<'a>(iovecs: &[iovec; 2]) -> Outcome<Pieces<'a>> {
    let mut slices: [&[u8]; 2] = [&[], &[]];
    for (slice, iovec) in slices.iter_mut().zip(iovecs) {
        if iovec.iov_len == 0 {
            continue;
        }
        if iovec.iov_base.is_null() || isize::try_from(iovec.iov_len).is_err() {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: not null; so many bytes of the caller's.
        *slice = unsafe { slice::from_raw_parts(iovec.iov_base.cast(), iovec.iov_len) };
    }
    Ok(Pieces::new(slices[0], slices[1]))
}

/// # Safety
/// As vmsgr.h says of `vmsgr_send_message`.
unsafe fn read<'a>(message: *const vmsgr_message) -> Outcome<Message<'a>> {
    // SAFETY: null, or the caller's to read.
    let message = unsafe { message.as_ref() }.ok_or(Errno::EINVAL)?;
    if message.what != VMSGR_MESSAGE {
        return Err(Errno::EINVAL.into());
    }
    let header = MessageHeader {
        tid: message.tid,
        kind: message.r#type,
        priority: message.priority,
        version: message.version,
        compat_version: message.compat_version,
        data_offset: message.data_off,
        flags: message.flags,
        ..MessageHeader::default()
    };
    // SAFETY: what the caller promises.
    let [front, middle, data] =
        unsafe { [pieces(&message.front), pieces(&message.middle), pieces(&message.data)] };
    Ok(Message { header, front: front?, middle: middle?, data: data? })
}

fn iovecs(pieces: Pieces<'_>) -> [iovec; 2] {
    // C may not write there, which its `const` cannot say in an iovec.
    pieces
        .slices()
        .map(|slice| iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() })
}

fn shown(incoming: Incoming<'_>) -> vmsgr_message {
    let (what, lost, message) = match incoming {
        Incoming::Message(message) => (VMSGR_MESSAGE, 0, message),
        Incoming::Notice(Notice::Forgotten { lost }) => (VMSGR_FORGOTTEN, lost, Message::default()),
        Incoming::Notice(Notice::StreamLost) => (VMSGR_STREAM_LOST, 0, Message::default()),
        Incoming::Notice(Notice::StreamBack) => (VMSGR_STREAM_BACK, 0, Message::default()),
    };
    let header = message.header;
    vmsgr_message {
        what,
        r#type: header.kind,
        priority: header.priority,
        version: header.version,
        compat_version: header.compat_version,
        data_off: header.data_offset,
        flags: header.flags,
        unused: 0,
        seq: header.seq,
        tid: header.tid,
        lost,
        front: iovecs(message.front),
        middle: iovecs(message.middle),
        data: iovecs(message.data),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_has_messages(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { whole(endpoint) }.and_then(|endpoint| {
        let connection = hold(endpoint, connection)?;
        Ok(connection.has_messages().into())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_who(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    peer: *mut vmsgr_peer_entity,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { whole(endpoint) }.and_then(|endpoint| {
        let connection = hold(endpoint, connection)?;
        if peer.is_null() {
            return Err(Errno::EINVAL.into());
        }
        let Some(PeerEntity { kind, number, address: there, nonce }) = connection.peer_entity()
        else {
            return Ok(0);
        };
        // SAFETY: not null, and the caller's to write. All zeros are an address of no family.
        unsafe {
            (&raw mut (*peer).r#type).write(kind.0.into());
            (&raw mut (*peer).nonce).write(nonce);
            (&raw mut (*peer).number).write(number);
            (&raw mut (*peer).address).write_bytes(0, 1);
            if let Some(there) = there {
                address::write(&raw mut (*peer).address, there);
            }
        }
        Ok(1)
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_next_message(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    message: *mut vmsgr_message,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    told(unsafe { whole(endpoint) }.and_then(|endpoint| {
        let mut connection = hold(endpoint, connection)?;
        let mut messages = messages(&mut connection)?;
        if message.is_null() {
            return Err(Errno::EINVAL.into());
        }
        let Some(incoming) = messages.peek() else { return Ok(0) };
        // SAFETY: not null, and the caller's to write.
        unsafe { message.write(shown(incoming)) };
        Ok(1)
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_consume_message(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { whole(endpoint) }.and_then(|endpoint| {
        let mut connection = hold(endpoint, connection)?;
        match messages(&mut connection)?.consume() {
            true => Ok(()),
            false => Err(Errno::ENOMSG.into()),
        }
    }))
}

fn whether(sent: bool) -> Outcome<()> {
    if sent { Ok(()) } else { Err(Errno::EAGAIN.into()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_send_message(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    message: *const vmsgr_message,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    let (endpoint, message) = unsafe { (whole(endpoint), read(message)) };
    done(endpoint.and_then(|endpoint| {
        let message = message?;
        let vmsgr_endpoint(endpoint, steps) = endpoint;
        let id = ConnectionId::from_bits(connection);
        let mut held = endpoint.connection(id).ok_or(Errno::EBADF)?;
        let mut messages = messages(&mut held)?;
        let slot = id.slot();
        match messages.send(&message) {
            Err(SendError::LargerThanRing { .. } | SendError::Unfinished) => {
                // What is left there of another connection does not match, and is begun anew.
                let progress = steps.entry(slot).or_default();
                if progress.0 != connection {
                    *progress = (connection, Default::default());
                }
                let sent = messages.send_some(&message, &mut progress.1)?;
                if sent {
                    steps.remove(&slot);
                }
                whether(sent)
            }
            sent => whether(sent?),
        }
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_abandon_message(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    done(unsafe { whole(endpoint) }.and_then(|endpoint| {
        endpoint.1.remove(&ConnectionId::from_bits(connection).slot());
        let mut connection = hold(endpoint, connection)?;
        messages(&mut connection)?.abandon();
        Ok(())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn vmsgr_reply_message(
    endpoint: *mut vmsgr_endpoint,
    connection: vmsgr_connection,
    answer: *const vmsgr_message,
) -> c_int {
    // SAFETY: what vmsgr.h asks for.
    let (endpoint, answer) = unsafe { (whole(endpoint), read(answer)) };
    done(endpoint.and_then(|endpoint| {
        let answer = answer?;
        let mut connection = hold(endpoint, connection)?;
        whether(messages(&mut connection)?.reply(&answer)?)
    }))
}
