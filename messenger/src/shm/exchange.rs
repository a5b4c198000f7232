//! The handshake through a socket, descriptors included.
//!
//! With rustix rather than nix, which has no safe way to own the descriptors that come with a
//! message, and none at all to get at those that came when the process could not take all of them:
//! they would stay open for ever.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::hello::{HELLO_BYTES, Hello, HelloError};
use super::welcome::{
    self, ANSWER_BYTES, Answer, AnswerError, BESIDE_CORES, MAX_DESCRIPTORS, Refusal, Welcome,
};

/// Why a handshake has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The socket does not work, or would block.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side has hung up, or sent nothing in a message.
    #[error("the other side has hung up")]
    HungUp,
    /// The application's message is none.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The daemon's message is none.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The daemon has refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There came descriptors with a message that has none.
    #[error("descriptors came that nobody asked for")]
    Unasked,
    /// There are fewer or more descriptors than the welcome needs. (There are fewer, too, when this
    /// process may not open more.)
    #[error(
        "a welcome of {cores} cores has {BESIDE_CORES} + {cores} descriptors, this one {found}"
    )]
    Descriptors {
        /// The welcome's cores.
        cores: u16,
        /// The descriptors with it.
        found: usize,
    },
}

/// What an application has in hand once it is attached.
#[derive(Debug)]
pub struct Attached {
    /// The socket, which does not block: when it becomes readable the daemon has gone or has
    /// detached us. Closing it detaches.
    pub socket: OwnedFd,
    /// What the daemon said.
    pub welcome: Welcome,
    /// The segment, the application's doorbell, the control thread's doorbell, and one doorbell for
    /// each core: `3 + cores` in all.
    pub descriptors: Vec<OwnedFd>,
}

