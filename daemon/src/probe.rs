//! What only the kernel can say about a setting: asked before anything starts, rather than with
//! every connection.

use crate::refusal::Refusal;
use crate::settings::RelaySettings;
use nix::sys::socket::{setsockopt, sockopt};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

/// Whether upstream sockets may carry the mark and be bound to the source address.
pub fn relay(settings: &RelaySettings) -> Result<(), Refusal> {
    if let Some(mark) = settings.mark {
        // The mark belongs to sockets of any kind, and this one needs no network.
        let marked = UnixDatagram::unbound()
            .and_then(|socket| Ok(setsockopt(&socket, sockopt::Mark, &mark)?));
        marked.map_err(|error| {
            let reason = format_args!(
                "mark {mark} may not be set by this process: {error}; give it the capability \
                 CAP_NET_ADMIN, or leave the key out"
            );
            Refusal::new("relay.mark", reason)
        })?;
    }
    if let Some(source) = settings.source {
        UdpSocket::bind((source, 0)).map_err(|error| {
            let reason = format_args!(
                "{source} cannot be bound to: {error}; name an address of this machine, or leave \
                 the key out"
            );
            Refusal::new("relay.source", reason)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn with_source(source: &str) -> RelaySettings {
        let source = Some(source.parse().unwrap());
        RelaySettings { connect_timeout: Duration::from_secs(1), mark: None, source, family: None }
    }

    #[test]
    fn a_source_must_be_an_address_of_this_machine() {
        assert_eq!(relay(&with_source("127.0.0.2")), Ok(()));
        let text = relay(&with_source("192.0.2.1")).unwrap_err().to_string();
        assert!(text.starts_with("relay.source: 192.0.2.1 cannot be bound to: "), "{text}");
    }

    #[test]
    fn a_mark_that_may_not_be_set_is_named_with_the_capability() {
        let settings = RelaySettings { source: None, mark: Some(7), ..with_source("::1") };
        // Whether it may depends on who runs the test.
        if let Err(refusal) = relay(&settings) {
            let text = refusal.to_string();
            assert!(text.starts_with("relay.mark: mark 7") && text.contains("CAP_NET_ADMIN"));
        }
    }
}
