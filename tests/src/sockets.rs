//! The manners of clients and servers: polite, rude and absent.
//!
//! Every socket made here has deadlines on reads and writes, so that a byte that does not come is a
//! failed test and not one that hangs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::eventually::{PATIENCE, eventually};
use crate::pattern::Pattern;

/// Connects.
///
/// # Panics
///
/// When the connection cannot be made.
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)
        .unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
    with_deadlines(stream)
}

/// Connects with a small receive buffer, so that what the client does not read soon waits in the
/// daemon and not in the kernel.
///
/// # Panics
///
/// When the connection cannot be made.
#[track_caller]
pub fn connect_with_small_window(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    // Before connecting: the window that is announced in the handshake is never taken back.
    socket.set_recv_buffer_size(8 * 1024).expect("a small receive buffer");
    socket
        .connect_timeout(&address.into(), PATIENCE)
        .unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
    with_deadlines(socket.into())
}

/// Listens on a loopback port of the kernel's choice.
///
/// # Panics
///
/// When there is none.
pub fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on the loopback")
}

/// Accepts one connection.
///
/// # Panics
///
/// When none comes in time.
#[track_caller]
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("a listener can be made non-blocking");
    let mut accepted = None;
    eventually("a connection to accept", PATIENCE, || {
        match listener.accept() {
            Ok((stream, _)) => accepted = Some(stream),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "accept: {error}"),
        }
        accepted.is_some()
    });
    let stream = accepted.expect("it was waited for");
    stream.set_nonblocking(false).expect("a stream can be made blocking");
    with_deadlines(stream)
}

/// A loopback address where nobody listens, and nobody will for as long as the socket is held.
#[derive(Debug)]
pub struct Refusing {
    socket: Socket,
}

impl Refusing {
    /// Takes a port without listening on it.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
        Self { socket }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        local_address(&self.socket)
    }
}

impl Default for Refusing {
    fn default() -> Self {
        Self::new()
    }
}

/// A listener whose accept queue is full: the kernel drops every further SYN, as a host that is gone
/// does, and all of it on the loopback.
#[derive(Debug)]
pub struct Unanswering {
    listener: Socket,
    _queued: Vec<Socket>,
}

impl Unanswering {
    /// Makes the listener and fills its queue.
    ///
    /// # Panics
    ///
    /// When the queue does not fill.
    pub fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
        listener.listen(0).expect("a backlog of none");
        let address = local_address(&listener);
        let mut queued = Vec::new();
        // The kernel answers at once or not at all, so a connection that takes this long is one that
        // the queue had no room for.
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let full = socket.connect_timeout(&address.into(), Duration::from_millis(300)).is_err();
            queued.push(socket);
            if full {
                break;
            }
            assert!(queued.len() < 64, "a backlog of none takes every connection");
        }
        Self { listener, _queued: queued }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        local_address(&self.listener)
    }
}

impl Default for Unanswering {
    fn default() -> Self {
        Self::new()
    }
}

/// Sends `bytes` to an echo and checks that the same come back.
///
/// # Panics
///
/// When they do not.
#[track_caller]
pub fn ping(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap_or_else(|error| panic!("the ping does not go out: {error}"));
    expect(stream, bytes);
}

/// Checks that the next bytes to arrive are `bytes`.
///
/// # Panics
///
/// When others come, or none in time.
#[track_caller]
pub fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut received = vec![0; bytes.len()];
    stream
        .read_exact(&mut received)
        .unwrap_or_else(|error| panic!("{} bytes expected: {error}", bytes.len()));
    assert!(received == bytes, "other bytes came back than were sent");
}

/// Checks that the stream is at its end: the other side has closed, or half-closed, in order.
///
/// # Panics
///
/// When bytes or an error come instead, or nothing in time.
#[track_caller]
pub fn expect_end(stream: &mut TcpStream) {
    match stream.read(&mut [0; 1]) {
        Ok(0) => {}
        Ok(_) => panic!("a byte came instead of the end"),
        Err(error) => panic!("the end was expected: {error}"),
    }
}

/// Reads until the other side resets the connection.
///
/// # Panics
///
/// When the stream ends in order instead, or nothing happens in time.
#[track_caller]
pub fn expect_reset(stream: &mut TcpStream) {
    match read_to_end(stream) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("a reset was expected: {error}"),
        Ok(bytes) => panic!("a reset was expected, the stream ended in order after {bytes} bytes"),
    }
}

