//! A service by name, as a person writes it, and its resolution.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;

use crate::application::EntityListener;
use crate::entity::OsdNullOptions;

/// What a listener does with its connections, as written: `echo`, `discard`, `relay:HOST:PORT`,
/// `relay:original-dst`, the relays also with `,tap=msgr2`, and `osd-null`, also with
/// `,object-bytes=N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceName {
    /// Sends back what it receives.
    Echo,
    /// Reads and forgets.
    Discard,
    /// Passes bytes to and from `HOST:PORT`, which is looked up once, at the start.
    Relay(String),
    /// Passes bytes to and from the address that the client meant before a firewall rule
    /// redirected it here (SO_ORIGINAL_DST).
    RelayOriginalDst,
    /// Answers the operations of Ceph's clients at once, and stores nothing.
    OsdNull(OsdNullOptions),
    /// A relay, either of the two, that looks at the msgr2 frames which pass; see
    /// [`tap`](crate::tap).
    Tapped(Box<Self>),
}

/// What a listener does with its connections, resolved: ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// See [`ServiceName::Echo`].
    Echo,
    /// See [`ServiceName::Discard`].
    Discard,
    /// The addresses of [`ServiceName::Relay`], in the order in which they are tried; never empty.
    Relay(Arc<[SocketAddr]>),
    /// See [`ServiceName::RelayOriginalDst`].
    RelayOriginalDst,
    /// See [`ServiceName::OsdNull`].
    OsdNull(OsdNullOptions),
    /// See [`ServiceName::Tapped`].
    Tapped(Box<Self>),
    /// Gives its connections to the applications that listen at its address. Has no name: who
    /// attaches asks for it.
    Applications,
    /// Gives its connections to an entity of an application. Has no name, either.
    Entity(Arc<EntityListener>),
}

impl Service {
    /// Without the tap, if it has one.
    pub fn untapped(&self) -> &Self {
        match self {
            Self::Tapped(relay) => relay.untapped(),
            service => service,
        }
    }
}

/// Why a service cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// No service has this name.
    #[error(
        "there is no service '{0}'; services are echo, discard, relay:HOST:PORT, \
         relay:original-dst, osd-null, the relays also with ,tap=msgr2"
    )]
    Unknown(String),
    /// The upstream of a relay is not `HOST:PORT`.
    #[error("relay upstream '{0}' is not HOST:PORT with a port from 1 to 65535")]
    Upstream(String),
    /// Something follows a service that it does not have.
    #[error(
        "'{0}' is no option of this service; relays have ,tap=msgr2, osd-null has ,object-bytes=N"
    )]
    Option(String),
    /// The size of objects is not a number.
    #[error("object-bytes '{0}' is not a number of bytes from 0 to {max}", max = u64::MAX)]
    ObjectBytes(String),
    /// The upstream's host cannot be resolved.
    #[error("relay upstream '{name}' cannot be resolved: {error}")]
    Unresolved {
        /// `HOST:PORT` as written.
        name: String,
        /// What the resolver said.
        error: io::Error,
    },
}

impl ServiceName {
    /// Looks up the upstream of a relay; asks the system's resolver and may block for seconds.
    pub fn resolve(&self) -> Result<Service, ServiceError> {
        let upstream = match self {
            Self::Echo => return Ok(Service::Echo),
            Self::Discard => return Ok(Service::Discard),
            Self::RelayOriginalDst => return Ok(Service::RelayOriginalDst),
            Self::OsdNull(options) => return Ok(Service::OsdNull(*options)),
            Self::Tapped(relay) => return Ok(Service::Tapped(Box::new(relay.resolve()?))),
            Self::Relay(upstream) => upstream,
        };
        let unresolved = |error| ServiceError::Unresolved { name: upstream.clone(), error };
        let addresses: Vec<_> = upstream.to_socket_addrs().map_err(unresolved)?.collect();
        if addresses.is_empty() {
            return Err(unresolved(io::Error::other("no address")));
        }
        Ok(Service::Relay(addresses.into()))
    }
}

