//! Keepalives of a connection: when to ask, and when to give up.

use std::time::Instant;

use super::config::Keepalive;

/// What the silence of a peer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing.
    Fine,
    /// To ask.
    Ask,
    /// To give up.
    Dead,
}

#[derive(Debug)]
pub(super) struct Pulse {
    heard: Instant,
    asked: Option<Asked>,
}

/// A question that was asked.
#[derive(Debug)]
struct Asked {
    /// When, or when something of what lies before it was last seen to go out.
    at: Instant,
    /// Bytes that had gone out by then.
    gone: u64,
    /// Those that have when all that lies before it is out.
    before: u64,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, asked: None }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    pub(super) fn deadline(&self, keepalive: Keepalive) -> Instant {
        match &self.asked {
            Some(Asked { at, .. }) => *at + keepalive.patience,
            None => self.heard + keepalive.after,
        }
    }

    /// Of a stream of which so many bytes have gone out. What goes out before a question is the
    /// peer's sign of life: nobody answers one that waits behind a large message.
    pub(super) fn look(&mut self, keepalive: Keepalive, gone: u64, now: Instant) -> Silence {
        if now < self.deadline(keepalive) {
            return Silence::Fine;
        }
        match &mut self.asked {
            Some(asked) if asked.gone < gone && asked.gone < asked.before => {
                (asked.at, asked.gone) = (now, gone);
                Silence::Fine
            }
            Some(_) => Silence::Dead,
            None => Silence::Ask,
        }
    }

    /// It was asked, when so many bytes had gone out and so many more lay before the question.
    pub(super) fn asked(&mut self, gone: u64, more: usize, now: Instant) {
        self.asked = Some(Asked { at: now, gone, before: gone + more as u64 });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const KEEPALIVE: Keepalive = Keepalive { after: SECOND, patience: Duration::from_secs(2) };

    /// A pulse that has asked at this time, when 10 bytes had gone out and so many lay before it.
    fn asked(more: usize) -> (Pulse, Instant) {
        let mut pulse = Pulse::new(Instant::now());
        let at = pulse.heard + SECOND;
        assert_eq!(pulse.look(KEEPALIVE, 10, at), Silence::Ask);
        pulse.asked(10, more, at);
        (pulse, at)
    }

    #[test]
    fn a_question_is_waited_for_while_what_lies_before_it_goes_out() {
        let (mut pulse, mut at) = asked(990);
        for gone in [11, 500, 999, 5000] {
            at += 2 * SECOND;
            assert_eq!(pulse.look(KEEPALIVE, gone, at - SECOND / 2), Silence::Fine);
            assert_eq!(pulse.look(KEEPALIVE, gone, at), Silence::Fine, "{gone}");
            assert_eq!(pulse.deadline(KEEPALIVE), at + 2 * SECOND);
        }
        // What goes out behind it is no sign.
        assert_eq!(pulse.look(KEEPALIVE, 9000, at + 2 * SECOND), Silence::Dead);
    }

    #[test]
    fn nothing_that_goes_out_in_time_is_death_and_a_sign_of_life_is_none() {
        for (more, gone) in [(990, 10), (0, 10), (0, 50)] {
            let (mut pulse, at) = asked(more);
            assert_eq!(pulse.look(KEEPALIVE, gone, at + 2 * SECOND), Silence::Dead, "{more}");
        }
        let (mut pulse, at) = asked(990);
        pulse.heard(at + SECOND);
        assert_eq!(pulse.look(KEEPALIVE, 10, at + 2 * SECOND), Silence::Ask, "again");
    }
}
