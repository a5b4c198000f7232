//! The threads that the loops run on, one per core, and how they end.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use crate::core::Budget;
use crate::cores::pin_current_thread;
use crate::handler::Handler;
use crate::mesh::{Port, Waker};
use crate::spin::SpinPolicy;
use crate::turn::Loop;

/// How the thread of a loop ended.
#[derive(Debug)]
pub enum Exit {
    /// Its handler stopped it.
    Stopped,
    /// The kernel refused something without which there is no loop.
    Failed(io::Error),
    /// It panicked, with this message.
    Panicked(String),
}

/// The threads of all loops.
#[derive(Debug)]
pub struct Threads {
    handles: Vec<JoinHandle<()>>,
    exits: Receiver<(usize, Exit)>,
}

impl Threads {
    /// Starts a loop on each of `cores`, as the members `ports` of a mesh, with the handler that
    /// `make` makes there. A thread is named `vmsgr/CORE` and pinned before it allocates anything.
    ///
    /// Whenever one ends, `watcher` is woken and [`exited`](Self::exited) tells how.
    ///
    /// # Errors
    /// The kernel starts no more threads; those started already go on.
    pub fn start<H, F>(
        cores: &[usize],
        ports: Vec<Port<H::Message>>,
        watcher: &Waker,
        spin: SpinPolicy,
        budget: Budget,
        make: F,
    ) -> io::Result<Self>
    where
        H: Handler,
        H::Message: Send + 'static,
        F: Fn(usize) -> H + Clone + Send + 'static,
    {
        let (sender, exits) = channel();
        let mut handles = Vec::with_capacity(cores.len());
        for (&core, port) in cores.iter().zip(ports) {
            let farewell = Farewell { core, sender: sender.clone(), watcher: watcher.clone() };
            let make = make.clone();
            let run = move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    if !pin_current_thread(core) {
                        return Err(io::Error::other(format!("cannot be pinned to core {core}")));
                    }
                    Loop::new(make(port.index()), port, spin, budget)?.run()
                }));
                farewell.say(outcome);
            };
            handles.push(Builder::new().name(format!("vmsgr/{core}")).spawn(run)?);
        }
        Ok(Self { handles, exits })
    }

    /// One loop that has ended since: its core, and how.
    pub fn exited(&self) -> Option<(usize, Exit)> {
        self.exits.try_recv().ok()
    }

    /// Waits for all of them to end.
    pub fn join(self) {
        for handle in self.handles {
            // Panics were caught inside.
            let _ = handle.join();
        }
    }
}

struct Farewell {
    core: usize,
    sender: Sender<(usize, Exit)>,
    watcher: Waker,
}

impl Farewell {
    fn say(self, outcome: Result<io::Result<()>, Box<dyn Any + Send>>) {
        let exit = match outcome {
            Ok(Ok(())) => Exit::Stopped,
            Ok(Err(error)) => Exit::Failed(error),
            Err(payload) => Exit::Panicked(message(&*payload)),
        };
        let _ = self.sender.send((self.core, exit));
        self.watcher.wake();
    }
}

/// What a panic said.
fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
