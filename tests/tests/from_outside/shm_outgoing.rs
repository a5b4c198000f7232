//! An application that connects through the daemon to a server of somebody else's.

use std::collections::VecDeque;

use vmsgr_messenger::client::{ConnectionId, Endpoint, Event};
use vmsgr_tests::application::{attach, until};
use vmsgr_tests::{Pattern, Random, RedisServer, Vmsgrd, peer};

const COMMANDS: usize = 100_000;

#[test]
fn a_hundred_thousand_commands_to_redis_each_get_their_answer() {
    let Some(server) = peer("redis-server") else { return };
    let server = RedisServer::start(&server);
    let daemon = Vmsgrd::start(&["-l", "127.0.0.1:0=echo"]);
    let mut endpoint = attach(&daemon, "client");
    let asked = endpoint.connect(server.address()).expect("it is attached");
    let connection = until(&mut endpoint, "a connection", |_, event| match event {
        Event::Connected { connection, job, peer, .. } if *job == asked => {
            assert_eq!(*peer, server.address());
            Some(*connection)
        }
        Event::Failed { error, .. } => panic!("{error}"),
        _ => None,
    });
    let mut client = Client {
        connection,
        random: Random::new(6),
        pattern: Pattern::new(6),
        made: 0,
        unsent: Vec::new(),
        expected: VecDeque::new(),
    };
    client.go_on(&mut endpoint);
    until(&mut endpoint, "all answers", |endpoint, event| {
        match event {
            Event::Readable(_) | Event::Writable(_) => client.go_on(endpoint),
            other => panic!("{other:?}"),
        }
        (client.made == COMMANDS && client.expected.is_empty()).then_some(())
    });
    let positions = endpoint.connection(connection).expect("it is open").positions();
    assert_eq!(positions.received, positions.consumed);
    assert_eq!(positions.sent, positions.committed);
}

struct Client {
    connection: ConnectionId,
    random: Random,
    pattern: Pattern,
    made: usize,
    unsent: Vec<u8>,
    /// What has to come back, byte for byte.
    expected: VecDeque<u8>,
}

impl Client {
    fn go_on(&mut self, endpoint: &mut Endpoint) {
        let mut connection = endpoint.connection(self.connection).expect("it is open");
        loop {
            let (front, back) = connection.peek();
            let unread = front.len() + back.len();
            for byte in front.iter().chain(back) {
                assert_eq!(Some(*byte), self.expected.pop_front(), "after {} commands", self.made);
            }
            connection.consume(unread);
            if self.unsent.is_empty() && self.made < COMMANDS {
                self.make();
            }
            let sent = connection.send(&self.unsent);
            self.unsent.drain(..sent);
            if unread == 0 && (sent == 0 || self.made == COMMANDS) {
                return;
            }
        }
    }

    /// The next commands: to be counted, and to be sent back.
    fn make(&mut self) {
        for _ in 0..10 {
            self.made += 2;
            self.unsent.extend(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n");
            self.expected.extend(format!(":{}\r\n", self.made / 2).as_bytes());
            let mut bytes = vec![0; self.random.length(1000)];
            self.pattern.fill(&mut bytes);
            let bulk = [format!("${}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
            self.unsent.extend(b"*2\r\n$4\r\nECHO\r\n");
            self.unsent.extend(&bulk);
            self.expected.extend(bulk);
        }
    }
}
