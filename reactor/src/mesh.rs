//! Messages between cores: a ring from each to each, and a doorbell for who sleeps.
//!
//! A message is [posted](Port::post) to an outbox, and all that a turn posted to one peer is
//! [published](Port::publish) together: one fence, at most one doorbell. What finds the ring full
//! stays in the outbox, and the receiver rings when it has made room. Nobody spins, nothing is lost.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use ringbuf::traits::{Consumer, Observer, Producer, Split};
use ringbuf::{HeapCons, HeapProd, HeapRb};

use crate::counters::Counters;
use crate::doorbell::Doorbell;
use crate::room::RoomFlag;
use crate::sleep::SleepFlag;

/// Messages that a ring from one core to another holds; an outbox holds as many again.
pub const RING_MESSAGES: usize = 1024;

/// What the others may touch of a member of the mesh: how to wake it.
#[derive(Debug)]
struct Sleeper {
    sleep: SleepFlag,
    doorbell: Doorbell,
}

/// Wakes a member of the mesh from any thread, whether it sleeps or not. For what is rare and does
/// not come through the mesh.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Sleeper>);

impl Waker {
    /// Rings its doorbell.
    pub fn wake(&self) {
        self.0.doorbell.ring();
    }
}

/// One member's end of the mesh. Belongs to one thread.
#[derive(Debug)]
pub struct Port<M> {
    index: usize,
    own: Arc<Sleeper>,
    /// By the index of the peer; `None` at the own index.
    links: Vec<Option<Link<M>>>,
    /// The peer whose ring is looked at first by the next [`take`](Self::take).
    next: usize,
}

struct Link<M> {
    peer: Arc<Sleeper>,
    outbox: VecDeque<M>,
    /// A message was refused since the outbox was full.
    refused: bool,
    to: HeapProd<M>,
    /// Ours: set while the outbox holds what the ring had no room for.
    want_room: Arc<RoomFlag>,
    from: HeapCons<M>,
    /// The peer's, for the ring that we read.
    peer_wants_room: Arc<RoomFlag>,
}

impl<M> std::fmt::Debug for Link<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (outbox, to, from) =
            (self.outbox.len(), self.to.occupied_len(), self.from.occupied_len());
        write!(f, "Link(outbox {outbox}, to {to}, from {from})")
    }
}

/// Connects `members` threads, each to each; one port for every one of them.
pub fn mesh<M>(members: usize) -> io::Result<Vec<Port<M>>> {
    with_capacity(members, RING_MESSAGES)
}

fn with_capacity<M>(members: usize, capacity: usize) -> io::Result<Vec<Port<M>>> {
    let sleepers = (0..members)
        .map(|_| Ok(Arc::new(Sleeper { sleep: SleepFlag::new(), doorbell: Doorbell::new()? })))
        .collect::<io::Result<Vec<_>>>()?;
    let mut ports: Vec<Port<M>> = sleepers
        .iter()
        .enumerate()
        .map(|(index, own)| Port {
            index,
            own: Arc::clone(own),
            links: (0..members).map(|_| None).collect(),
            next: 0,
        })
        .collect();
    for a in 0..members {
        for b in a + 1..members {
            let (a_to_b, b_from_a) = HeapRb::new(capacity).split();
            let (b_to_a, a_from_b) = HeapRb::new(capacity).split();
            let (a_wants, b_wants) = (Arc::new(RoomFlag::new()), Arc::new(RoomFlag::new()));
            let link = |peer: usize, to, from, want_room: &Arc<_>, peer_wants_room: &Arc<_>| Link {
                peer: Arc::clone(&sleepers[peer]),
                outbox: VecDeque::new(),
                refused: false,
                to,
                want_room: Arc::clone(want_room),
                from,
                peer_wants_room: Arc::clone(peer_wants_room),
            };
            ports[a].links[b] = Some(link(b, a_to_b, a_from_b, &a_wants, &b_wants));
            ports[b].links[a] = Some(link(a, b_to_a, b_from_a, &b_wants, &a_wants));
        }
    }
    Ok(ports)
}

impl<M> Port<M> {
    /// This member's place in the mesh.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Members of the mesh, this one counted in.
    pub fn members(&self) -> usize {
        self.links.len()
    }

