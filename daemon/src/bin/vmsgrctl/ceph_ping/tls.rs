//! Whether it is TLS that does not answer: such a server may say nothing to what is no TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A client's hello that offers TLS 1.2 with cipher suites that nearly everybody knows. Whatever
/// the answer is, a hello or an alert, it is TLS.
fn hello() -> Vec<u8> {
    const SUITES: [[u8; 2]; 4] = [[0xc0, 0x2f], [0xc0, 0x2b], [0x00, 0x9c], [0x00, 0x2f]];
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    // No session to go on with.
    body.push(0);
    body.extend([0, 2 * SUITES.len() as u8]);
    body.extend(SUITES.as_flattened());
    // No compression.
    body.extend([1, 0]);
    let length = body.len() as u8;
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

/// Asks on a connection of its own.
pub fn answers(address: SocketAddr, time_out: Duration) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, time_out) else { return false };
    let mut answer = [0; 2];
    stream.set_read_timeout(Some(time_out)).is_ok()
        && stream.set_write_timeout(Some(time_out)).is_ok()
        && stream.write_all(&hello()).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && matches!(answer, [0x15 | 0x16, 3])
}
