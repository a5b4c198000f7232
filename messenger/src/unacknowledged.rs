//! What the kernel still holds for a peer.
#![allow(unsafe_code)] // One ioctl, for which no safe wrapper exists.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

mod request {
    nix::ioctl_read_bad!(
        /// SIOCOUTQ, see tcp(7).
        outq,
        nix::libc::TIOCOUTQ,
        nix::libc::c_int
    );
}

/// Bytes written to a socket that its peer's kernel has not acknowledged yet, the end of the stream
/// counted as one. Closing a socket on which bytes arrive afterwards throws these away.
pub(crate) fn bytes(socket: &impl AsFd) -> io::Result<usize> {
    let mut count = 0;
    // SAFETY: SIOCOUTQ writes one int to where it is told, which is a live, exclusively borrowed
    // int; the descriptor is open for as long as `socket` is borrowed.
    unsafe { request::outq(socket.as_fd().as_raw_fd(), &raw mut count) }?;
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_a_peer_has_no_room_for_is_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut peer = listener.accept().unwrap().0;
        assert_eq!(bytes(&ours).unwrap(), 0);
        ours.set_nonblocking(true).unwrap();
        let full = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
        while !ours.write(&[0; 65536]).as_ref().is_err_and(full) {}
        assert!(bytes(&ours).unwrap() > 0);
        peer.set_nonblocking(true).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while bytes(&ours).unwrap() > 0 {
            let _ = peer.read(&mut [0; 65536]);
            assert!(std::time::Instant::now() < deadline);
        }
    }
}
