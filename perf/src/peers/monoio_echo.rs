//! monoio's echo: a task per connection with a buffer of its own, on one of its two drivers.

use std::io::Result;
use std::net::TcpListener;

use io_uring::{Builder, IoUring};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// Size of each task's buffer in bytes, as tokio's echo has it.
const BUFFER_BYTES: usize = 64 * 1024;

/// What monoio asks the kernel with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// epoll, which monoio calls its legacy driver.
    Epoll,
    /// io_uring as monoio sets it up.
    Uring,
    /// io_uring with `IORING_SETUP_SINGLE_ISSUER` and `IORING_SETUP_DEFER_TASKRUN`: completions are
    /// worked off when the loop asks for them, not whenever one arrives. Linux 6.1.
    UringDefer,
}

/// Whether this kernel gives a ring of that kind to this process.
///
/// # Errors
/// What `io_uring_setup` answered: it is missing, switched off (`kernel.io_uring_disabled`, a
/// container's seccomp filter), or does not know the flags.
pub fn probe(driver: Driver) -> Result<()> {
    match driver {
        Driver::Epoll => Ok(()),
        Driver::Uring | Driver::UringDefer => ring(driver).build(8).map(drop),
    }
}

/// Echoes whatever arrives on connections to `listener`, for ever.
///
/// # Errors
/// When the runtime cannot start or accept fails. A connection that fails ends alone.
pub fn serve(listener: TcpListener, driver: Driver) -> Result<()> {
    match driver {
        Driver::Epoll => {
            RuntimeBuilder::<LegacyDriver>::new().build()?.block_on(accept_all(listener))
        }
        Driver::Uring | Driver::UringDefer => {
            // A non-blocking descriptor makes io_uring answer EAGAIN instead of waiting.
            listener.set_nonblocking(false)?;
            let builder = RuntimeBuilder::<IoUringDriver>::new().uring_builder(ring(driver));
            builder.build()?.block_on(accept_all(listener))
        }
    }
}

fn ring(driver: Driver) -> Builder {
    let mut builder = IoUring::builder();
    if driver == Driver::UringDefer {
        builder.setup_single_issuer().setup_defer_taskrun();
    }
    builder
}

async fn accept_all(listener: TcpListener) -> Result<()> {
    let listener = monoio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // An error is the end of this connection, and of nothing else.
        monoio::spawn(async move { echo(stream).await.ok() });
    }
}

async fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    // The buffer belongs to the kernel while an operation is under way, and comes back with it; its
    // length is what was read, its capacity stays.
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, emptied) = stream.write_all(filled).await;
        written?;
        buffer = emptied;
    }
}
