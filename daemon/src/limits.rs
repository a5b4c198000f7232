//! Open descriptors: as many as the system allows, and whether they suffice.

use crate::ranges::MAX_CONNECTIONS;
use crate::settings::{AttachSocket, Settings};
use log::{info, warn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use vmsgr_messenger::Service;

/// Descriptors beside the connections' own: standard streams, signals, libraries.
const SPARE: u64 = 64;

/// Each loop has an epoll instance and a doorbell.
const PER_CORE: u64 = 2;

/// An application's endpoint has a socket, a segment, a doorbell, and one that it rings for the
/// main thread; and one that it rings for each core.
const PER_ENDPOINT: u64 = 4;

/// The limit of open descriptors (RLIMIT_NOFILE), raised as far as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// The soft limit as the daemon found it.
    found: u64,
    /// The hard limit, which is the soft one now, or why it is not.
    raised: nix::Result<u64>,
}

impl DescriptorLimit {
    /// Raises the soft limit to the hard one. Says nothing yet: the daemon may still be refused,
    /// and then has one line to say.
    pub fn raise() -> Self {
        let (found, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok(limits) => limits,
            Err(error) => return Self { found: 0, raised: Err(error) },
        };
        Self { found, raised: setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard) }
    }

    /// Logs the limit, and whether what `settings` allow fits under it. Not fitting is no error: an
    /// accept that finds no descriptor waits for one.
    pub fn report(self, settings: &Settings) {
        let found = self.found;
        let limit = match self.raised {
            Ok(hard) => {
                info!("limit of open descriptors: {found}, now the hard limit, {hard}");
                hard
            }
            Err(error) => {
                warn!("limit of open descriptors: {found} could not be raised: {error}");
                found
            }
        };
        let needed = needed(settings);
        // The default is more than most systems allow, and nobody asked for it.
        if needed > limit && settings.max_connections as u64 != MAX_CONNECTIONS.default {
            warn!(
                "max_connections {} may need {needed} descriptors, the limit is {limit}; raise the \
                 hard limit (ulimit -Hn, LimitNOFILE=) or lower max_connections",
                settings.max_connections
            );
        }
    }
}

/// Descriptors open at most.
fn needed(settings: &Settings) -> u64 {
    let relays = settings.listen.iter().any(|listen| {
        matches!(listen.service.untapped(), Service::Relay(_) | Service::RelayOriginalDst)
    });
    let per_connection = if relays { 2 } else { 1 };
    let cores = settings.core_mask.cores().len() as u64;
    let per_core = PER_CORE + settings.listen.len() as u64;
    let endpoints = match settings.applications.socket {
        AttachSocket::None => 0,
        _ => settings.applications.max_endpoints as u64,
    };
    let connections = settings.max_connections as u64 * per_connection;
    connections + endpoints * (PER_ENDPOINT + cores) + cores * per_core + SPARE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::tests::merge;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let limit = DescriptorLimit::raise();
        let hard = limit.raised.unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        assert_eq!(DescriptorLimit::raise(), DescriptorLimit { found: hard, raised: Ok(hard) });
    }

    #[test]
    fn a_relay_needs_two_descriptors_for_a_connection() {
        let needed = |service| {
            let listen = format!("127.0.0.1:0={service}");
            let words = ["-l", &listen, "--max-connections", "1000", "--socket", "none"];
            needed(&merge(&words, None).unwrap())
        };
        assert_eq!(needed("relay:original-dst"), needed("echo") + 1000);
        assert_eq!(needed("relay:127.0.0.1:1"), needed("echo") + 1000);
        assert!((1000..1100).contains(&needed("discard")));
    }

    #[test]
    fn applications_need_theirs() {
        let needed = |words| needed(&merge(words, None).unwrap());
        assert_eq!(needed(&[]), needed(&["--socket", "none"]) + (4 + 1) * 256);
    }
}
