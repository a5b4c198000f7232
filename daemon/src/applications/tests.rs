//! With real sockets, a poll, and somebody who grants everything.

use super::*;
use crate::merge::tests::merge;
use mio::{Events, Poll};
use nix::sys::eventfd::EventFd;
use socket2::{Domain, SockAddr, Type};
use std::os::fd::OwnedFd;
use vmsgr_messenger::shm::{receive_answer, send_hello};

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// Of the daemon.
const CORES: usize = 2;

/// What was asked of [`Attachments`], and what it answers.
#[derive(Debug, Default)]
struct Double {
    asked: Vec<(PeerId, AttachRequest)>,
    departed: Vec<PeerId>,
    answers_later: bool,
    refuses: bool,
}

impl Attachments for Double {
    fn attach(&mut self, request: AttachRequest, peer: PeerId) -> Verdict {
        self.asked.push((peer, request));
        match (self.answers_later, self.refuses) {
            (true, _) => Verdict::Later,
            (_, true) => Verdict::Now(Err(shm::Refusal::new(Errno::EADDRINUSE, "taken"))),
            _ => Verdict::Now(Ok(granted())),
        }
    }

    fn departed(&mut self, peer: PeerId) {
        self.departed.push(peer);
    }
}

fn granted() -> Granted {
    let descriptors = (0..4).map(|_| OwnedFd::from(EventFd::new().unwrap())).collect();
    Granted { epoch: 5, resumed: true, cores: 1, segment_bytes: 4096, descriptors }
}

/// The main thread, as far as applications are concerned.
struct Rig {
    poll: Poll,
    applications: Applications,
    attachments: Double,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        Self::with("")
    }

    /// With keys of `[applications]`.
    fn with(keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s").display().to_string();
        let file = format!(
            "[applications]\n{keys}\n[[listen]]\naddress = \"127.0.0.1:0\"\nservice = \"echo\"\n"
        );
        let settings = merge(&["--socket", &path], Some(&file)).unwrap().applications;
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let bound = bind(&settings).unwrap();
        let applications = Applications::new(bound, &settings, registry, CORES).unwrap();
        Self { poll, applications, attachments: Double::default(), folder }
    }

    fn connect(&self) -> Socket {
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET.cloexec(), None).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.connect(&SockAddr::unix(self.folder.path().join("s")).unwrap()).unwrap();
        socket
    }

    fn hello(&self, hello: &Hello) -> Socket {
        let socket = self.connect();
        send_hello(&socket, hello).unwrap();
        socket
    }

    /// Turns at a time that stands still, until there is nothing to do.
    fn settle(&mut self, now: Instant) {
        let mut events = Events::with_capacity(8);
        loop {
            self.applications.turn(now, &mut self.attachments);
            self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            events.iter().for_each(|event| self.applications.mark(event.token()));
            if events.is_empty() && !self.applications.has_work() {
                return;
            }
        }
    }

    /// The one that came last.
    fn last_peer(&mut self) -> &mut Peer {
        self.applications.peers.last_entry().unwrap().into_mut()
    }

    /// The application that was asked for last.
    fn last(&self) -> PeerId {
        self.attachments.asked.last().unwrap().0
    }
}

