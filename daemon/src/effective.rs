//! The settings in effect, as a configuration file that brings them about.

use crate::settings::{AllowSettings, AllowedUser, AttachSocket, Settings};
use serde::Serialize;
use std::time::Duration;
use vmsgr_messenger::Family;
use vmsgr_reactor::SpinPolicy;

#[derive(Serialize)]
struct Effective {
    core_mask: String,
    placement: String,
    spin_us: Spin,
    max_connections: usize,
    drain_timeout_secs: u64,
    log_level: String,
    listen: Vec<Listen>,
    socket: Socket,
    relay: Relay,
    connection: Connection,
    applications: Applications,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Spin {
    Auto(String),
    Fixed(u128),
}

#[derive(Serialize)]
struct Listen {
    address: String,
    service: String,
    backlog: u32,
}

#[derive(Serialize)]
struct Socket {
    keepalive_secs: u64,
    send_buffer_bytes: usize,
    receive_buffer_bytes: usize,
    backlog: u32,
}

#[derive(Serialize)]
struct Relay {
    connect_timeout_ms: u128,
    mark: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    family: &'static str,
}

#[derive(Serialize)]
struct Connection {
    idle_timeout_secs: u64,
    high_water_bytes: usize,
    low_water_bytes: usize,
}

#[derive(Serialize)]
struct Applications {
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<String>,
    max_endpoints: usize,
    max_segment_bytes: u64,
    max_held_bytes: u64,
    max_linger_secs: u64,
    allow: Vec<Allow>,
}

#[derive(Serialize)]
struct Allow {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    listen: Vec<String>,
    connect: Vec<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum User {
    Any(&'static str),
    Uid(u32),
}

impl From<&AllowSettings> for Allow {
    fn from(settings: &AllowSettings) -> Self {
        Self {
            user: match settings.user {
                AllowedUser::Own => None,
                AllowedUser::Any => Some(User::Any("*")),
                AllowedUser::Uid(uid) => Some(User::Uid(uid)),
            },
            listen: settings.listen.iter().map(ToString::to_string).collect(),
            connect: settings.connect.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The settings as TOML; a file with this text has the same effect.
pub fn to_toml(settings: &Settings) -> String {
    let Settings { socket, relay, connection, applications, .. } = settings;
    let secs = |duration: Option<Duration>| duration.map_or(0, |duration| duration.as_secs());
    let listen = settings.listen.iter().map(|listen| Listen {
        address: listen.address.to_string(),
        service: listen.name.to_string(),
        backlog: listen.backlog,
    });
    let effective = Effective {
        core_mask: settings.core_mask.to_string(),
        placement: settings.placement.to_string(),
        spin_us: match settings.spin {
            SpinPolicy::Auto => Spin::Auto(settings.spin.to_string()),
            SpinPolicy::Fixed(window) => Spin::Fixed(window.as_micros()),
        },
        max_connections: settings.max_connections,
        drain_timeout_secs: settings.drain_timeout.as_secs(),
        log_level: settings.log_level.as_str().to_ascii_lowercase(),
        listen: listen.collect(),
        socket: Socket {
            keepalive_secs: secs(socket.keepalive),
            send_buffer_bytes: socket.send_buffer_bytes.unwrap_or(0),
            receive_buffer_bytes: socket.receive_buffer_bytes.unwrap_or(0),
            backlog: socket.backlog,
        },
        relay: Relay {
            connect_timeout_ms: relay.connect_timeout.as_millis(),
            mark: relay.mark.unwrap_or(0),
            source: relay.source.map(|source| source.to_string()),
            family: match relay.family {
                None => "any",
                Some(Family::V4) => "ipv4",
                Some(Family::V6) => "ipv6",
            },
        },
        connection: Connection {
            idle_timeout_secs: secs(connection.idle_timeout),
            high_water_bytes: connection.high_water_bytes,
            low_water_bytes: connection.low_water_bytes,
        },
        applications: Applications {
            socket: match &applications.socket {
                AttachSocket::Default => None,
                AttachSocket::At(path) => Some(path.display().to_string()),
                AttachSocket::None => Some("none".to_owned()),
            },
            max_endpoints: applications.max_endpoints,
            max_segment_bytes: applications.max_segment_bytes,
            max_held_bytes: applications.max_held_bytes,
            max_linger_secs: applications.max_linger.as_secs(),
            allow: applications.allow.iter().map(Allow::from).collect(),
        },
    };
    toml::to_string(&effective).expect("strings and numbers are always TOML")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::tests::merge;
    use crate::ranges;

    const EXAMPLE: &str = include_str!("../vmsgrd.example.toml");

    #[test]
    fn what_is_printed_brings_about_the_same() {
        let file = "core_mask = \"all\"\nspin_us = 50\n\
                    [socket]\nkeepalive_secs = 0\nsend_buffer_bytes = 8192\n\
                    [relay]\nmark = 7\nsource = \"::1\"\nfamily = \"ipv6\"\n\
                    [connection]\nidle_timeout_secs = 9\n\
                    [applications]\nsocket = \"none\"\nmax_linger_secs = 0\n\
                    [[applications.allow]]\nuser = \"root\"\nlisten = [\"10.0.0.0/8:1-2\"]\n\
                    [[applications.allow]]\nuser = \"*\"\nconnect = []\n\
                    [[listen]]\naddress = \"localhost:0\"\nservice = \"relay:[::1]:6379\"\n\
                    [[listen]]\naddress = \"[::1]:0\"\nservice = \"echo\"\nbacklog = 3\n";
        let printed = to_toml(&merge(&[], Some(file)).unwrap());
        assert_eq!(to_toml(&merge(&[], Some(&printed)).unwrap()), printed);
        assert!(printed.contains("spin_us = 50\n"), "{printed}");
        assert!(printed.contains("source = \"::1\"\n"), "{printed}");
    }

    #[test]
    fn the_example_is_the_defaults() {
        let example = to_toml(&merge(&[], Some(EXAMPLE)).unwrap());
        assert_eq!(example, to_toml(&merge(&[], None).unwrap()));
    }

    /// Every key with its tables, sorted.
    fn keys(table: &toml::Table) -> Vec<String> {
        let inner = |(key, value): (&String, &toml::Value)| {
            let first = value.as_array().map_or(value, |array| &array[0]).as_table();
            match first {
                Some(table) => keys(table).iter().map(|name| format!("{key}.{name}")).collect(),
                None => vec![key.clone()],
            }
        };
        let mut keys: Vec<String> = table.iter().flat_map(inner).collect();
        keys.sort();
        keys
    }

    /// A key that has no default is in the example as `#key = value`, without a space; prose has
    /// one.
    #[test]
    fn the_example_shows_every_key_and_every_range() {
        let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
            _ => line,
        });
        let whole: toml::Table = lines.collect::<Vec<_>>().join("\n").parse().unwrap();
        let mut settings = merge(&[], None).unwrap();
        settings.relay.source = Some("::1".parse().unwrap());
        settings.applications.socket = AttachSocket::At("/run/s".into());
        settings.applications.allow[0].user = AllowedUser::Any;
        let printed: toml::Table = to_toml(&settings).parse().unwrap();
        assert_eq!(keys(&whole), keys(&printed));
        assert!(keys(&printed).contains(&"applications.allow.user".to_owned()));

        let prose = EXAMPLE.replace("\n#", " ");
        let prose = prose.split_whitespace().collect::<Vec<_>>().join(" ");
        for range in ranges::ALL {
            assert!(prose.contains(&range.to_string()), "{range}");
        }
    }
}
