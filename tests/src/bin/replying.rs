//! An application that lets its parent step through its answers, and kill it in the middle of one.
//!
//! Each request is a number of 8 bytes, its answer the same number twice. What an earlier one has left
//! unread is answered at once; of the next request on, this one is traced by its parent, and stops before
//! its answer and behind it.

use std::error::Error;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use vmsgr_messenger::client::{AttachOptions, Connection, ConnectionId, Endpoint, Event};
use vmsgr_tests::PATIENCE;

const REQUEST: usize = 8;
const ANSWER: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some("--socket"), Some(path)) = (arguments.next().as_deref(), arguments.next()) else {
        return Err("usage: replying --socket PATH".into());
    };
    let mut endpoint = Endpoint::attach(&AttachOptions::new("replying").socket(path).slots(1))?;
    if !endpoint.has_taken_over() {
        endpoint.listen("127.0.0.1:0".parse()?)?;
    }
    let mut traced = false;
    loop {
        while let Some(event) = endpoint.next_event() {
            match event {
                Event::Listening { address, .. } => println!("listening on {address}"),
                Event::Accepted { connection, .. } => println!("began {connection}"),
                Event::Resumed { connection, .. } => {
                    println!("resumed {}", resume(&mut endpoint, connection)?);
                }
                Event::Readable(connection) => {
                    // An event of what was answered already may be under way.
                    let waits = endpoint.connection(connection).is_some_and(|it| it.unread() > 0);
                    if waits && !std::mem::replace(&mut traced, true) {
                        ptrace::traceme().inspect_err(|errno| {
                            println!("untraced {errno}");
                        })?;
                    }
                    if waits {
                        stop_around_an_answer(&mut endpoint, connection)?;
                    }
                }
                Event::PeerEnded(connection) => {
                    endpoint.connection(connection).ok_or("it is there")?.close();
                }
                Event::Closed { error: None, .. } => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        if !endpoint.wait(Some(PATIENCE))? {
            return Err("nothing happens".into());
        }
    }
}

/// Answers what an earlier one has left unread; how many requests that were.
fn resume(endpoint: &mut Endpoint, connection: ConnectionId) -> Result<usize, Box<dyn Error>> {
    let mut connection = endpoint.connection(connection).ok_or("it is there")?;
    let positions = connection.positions();
    let answered = positions.consumed / REQUEST as u64;
    if positions.consumed != answered * REQUEST as u64
        || positions.committed != answered * ANSWER as u64
    {
        return Err(format!("a part of a reply has happened: {positions:?}").into());
    }
    let mut unread = 0;
    while prepare(&mut connection)? {
        connection.reply(REQUEST, ANSWER);
        unread += 1;
    }
    Ok(unread)
}

fn stop_around_an_answer(
    endpoint: &mut Endpoint,
    connection: ConnectionId,
) -> Result<(), Box<dyn Error>> {
    let mut connection = endpoint.connection(connection).ok_or("it is there")?;
    if !prepare(&mut connection)? {
        return Err("a part of a request has come".into());
    }
    raise(Signal::SIGSTOP)?;
    connection.reply(REQUEST, ANSWER);
    raise(Signal::SIGSTOP)?;
    Ok(())
}

/// Puts an answer where it will be sent from; whether there is a request to be answered.
fn prepare(connection: &mut Connection<'_>) -> Result<bool, Box<dyn Error>> {
    let (front, back) = connection.peek();
    let request: Vec<u8> = front.iter().chain(back).copied().take(REQUEST).collect();
    if request.len() < REQUEST {
        return Ok(false);
    }
    let (front, back) = connection.reserve(ANSWER);
    let answer = request.repeat(2);
    let (first, rest) = answer.split_at(front.len());
    front.copy_from_slice(first);
    back.get_mut(..rest.len()).ok_or("there is no room")?.copy_from_slice(rest);
    Ok(true)
}
