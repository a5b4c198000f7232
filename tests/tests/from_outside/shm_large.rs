//! The largest messages there are, through the daemon: all their bytes, and not one more.

use std::time::Duration;

use bytes::Bytes;
use vmsgr_messenger::client::{
    self, ConnectionId, Endpoint, EntityOptions, Event, Incoming, Progress, SendError,
};
use vmsgr_messenger::msgr2::{self, EntityType, Message, MessageHeader};
use vmsgr_tests::application::{attach, listen_as};
use vmsgr_tests::{Driver, PATIENCE, Pattern, Vmsgrd};

const LARGEST: usize = 128 << 20;

const FRONT: &[u8] = b"front";
const MIDDLE: &[u8] = b"middle";

/// A message whose parts have so many bytes together.
fn message(tid: u64, bytes: usize) -> Message {
    let mut data = vec![0; bytes - FRONT.len() - MIDDLE.len()];
    Pattern::new(tid).fill(&mut data);
    let header = MessageHeader { kind: 1000, tid, ..MessageHeader::default() };
    let (front, middle) = (Bytes::from_static(FRONT), Bytes::from_static(MIDDLE));
    Message { header, front, middle, data: data.into() }
}

/// What an application has been told.
#[derive(Default)]
struct Told {
    /// Its sessions, and whether they are over.
    sessions: Vec<(ConnectionId, bool)>,
}

impl Told {
    fn take(&mut self, endpoint: &mut Endpoint) {
        while let Some(event) = endpoint.next_event() {
            match event {
                Event::Accepted { connection, .. } => self.sessions.push((connection, false)),
                Event::Closed { connection, .. } => {
                    let found = self.sessions.iter_mut().find(|(id, _)| *id == connection);
                    found.expect("it was accepted").1 = true;
                }
                _ => {}
            }
        }
    }
}

/// Goes on with both until the application's part is done with its latest session.
fn until<T>(
    driver: &mut Driver,
    endpoint: &mut Endpoint,
    told: &mut Told,
    what: &str,
    mut part: impl FnMut(&mut client::Messages<'_>) -> Option<T>,
) -> T {
    // As long as there is something to do here, its peer's socket can wait.
    driver.until(what, PATIENCE * 2, |_| {
        loop {
            told.take(endpoint);
            let (id, _) = *told.sessions.last()?;
            let mut connection = endpoint.connection(id)?;
            let done = part(&mut connection.messages().expect("a session"));
            drop(connection);
            if done.is_some() {
                endpoint.flush();
                return done;
            }
            if !endpoint.wait(Some(Duration::from_millis(1))).expect("the daemon is there") {
                return None;
            }
        }
    })
}

/// Takes the next message, which is to be this one.
fn take(messages: &mut client::Messages<'_>, expected: &Message) -> Option<()> {
    let Incoming::Message(came) = messages.peek()? else { panic!("a notice") };
    assert_eq!((came.header.tid, came.len()), (expected.header.tid, expected_bytes(expected)));
    assert!(came.front.contiguous() == FRONT && came.middle.contiguous() == MIDDLE);
    assert!(*came.data.contiguous() == *expected.data, "other bytes have come");
    assert!(messages.consume());
    Some(())
}

fn expected_bytes(message: &Message) -> usize {
    message.front.len() + message.middle.len() + message.data.len()
}

#[test]
fn messages_of_128_mib_pass_both_ways_and_one_byte_more_is_refused() {
    let daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo"]);
    let mut osd = attach(&daemon, "osd");
    let entity = osd.entity(&EntityOptions::new(EntityType::OSD, "1")).expect("attached");
    let address = listen_as(&mut osd, entity);
    let (mut driver, session) = Driver::client(address, EntityType::OSD);
    let mut told = Told::default();

    let largest = message(1, LARGEST);
    driver.send(session, largest.clone());
    until(&mut driver, &mut osd, &mut told, "128 MiB", |messages| take(messages, &largest));

    let answer = message(2, LARGEST);
    let mut progress = Progress::default();
    until(&mut driver, &mut osd, &mut told, "they are sent", |messages| {
        let sent = messages.send_some(&client::Message::from(&answer), &mut progress);
        sent.expect("it may").then_some(())
    });
    let back = driver.message(1000, PATIENCE * 2);
    assert_eq!((back.header.tid, &back.front[..]), (2, FRONT));
    assert!(back.data == answer.data, "other bytes have come back");

    // Here it is refused before anything is sent, and the session goes on.
    let more = message(3, LARGEST + 1);
    until(&mut driver, &mut osd, &mut told, "a refusal", |messages| {
        let sent = messages.send_some(&client::Message::from(&more), &mut Progress::default());
        let refused = SendError::TooLarge { bytes: LARGEST + 1, largest: LARGEST as u32 };
        assert_eq!(sent, Err(refused));
        let small = client::Message::new(MessageHeader { tid: 4, ..more.header }, FRONT);
        assert_eq!(messages.send(&small), Ok(true));
        Some(())
    });
    assert_eq!(driver.message(1000, PATIENCE).header.tid, 4);

    // There its sender breaks a rule, and the session ends; nobody sees anything of it.
    driver.send(session, more);
    driver.until("the end", PATIENCE * 2, |driver| {
        let ended = |event: &msgr2::Event| matches!(event, msgr2::Event::Ended { .. });
        driver.events.iter().any(ended).then_some(())
    });
    daemon.expect_log(&["closed: ", "134217729"]);
    let (mut other, others) = Driver::client(address, EntityType::OSD);
    let small = message(5, 100);
    other.send(others, small.clone());
    other.until("another session", PATIENCE, |_| {
        osd.wait(Some(Duration::ZERO)).expect("the daemon is there");
        told.take(&mut osd);
        (told.sessions.len() == 2 && told.sessions[0].1).then_some(())
    });
    let first = told.sessions[0].0;
    let mut connection = osd.connection(first).expect("it is not closed here");
    let incoming = connection.messages().expect("a session").peek().is_some();
    assert!(!incoming, "nothing of it has come");
    connection.close();
    until(&mut other, &mut osd, &mut told, "a small one", |messages| take(messages, &small));
}
