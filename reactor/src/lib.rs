//! One event loop per pinned thread: sockets, pending data, timers, and a mesh between the cores.
//!
//! This crate is for servers that give each core its own connections and never share one. It knows
//! of sockets and bytes; what the bytes mean is its user's business, who implements [`Handler`].
//!
//! # The picture
//!
//! ```text
//!   core 0                              core 1
//!  +--------------------------------+  +--------------------------------+
//!  | Handler  (yours)               |  | Handler                        |
//!  |    ^ |                         |  |                                |
//!  |    | v                         |  |                                |
//!  | Core: streams, listeners,      |  | Core                           |
//!  |       timers, ready list       |  |                                |
//!  |    ^                           |  |                                |
//!  | Loop::turn                     |  | Loop::turn                     |
//!  +----|---------|-----------------+  +---|---------|------------------+
//!     epoll      Port <=== rings, doorbells ===> Port   epoll
//! ```
//!
//! One turn of a [`Loop`] waits (or not, while there is work), makes a list of what is ready, runs
//! each within its [`Budget`], sends what is pending with one `writev` per connection, and publishes
//! messages to other cores with at most one doorbell per core. The whole of it is in `turn.rs`.
//!
//! # The words
//!
//! - *Pending data* ([`Pending`]): bytes that wait for a socket. A send first offers the bytes to
//!   the socket; only what the kernel does not take becomes pending. That moment, empty to
//!   non-empty, is what registers WRITABLE, and the way back removes it.
//! - *Touched*: a stream whose pending data, interest or end may have changed in this turn. At the
//!   end of the turn each is settled once: flushed, ended if it is time, its interest brought up
//!   to date.
//! - *Budget*: the bytes that one stream, the connections that one listener may move in a turn.
//! - *Marks* ([`Marks`]): where pending data is full, and its producer is stopped, and where it is
//!   relieved, and the producer goes on.
//! - *Doorbell* ([`Doorbell`]): an eventfd, rung for a member of the mesh that has declared that it
//!   sleeps, and for nobody else.
//!
//! # Example
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::SocketAddr;
//! use mio::net::{TcpListener, TcpStream};
//! use vmsgr_reactor::{
//!     Budget, ByteQueue, Core, End, Handler, Loop, Received, SpinPolicy, Token, mesh,
//! };
//!
//! /// Sends back what it receives; stops when its first client has left.
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Socket = TcpStream;
//!     type Pending = ByteQueue;
//!     type Stream = ();
//!     type Listener = ();
//!     type Timer = ();
//!     type Message = ();
//!
//!     fn accepted(&mut self, core: &mut Core<Self>, _: Token, socket: TcpStream, _: SocketAddr) {
//!         core.add(socket, ByteQueue::default(), ()).unwrap();
//!     }
//!     fn readable(&mut self, core: &mut Core<Self>, stream: Token) {
//!         if core.transfer(stream, stream) == Received::End {
//!             core.finish(stream);
//!         }
//!     }
//!     fn closed(&mut self, core: &mut Core<Self>, _: TcpStream, _: (), _: End) {
//!         core.stop();
//!     }
//!     fn message(&mut self, _: &mut Core<Self>, _: usize, _: ()) {}
//! }
//!
//! let listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
//! let address = listener.local_addr()?;
//! let client = std::thread::spawn(move || -> std::io::Result<[u8; 5]> {
//!     let mut socket = std::net::TcpStream::connect(address)?;
//!     let mut answer = [0; 5];
//!     socket.write_all(b"hello")?;
//!     socket.read_exact(&mut answer)?;
//!     Ok(answer)
//! });
//!
//! let port = mesh(1)?.remove(0);
//! let mut server = Loop::new(Echo, port, SpinPolicy::Auto, Budget::default())?;
//! server.handler().1.listen(listener, ())?;
//! server.run()?;
//! assert_eq!(&client.join().unwrap()?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds
//!
//! At the end of every turn, asserted in debug builds, with a test and a [counter](Counters) each:
//! WRITABLE is registered if and only if data is pending (I1). A loop with nothing to do makes no
//! system call (I2). A doorbell rings only for a sleeper (I3). Nothing grows without a bound, and
//! nothing is dropped to keep it so (I4). Bytes arrive once and in order, or the stream ends with
//! an error (I5). One turn is bounded (I6). A core touches only its own state (I7).

mod core;
mod cores;
mod counters;
mod doorbell;
mod handler;
mod listener;
mod listening;
mod mesh;
#[cfg(all(test, loom))]
mod models;
mod pending;
mod room;
#[cfg(all(test, not(loom)))]
mod scripted;
mod sleep;
mod socket;
mod spare;
mod spin;
mod stage;
mod stream;
mod sync;
mod threads;
mod timers;
mod token;
mod transfer;
mod turn;

pub use core::{Budget, Core};
pub use cores::{CoreMask, CoreMaskError, pin_current_thread};
pub use counters::{Counters, Kind};
pub use doorbell::Doorbell;
pub use handler::{End, Handler};
pub use mesh::{Port, RING_MESSAGES, Waker, mesh};
pub use pending::{ByteQueue, Marks, Pending};
pub use socket::Socket;
pub use spin::{SpinPolicy, SpinPolicyError};
pub use stream::Received;
pub use threads::{Exit, Threads};
pub use timers::{TimerId, Timers};
pub use token::Token;
pub use turn::Loop;
