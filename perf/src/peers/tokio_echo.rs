//! tokio's echo: the current_thread runtime with its defaults, a task per connection with a buffer
//! of its own.

use std::io::Result;
use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Size of each task's buffer in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Echoes whatever arrives on connections to `listener`, for ever.
///
/// # Errors
/// When the runtime cannot start or accept fails. A connection that fails ends alone.
pub fn serve(listener: TcpListener) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            // An error is the end of this connection, and of nothing else.
            tokio::spawn(async move { echo(stream).await.ok() });
        }
    })
}

async fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
    }
}
