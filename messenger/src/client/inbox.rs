//! What a connection of messages has read: the message whose turn it is, and what there is of one
//! that comes in parts.

use super::halves::Receiving;
use super::message::{Incoming, Message, Pieces};
use super::place::Place;
use super::receiver::{self, Receiver};
use crate::shm::part::{Envelope, LARGEST_MESSAGE, Notice};
use crate::shm::part_reader::{Body, Found, PartReader};

/// The reading side of a connection of messages.
#[derive(Debug)]
pub(super) struct Inbox {
    reader: PartReader,
    head: Option<Head>,
}

/// What comes next, and was not consumed.
#[derive(Debug)]
struct Head {
    /// Bytes of the ring that are consumed with it.
    bytes: u32,
    what: What,
}

#[derive(Debug)]
enum What {
    /// It lies in the ring.
    InPlace(Envelope),
    /// Its last part lies in the ring, and all of it here.
    Whole(Envelope, Vec<u8>),
    Notice(Notice),
}

impl Inbox {
    /// Of a connection that was found at a takeover, or of one that begins.
    pub(super) fn new(resumed: bool) -> Self {
        // How large they may be the daemon has checked, whom an application trusts.
        let reader = match resumed {
            true => PartReader::resume(LARGEST_MESSAGE),
            false => PartReader::new(LARGEST_MESSAGE),
        };
        Self { reader, head: None }
    }

    /// Reads until there is something whole, or nothing is left.
    pub(super) fn look(&mut self, receiver: &mut Receiver<'_>) {
        let lanes = receiver.place.lanes;
        while self.head.is_none() && lanes.contradiction().is_none() {
            let (offset, unread) = receiver.place.unread_at(receiver.view.consumed);
            match self.reader.next(receiver.place.receive_ring(), offset, unread) {
                Ok(None) => return,
                Err(rule) => lanes.contradicts(rule.text()),
                Ok(Some(part)) => {
                    let what = match part.found {
                        Found::Some => {
                            receiver.consumed(part.bytes as usize);
                            continue;
                        }
                        Found::InPlace(envelope, _) => What::InPlace(envelope),
                        Found::Whole(envelope, body) => What::Whole(envelope, body),
                        Found::Notice(notice) => What::Notice(notice),
                    };
                    self.head = Some(Head { bytes: part.bytes, what });
                }
            }
        }
    }

    /// What comes next, if that was found by a [look](Self::look).
    ///
    /// It is borrowed from what is read as well, so that nothing is consumed meanwhile.
    pub(super) fn head<'s>(
        &'s self,
        place: Place<'s>,
        receiving: &'s Receiving,
    ) -> Option<Incoming<'s>> {
        let (envelope, pieces) = match &self.head.as_ref()?.what {
            What::Notice(notice) => return Some(Incoming::Notice(*notice)),
            What::Whole(envelope, body) => {
                let (front, rest) = body.split_at(envelope.front as usize);
                let (middle, data) = rest.split_at(envelope.middle as usize);
                (envelope, [front, middle, data].map(Pieces::from))
            }
            What::InPlace(envelope) => {
                let (offset, _) = place.unread_at(receiving.consumed);
                let Body { front, middle, data } = Body::at(place.receive_ring(), offset, envelope);
                let pieces = [front, middle, data].map(|pieces| {
                    let (front, back) = receiver::slices(pieces, receiving);
                    Pieces::new(front, back)
                });
                (envelope, pieces)
            }
        };
        let ([front, middle, data], header) = (pieces, envelope.header());
        Some(Incoming::Message(Message { header, front, middle, data }))
    }

    /// What comes next is a message.
    pub(super) fn has_message(&self) -> bool {
        self.head.as_ref().is_some_and(|head| !matches!(head.what, What::Notice(_)))
    }

    /// What comes next is done with: so many bytes are to be consumed, 0 if there is nothing.
    pub(super) fn done(&mut self) -> u32 {
        self.head.take().map_or(0, |head| head.bytes)
    }
}
