//! What the entities of a core have done, in numbers.

/// What the entities of a core have done, and what they have now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntitySums {
    /// Messages that came.
    pub messages_in: u64,
    /// Bytes of their fronts, middles and data.
    pub message_bytes_in: u64,
    /// Messages of which frames were made.
    pub messages_out: u64,
    /// Streams that became sessions, or went on with one.
    pub opened: u64,
    /// Streams that were closed here: no session in time, silence, or a broken rule.
    pub closed: u64,
    /// Times that a stream was not read, since its session had no room.
    pub held: u64,
    /// Sessions now.
    pub sessions: u64,
    /// Streams now, also those that are not a session yet.
    pub streams: u64,
}

impl EntitySums {
    /// Adds those of another entity or core.
    pub fn add(&mut self, other: &Self) {
        let Self {
            messages_in,
            message_bytes_in,
            messages_out,
            opened,
            closed,
            held,
            sessions,
            streams,
        } = other;
        self.messages_in += messages_in;
        self.message_bytes_in += message_bytes_in;
        self.messages_out += messages_out;
        self.opened += opened;
        self.closed += closed;
        self.held += held;
        self.sessions += sessions;
        self.streams += streams;
    }
}
