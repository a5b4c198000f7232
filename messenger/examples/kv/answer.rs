//! Writes answers, version 2 of the Redis protocol.

use std::fmt::Display;
use std::io::Write;

pub(crate) fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text);
}

/// `error` begins with its code.
pub(crate) fn error(out: &mut Vec<u8>, error: impl Display) {
    line(out, b'-', error);
}

pub(crate) fn integer(out: &mut Vec<u8>, number: i64) {
    line(out, b':', number);
}

pub(crate) fn array(out: &mut Vec<u8>, length: usize) {
    line(out, b'*', length);
}

pub(crate) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    line(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn nothing(out: &mut Vec<u8>) {
    out.extend_from_slice(b"$-1\r\n");
}

fn line(out: &mut Vec<u8>, sign: u8, text: impl Display) {
    out.push(sign);
    let begin = out.len();
    // A vector takes everything.
    let _ = write!(out, "{text}");
    // What comes from others may be in an error's text: a line stays one.
    for byte in &mut out[begin..] {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}