/// Attaches to the daemon whose socket lies at `path`; waits at most `patience`, which must not be
/// zero, for each step.
///
/// # Errors
/// Nobody listens there (ENOENT, ECONNREFUSED), the daemon refuses, or answers nothing in time
/// (EAGAIN).
pub fn attach(path: &Path, hello: &Hello, patience: Duration) -> Result<Attached, ExchangeError> {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET.cloexec(), None)?;
    socket.set_read_timeout(Some(patience))?;
    // A connection that waits for room in the backlog, too.
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    match send_hello(&socket, hello) {
        // The refusal may have been faster; else the next error says what there is to say.
        Err(ExchangeError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    let answer = match receive_answer(&socket) {
        // It has refused before it has read our hello.
        Err(ExchangeError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
            receive_answer(&socket)
        }
        other => other,
    };
    let (welcome, descriptors) = answer?;
    socket.set_nonblocking(true)?;
    Ok(Attached { socket: socket.into(), welcome, descriptors })
}

/// Sends what an application wants.
pub fn send_hello(socket: impl AsFd, hello: &Hello) -> Result<(), ExchangeError> {
    send(socket.as_fd(), &hello.encode()?, &[])
}

/// Receives what an application wants. Descriptors that come with it are closed.
///
/// # Errors
/// As [`ExchangeError`] says; [`ExchangeError::Io`] with `WouldBlock` where nothing has come yet.
pub fn receive_hello(socket: impl AsFd) -> Result<Hello, ExchangeError> {
    // One more than there may be, so that what is too long is seen to be.
    let mut message = [0; HELLO_BYTES + 1];
    // No room for descriptors: the kernel closes them, and says that there were some.
    let received = receive(socket.as_fd(), &mut message, &mut RecvAncillaryBuffer::default())?;
    if received.bytes == 0 {
        return Err(ExchangeError::HungUp);
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(ExchangeError::Unasked);
    }
    Ok(Hello::decode(&message[..received.bytes.min(message.len())])?)
}

/// Sends a welcome with its descriptors: the segment, the application's doorbell, the control
/// thread's doorbell, one doorbell for each core.
///
/// # Errors
/// A field is out of its range, there are not `3 + cores` descriptors, or the application has hung
/// up.
pub fn send_welcome(
    socket: impl AsFd,
    welcome: &Welcome,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), ExchangeError> {
    let message = welcome::encode(&Ok(*welcome))?;
    expect(welcome, descriptors.len())?;
    send(socket.as_fd(), &message, descriptors)
}

/// Sends a refusal.
///
/// # Errors
/// The application has hung up.
pub fn send_refusal(socket: impl AsFd, refusal: &Refusal) -> Result<(), ExchangeError> {
    let message = welcome::encode(&Answer::Err(refusal.clone()))?;
    send(socket.as_fd(), &message, &[])
}

/// Receives the daemon's answer; the descriptors are closed when a program is executed.
///
/// # Errors
/// As [`ExchangeError`] says; the descriptors that came all the same are closed.
pub fn receive_answer(socket: impl AsFd) -> Result<(Welcome, Vec<OwnedFd>), ExchangeError> {
    let mut message = [0; ANSWER_BYTES + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = receive(socket.as_fd(), &mut message, &mut control)?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = part {
            descriptors.extend(some);
        }
    }
    if received.bytes == 0 {
        return Err(ExchangeError::HungUp);
    }
    match welcome::decode(&message[..received.bytes.min(message.len())])? {
        Ok(welcome) => expect(&welcome, descriptors.len()).map(|()| (welcome, descriptors)),
        Err(_) if !descriptors.is_empty() => Err(ExchangeError::Unasked),
        Err(refusal) => Err(refusal.into()),
    }
}

fn expect(welcome: &Welcome, found: usize) -> Result<(), ExchangeError> {
    if found != BESIDE_CORES + usize::from(welcome.cores) {
        return Err(ExchangeError::Descriptors { cores: welcome.cores, found });
    }
    Ok(())
}

/// A message is taken whole or not at all; one to somebody who is gone is an error, not a signal.
fn send(
    socket: BorrowedFd<'_>,
    message: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), ExchangeError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        debug_assert!(fits, "a welcome's descriptors were counted");
    }
    let message = [IoSlice::new(message)];
    let sent = retry_on_intr(|| sendmsg(socket, &message, &mut control, SendFlags::NOSIGNAL));
    sent.map(drop).map_err(into_io)
}

struct Received {
    bytes: usize,
    flags: ReturnFlags,
}

fn receive(
    socket: BorrowedFd<'_>,
    message: &mut [u8],
    control: &mut RecvAncillaryBuffer<'_>,
) -> Result<Received, ExchangeError> {
    let mut message = [IoSliceMut::new(message)];
    let received =
        retry_on_intr(|| recvmsg(socket, &mut message, control, RecvFlags::CMSG_CLOEXEC));
    let received = received.map_err(into_io)?;
    Ok(Received { bytes: received.bytes, flags: received.flags })
}

