//! A messenger that applications can attach to, in a thread of the test.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, SockAddr, Socket, Type};
use vmsgr_messenger::shm::{
    Allow, ExchangeError, Hello, Policy, Refusal, Users, Welcome, receive_hello, send_refusal,
    send_welcome,
};
use vmsgr_messenger::{ApplicationId, Attachment, Event, Grant, Messenger, Options};
use vmsgr_reactor::{CoreMask, Doorbell};

/// Ends with the test.
#[derive(Debug)]
pub struct Host {
    folder: tempfile::TempDir,
    ends: Arc<AtomicBool>,
    bell: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// An application that is attached, or about to be.
struct Guest {
    socket: Socket,
    doorbell: Option<Doorbell>,
}

impl Host {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        socket.bind(&SockAddr::unix(path_in(folder.path())).unwrap()).unwrap();
        socket.listen(16).unwrap();
        socket.set_nonblocking(true).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let ending = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let messenger = Messenger::start(&CoreMask::all().unwrap(), Options::default());
            let messenger = messenger.unwrap();
            tell.send(messenger.doorbell().share().unwrap()).unwrap();
            serve(messenger, &socket, &ending);
        });
        let bell = Arc::new(told.recv().unwrap());
        Self { folder, ends, bell, thread: Some(thread) }
    }

    pub fn path(&self) -> PathBuf {
        path_in(self.folder.path())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        nix::unistd::write(&*self.bell, &1u64.to_ne_bytes()).unwrap();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the messenger's thread has panicked");
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join("vmsgrd.sock")
}

fn serve(mut messenger: Messenger, listener: &Socket, ends: &AtomicBool) {
    let mut guests = HashMap::new();
    while !ends.load(Ordering::SeqCst) {
        while let Some(event) = messenger.take() {
            match event {
                Event::Granted { application, grant } => admit(&mut guests, application, *grant),
                Event::Detached { application, .. } => drop(guests.remove(&application)),
                _ => {}
            }
        }
        messenger.publish();
        if !messenger.fall_asleep() {
            continue;
        }
        let (rang, gone, came) = wait(&messenger, listener, &guests);
        messenger.woke_up();
        rang.into_iter().for_each(|id| messenger.application_rang(id));
        for id in gone {
            guests.remove(&id);
            messenger.depart(id);
        }
        if came {
            let (socket, _) = listener.accept().unwrap();
            socket.set_nonblocking(false).unwrap();
            receive(&mut messenger, &mut guests, socket).unwrap();
        }
    }
    drop(guests);
    messenger.drain(Duration::ZERO);
    messenger.publish();
    messenger.join();
}

/// Who has rung, who has hung up, whether somebody has come.
fn wait(
    messenger: &Messenger,
    listener: &Socket,
    guests: &HashMap<ApplicationId, Guest>,
) -> (Vec<ApplicationId>, Vec<ApplicationId>, bool) {
    let read = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = vec![read(messenger.doorbell().as_fd()), read(listener.as_fd())];
    for guest in guests.values() {
        fds.push(read(guest.socket.as_fd()));
        let bell = guest.doorbell.as_ref().map_or(guest.socket.as_fd(), AsFd::as_fd);
        fds.push(read(bell));
    }
    poll(&mut fds, PollTimeout::NONE).unwrap();
    let ready = |index: usize| fds[index].any().unwrap_or(true);
    // Level-triggered, unlike the daemon's own poll: the ring has to be taken back.
    let mut count = [0; 8];
    if ready(0) {
        let _ = nix::unistd::read(messenger.doorbell(), &mut count);
    }
    let (mut rang, mut gone) = (Vec::new(), Vec::new());
    for (n, (&id, guest)) in guests.iter().enumerate() {
        if ready(2 + 2 * n) {
            gone.push(id);
        } else if ready(3 + 2 * n) {
            let _ = nix::unistd::read(guest.doorbell.as_ref().unwrap(), &mut count);
            rang.push(id);
        }
    }
    (rang, gone, ready(1))
}

fn receive(
    messenger: &mut Messenger,
    guests: &mut HashMap<ApplicationId, Guest>,
    socket: Socket,
) -> Result<(), ExchangeError> {
    let hello = receive_hello(&socket)?;
    let Hello { name, slots, receive_ring_bytes, send_ring_bytes, linger, .. } = hello;
    let (uid, pid) = (0, 0);
    let permissions =
        Policy::new(vec![Allow::anything(Users::Any)]).attach(uid).expect("anybody may");
    let wanted = Attachment {
        name,
        uid,
        pid,
        slots,
        receive_ring_bytes,
        send_ring_bytes,
        linger,
        permissions,
    };
    match messenger.attach(wanted) {
        Ok(id) => drop(guests.insert(id, Guest { socket, doorbell: None })),
        Err((errno, reason)) => send_refusal(&socket, &Refusal::new(errno, reason))?,
    }
    Ok(())
}

fn admit(guests: &mut HashMap<ApplicationId, Guest>, id: ApplicationId, grant: Grant) {
    let Some(guest) = guests.get_mut(&id) else { return };
    let Grant { epoch, resumed, cores, segment_bytes, descriptors, doorbell } = grant;
    let welcome = Welcome { epoch, resumed, cores, segment_bytes };
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let sent: io::Result<()> =
        send_welcome(&guest.socket, &welcome, &descriptors).map_err(io::Error::other);
    sent.unwrap();
    guest.doorbell = Some(doorbell);
}