fn refusal(socket: &Socket) -> shm::Refusal {
    match receive_answer(socket) {
        Err(ExchangeError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn hung_up(socket: &Socket) -> bool {
    matches!(receive_answer(socket), Err(ExchangeError::HungUp))
}

#[test]
fn an_application_attaches_and_leaves() {
    let mut rig = Rig::new();
    let hello = Hello { name: "kv".into(), ..Hello::default() };
    let (now, socket) = (Instant::now(), rig.hello(&hello));
    rig.settle(now);
    let (welcome, descriptors) = receive_answer(&socket).unwrap();
    assert_eq!((welcome.epoch, welcome.resumed, descriptors.len()), (5, true, 4));
    let [(peer, request)] = &rig.attachments.asked[..] else { panic!() };
    assert_eq!(request.hello, hello);
    assert_eq!((request.uid, request.pid), (geteuid().as_raw(), std::process::id() as i32));
    assert!(request.permissions.may_listen("0.0.0.0:1".parse().unwrap()));
    let peer = *peer;
    assert_eq!(rig.attachments.departed, []);
    assert_eq!(rig.applications.wait(now), None, "nobody is waited for");

    drop(socket);
    rig.settle(now);
    assert_eq!(rig.attachments.departed, [peer]);
    assert!(rig.applications.peers.is_empty());
}

#[test]
fn the_main_thread_has_a_time_out_exactly_while_somebody_is_silent() {
    let mut rig = Rig::new();
    let now = Instant::now();
    rig.settle(now);
    assert_eq!(rig.applications.wait(now), None);
    let first = rig.connect();
    rig.settle(now);
    let second = rig.connect();
    let later = now + Duration::from_secs(1);
    rig.settle(later);
    assert_eq!(rig.applications.wait(later), Some(Duration::from_secs(4)));

    rig.settle(now + PATIENCE - Duration::from_nanos(1));
    assert_eq!(rig.applications.silent.len(), 2);
    rig.settle(now + PATIENCE);
    let refusal = refusal(&first);
    assert_eq!((refusal.errno, &*refusal.reason), (Errno::ETIMEDOUT, "no hello in 5 s"));
    assert!(hung_up(&first));
    send_hello(&second, &Hello::default()).unwrap();
    // It is there in time, though it is read late.
    rig.settle(now + PATIENCE * 2);
    assert!(receive_answer(&second).is_ok());
    assert_eq!(rig.applications.wait(now), None);
    assert_eq!(rig.attachments.departed, [], "of those who never asked, nobody need be told");
}

#[test]
fn who_is_over_the_number_of_silent_ones_is_refused_until_one_speaks() {
    let mut rig = Rig::new();
    let now = Instant::now();
    let silent: Vec<_> = (0..MAX_SILENT)
        .map(|number| {
            let socket = rig.connect();
            // The backlog is shorter on some systems.
            rig.settle(now);
            // As if so many users had come.
            rig.last_peer().who.uid = 1 + (number / MAX_SILENT_OF_ONE) as u32;
            socket
        })
        .collect();
    let over = rig.connect();
    rig.settle(now);
    assert_eq!(refusal(&over).errno, Errno::EBUSY);
    assert!(hung_up(&over));

    send_hello(&silent[7], &Hello::default()).unwrap();
    rig.settle(now);
    let now_fits = rig.hello(&Hello::default());
    rig.settle(now);
    assert!(receive_answer(&now_fits).is_ok());
    assert_eq!(rig.applications.silent.len(), MAX_SILENT - 1);
    drop(silent);
    rig.settle(now);
    assert_eq!(rig.applications.wait(now), None);
    assert_eq!(rig.attachments.departed.len(), 1, "only the one that was attached");
}

#[test]
fn one_user_who_is_silent_keeps_out_no_other() {
    let mut rig = Rig::new();
    let now = Instant::now();
    let mut silent: Vec<_> = (0..MAX_SILENT_OF_ONE).map(|_| rig.connect()).collect();
    let over = rig.connect();
    rig.settle(now);
    let uid = geteuid().as_raw();
    let refused = refusal(&over);
    assert_eq!(refused.errno, Errno::EBUSY);
    assert_eq!(refused.reason, format!("16 others of user {uid} have not said what they want"));
    let who = rig.last_peer().who.clone();
    assert!(rig.applications.admit(&who).is_err());
    // (The policy of the test lets in its own user only.)
    rig.applications.policy = Policy::new(vec![shm::Allow::anything(shm::Users::Any)]);
    assert!(rig.applications.admit(&Who { uid: uid + 1, ..who.clone() }).is_ok());
    // One that speaks up, or goes, makes room.
    send_hello(&silent[3], &Hello::default()).unwrap();
    silent.remove(0);
    rig.settle(now);
    assert_eq!(rig.applications.silent.len(), MAX_SILENT_OF_ONE - 2);
    assert!(rig.applications.admit(&who).is_ok());
}

#[test]
fn who_has_said_its_hello_is_not_counted_among_the_silent() {
    let mut rig = Rig::new();
    let now = Instant::now();
    // As an application with a thread for each of many endpoints begins.
    let crowd: Vec<_> = (0..3 * MAX_SILENT_OF_ONE).map(|_| rig.hello(&Hello::default())).collect();
    rig.settle(now);
    for one in &crowd {
        assert!(receive_answer(one).is_ok());
    }
}

#[test]
fn a_turn_accepts_a_bounded_number() {
    let mut rig = Rig::new();
    let now = Instant::now();
    let _silent: Vec<_> = (0..ACCEPTS + 1).map(|_| rig.connect()).collect();
    rig.applications.turn(now, &mut rig.attachments);
    assert_eq!(rig.applications.peers.len(), ACCEPTS);
    assert_eq!(rig.applications.wait(now), Some(Duration::ZERO), "without sleeping");
    // As if another user had come.
    rig.last_peer().who.uid += 1;
    rig.applications.turn(now, &mut rig.attachments);
    assert_eq!(rig.applications.peers.len(), ACCEPTS + 1);
    assert_eq!(rig.applications.wait(now), Some(PATIENCE));
}

#[test]
fn what_is_no_hello_is_answered_with_what_is_wrong() {
    let mut rig = Rig::new();
    let hello = Hello::default().encode().unwrap();
    let with = |offset: usize, byte| {
        let mut hello = hello;
        hello[offset] = byte;
        hello.to_vec()
    };
    for (message, errno, part) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Errno::EBADMSG, "not a hello"),
        (hello[..50].to_vec(), Errno::EBADMSG, "has 104 bytes, this one 50"),
        (with(8, 9), Errno::EPROTONOSUPPORT, "speaks version 9"),
        (with(12, 1), Errno::EPROTONOSUPPORT, "flags 0x1"),
        (with(21, 1), Errno::EINVAL, "a ring of"),
    ] {
        let socket = rig.connect();
        socket.send(&message).unwrap();
        rig.settle(Instant::now());
        let refusal = refusal(&socket);
        assert_eq!(refusal.errno, errno);
        assert!(refusal.reason.contains(part), "{refusal}");
        assert!(hung_up(&socket));
    }
    assert!(rig.attachments.asked.is_empty() && rig.applications.peers.is_empty());
}

#[test]
fn anything_after_the_hello_is_the_end() {
    // At once, before the answer, and later.
    for (first, later) in [(true, false), (false, true), (false, false)] {
        let mut rig = Rig::new();
        rig.attachments.answers_later = later;
        let (now, socket) = (Instant::now(), rig.hello(&Hello::default()));
        if !first {
            rig.settle(now);
        }
        socket.send(b"more").unwrap();
        rig.settle(now);
        assert_eq!(rig.attachments.departed, [rig.last()]);
        assert!(rig.applications.peers.is_empty());
        // The answer comes too late, and its descriptors go nowhere.
        rig.applications.welcome(rig.last(), Ok(granted()));
        rig.settle(now);
        assert_eq!(rig.attachments.departed.len(), 1);
    }
}

#[test]
fn an_application_may_be_answered_later() {
    let mut rig = Rig::new();
    rig.attachments.answers_later = true;
    let now = Instant::now();
    let welcomed = rig.hello(&Hello::default());
    rig.settle(now);
    rig.applications.welcome(rig.last(), Ok(granted()));
    assert!(receive_answer(&welcomed).is_ok());

    let refused = rig.hello(&Hello::default());
    rig.settle(now);
    assert_eq!(rig.applications.wait(now), None, "the answer is not waited for");
    rig.applications.welcome(rig.last(), Err(shm::Refusal::new(Errno::ENOMEM, "no room")));
    assert_eq!(refusal(&refused).reason, "no room");
    rig.settle(now);
    assert_eq!(rig.attachments.departed, [], "who is refused was never there");

    let gone = rig.hello(&Hello::default());
    rig.settle(now);
    drop(gone);
    // Before anybody has noticed.
    rig.applications.welcome(rig.last(), Ok(granted()));
    rig.settle(now);
    assert_eq!(rig.attachments.departed, [rig.last()]);
}

#[test]
fn one_that_is_refused_did_not_depart() {
    let mut rig = Rig::new();
    rig.attachments.refuses = true;
    let socket = rig.hello(&Hello::default());
    rig.settle(Instant::now());
    assert_eq!(refusal(&socket), shm::Refusal::new(Errno::EADDRINUSE, "taken"));
    assert_eq!(rig.attachments.departed, []);
}

#[test]
fn one_that_is_detached_is_hung_up_on_and_did_not_depart() {
    let mut rig = Rig::new();
    let (now, socket) = (Instant::now(), rig.hello(&Hello::default()));
    rig.settle(now);
    assert!(receive_answer(&socket).is_ok());
    rig.applications.detach(rig.last(), "a cursor runs backwards");
    assert!(hung_up(&socket));
    rig.settle(now);
    assert_eq!(rig.attachments.departed, []);
    rig.applications.detach(rig.last(), "twice");
}

#[test]
fn the_limits_are_kept() {
    let mut rig = Rig::with("max_endpoints = 2\nmax_segment_bytes = 1048576\nmax_linger_secs = 7");
    let now = Instant::now();
    let small = Hello { slots: 7, ..Hello::default() };
    // Its data rings alone would fit.
    let large = rig.hello(&Hello { slots: 8, ..Hello::default() });
    rig.settle(now);
    let refused = refusal(&large);
    assert_eq!(refused.errno, Errno::EFBIG);
    let bytes = Hello { slots: 8, ..Hello::default() }.segment_bytes(CORES).unwrap();
    assert!(bytes > 1 << 20 && bytes < (1 << 20) + (64 << 10));
    let part = format!("take {bytes} bytes, more than applications.max_segment_bytes, 1048576");
    assert!(refused.reason.contains(&part), "{refused}");

    let one = rig.hello(&small);
    let brief = rig.hello(&Hello { linger: Duration::from_secs(1), ..small.clone() });
    // Who says nothing has no endpoint.
    let _silent = rig.connect();
    let over = rig.hello(&small);
    rig.settle(now);
    assert!(receive_answer(&one).is_ok() && receive_answer(&brief).is_ok());
    let refused = refusal(&over);
    assert_eq!(refused.errno, Errno::EUSERS);
    assert!(refused.reason.contains("2 endpoints are attached"), "{refused}");
    let lingers: Vec<_> = rig.attachments.asked.iter().map(|asked| asked.1.hello.linger).collect();
    assert_eq!(lingers, [Duration::from_secs(7), Duration::from_secs(1)]);

    drop(one);
    rig.settle(now);
    let next = rig.hello(&small);
    rig.settle(now);
    assert!(receive_answer(&next).is_ok());
}

#[test]
fn whom_the_policy_does_not_name_is_refused_before_it_takes_a_place() {
    let other = geteuid().as_raw() + 1;
    let mut rig = Rig::with(&format!("allow = [{{ user = {other} }}]"));
    let now = Instant::now();
    for hello in [None, Some(Hello::default())] {
        let socket = rig.connect();
        if let Some(hello) = hello {
            send_hello(&socket, &hello).unwrap();
        }
        rig.settle(now);
        assert!(rig.applications.peers.is_empty());
        let answer = match receive_answer(&socket) {
            // It was hung up on with its hello unread.
            Err(ExchangeError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                refusal(&socket)
            }
            Err(ExchangeError::Refused(refusal)) => refusal,
            answer => panic!("{answer:?}"),
        };
        assert_eq!(answer.errno, Errno::EACCES);
        assert_eq!(answer.reason, format!("user {} may not attach", geteuid()));
    }
}

#[test]
fn when_stopped_nobody_attaches_and_the_attached_stay() {
    let mut rig = Rig::new();
    let (now, attached, silent) = (Instant::now(), rig.hello(&Hello::default()), rig.connect());
    rig.settle(now);
    let waiting = rig.connect();
    rig.applications.mark(Token(FIRST_TOKEN));
    rig.applications.stop();
    assert_eq!(rig.applications.wait(now), None, "nobody is left to be accepted");
    rig.applications.mark(Token(FIRST_TOKEN));
    assert_eq!(rig.applications.wait(now), None, "nor will be");
    assert!(!rig.folder.path().join("s").exists());
    assert_eq!(refusal(&silent).errno, Errno::ESHUTDOWN);
    assert!(!matches!(receive_answer(&waiting), Err(ExchangeError::Refused(_)) | Ok(_)));
    rig.settle(now);
    assert_eq!(rig.applications.wait(now), None);
    assert!(receive_answer(&attached).is_ok());
    assert_eq!(rig.applications.peers.len(), 1);
    drop(attached);
    rig.settle(now);
    assert_eq!(rig.attachments.departed.len(), 1);
}

#[test]
fn only_a_path_that_was_asked_for_is_worth_not_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::write(&path, "").unwrap();
    let words = ["--socket", path.to_str().unwrap()];
    let refusal = bind(&merge(&words, None).unwrap().applications).unwrap_err().to_string();
    assert_eq!(refusal, format!("socket {}: it is there and is not a socket; {WAY_OUT}", words[1]));
    let none = bind(&merge(&["--socket", "none"], None).unwrap().applications).unwrap();
    assert!(none.socket.is_none() && none.warning.is_none());
}
