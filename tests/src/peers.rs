//! What the peers of the application `resuming` do, and the sizes and patterns that both know.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::pattern::Pattern;
use crate::random::Random;
use crate::sockets::{check_pattern_to_end, connect, half_close, write_pattern};

/// The seeds of the patterns from the peer to the application, and back.
pub const SEEDS: [u64; 2] = [5, 6];

/// What a request is long.
pub const REQUEST_BYTES: usize = 13;

/// What its answer is long.
pub const ANSWER_BYTES: usize = 37;

/// A peer that sends its pattern until it is told to stop, and checks what comes.
#[derive(Debug)]
pub struct PatternPeer {
    /// Its end of the connection.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    writer: JoinHandle<u64>,
    reader: JoinHandle<u64>,
}

impl PatternPeer {
    /// Connects, and begins with messages of any length up to `most` times `unit` bytes, with a rest
    /// of any length up to `rest` after each.
    ///
    /// # Panics
    ///
    /// When it cannot connect.
    #[track_caller]
    pub fn begin(to: SocketAddr, (unit, most): (usize, usize), rest: Duration, seed: u64) -> Self {
        let stream = connect(to);
        let address = stream.local_addr().expect("it is connected");
        let (stop, mut random) = (Arc::new(AtomicBool::new(false)), Random::new(seed));
        let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        let (write, read, stopped) = (clone(&stream), stream, Arc::clone(&stop));
        let writer = thread::spawn(move || {
            let mut pattern = Pattern::new(SEEDS[0]);
            while !stopped.load(Ordering::Relaxed) {
                write_pattern(&write, &mut pattern, (unit * random.length(most)) as u64);
                if !rest.is_zero() {
                    thread::sleep(Duration::from_nanos(random.below(rest.as_nanos() as u64)));
                }
            }
            half_close(&write);
            pattern.position()
        });
        let reader =
            thread::spawn(move || check_pattern_to_end(&read, &mut Pattern::new(SEEDS[1])));
        Self { address, stop, writer, reader }
    }

    /// Whether it is still at it: not if the connection has broken, or has brought a wrong byte.
    pub fn goes_on(&self) -> bool {
        !self.writer.is_finished() && !self.reader.is_finished()
    }

    /// Ends its direction, and waits for the end of the other; the bytes that it sent and got.
    ///
    /// # Panics
    ///
    /// When a byte was wrong, or the connection broke or stalled.
    #[track_caller]
    pub fn finish(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.writer.join().expect("all that it sends is taken");
        (sent, self.reader.join().expect("all that comes is as it should be"))
    }
}
