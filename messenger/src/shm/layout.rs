//! What lies in a segment: the structures, their offsets asserted. docs/SHM.md explains them.
//!
//! Every structure begins on a cache line, and no line is written by both sides, but for the one
//! that has the flags.

use super::signs::{QueuedSign, RoomSign, SleepSign};
use super::sync::AtomicU64;

/// The first eight bytes of a segment.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"vmsgrshm");

/// Raised with every change of what lies where or means what.
pub(crate) const VERSION: u32 = 4;

/// Words of an entry of the job ring and of the event ring.
pub(crate) const WORDS: usize = 8;

/// What a cursor of a ring lies on: a line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Cursor(pub(crate) AtomicU64);

/// A sleep flag on a line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Sleep(pub(crate) SleepSign);

/// The beginning of a segment. Written by the daemon before anybody else sees it, but for `epoch`.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) version: u32,
    /// Loops of the daemon, and lanes.
    pub(crate) cores: u32,
    /// Connections that there may be at a time.
    pub(crate) slots: u32,
    /// Bytes of a receive ring and of a send ring, powers of two.
    pub(crate) receive_ring_bytes: u32,
    pub(crate) send_ring_bytes: u32,
    pub(crate) reserved: u32,
    pub(crate) segment_bytes: u64,
    /// How often somebody has attached to this segment. Written by the daemon while nobody has.
    pub(crate) epoch: AtomicU64,
}

/// Jobs, events, and who sleeps: what an application and the daemon's main thread share.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Control {
    /// Jobs that were pushed; written by the application.
    pub(crate) jobs_pushed: Cursor,
    /// Jobs that were taken; written by the daemon.
    pub(crate) jobs_taken: Cursor,
    /// Events that were pushed; written by the daemon.
    pub(crate) events_pushed: Cursor,
    /// Events that were taken; written by the application.
    pub(crate) events_taken: Cursor,
    /// The daemon's main thread sleeps.
    pub(crate) daemon: Sleep,
    /// The application sleeps.
    pub(crate) application: Sleep,
}

/// The cursors between an application and one core. The two ready rings of the lane follow.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Lane {
    /// Numbers pushed to the application; written by the core.
    pub(crate) up_pushed: Cursor,
    /// Numbers taken by the application; written by it.
    pub(crate) up_taken: Cursor,
    /// Numbers pushed to the core; written by the application.
    pub(crate) down_pushed: Cursor,
    /// Numbers taken by the core; written by it.
    pub(crate) down_taken: Cursor,
    /// The core sleeps.
    pub(crate) core: Sleep,
}

/// One connection.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    pub(crate) of_daemon: OfDaemon,
    pub(crate) addresses: Addresses,
    pub(crate) of_application: OfApplication,
    pub(crate) flags: Flags,
    pub(crate) peer: PeerWords,
}

/// What the core writes of a slot. Positions are bytes since the connection began.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct OfDaemon {
    /// Generation, errno, state: see `status.rs`. Written last.
    pub(crate) status: AtomicU64,
    /// Bytes that were received.
    pub(crate) received: AtomicU64,
    /// The position that lies at the beginning of the receive ring.
    pub(crate) receive_base: AtomicU64,
    /// Bytes that were sent.
    pub(crate) sent: AtomicU64,
    /// The job that the connection comes from.
    pub(crate) job: AtomicU64,
    /// The connection's name in the daemon's log: core (16 bits), serial (48 bits).
    pub(crate) name: AtomicU64,
    /// Of a connection of messages: the most bytes of front, middle and data together.
    pub(crate) largest_message: AtomicU64,
    pub(crate) reserved: AtomicU64,
}

/// Written by the core before the connection is announced.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Addresses {
    pub(crate) peer: [AtomicU64; 3],
    pub(crate) local: [AtomicU64; 3],
    pub(crate) reserved: [AtomicU64; 2],
}

