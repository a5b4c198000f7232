//! An answer is committed and its request consumed in one step, wherever in it the application is killed.

use std::io::Write;

use vmsgr_tests::sockets::{connect, expect, expect_end, half_close};
use vmsgr_tests::{Application, Traced, Vmsgrd, report, skip};

const REPLYING: &str = env!("CARGO_BIN_EXE_replying");

#[test]
fn who_is_killed_behind_any_instruction_of_a_reply_has_answered_once_or_not_at_all() {
    let daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo"]);
    let start = || Application::start(REPLYING, &daemon, &[]);
    let mut application = start();
    let mut peer = connect(application.listening(0));
    application.expect(0, "began");
    // For each number of instructions: whether the answer had happened.
    let mut happened = Vec::new();
    let mut behind = false;
    while !behind {
        let number = happened.len() as u64;
        peer.write_all(&number.to_le_bytes()).expect("it is connected");
        match Traced::stopped(application.pid()) {
            Ok(traced) => behind = (0..number).any(|_| !traced.step()),
            Err(_)
                if !application.stdout().all().iter().any(|line| line.starts_with("untraced")) =>
            {
                panic!("it ends after {number} kills: {:#?}", application.stderr().all());
            }
            Err(_) => return skip("needs ptrace (of its own children)"),
        }
        application.kill();
        application = start();
        let resumed = application.expect(0, "resumed ");
        happened.push(match resumed.as_str() {
            "resumed 0" => true,
            "resumed 1" => false,
            other => panic!("{number} instructions: {other}"),
        });
        // One answer, and before it no second one to the number before.
        expect(&mut peer, &[number.to_le_bytes(), number.to_le_bytes()].concat());
    }
    half_close(&peer);
    expect_end(&mut peer);
    let first = happened.iter().position(|happened| *happened).expect("a whole reply has happened");
    assert!(first > 0, "before its first instruction nothing has happened");
    assert!(happened[first..].iter().all(|happened| *happened), "{happened:?}");
    report(&format!("{} instructions; it happens with number {first}", happened.len() - 1));
}
