//! What it costs to have an application beside a loop on one core, whoever wrote the two: the
//! kernel's price for handing the core over and back, and that of moving bytes between two rings.
//!
//! The other process is this program again, with a doorbell for its input and one for its output:
//! as an application that has nothing to do, it sleeps in epoll until it is rung for.

use std::hint::black_box;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{getppid, write};

use crate::cores;
use crate::frames::median;
use crate::table::Table;

/// Each subject's turn in a round.
const TURN: Duration = Duration::from_millis(60);

/// Connections of the workload op4k, and what each has in flight.
const CONNECTIONS: usize = 16;
const DEPTH: usize = 4;

/// Nobody rings for so long: whoever would has gone.
const GONE: Duration = Duration::from_secs(5);

/// Sleeps on `core` until its input, a doorbell, rings, and rings its output; again and again,
/// until nobody rings.
///
/// # Errors
/// When the core is none, or the input is not one that can be waited for.
pub fn sleep(core: usize) -> Result<()> {
    cores::pin(core)?;
    let input = std::io::stdin();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(&input, EpollEvent::new(flags, 0)).context("the input is no doorbell")?;
    let mut events = [EpollEvent::empty(); 4];
    let gone = EpollTimeout::try_from(GONE)?;
    while epoll.wait(&mut events, gone)? > 0 {
        write(std::io::stdout(), &1u64.to_ne_bytes())?;
    }
    Ok(())
}

/// The other process; ended when it is dropped.
struct Sleeper {
    process: Child,
    bell: EventFd,
    answer: EventFd,
}

impl Sleeper {
    fn start(core: usize) -> Result<Self> {
        let (bell, answer) = (doorbell()?, doorbell()?);
        let process = Command::new(std::env::current_exe()?)
            .args(["hand-over", "--sleeper", "--core", &core.to_string()])
            .stdin(Stdio::from(bell.as_fd().try_clone_to_owned()?))
            .stdout(Stdio::from(answer.as_fd().try_clone_to_owned()?))
            .spawn()
            .context("cannot start the process that is woken")?;
        Ok(Self { process, bell, answer })
    }

    /// Rings for it, and has the core again when it has answered and sleeps.
    fn hand_over(&self) -> Result<()> {
        self.bell.write(1)?;
        let rung = Instant::now();
        while self.answer.read().is_err() {
            if rung.elapsed() > GONE {
                bail!("the process that is woken does not answer");
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn doorbell() -> Result<EventFd> {
    Ok(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?)
}

/// Nanoseconds that something takes.
fn time<T>(mut something: impl FnMut() -> T) -> f64 {
    let (mut times, start) = (0u32, Instant::now());
    while start.elapsed() < TURN {
        for _ in 0..16 {
            black_box(something());
        }
        times += 16;
    }
    start.elapsed().as_nanos() as f64 / f64::from(times)
}

/// Measures so many rounds on `core`, with messages of `size` bytes: medians.
///
/// # Errors
/// When the core is none that this process may use, or the other process cannot be started.
pub fn run(core: usize, size: usize, rounds: usize) -> Result<Table> {
    cores::pin(core)?;
    let sleeper = Sleeper::start(core)?;
    sleeper.hand_over()?;
    let unheard = doorbell()?;
    let idle = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut events = [EpollEvent::empty(); 4];
    let from = vec![1u8; CONNECTIONS * DEPTH * size];
    let mut to = vec![0u8; CONNECTIONS * DEPTH * size];
    let mut figures: [Vec<f64>; 5] = Default::default();
    for _ in 0..rounds {
        let copied = time(|| {
            for (to, from) in to.chunks_mut(DEPTH * size).zip(from.chunks(DEPTH * size)) {
                black_box(to).copy_from_slice(black_box(from));
            }
        });
        let round = [
            time(|| sleeper.hand_over().expect("it answered a moment ago")),
            time(|| unheard.write(1)),
            time(|| idle.wait(&mut events, EpollTimeout::ZERO)),
            time(getppid),
            copied / (CONNECTIONS * DEPTH) as f64,
        ];
        figures.iter_mut().zip(round).for_each(|(figures, figure)| figures.push(figure));
    }
    let names = [
        "the core handed over by a doorbell, and back after an answer".to_owned(),
        "a doorbell that wakes nobody".to_owned(),
        "a wait that finds nothing".to_owned(),
        "a system call that does nothing".to_owned(),
        format!("a copy of {size} bytes from ring to ring"),
    ];
    let mut table = Table::new(["what", "ns"]);
    for (name, figures) in names.into_iter().zip(figures) {
        table.row(vec![name, format!("{:.0}", median(figures))]);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_subject_takes_its_time() {
        let start = std::time::Instant::now();
        assert!(super::time(|| std::hint::black_box(())) > 0.0);
        assert!(start.elapsed() >= super::TURN);
    }
}