fn into_io(error: Errno) -> ExchangeError {
    ExchangeError::Io(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::MAX_CORES;
    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use nix::sys::eventfd::EventFd;
    use std::os::fd::AsRawFd;

    const WELCOME: Welcome = Welcome { epoch: 1, resumed: false, cores: 2, segment_bytes: 4096 };

    fn pair() -> (Socket, Socket) {
        Socket::pair(Domain::UNIX, Type::SEQPACKET.cloexec(), None).unwrap()
    }

    fn borrowed(descriptors: &[EventFd]) -> Vec<BorrowedFd<'_>> {
        descriptors.iter().map(AsFd::as_fd).collect()
    }

    fn eventfds(count: usize) -> Vec<EventFd> {
        (0..count).map(|_| EventFd::new().unwrap()).collect()
    }

    #[test]
    fn a_hello_passes() {
        let (application, daemon) = pair();
        let hello = Hello { name: "kv".into(), ..Hello::default() };
        send_hello(&application, &hello).unwrap();
        assert_eq!(receive_hello(&daemon).unwrap(), hello);
        daemon.set_nonblocking(true).unwrap();
        let Err(ExchangeError::Io(error)) = receive_hello(&daemon) else { panic!() };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(application);
        assert!(matches!(receive_hello(&daemon), Err(ExchangeError::HungUp)));
    }

    #[test]
    fn a_hello_that_is_cut_off_or_goes_on_is_refused() {
        let (application, daemon) = pair();
        let message = Hello::default().encode().unwrap();
        for length in [1, 20, 103, 105, 200, 100_000] {
            let mut message = message.to_vec();
            message.resize(length, 0);
            application.send(&message).unwrap();
            let error = receive_hello(&daemon).unwrap_err();
            assert!(matches!(error, ExchangeError::Hello(HelloError::Length(_))), "{error}");
        }
        send_hello(&application, &Hello::default()).unwrap();
        receive_hello(&daemon).expect("nothing of the others is left");
    }

    #[test]
    fn a_hello_with_descriptors_is_refused_and_they_are_closed() {
        let (application, daemon) = pair();
        let (passed, kept) = io::pipe().map(|(read, write)| (write, read)).unwrap();
        let message = Hello::default().encode().unwrap();
        send(application.as_fd(), &message, &[passed.as_fd()]).unwrap();
        drop(passed);
        assert!(matches!(receive_hello(&daemon), Err(ExchangeError::Unasked)));
        // The end of a pipe comes when nobody holds its other side.
        let mut kept = kept;
        assert_eq!(io::Read::read(&mut kept, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_welcome_brings_its_descriptors_in_their_order() {
        let (application, daemon) = pair();
        let sent = eventfds(5);
        for (number, eventfd) in sent.iter().enumerate() {
            eventfd.write(number as u64 + 1).unwrap();
        }
        send_welcome(&daemon, &WELCOME, &borrowed(&sent)).unwrap();
        let (welcome, received) = receive_answer(&application).unwrap();
        assert_eq!(welcome, WELCOME);
        assert_eq!(received.len(), 5);
        for (number, descriptor) in received.iter().enumerate() {
            let mut count = [0; 8];
            nix::unistd::read(descriptor, &mut count).unwrap();
            assert_eq!(u64::from_ne_bytes(count), number as u64 + 1);
            let flags = fcntl(descriptor, FcntlArg::F_GETFD).unwrap();
            assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
        }
    }

    #[test]
    fn as_many_cores_as_are_allowed_fit() {
        let (application, daemon) = pair();
        let sent = eventfds(MAX_DESCRIPTORS);
        let welcome = Welcome { cores: MAX_CORES as u16, ..WELCOME };
        send_welcome(&daemon, &welcome, &borrowed(&sent)).unwrap();
        assert_eq!(receive_answer(&application).unwrap().1.len(), 253);
        let welcome = Welcome { cores: MAX_CORES as u16 + 1, ..WELCOME };
        let error = send_welcome(&daemon, &welcome, &borrowed(&sent)).unwrap_err();
        assert!(matches!(error, ExchangeError::Answer(_)), "{error}");
    }

    #[test]
    fn a_welcome_with_another_number_of_descriptors_is_none_on_either_side() {
        let (application, daemon) = pair();
        let sent = eventfds(6);
        for count in [0, 4, 6] {
            let sent = &borrowed(&sent)[..count];
            let error = send_welcome(&daemon, &WELCOME, sent).unwrap_err();
            assert!(matches!(error, ExchangeError::Descriptors { .. }), "{error}");
            send(daemon.as_fd(), &welcome::encode(&Ok(WELCOME)).unwrap(), sent).unwrap();
            match receive_answer(&application) {
                Err(ExchangeError::Descriptors { cores: 2, found }) => assert_eq!(found, count),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_refusal_arrives_and_brings_nothing() {
        let (application, daemon) = pair();
        let refusal = Refusal::new(Errno::EACCES, "user 7 may not attach");
        send_refusal(&daemon, &refusal).unwrap();
        match receive_answer(&application) {
            Err(ExchangeError::Refused(arrived)) => assert_eq!(arrived, refusal),
            other => panic!("{other:?}"),
        }
        let message = welcome::encode(&Err(refusal)).unwrap();
        send(daemon.as_fd(), &message, &borrowed(&eventfds(1))).unwrap();
        assert!(matches!(receive_answer(&application), Err(ExchangeError::Unasked)));
    }

    #[test]
    fn an_answer_that_is_too_long_is_none() {
        let (application, daemon) = pair();
        let mut message = welcome::encode(&Ok(WELCOME)).unwrap().to_vec();
        message.resize(10_000, 0);
        send(daemon.as_fd(), &message, &borrowed(&eventfds(5))).unwrap();
        let error = receive_answer(&application).unwrap_err();
        assert!(matches!(error, ExchangeError::Answer(AnswerError::Length(_))), "{error}");
    }

    #[test]
    fn to_somebody_who_is_gone_is_an_error() {
        let (application, daemon) = pair();
        drop(application);
        let Err(ExchangeError::Io(error)) =
            send_welcome(&daemon, &WELCOME, &borrowed(&eventfds(5)))
        else {
            panic!()
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    /// A daemon's socket in a folder of its own, and its path.
    fn listener() -> (Socket, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET.cloexec(), None).unwrap();
        socket.bind(&SockAddr::unix(folder.path().join("s")).unwrap()).unwrap();
        socket.listen(8).unwrap();
        (socket, folder)
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn an_application_attaches() {
        let (socket, folder) = listener();
        let daemon = std::thread::spawn(move || {
            let (peer, _) = socket.accept().unwrap();
            assert_eq!(receive_hello(&peer).unwrap(), Hello::default());
            send_welcome(&peer, &WELCOME, &borrowed(&eventfds(5))).unwrap();
            // It hangs up.
        });
        let path = folder.path().join("s");
        let attached = attach(&path, &Hello::default(), PATIENCE).unwrap();
        daemon.join().unwrap();
        assert_eq!((attached.welcome, attached.descriptors.len()), (WELCOME, 5));
        assert_eq!(nix::unistd::read(&attached.socket, &mut [0]), Ok(0));
        assert!(attached.socket.as_raw_fd() > 2);
    }

    #[test]
    fn a_refusal_is_heard_also_when_it_was_faster_than_the_hello() {
        let refusal = Refusal::new(Errno::EBUSY, "not now");
        // The refusal and the hang-up may come before our hello, or meet it in the daemon's queue.
        for hello_is_there in [false, true] {
            let (application, daemon) = pair();
            if hello_is_there {
                send_hello(&application, &Hello::default()).unwrap();
            }
            send_refusal(&daemon, &refusal).unwrap();
            drop(daemon);
            let first = receive_answer(&application);
            let answer = if hello_is_there { receive_answer(&application) } else { first };
            assert!(matches!(answer, Err(ExchangeError::Refused(_))), "{answer:?}");
        }
        // And `attach` knows that.
        let (socket, folder) = listener();
        let daemon = std::thread::spawn(move || {
            for _ in 0..50 {
                send_refusal(socket.accept().unwrap().0, &refusal).unwrap();
            }
        });
        for _ in 0..50 {
            let path = folder.path().join("s");
            match attach(&path, &Hello::default(), PATIENCE) {
                Err(ExchangeError::Refused(refusal)) => assert_eq!(refusal.reason, "not now"),
                other => panic!("{other:?}"),
            }
        }
        daemon.join().unwrap();
    }

    #[test]
    fn a_daemon_that_says_nothing_is_not_waited_for_for_ever() {
        let (_socket, folder) = listener();
        let path = folder.path().join("s");
        let error = attach(&path, &Hello::default(), Duration::from_millis(1)).unwrap_err();
        let ExchangeError::Io(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let error = attach(&folder.path().join("x"), &Hello::default(), PATIENCE).unwrap_err();
        let ExchangeError::Io(error) = error else { panic!("{error}") };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
