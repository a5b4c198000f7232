//! A way to an address that can be cut, and closed for a while.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// A relay of the test's own, in front of one address: it cuts all connections at any moment, wherever
/// their bytes are.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ways: Mutex<Vec<Way>>,
    refuses: AtomicBool,
    refused: AtomicU64,
}

/// One connection that is relayed.
#[derive(Debug)]
struct Way {
    near: TcpStream,
    far: TcpStream,
    over: Arc<AtomicBool>,
}

impl Cutter {
    /// Where it comes from, so that a firewall's rule can tell it from those whom it serves.
    pub const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    /// In front of `to`, on a loopback port of the kernel's choice.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        // It waits in accept when the test is over, and ends with the process.
        thread::spawn(move || listener.incoming().flatten().for_each(|it| serving.begin(it, to)));
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.ways().iter().filter(|way| !way.over.load(Ordering::SeqCst)).count()
    }

    /// Cuts what there is; how many connections that were.
    pub fn cut(&self) -> usize {
        let mut ways = self.shared.ways();
        ways.drain(..).filter(Way::cut).count()
    }

    /// From here on every connection is reset as soon as it is made, or none is any more.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// How many connections it has reset so far.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn ways(&self) -> std::sync::MutexGuard<'_, Vec<Way>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, near: TcpStream, to: SocketAddr) {
        if self.refuses.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            let _ = SockRef::from(&near).set_linger(Some(Duration::ZERO));
            return;
        }
        // Nobody is there any more: as if it had been cut.
        let Ok(far) = connect(to) else { return };
        let over = Arc::<AtomicBool>::default();
        let clone = |one: &TcpStream| one.try_clone().expect("there are descriptors");
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (from, to, over) = (clone(from), clone(to), Arc::clone(&over));
            thread::spawn(move || copy(from, to, &over));
        }
        let mut ways = self.ways();
        ways.retain(|way| !way.over.load(Ordering::SeqCst));
        ways.push(Way { near, far, over });
    }
}

impl Way {
    /// Cuts it; false if it was over already.
    fn cut(&self) -> bool {
        let over = self.over.swap(true, Ordering::SeqCst);
        // Who is gone already cannot be cut off.
        let _ = self.near.shutdown(Shutdown::Both);
        let _ = self.far.shutdown(Shutdown::Both);
        !over
    }
}

fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Cutter::FROM, 0)).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

fn copy(mut from: TcpStream, mut to: TcpStream, over: &AtomicBool) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    over.store(true, Ordering::SeqCst);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
