//! Memory that a peer of msgr2 takes before it is authenticated, as the allocator sees it.
#![allow(unsafe_code)] // An allocator, which passes on all that it is asked for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use vmsgr_messenger::msgr2::*;

thread_local! {
    /// Bytes that this thread has allocated and not given back.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that it ever was since this was last set.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: usize, sign: isize) {
    let held = HELD.get() + sign * bytes as isize;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// What grows is moved, which is what `realloc` does unless it is said otherwise here: old and new
// are there together, as they may be anywhere.
//
// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller answers for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller answers for both.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// As documented.
const MOST: isize = 64 << 10;

/// What there is for any connection besides: its timer and events, who authenticates it, and what
/// the bound leaves out: our signature with the 512 bytes that it waits in, the peer's and what
/// decodes it, a frame of ours while it is put together, and room to spare behind the banner. Also
/// what is said of its end.
const FIXED: isize = 2 << 10;

fn request(method: u32, payload: usize) -> Vec<u8> {
    let payload = vec![0; payload].into();
    control_frame(&Control::AuthRequest(AuthRequest { method, modes: vec![MODE_CRC], payload }))
}

/// The most that a connection holds at any moment on the way through these bytes; and the rule by
/// which it ended, if it did.
fn most_held(bytes: &[u8], piece: usize) -> (isize, Option<Rule>) {
    let now = Instant::now();
    let address = EntityAddr::msgr2(([10, 0, 0, 1], 6800).into(), 1);
    let config = Config::new(EntityType::OSD, address.into());
    let auth = Box::new(AuthNone::new(EntityType::OSD, "0", 0));
    let mut endpoint = Endpoint::new(config, auth, now);
    // Lists of connections grow by several.
    let mut accept = || endpoint.accept(([10, 0, 0, 2], 5).into(), now);
    for _ in 0..3 {
        accept();
    }
    let begin = HELD.get();
    PEAK.set(begin);
    let stream = accept();
    for mut piece in bytes.chunks(piece) {
        while endpoint.receive(stream, &mut piece, now).is_some() {}
        // Nobody reads what it says, which is made and waits.
        endpoint.fill(stream);
    }
    let held = PEAK.get() - begin;
    let rule = std::iter::from_fn(|| endpoint.poll_event()).find_map(|event| match event {
        Event::Close { error: ConnectionError { reason, .. }, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(endpoint.streams(), 4 - usize::from(rule.is_some()));
    let rule = rule.map(|reason| match reason {
        Reason::Violation(violation) => violation.rule,
        other => panic!("it ended otherwise: {other:?}"),
    });
    (held, rule)
}

/// What a client says first.
fn start() -> Vec<u8> {
    let peer = EntityAddr::msgr2(([10, 0, 0, 1], 6800).into(), 1);
    let hello = control_frame(&Control::Hello(Hello { entity: EntityType::CLIENT, peer }));
    [&Banner::OURS.encode()[..], &hello].concat()
}

/// As many steps as there may be in a handshake.
const STEPS: usize = 32;

/// The frames of the longest requests here nearly fill the bound by themselves.
#[test]
fn what_lies_around_many_frames_is_within_the_bound() {
    let (mut stood, mut ended) = (0, 0);
    for payload in (1400..2000).step_by(4) {
        let bytes = [start(), request(2, payload).repeat(STEPS)].concat();
        let (held, rule) = most_held(&bytes, 1 << 20);
        assert!(held <= MOST + FIXED, "{payload}: {held} bytes");
        match rule {
            None => stood += 1,
            Some(rule) => {
                assert_eq!(rule, Rule::UnauthenticatedBytes(MOST as u32), "{payload}");
                ended += 1;
            }
        }
    }
    println!("{stood} stood, {ended} ended");
    assert!(stood > 0 && ended > 0, "{stood} stood, {ended} ended");
}

#[test]
fn before_authentication_a_peer_has_no_more_memory_than_it_may_send_bytes() {
    let start = start();
    let authenticated = [&start[..], &request(1, 0)].concat();
    // Without its last bytes it is never complete.
    let part = |frame: Vec<u8>| frame[..frame.len() - 1].to_vec();
    let signature = |length: usize| {
        let signature = vec![0; length];
        let envelope = Envelope::new(Tag::AuthSignature, &[&signature, &[], &[], &[]]);
        [envelope.preamble(), &signature].concat()
    };
    let modes = |count: usize| {
        let modes = vec![MODE_CRC; count];
        let payload = Default::default();
        control_frame(&Control::AuthRequest(AuthRequest { method: 2, modes, payload }))
    };
    let too_much = Some(Rule::UnauthenticatedBytes(MOST as u32));
    let too_long = Some(Rule::SegmentLength { segment: 0, length: 60_000, limit: 32 });
    let cases = [
        ("a part of the banner", start[..20].to_vec(), None),
        ("a part of a long request", [&start[..], &part(request(1, 61_000))].concat(), None),
        (
            "a long request, and a part of another",
            [&start[..], &request(2, 32_000), &part(request(2, 30_000))].concat(),
            None,
        ),
        (
            "more than may be sent",
            [&start[..], &request(2, 32_000), &part(request(2, 34_000))].concat(),
            too_much,
        ),
        (
            "requests of a method that there is not",
            [&start[..], &request(2, 3000).repeat(18)].concat(),
            None,
        ),
        ("a long request that is complete", [&start[..], &request(2, 61_000)].concat(), None),
        ("as many modes as may be", [&start[..], &modes(64)].concat(), None),
        (
            "more modes than there are",
            [&start[..], &modes(15_000)].concat(),
            Some(Rule::TooMany { field: "modes", count: 15_000, most: 64 }),
        ),
        (
            "a signature beside what it is of",
            [&start[..], &request(1, 61_000), &part(signature(32))].concat(),
            None,
        ),
        ("a signature", [&authenticated[..], &part(signature(32))].concat(), None),
        ("a long signature", [&authenticated[..], &part(signature(60_000))].concat(), too_long),
    ];
    for (what, bytes, ends) in &cases {
        for piece in [1, 1000, 1 << 20] {
            let (held, rule) = most_held(bytes, piece);
            println!("{what} by {piece}: {held} bytes");
            assert!(held <= MOST + FIXED, "{what} by {piece}: {held} bytes");
            assert_eq!(rule, *ends, "{what} by {piece}");
        }
    }
}