impl FromStr for ServiceName {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((service, option)) = text.split_once(',') {
            let service = service.parse()?;
            let known = match (service, option.split_once('=')) {
                (relay @ (Self::Relay(_) | Self::RelayOriginalDst), Some(("tap", "msgr2"))) => {
                    Some(Self::Tapped(Box::new(relay)))
                }
                (Self::OsdNull(_), Some(("object-bytes", bytes))) => {
                    let wrong = |_| ServiceError::ObjectBytes(bytes.to_owned());
                    let object_bytes = bytes.parse().map_err(wrong)?;
                    Some(Self::OsdNull(OsdNullOptions { object_bytes }))
                }
                _ => None,
            };
            return known.ok_or_else(|| ServiceError::Option(option.to_owned()));
        }
        match text {
            "echo" => return Ok(Self::Echo),
            "discard" => return Ok(Self::Discard),
            "osd-null" => return Ok(Self::OsdNull(OsdNullOptions::default())),
            "relay:original-dst" => return Ok(Self::RelayOriginalDst),
            _ => {}
        }
        let Some(upstream) = text.strip_prefix("relay:") else {
            return Err(ServiceError::Unknown(text.to_owned()));
        };
        match upstream.rsplit_once(':') {
            Some((host, port))
                if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) =>
            {
                Ok(Self::Relay(upstream.to_owned()))
            }
            _ => Err(ServiceError::Upstream(upstream.to_owned())),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => f.write_str("echo"),
            Self::Discard => f.write_str("discard"),
            Self::Relay(upstream) => write!(f, "relay:{upstream}"),
            Self::RelayOriginalDst => f.write_str("relay:original-dst"),
            Self::OsdNull(options) if *options == OsdNullOptions::default() => {
                f.write_str("osd-null")
            }
            Self::OsdNull(options) => write!(f, "osd-null,object-bytes={}", options.object_bytes),
            Self::Tapped(relay) => write!(f, "{relay},tap=msgr2"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print_back() {
        for text in [
            "echo",
            "discard",
            "osd-null",
            "osd-null,object-bytes=100",
            "relay:host:1",
            "relay:[::1]:6379",
            "relay:original-dst",
            "relay:host:1,tap=msgr2",
            "relay:original-dst,tap=msgr2",
        ] {
            assert_eq!(text.parse::<ServiceName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_names_say_what_is_allowed() {
        let text = "ehco".parse::<ServiceName>().unwrap_err().to_string();
        assert!(text.contains("ehco") && text.contains("relay:HOST:PORT"), "{text}");
        for text in ["relay:", "relay:host", "relay:host:0", "relay:host:65536", "relay::1"] {
            assert!(
                matches!(text.parse::<ServiceName>(), Err(ServiceError::Upstream(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn each_service_has_its_own_options_and_each_only_once() {
        for text in [
            "echo,tap=msgr2",
            "osd-null,tap=msgr2",
            "osd-null,bytes=1",
            "relay:host:1,object-bytes=1",
            "relay:host:1,tap=http",
            "relay:host:1,",
            "relay:host:1,tap=msgr2,tap=msgr2",
        ] {
            assert!(matches!(text.parse::<ServiceName>(), Err(ServiceError::Option(_))), "{text}");
        }
        for wrong in ["", "-1", "18446744073709551616", "4M"] {
            let error = format!("osd-null,object-bytes={wrong}").parse::<ServiceName>();
            let Err(ServiceError::ObjectBytes(said)) = error else { panic!("{error:?}") };
            assert_eq!(said, wrong);
        }
        let tapped = "relay:127.0.0.1:80,tap=msgr2".parse::<ServiceName>().unwrap();
        let service = tapped.resolve().unwrap();
        assert_eq!(service.untapped(), &Service::Relay(["127.0.0.1:80".parse().unwrap()].into()));
        assert_ne!(service.untapped(), &service);
    }

    #[test]
    fn an_upstream_is_resolved_or_named() {
        let service = "relay:127.0.0.1:80".parse::<ServiceName>().unwrap().resolve().unwrap();
        assert_eq!(service, Service::Relay(["127.0.0.1:80".parse().unwrap()].into()));
        let error = "relay:no-such-host.invalid:80".parse::<ServiceName>().unwrap().resolve();
        assert!(error.unwrap_err().to_string().contains("no-such-host.invalid:80"));
    }
}