    /// What wakes this member from other threads.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.own))
    }

    /// What wakes this member; to be registered with the poll that it sleeps in.
    pub fn doorbell(&self) -> &Doorbell {
        &self.own.doorbell
    }

    /// Puts `message` into the outbox for `peer`, from where [`publish`](Self::publish) takes it.
    /// Gives it back if the outbox is full as well as the ring: do without, or try again when
    /// [`relieved`](Self::relieved) names the peer.
    ///
    /// # Panics
    /// If `peer` is this member itself or no member.
    pub fn post(&mut self, peer: usize, message: M) -> Result<(), M> {
        let link = self.links[peer].as_mut().expect("a member posts to others only");
        if link.outbox.len() >= link.to.capacity().get() {
            link.refused = true;
            return Err(message);
        }
        link.outbox.push_back(message);
        Ok(())
    }

    /// Moves the outboxes into the rings, and rings the doorbell of each receiver that sleeps.
    pub fn publish(&mut self, counters: &mut Counters) {
        for link in self.links.iter_mut().flatten().filter(|link| !link.outbox.is_empty()) {
            let moved = link.fill();
            counters.mesh_out += moved as u64;
            let left = !link.outbox.is_empty();
            counters.ring_full += u64::from(left);
            link.want_room.want(left);
            if moved > 0 {
                if link.peer.sleep.rouse() {
                    link.peer.doorbell.ring();
                    counters.doorbells_rung += 1;
                } else {
                    counters.doorbells_saved += 1;
                }
            }
        }
    }

    /// A peer for which a message was refused, and for which there is room in the outbox again.
    pub fn relieved(&mut self) -> Option<usize> {
        let peer =
            self.links.iter().position(|link| link.as_ref().is_some_and(Link::is_relieved))?;
        self.links[peer].as_mut()?.refused = false;
        Some(peer)
    }

    /// Takes one message, from the peers in turn; who it is from and what it says.
    pub fn take(&mut self) -> Option<(usize, M)> {
        let members = self.links.len();
        for peer in (self.next..members).chain(0..self.next) {
            let Some(link) = &mut self.links[peer] else { continue };
            if let Some(message) = link.from.try_pop() {
                self.next = (peer + 1) % members;
                return Some((peer, message));
            }
        }
        None
    }

    /// Tells the peers that waited for it that their rings have room. After some
    /// [`take`](Self::take)s, and before sleeping.
    pub fn made_room(&mut self, counters: &mut Counters) {
        for link in self.links.iter().flatten() {
            if link.peer_wants_room.made(&link.peer.sleep) {
                link.peer.doorbell.ring();
                counters.doorbells_rung += 1;
            }
        }
    }

    /// Something can be done at once: a message to take, room for one that waits, or a peer that
    /// is [relieved](Self::relieved).
    pub fn has_work(&self) -> bool {
        self.links.iter().flatten().any(|link| {
            !link.from.is_empty()
                || (!link.outbox.is_empty() && !link.to.is_full())
                || link.is_relieved()
        })
    }

    /// Declares that this member is going to sleep; false if there is work after all, and then it
    /// is awake.
    pub fn fall_asleep(&self) -> bool {
        self.own.sleep.declare();
        let may_sleep = !self.has_work();
        if !may_sleep {
            self.own.sleep.cancel();
        }
        may_sleep
    }

    /// This member is awake.
    pub fn woke_up(&self) {
        self.own.sleep.cancel();
    }
}

impl<M> Link<M> {
    fn is_relieved(&self) -> bool {
        self.refused && self.outbox.len() < self.to.capacity().get()
    }

