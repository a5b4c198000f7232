//! How many messages have come back so far, for whoever wants to see that while it is being
//! measured.
//!
//! One number for the whole process, since it has one generator at a time. The generators add to it
//! once a tick or a wait, never for a message: it must not cost them anything.

use std::sync::atomic::{AtomicU64, Ordering};

/// Written by the generators, read by whoever shows it; nothing else depends on it.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// So many more came back.
pub(super) fn add(messages: u64) {
    ANSWERED.fetch_add(messages, Ordering::Relaxed);
}

/// Messages that came back since the process began, warm-up included.
pub fn answered() -> u64 {
    ANSWERED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Options, run};
    use std::io;
    use std::net::TcpListener;
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn what_is_measured_has_been_told_by_then() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = Options {
            address: listener.local_addr().unwrap(),
            connections: 1,
            depth: 1,
            size: 64,
            duration: Duration::from_millis(50),
            warm_up: Duration::ZERO,
            verify: false,
            core: None,
            server_core: None,
            servers: Vec::new(),
            probe: None,
            rate: None,
            slow: 0,
        };
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            io::copy(&mut &stream, &mut &stream)
        });
        let before = answered();
        let outcome = run(&options, &AtomicBool::new(false)).unwrap();
        assert!(outcome.messages > 0 && answered() - before >= outcome.messages);
        server.join().unwrap().unwrap();
    }
}
