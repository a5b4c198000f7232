//! The servers that are built in.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use signal_hook::consts::SIGUSR1;
use signal_hook::flag;
use vmsgr_perf::cores;
use vmsgr_perf::peers::{
    self, app_shm, epoll, epoll_relay, monoio_echo, osd_null, sleep_poll, splice_relay, tokio_echo,
};

use super::usable;
use crate::cli::{Builtin, Listen, Serve};
use crate::failure::Failure::{self, Usage};
use crate::failure::listening;

/// Is one of them, until a signal ends it.
pub fn serve(arguments: &Serve) -> Result<(), Failure> {
    cores::raise_descriptor_limit()?;
    usable("--core", arguments.core).map_err(Usage)?;
    if let Some(core) = arguments.core {
        cores::pin(core)?;
    }
    let listen = match &arguments.listen {
        Listen::Network(address) => *address,
        Listen::Unix(path) => return serve_unix(arguments, path),
    };
    if let Builtin::AppShm = arguments.server {
        return Ok(serve_app_shm(arguments, listen)?);
    }
    let listener = peers::listen(listen).map_err(|error| listening(error, listen))?;
    peers::announce(&listener, arguments.server.service())?;
    let buffer = arguments.ring_bytes as usize;
    let served = match arguments.server {
        Builtin::Epoll => epoll::serve(&listener, epoll::Wait::Sleep, epoll::BUFFER_BYTES),
        Builtin::EpollBeside => epoll::serve_beside_a_thread(&listener),
        Builtin::EpollSpin => epoll::serve(&listener, epoll::Wait::Spin, epoll::BUFFER_BYTES),
        Builtin::Tokio => tokio_echo::serve(listener),
        Builtin::MonoioEpoll => monoio_echo::serve(listener, monoio_echo::Driver::Epoll),
        Builtin::MonoioUring => monoio_echo::serve(listener, monoio_echo::Driver::Uring),
        Builtin::MonoioUringDefer => monoio_echo::serve(listener, monoio_echo::Driver::UringDefer),
        Builtin::SleepPoll => sleep_poll::serve(listener),
        Builtin::EpollRelay => {
            let upstream = arguments.upstream.context("no --upstream")?;
            epoll_relay::serve(&listener, upstream)
        }
        Builtin::SpliceRelay => {
            let upstream = arguments.upstream.context("no --upstream")?;
            splice_relay::serve(&listener, upstream)
        }
        Builtin::AppEpoll => epoll::serve(&listener, epoll::Wait::Sleep, buffer),
        Builtin::OsdNull => return Ok(osd_null::serve(&listener).context("the server stopped")?),
        Builtin::AppShm => unreachable!("it has no listener"),
    };
    Ok(served.context("the server stopped")?)
}

fn serve_unix(arguments: &Serve, path: &Path) -> Result<(), Failure> {
    if !matches!(arguments.server, Builtin::AppEpoll) {
        return Err(Usage(anyhow!(
            "--listen: only app-epoll listens on a Unix socket; write HOST:PORT"
        )));
    }
    let listener = peers::listen_unix(path)?;
    peers::announce_at(&format!("unix:{}", path.display()), arguments.server.service())?;
    let buffer = arguments.ring_bytes as usize;
    Ok(epoll::serve(&listener, epoll::Wait::Sleep, buffer).context("the server stopped")?)
}

fn serve_app_shm(arguments: &Serve, listen: SocketAddr) -> Result<()> {
    let report = Arc::new(AtomicBool::new(false));
    flag::register(SIGUSR1, Arc::clone(&report))?;
    let options = app_shm::Options {
        listen,
        socket: arguments.socket.clone(),
        ring_bytes: arguments.ring_bytes,
        spin: Duration::from_micros(arguments.spin_us),
    };
    app_shm::serve(&options, &report)
}
