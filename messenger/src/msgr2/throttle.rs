//! Throttles: how much may be received that nobody has taken yet.

/// Bounds of what a session has handed out and its receiver has not yet taken. At a bound the
/// session's connection is no longer read; the message that reaches it may exceed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// Messages.
    pub messages: u64,
    /// Bytes of their fronts, middles and data.
    pub bytes: u64,
}

impl Default for ThrottleLimits {
    fn default() -> Self {
        Self { messages: 1024, bytes: 100 << 20 }
    }
}

/// What has not been taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Throttle {
    limits: ThrottleLimits,
    messages: u64,
    bytes: u64,
}

impl Throttle {
    pub(super) fn new(limits: ThrottleLimits) -> Self {
        Self { limits, messages: 0, bytes: 0 }
    }

    /// Whether nothing more may be received.
    pub(super) fn is_full(&self) -> bool {
        self.messages >= self.limits.messages.max(1) || self.bytes >= self.limits.bytes.max(1)
    }

    pub(super) fn received(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }

    /// Whether it was full and is not any more.
    pub(super) fn taken(&mut self, messages: u64, bytes: u64) -> bool {
        let was_full = self.is_full();
        // Who says to have taken more than there was does not get credit for it.
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
        was_full && !self.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_by_messages_or_bytes_and_opens_when_both_are_below() {
        let mut throttle = Throttle::new(ThrottleLimits { messages: 2, bytes: 100 });
        throttle.received(99);
        assert!(!throttle.is_full());
        throttle.received(500);
        assert!(throttle.is_full());
        assert!(!throttle.taken(1, 99), "500 bytes are there still");
        assert!(throttle.taken(1, 500));
        assert!(!throttle.taken(9, 9000));
        throttle.received(0);
        throttle.received(0);
        assert!(throttle.is_full());
    }
}