/// Reads until the other side closes or resets the connection, whichever it prefers.
///
/// # Panics
///
/// When neither happens in time.
#[track_caller]
pub fn expect_closed(stream: &mut TcpStream) {
    match read_to_end(stream) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection should be closed: {error}"),
    }
}

/// Connects to where every connection is closed or reset at once, and checks that this one is. The
/// reset may be there before the connection is known to be made.
///
/// # Panics
///
/// When it stays open.
#[track_caller]
pub fn expect_turned_away(address: SocketAddr) {
    match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(stream) => expect_closed(&mut with_deadlines(stream)),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no connection to {address}: {error}"),
    }
}

/// Closes the sending direction only.
///
/// # Panics
///
/// When the connection is gone.
#[track_caller]
pub fn half_close(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).expect("a connection to half-close");
}

/// Closes with a reset instead of an orderly end (SO_LINGER of 0), throwing away what was unsent.
///
/// # Panics
///
/// When the socket does not take the option.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    drop(stream);
}

/// Writes bytes of the pattern until the connection takes no more: everything between here and the
/// one who does not read is full. Returns how many went in; the pattern stands behind the last.
///
/// # Panics
///
/// When the connection breaks, or takes more than `limit_bytes`: then somebody hoards.
#[track_caller]
pub fn write_until_stuck(stream: &TcpStream, pattern: &mut Pattern, limit_bytes: u64) -> u64 {
    // A direction that has not moved for this long will not: nothing in it waits for a timer.
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a write deadline");
    let mut block = vec![0; 64 * 1024];
    let mut taken = 0;
    loop {
        let mut ahead = pattern.clone();
        ahead.fill(&mut block);
        match (&*stream).write(&block) {
            Ok(count) => {
                pattern.fill(&mut block[..count]);
                taken += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("the connection broke after {taken} bytes: {error}"),
        }
        assert!(taken <= limit_bytes, "{taken} bytes went in, and nobody reads them");
    }
    stream.set_write_timeout(Some(PATIENCE)).expect("a write deadline");
    taken
}

/// Writes the next `bytes` bytes of the pattern.
///
/// # Panics
///
/// When the connection does not take them.
#[track_caller]
pub fn write_pattern(stream: &TcpStream, pattern: &mut Pattern, bytes: u64) {
    let mut block = vec![0; 256 * 1024];
    let mut left = bytes;
    while left > 0 {
        let count = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        pattern.fill(&mut block[..count]);
        (&*stream)
            .write_all(&block[..count])
            .unwrap_or_else(|error| panic!("with {left} bytes to send: {error}"));
        left -= count as u64;
    }
}

/// Reads `bytes` bytes and checks each against the pattern.
///
/// # Panics
///
/// When a byte is wrong, or the stream ends or stalls before them.
#[track_caller]
pub fn check_pattern(stream: &TcpStream, pattern: &mut Pattern, bytes: u64) {
    let mut block = vec![0; 256 * 1024];
    let mut left = bytes;
    while left > 0 {
        let room = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match (&*stream).read(&mut block[..room]) {
            Ok(0) => panic!("the stream ended with {left} bytes to come"),
            Ok(count) => {
                pattern.check(&block[..count]);
                left -= count as u64;
            }
            Err(error) => panic!("with {left} bytes to come: {error}"),
        }
    }
}

/// Reads to the end, checks each byte against the pattern, and returns how many there were.
///
/// # Panics
///
/// When a byte is wrong, or the stream stalls or breaks.
#[track_caller]
pub fn check_pattern_to_end(stream: &TcpStream, pattern: &mut Pattern) -> u64 {
    let start = pattern.position();
    let mut block = vec![0; 256 * 1024];
    loop {
        match (&*stream).read(&mut block) {
            Ok(0) => return pattern.position() - start,
            Ok(count) => pattern.check(&block[..count]),
            Err(error) => panic!("after {} bytes: {error}", pattern.position() - start),
        }
    }
}

fn read_to_end(stream: &mut TcpStream) -> io::Result<u64> {
    io::copy(stream, &mut io::sink())
}

fn with_deadlines(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("a read deadline");
    stream.set_write_timeout(Some(PATIENCE)).expect("a write deadline");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream
}

fn local_address(socket: &Socket) -> SocketAddr {
    let address = socket.local_addr().expect("a bound socket has an address");
    address.as_socket().expect("an address of IP's")
}
