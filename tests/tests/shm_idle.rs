//! What an application and its connections cost while nothing happens: nothing, on either side.

use std::fs;
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use vmsgr_tests::sockets::{connect, ping};
use vmsgr_tests::{
    Activity, Application, PATIENCE, Process, Vmsgrd, eventually, peer, raise_descriptor_limit,
    two_cores,
};

/// They measure: one after the other.
static ALONE: Mutex<()> = Mutex::new(());

fn a_thousand_connections() -> (Vmsgrd, Application, Vec<TcpStream>) {
    raise_descriptor_limit();
    let cores = two_cores().unwrap_or_else(|| "all".to_owned());
    let daemon = Vmsgrd::start(&["--core-mask", &cores, "-l", "127.0.0.1:0=echo"]);
    let application = Application::example("echo", &daemon, &["127.0.0.1:0"]);
    let address = application.listening(0);
    let mut clients: Vec<_> = (0..1000).map(|_| connect(address)).collect();
    for client in &mut clients {
        ping(client, b"hello");
    }
    (daemon, application, clients)
}

#[test]
fn a_thousand_idle_connections_of_an_application_wake_nobody_up() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (daemon, application, mut clients) = a_thousand_connections();
    let look = || [Activity::of(daemon.pid(), ""), Activity::of(application.pid(), "")];
    let mut before = look();
    eventually("both sleep", PATIENCE, || {
        thread::sleep(Duration::from_millis(200));
        let after = look();
        let still = before == after;
        before = after;
        still
    });
    thread::sleep(Duration::from_secs(5));
    assert_eq!(before, look(), "somebody woke up with nothing to do");
    ping(&mut clients[500], b"still there?");
    assert_ne!(before, look(), "who looked is not blind");
}

#[test]
fn a_thousand_idle_connections_of_an_application_make_no_system_call() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(strace) = peer("strace") else { return };
    let (daemon, application, mut clients) = a_thousand_connections();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("trace");
    let [daemons, own] = [daemon.pid(), application.pid()].map(|pid| pid.to_string());
    let mut tracer =
        Process::spawn(strace.command().args(["-f", "-p", &daemons, "-p", &own, "-o"]).arg(&trace));
    let attached = || tracer.stderr().all().iter().filter(|l| l.contains("attached")).count();
    eventually("strace sees both", PATIENCE, || attached() >= 2);

    // To attach interrupts each thread once; wait until they are back in their sleep.
    let length = || fs::metadata(&trace).map(|file| file.len()).unwrap_or_default();
    let mut before = length();
    eventually("the traced threads sleep", PATIENCE, || {
        thread::sleep(Duration::from_millis(500));
        let after = length();
        let still = before == after;
        before = after;
        still
    });
    thread::sleep(Duration::from_secs(5));
    let written = fs::read(&trace).expect("the trace");
    let calls = String::from_utf8_lossy(&written[before as usize..]);
    assert!(calls.is_empty(), "system calls while idle:\n{calls}");

    // The tracer was not deaf.
    ping(&mut clients[500], b"still there?");
    eventually("the trace of a ping", PATIENCE, || length() > before);
    tracer.signal(Signal::SIGINT);
    tracer.wait(PATIENCE);
}
