//! What goes on on one stream whose both sides have a key: the peer brings the handshake through, and then
//! says what the fuzzer wants.

use vmsgr_messenger::msgr2::*;

use crate::peer::{Options, Peer};
use crate::{CUT, DIAL, Run, SESSION, SPOILT, STEP, session};

/// What goes on on one stream with a key.
pub struct Talk<'a> {
    run: &'a mut Run,
    peer: Peer,
    how: u8,
    streams: usize,
    at_a_time: usize,
    /// Something that was sealed was changed on its way: nothing may come of what follows.
    spoilt: bool,
}

impl<'a> Talk<'a> {
    pub fn new(
        run: &'a mut Run,
        options: Options,
        how: u8,
        streams: usize,
        at_a_time: usize,
    ) -> Self {
        let side = if how & DIAL != 0 { Side::Acceptor } else { Side::Initiator };
        Self { run, peer: Peer::new(options, side), how, streams, at_a_time, spoilt: false }
    }

    /// The first steps of it; whether that was all that the peer has to say.
    pub fn handshake(&mut self) -> bool {
        let steps = if self.how & 7 == 7 { usize::MAX } else { (self.how & 7).into() };
        (0..steps).any(|_| !self.step())
    }

    pub fn has_opened(&self) -> bool {
        self.run.opened > 0
    }

    /// The peer says something by itself; whether it had anything to say.
    fn step(&mut self) -> bool {
        let (how, streams) = (self.how, self.streams as u64);
        let Some(said) = self.peer.say(|| session(how, streams)) else { return false };
        if let (Some(mode), Some(stream)) = (self.peer.proved(), self.run.stream) {
            self.run.proved.get_or_insert_default().push((stream, mode));
        }
        self.give(&said);
        true
    }

    fn give(&mut self, said: &[u8]) {
        let before = (self.run.received, self.run.opened);
        self.run.give(said, self.at_a_time);
        self.peer.hear(&std::mem::take(&mut self.run.said));
        self.run.take_events();
        let after = (self.run.received, self.run.opened);
        assert!(!self.spoilt || before == after, "something came of what was changed");
        let refused = self.run.seals || !self.peer.is_sealed() || self.run.stream.is_none();
        assert!(refused, "what is sealed is taken without a secret");
    }

    fn give_spoilt(&mut self, said: &[u8]) {
        self.spoilt |= self.peer.is_sealed();
        self.give(said);
    }

    /// Frames, as [`crate::frames`] takes them, each given by itself.
    pub fn frames(&mut self, bytes: &mut &[u8]) {
        for _ in 0..40 {
            let Some(([tag, length], rest)) = bytes.split_first_chunk() else { break };
            match *tag {
                CUT => return,
                STEP => {
                    *bytes = rest;
                    self.step();
                    continue;
                }
                SESSION => {
                    *bytes = rest;
                    let wire = self.peer.untimely(&session(self.how, self.streams as u64));
                    self.give(&wire);
                    continue;
                }
                _ => {}
            }
            let spoil = *tag & SPOILT != 0;
            let Ok(tag) = Tag::try_from(*tag & !SPOILT) else { break };
            let (payload, rest) = rest.split_at(rest.len().min((*length).into()));
            *bytes = rest;
            if spoil {
                let (good, changed) = self.peer.spoilt(tag, payload);
                self.give(&good);
                self.give_spoilt(&changed);
                let ended = self.run.stream.is_none();
                assert!(ended || !self.peer.must_end(), "what was changed is taken");
            } else {
                let wire = self.peer.frame(tag, payload);
                self.give(&wire);
            }
        }
        let rest = std::mem::take(bytes);
        self.peer.raw(rest);
        self.give_spoilt(rest);
    }
}
