//! The frames of a stream as a home of pending data: they go to the socket from where they lie.

use std::fmt;
use std::io;

use vmsgr_reactor::Socket;

use super::SharedEndpoint;
use super::ready::Sign;
use crate::msgr2::StreamId;

/// Pending data of a stream. Its producer is the endpoint, which makes more frames as these are
/// written, and so knows by itself how much may wait.
pub(crate) struct Outgoing {
    endpoint: SharedEndpoint,
    stream: StreamId,
    sign: Sign,
}

impl Outgoing {
    pub(super) fn new(endpoint: SharedEndpoint, stream: StreamId, sign: Sign) -> Self {
        Self { endpoint, stream, sign }
    }

    pub(crate) fn len(&self) -> usize {
        self.endpoint.borrow().output_bytes(self.stream)
    }

    pub(crate) fn write_to<S: Socket>(&self, socket: &mut S) -> (usize, io::Result<usize>) {
        let endpoint = self.endpoint.borrow();
        let slices = endpoint.output(self.stream);
        let offered = slices.iter().map(|slice| slice.len()).sum();
        let outcome = match &*slices {
            [slice] => socket.send(slice),
            slices => socket.send_slices(slices),
        };
        (offered, outcome)
    }

    pub(crate) fn consume(&mut self, count: usize) {
        if count > 0 {
            let mut endpoint = self.endpoint.borrow_mut();
            endpoint.sent(self.stream, count);
            if endpoint.has_events() {
                self.sign.raise();
            }
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({} bytes of {:?})", self.len(), self.stream)
    }
}