/// What the application writes of a slot.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct OfApplication {
    /// Bytes that were consumed.
    pub(crate) consumed: AtomicU64,
    /// Bytes that were committed for sending.
    pub(crate) committed: AtomicU64,
    /// The position that lies at the beginning of the send ring.
    pub(crate) send_base: AtomicU64,
    /// How the application ends the connection: see `status.rs`.
    pub(crate) ending: AtomicU64,
    /// Not 0: `consumed` and `committed` are about to become these two.
    pub(crate) intent: AtomicU64,
    pub(crate) intent_consumed: AtomicU64,
    pub(crate) intent_committed: AtomicU64,
    /// The application's own: kept across a crash, never looked at by the daemon.
    pub(crate) cookie: AtomicU64,
}

/// Flags that one side raises and the other lowers.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Flags {
    /// The number is in the ring to the application.
    pub(crate) up: QueuedSign,
    /// The number is in the ring to the core.
    pub(crate) down: QueuedSign,
    /// The application waits for room in the send ring.
    pub(crate) send_room: RoomSign,
    /// The core waits for room in the receive ring.
    pub(crate) receive_room: RoomSign,
}

/// Who is at the other end of a session. Written by the core, before it is announced.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct PeerWords {
    /// Its type, and its nonce: see `peer.rs`. 0: nobody is known.
    pub(crate) who: AtomicU64,
    /// Its number among its kind.
    pub(crate) number: AtomicU64,
    /// Where it listens, as it says.
    pub(crate) address: [AtomicU64; 3],
    pub(crate) reserved: [AtomicU64; 3],
}

/// What docs/SHM.md says.
#[cfg(not(loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<Header>() == 64);
    assert!(offset_of!(Header, magic) == 0 && offset_of!(Header, version) == 8);
    assert!(offset_of!(Header, cores) == 12 && offset_of!(Header, slots) == 16);
    assert!(offset_of!(Header, receive_ring_bytes) == 20);
    assert!(offset_of!(Header, send_ring_bytes) == 24);
    assert!(offset_of!(Header, segment_bytes) == 32 && offset_of!(Header, epoch) == 40);

    assert!(size_of::<Control>() == 384);
    assert!(offset_of!(Control, jobs_pushed) == 0 && offset_of!(Control, jobs_taken) == 64);
    assert!(offset_of!(Control, events_pushed) == 128 && offset_of!(Control, events_taken) == 192);
    assert!(offset_of!(Control, daemon) == 256 && offset_of!(Control, application) == 320);

    assert!(size_of::<Lane>() == 320);
    assert!(offset_of!(Lane, up_pushed) == 0 && offset_of!(Lane, up_taken) == 64);
    assert!(offset_of!(Lane, down_pushed) == 128 && offset_of!(Lane, down_taken) == 192);
    assert!(offset_of!(Lane, core) == 256);

    assert!(size_of::<Slot>() == 320);
    assert!(offset_of!(Slot, of_daemon) == 0 && offset_of!(Slot, addresses) == 64);
    assert!(offset_of!(Slot, of_application) == 128 && offset_of!(Slot, flags) == 192);
    assert!(offset_of!(Slot, peer) == 256);
    assert!(offset_of!(PeerWords, who) == 0 && offset_of!(PeerWords, number) == 8);
    assert!(offset_of!(PeerWords, address) == 16);
    assert!(offset_of!(OfDaemon, status) == 0 && offset_of!(OfDaemon, received) == 8);
    assert!(offset_of!(OfDaemon, receive_base) == 16 && offset_of!(OfDaemon, sent) == 24);
    assert!(offset_of!(OfDaemon, job) == 32 && offset_of!(OfDaemon, name) == 40);
    assert!(offset_of!(OfDaemon, largest_message) == 48);
    assert!(offset_of!(Addresses, peer) == 0 && offset_of!(Addresses, local) == 24);
    assert!(offset_of!(OfApplication, consumed) == 0 && offset_of!(OfApplication, committed) == 8);
    assert!(offset_of!(OfApplication, send_base) == 16 && offset_of!(OfApplication, ending) == 24);
    assert!(offset_of!(OfApplication, intent) == 32);
    assert!(offset_of!(OfApplication, intent_consumed) == 40);
    assert!(offset_of!(OfApplication, intent_committed) == 48);
    assert!(offset_of!(OfApplication, cookie) == 56);
    assert!(offset_of!(Flags, up) == 0 && offset_of!(Flags, down) == 4);
    assert!(offset_of!(Flags, send_room) == 8 && offset_of!(Flags, receive_room) == 12);
};
