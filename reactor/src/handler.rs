//! What runs on a loop.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;

use crate::core::Core;
use crate::pending::Pending;
use crate::socket::Socket;
use crate::token::Token;

/// How a stream came to its end.
#[derive(Debug)]
pub enum End {
    /// Both directions have ended, and all that was pending has been sent.
    Finished,
    /// The socket failed; what was pending is lost.
    Failed(io::Error),
}

/// What the events of one loop mean. One value of it lives on each core and is called by the loop
/// alone; through [`Core`] it acts on the loop's streams.
///
/// Nothing is done straight in reaction to an event: the loop collects what is ready, and calls the
/// handler for each within the budget of the turn.
pub trait Handler: Sized {
    /// The sockets of its streams.
    type Socket: Socket;
    /// Where the pending data of its streams lives.
    type Pending: Pending;
    /// What it keeps for each stream.
    type Stream;
    /// What it keeps for each listener.
    type Listener;
    /// What it is told when a timer comes due.
    type Timer;
    /// What travels between the cores.
    type Message;

    /// Called once, on the loop's own thread, before the first turn.
    fn start(&mut self, _core: &mut Core<Self>) {}

    /// Whether `listener` may accept one more connection now. If so, [`accepted`](Self::accepted)
    /// or [`not_accepted`](Self::not_accepted) follows. If not, it stops accepting (who connects
    /// stays in the backlog) until [`Core::resume_listener`].
    fn admit(&mut self, _core: &mut Core<Self>, _listener: Token) -> bool {
        true
    }

    /// `listener` has accepted a connection, which nothing knows of yet.
    fn accepted(
        &mut self,
        core: &mut Core<Self>,
        listener: Token,
        socket: TcpStream,
        peer: SocketAddr,
    );

    /// An admitted connection did not come: nobody waits, or it was gone already, or, with an
    /// error, descriptors or memory ran out. Then the loop tries again when one of its streams has
    /// ended, and a few times a second.
    fn not_accepted(
        &mut self,
        _core: &mut Core<Self>,
        _listener: Token,
        _error: Option<&io::Error>,
    ) {
    }

    /// The connection that [`Core::connect`] began is established.
    fn connected(&mut self, _core: &mut Core<Self>, _stream: Token) {}

    /// There may be something to read: read once, with [`Core::read`] or [`Core::transfer`]. What
    /// that leaves is offered again in the next turn.
    fn readable(&mut self, core: &mut Core<Self>, stream: Token);

    /// A stream has ended, and is gone already: this is its socket, which is closed when dropped,
    /// and what was kept for it.
    fn closed(
        &mut self,
        core: &mut Core<Self>,
        socket: Self::Socket,
        state: Self::Stream,
        end: End,
    );

    /// The turn has settled `stream`; called only while [`Core::watch_settled`] asks for it.
    fn settled(&mut self, _core: &mut Core<Self>, _stream: Token) {}

    /// A timer has come due.
    fn timer(&mut self, _core: &mut Core<Self>, _timer: Self::Timer) {}

    /// A message from member `from` of the mesh.
    fn message(&mut self, core: &mut Core<Self>, from: usize, message: Self::Message);

    /// A doorbell that [`Core::watch`] was given with `tag` has rung.
    fn rung(&mut self, _core: &mut Core<Self>, _tag: usize) {}

    /// Takes in what others have put into memory that they share with this loop, as much as suits
    /// one turn; how many things that were. Called in every turn, before what is ready runs.
    fn gather(&mut self, _core: &mut Core<Self>) -> usize {
        0
    }

    /// There is something to [`gather`](Self::gather).
    fn has_work(&self) -> bool {
        false
    }

    /// Tells those who share memory with this loop what the turn has put there. Called at the end
    /// of every turn. Whoever would take the core from the loop may be left for later, if that is
    /// bounded.
    fn publish(&mut self, _core: &mut Core<Self>) {}

    /// [`publish`](Self::publish) has left somebody for later.
    fn withholds(&self) -> bool {
        false
    }

    /// The loop has nothing left to do: tells those, too, who were left for later.
    fn publish_withheld(&mut self, _core: &mut Core<Self>) {}

    /// Those whom this loop wakes may have to run on its core: while it looks for more to do it gives
    /// way to them.
    fn gives_way(&self) -> bool {
        false
    }

    /// Declares to them that the loop is going to sleep, in the way of docs/SHM.md;
    /// false if there is something to gather after all, and then it is awake.
    fn fall_asleep(&mut self) -> bool {
        true
    }

    /// The loop is awake.
    fn woke_up(&mut self) {}

    /// [`Core::post`] has refused a message to member `peer`, and would now take it.
    fn relieved(&mut self, _core: &mut Core<Self>, _peer: usize) {}
}