    /// Moves from the outbox to the ring what it has room for.
    fn fill(&mut self) -> usize {
        let room = self.to.vacant_len().min(self.outbox.len());
        self.to.push_iter(self.outbox.drain(..room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    fn rung<M>(port: &Port<M>) -> bool {
        let mut fds = [PollFd::new(port.doorbell().as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    fn pair(capacity: usize) -> (Port<u32>, Port<u32>, Counters) {
        let mut ports = with_capacity(2, capacity).unwrap();
        let b = ports.pop().unwrap();
        (ports.pop().unwrap(), b, Counters::default())
    }

    #[test]
    fn a_doorbell_rings_for_a_sleeper_once_and_for_nobody_else() {
        let (mut a, b, mut counters) = pair(4);
        a.post(1, 1).unwrap();
        a.publish(&mut counters);
        assert_eq!((counters.doorbells_rung, counters.doorbells_saved), (0, 1));
        assert!(!rung(&b));
        assert!(!b.fall_asleep(), "there is a message to take");
        let mut b = b;
        assert_eq!(b.take(), Some((0, 1)));
        assert!(b.fall_asleep());
        for n in [2, 3] {
            a.post(1, n).unwrap();
            a.publish(&mut counters);
        }
        assert!(rung(&b));
        assert_eq!((counters.doorbells_rung, counters.doorbells_saved), (1, 2));
        b.woke_up();
        assert_eq!((b.take(), b.take(), b.take()), (Some((0, 2)), Some((0, 3)), None));
    }

    #[test]
    fn what_a_turn_posts_is_published_together() {
        let (mut a, b, mut counters) = pair(8);
        assert!(b.fall_asleep());
        (0..5).for_each(|n| a.post(1, n).unwrap());
        assert!(!b.has_work(), "not before it is published");
        a.publish(&mut counters);
        assert_eq!((counters.mesh_out, counters.doorbells_rung), (5, 1));
    }

    #[test]
    fn a_full_ring_keeps_messages_at_the_sender_until_the_receiver_makes_room() {
        let (mut a, mut b, mut counters) = pair(2);
        (0..2).for_each(|n| a.post(1, n).unwrap());
        a.publish(&mut counters);
        (2..4).for_each(|n| a.post(1, n).unwrap());
        a.publish(&mut counters);
        assert_eq!((counters.mesh_out, counters.ring_full), (2, 1));
        assert_eq!(a.post(1, 99), Err(99), "ring and outbox are full");
        assert_eq!(a.relieved(), None);
        assert!(a.fall_asleep(), "no room, nothing to do: no spin");
        assert_eq!(b.take(), Some((0, 0)));
        b.made_room(&mut counters);
        assert!(rung(&a));
        a.woke_up();
        assert!(!a.fall_asleep(), "there is room now");
        let mut taken = vec![];
        for _ in 0..3 {
            a.publish(&mut counters);
            taken.extend(b.take().map(|(_, n)| n));
        }
        assert_eq!(taken, [1, 2, 3]);
        assert_eq!((a.relieved(), a.relieved()), (Some(1), None));
        a.publish(&mut counters);
        b.made_room(&mut counters);
        assert!(a.fall_asleep(), "nothing is left");
    }

    #[test]
    fn peers_are_heard_in_turn() {
        let mut ports = with_capacity::<u32>(3, 8).unwrap();
        let mut counters = Counters::default();
        for sender in [1, 2] {
            (0..2).for_each(|n| ports[sender].post(0, n).unwrap());
            ports[sender].publish(&mut counters);
        }
        let taken: Vec<_> = std::iter::from_fn(|| ports[0].take()).collect();
        assert_eq!(taken, [(1, 0), (2, 0), (1, 1), (2, 1)]);
    }

    #[test]
    fn messages_between_threads_arrive_once_and_in_order() {
        const COUNT: u32 = 200_000;
        let (mut a, mut b, _) = pair(64);
        let sleep = |port: &Port<u32>| {
            if port.fall_asleep() {
                let mut fds = [PollFd::new(port.doorbell().as_fd(), PollFlags::POLLIN)];
                // A lost doorbell would hang here: the time-out turns that into a failure.
                assert_eq!(poll(&mut fds, PollTimeout::from(10_000u16)).unwrap(), 1);
                let _ = port.own.doorbell.eventfd().read();
                port.woke_up();
            }
        };
        let sender = std::thread::spawn(move || {
            let mut counters = Counters::default();
            let mut next = 0;
            while next < COUNT || a.links[1].as_ref().is_some_and(|link| !link.outbox.is_empty()) {
                while next < COUNT && a.post(1, next).is_ok() {
                    next += 1;
                }
                a.publish(&mut counters);
                if a.links[1].as_ref().is_some_and(|link| !link.outbox.is_empty()) {
                    sleep(&a);
                }
            }
            counters
        });
        let mut counters = Counters::default();
        let mut expected = 0;
        while expected < COUNT {
            while let Some((_, n)) = b.take() {
                assert_eq!(n, expected);
                expected += 1;
            }
            b.made_room(&mut counters);
            if expected < COUNT {
                sleep(&b);
            }
        }
        assert_eq!(sender.join().unwrap().mesh_out, u64::from(COUNT));
    }
}
