//! The command line over the configuration file over the defaults, checked.

use crate::allow;
use crate::args::Args;
use crate::config::{File, Keys, Leaf};
use crate::given::Given;
use crate::listeners;
use crate::ranges::{
    BACKLOG, CONNECT_TIMEOUT, DRAIN_TIMEOUT, HIGH_WATER, IDLE_TIMEOUT, KEEPALIVE, LOW_WATER, MARK,
    MAX_CONNECTIONS, MAX_ENDPOINTS, MAX_HELD, MAX_LINGER, MAX_SEGMENT, RECEIVE_BUFFER, Range,
    SEND_BUFFER,
};
use crate::refusal::Refusal;
use crate::settings::{
    ApplicationSettings, ConnectionSettings, RelaySettings, Settings, SocketSettings,
};
use log::LevelFilter;
use std::net::IpAddr;
use std::time::Duration;
use vmsgr_messenger::{Family, Placement, Service};
use vmsgr_reactor::{CoreMask, SpinPolicy};

impl Settings {
    /// Merges the command line and the file, and checks the outcome; the first thing that is wrong
    /// is the error.
    ///
    /// A value of the file that the command line overrides is not looked at. Looks up the names of
    /// hosts and users, which may block for seconds.
    pub fn merge(args: &Args, file: Option<&File>) -> Result<Self, Refusal> {
        let keys = FileKeys(file);
        let core_mask = args.core_mask().or_else(|| keys.get("core_mask", |k| &k.core_mask));
        let placement = args.placement().or_else(|| keys.get("placement", |k| &k.placement));
        let spin = args.spin_us().or_else(|| keys.get("spin_us", |k| &k.spin_us));
        let max_connections = args
            .max_connections()
            .or_else(|| keys.get(MAX_CONNECTIONS.key, |k| &k.max_connections));
        let drain_timeout =
            args.drain_timeout().or_else(|| keys.get(DRAIN_TIMEOUT.key, |k| &k.drain_timeout_secs));
        let log_level = args.log_level().or_else(|| keys.get("log_level", |k| &k.log_level));

        let socket = keys.socket()?;
        let (listen, listens_by_default) = listeners::merge(args, file, socket.backlog)?;
        let settings = Self {
            core_mask: match core_mask {
                Some(given) => given.parse()?,
                None => CoreMask::first().map_err(|error| Refusal::new("core_mask", error))?,
            },
            listen,
            listens_by_default,
            placement: placement.map_or(Ok(Placement::default()), |given| given.parse())?,
            spin: spin.map_or(Ok(SpinPolicy::default()), |given| given.parse_word_or_number())?,
            max_connections: number(&MAX_CONNECTIONS, max_connections)? as usize,
            drain_timeout: Duration::from_secs(number(&DRAIN_TIMEOUT, drain_timeout)?),
            log_level: log_level.map_or(Ok(LevelFilter::Info), |given| level(&given))?,
            socket,
            relay: keys.relay()?,
            connection: keys.connection()?,
            applications: keys.applications(args)?,
        };
        settings.check_source_family()?;
        Ok(settings)
    }

    /// An upstream that the source address cannot reach would fail with every connection.
    fn check_source_family(&self) -> Result<(), Refusal> {
        let Some(source) = self.relay.source else { return Ok(()) };
        for listen in &self.listen {
            if let Service::Relay(upstream) = listen.service.untapped()
                && upstream.iter().all(|address| address.is_ipv4() != source.is_ipv4())
            {
                let family = if source.is_ipv4() { "IPv4" } else { "IPv6" };
                return Err(Refusal::new(
                    "relay.source",
                    format_args!(
                        "{source} cannot reach the upstream of {}, which has no {family} address; \
                         name an upstream that has one, or leave relay.source out",
                        listen.name
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// The keys of the file, if there is one.
struct FileKeys<'a>(Option<&'a File>);

impl FileKeys<'_> {
    fn get(&self, key: &'static str, leaf: fn(&Keys) -> &Leaf) -> Option<Given> {
        self.0.and_then(|file| file.given(key, leaf))
    }

    fn number(&self, range: &Range, leaf: fn(&Keys) -> &Leaf) -> Result<u64, Refusal> {
        number(range, self.get(range.key, leaf))
    }

    /// A number of which zero means that there is none.
    fn option(&self, range: &Range, leaf: fn(&Keys) -> &Leaf) -> Result<Option<u64>, Refusal> {
        debug_assert!(range.zero.is_some());
        Ok(Some(self.number(range, leaf)?).filter(|&number| number != 0))
    }

    fn socket(&self) -> Result<SocketSettings, Refusal> {
        let keepalive = self.option(&KEEPALIVE, |k| &k.socket.keepalive_secs)?;
        let send = self.option(&SEND_BUFFER, |k| &k.socket.send_buffer_bytes)?;
        let receive = self.option(&RECEIVE_BUFFER, |k| &k.socket.receive_buffer_bytes)?;
        Ok(SocketSettings {
            keepalive: keepalive.map(Duration::from_secs),
            send_buffer_bytes: send.map(|bytes| bytes as usize),
            receive_buffer_bytes: receive.map(|bytes| bytes as usize),
            backlog: self.number(&BACKLOG, |k| &k.socket.backlog)? as u32,
        })
    }

    fn relay(&self) -> Result<RelaySettings, Refusal> {
        let timeout = self.number(&CONNECT_TIMEOUT, |k| &k.relay.connect_timeout_ms)?;
        let mark = self.option(&MARK, |k| &k.relay.mark)?;
        let given = self.get("relay.source", |k| &k.relay.source);
        Ok(RelaySettings {
            connect_timeout: Duration::from_millis(timeout),
            mark: mark.map(|mark| mark as u32),
            source: given.map(|given| source(&given)).transpose()?,
            family: match self.get("relay.family", |k| &k.relay.family) {
                Some(given) => family(&given)?,
                None => None,
            },
        })
    }

    fn connection(&self) -> Result<ConnectionSettings, Refusal> {
        let idle = self.option(&IDLE_TIMEOUT, |k| &k.connection.idle_timeout_secs)?;
        let high = self.get(HIGH_WATER.key, |k| &k.connection.high_water_bytes);
        let low = self.get(LOW_WATER.key, |k| &k.connection.low_water_bytes);
        // The one that was written is the one to complain about; of two, the low one.
        let culprit = low.clone().or(high.clone());
        let high_water_bytes = number(&HIGH_WATER, high)? as usize;
        let low_water_bytes = number(&LOW_WATER, low)? as usize;
        if let Some(given) = culprit.filter(|_| low_water_bytes >= high_water_bytes) {
            return Err(given.refuse(format_args!(
                "connection.low_water_bytes ({low_water_bytes}) must be below \
                 connection.high_water_bytes ({high_water_bytes}); lower the one or raise the other"
            )));
        }
        Ok(ConnectionSettings {
            idle_timeout: idle.map(Duration::from_secs),
            high_water_bytes,
            low_water_bytes,
        })
    }

    fn applications(&self, args: &Args) -> Result<ApplicationSettings, Refusal> {
        let socket =
            args.socket().or_else(|| self.get("applications.socket", |k| &k.applications.socket));
        let endpoints = self.number(&MAX_ENDPOINTS, |k| &k.applications.max_endpoints)?;
        let held = args
            .max_held_bytes()
            .or_else(|| self.get(MAX_HELD.key, |k| &k.applications.max_held_bytes));
        let linger = self.number(&MAX_LINGER, |k| &k.applications.max_linger_secs)?;
        Ok(ApplicationSettings {
            socket: allow::socket(socket.as_ref())?,
            max_endpoints: endpoints as usize,
            max_segment_bytes: self.number(&MAX_SEGMENT, |k| &k.applications.max_segment_bytes)?,
            max_held_bytes: number(&MAX_HELD, held)?,
            max_linger: Duration::from_secs(linger),
            allow: allow::merge(self.0)?,
        })
    }
}

fn number(range: &Range, given: Option<Given>) -> Result<u64, Refusal> {
    given.map_or(Ok(range.default), |given| given.number(range))
}

fn level(given: &Given) -> Result<LevelFilter, Refusal> {
    let text = given.text()?;
    text.parse().map_err(|_| {
        given.refuse(format_args!(
            "there is no log level '{text}'; levels are off, error, warn, info, debug, trace"
        ))
    })
}

fn family(given: &Given) -> Result<Option<Family>, Refusal> {
    match given.text()? {
        "any" => Ok(None),
        "ipv4" => Ok(Some(Family::V4)),
        "ipv6" => Ok(Some(Family::V6)),
        text => Err(given.refuse(format_args!(
            "there is no address family '{text}'; families are any, ipv4, ipv6"
        ))),
    }
}

fn source(given: &Given) -> Result<IpAddr, Refusal> {
    let text = given.text()?;
    text.parse().map_err(|_| {
        given.refuse(format_args!(
            "'{text}' is not an IP address, such as 192.0.2.10 or 2001:db8::10; leave the key out \
             for the kernel's choice"
        ))
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::args::tests::args;
    use crate::settings::{ConnectionSettings, RelaySettings, SocketSettings};
    use vmsgr_messenger::ServiceName;

    /// What the words and, if there is one, the file come to.
    pub fn merge(words: &[&str], file: Option<&str>) -> Result<Settings, Refusal> {
        let file = file.map(|text| File::parse("v.toml".into(), text.into()).unwrap());
        Settings::merge(&args(words), file.as_ref())
    }

    const ECHO: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\nservice = \"echo\"\n";

    /// The refusal of a file with `keys` in front of one good listener.
    fn refused(keys: &str) -> String {
        merge(&[], Some(&format!("{keys}\n{ECHO}"))).unwrap_err().to_string()
    }

    #[test]
    fn nothing_said_is_echo_on_the_default_address() {
        let settings = merge(&[], None).unwrap();
        assert!(settings.listens_by_default);
        let [listen] = &settings.listen[..] else { panic!("{settings:?}") };
        assert_eq!(listen.address.to_string(), "127.0.0.1:7400");
        assert_eq!((&listen.name, &listen.service), (&ServiceName::Echo, &Service::Echo));
        assert_eq!(listen.backlog, 4096);
        assert_eq!(settings.core_mask, CoreMask::first().unwrap());
        assert_eq!(settings.placement, Placement::Balanced);
        assert_eq!(settings.spin, SpinPolicy::Auto);
        assert_eq!(settings.max_connections, 65_536);
        assert_eq!(settings.drain_timeout, Duration::from_secs(10));
        assert_eq!(settings.log_level, LevelFilter::Info);
        let marks = vmsgr_reactor::Marks::default();
        assert_eq!(settings.connection.high_water_bytes, marks.high());
        assert_eq!(settings.connection.low_water_bytes, marks.low());
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_defaults() {
        let file = format!(
            "core_mask = \"all\"\nplacement = \"reuseport\"\nspin_us = 50\nmax_connections = 7\n\
             drain_timeout_secs = 3\nlog_level = \"warn\"\n{ECHO}"
        );
        let settings = merge(&[], Some(&file)).unwrap();
        assert_eq!(settings.core_mask, CoreMask::all().unwrap());
        assert_eq!(settings.placement, Placement::Reuseport);
        assert_eq!(settings.spin, SpinPolicy::Fixed(Duration::from_micros(50)));
        assert_eq!(settings.max_connections, 7);
        assert_eq!(settings.drain_timeout, Duration::from_secs(3));
        assert_eq!(settings.log_level, LevelFilter::Warn);
        assert!(!settings.listens_by_default);

        let first = CoreMask::first().unwrap();
        let words = [
            "--core-mask",
            &first.to_string(),
            "--placement",
            "round-robin",
            "--spin-us",
            "auto",
            "--max-connections",
            "8",
            "--drain-timeout",
            "0",
            "--log-level",
            "debug",
            "-l",
            "[::1]:0=discard",
            "-l",
            "127.0.0.1:0=relay:127.0.0.1:6379",
        ];
        let settings = merge(&words, Some(&file)).unwrap();
        assert_eq!(settings.core_mask, first);
        assert_eq!(settings.placement, Placement::RoundRobin);
        assert_eq!(settings.spin, SpinPolicy::Auto);
        assert_eq!(settings.max_connections, 8);
        assert_eq!(settings.drain_timeout, Duration::ZERO);
        assert_eq!(settings.log_level, LevelFilter::Debug);
        let names: Vec<_> = settings.listen.iter().map(|l| l.name.to_string()).collect();
        assert_eq!(names, ["discard", "relay:127.0.0.1:6379"]);
    }

    #[test]
    fn what_may_be_held_is_said_on_either() {
        let file = format!("{ECHO}[applications]\nmax_held_bytes = 1048577\n");
        let held = |words: &[&str], file| merge(words, file).unwrap().applications.max_held_bytes;
        assert_eq!(held(&[], None), 256 << 20);
        assert_eq!(held(&[], Some(&file)), (1 << 20) + 1);
        assert_eq!(held(&["--max-held-bytes", "1048576"], Some(&file)), 1 << 20);
        assert_eq!(held(&["--max-held-bytes", "4398046511104"], None), 1 << 42);
        for bytes in ["0", "1048575", "4398046511105"] {
            let text = merge(&["--max-held-bytes", bytes], None).unwrap_err().to_string();
            assert!(text.contains("--max-held-bytes") && text.contains("1048576 to"), "{text}");
            let file = format!("{ECHO}[applications]\nmax_held_bytes = {bytes}\n");
            let text = merge(&[], Some(&file)).unwrap_err().to_string();
            assert!(text.contains("applications.max_held_bytes"), "{text}");
        }
    }

    #[test]
    fn an_overridden_value_is_not_looked_at() {
        let file = format!("max_connections = 0\n{ECHO}");
        assert!(merge(&[], Some(&file)).is_err());
        assert_eq!(merge(&["--max-connections", "5"], Some(&file)).unwrap().max_connections, 5);
    }

    #[test]
    fn every_key_of_the_file_arrives() {
        let file = "[socket]\nkeepalive_secs = 30\nsend_buffer_bytes = 8192\n\
                    receive_buffer_bytes = 16384\nbacklog = 5\n\
                    [relay]\nconnect_timeout_ms = 250\nmark = 0x10\nsource = \"127.0.0.2\"\n\
                    family = \"ipv4\"\n\
                    [connection]\nidle_timeout_secs = 9\nhigh_water_bytes = 8192\n\
                    low_water_bytes = 1\n\
                    [[listen]]\naddress = \"127.0.0.1:0\"\nservice = \"relay:127.0.0.1:1\"\n\
                    [[listen]]\naddress = \"127.0.0.1:0\"\nservice = \"echo\"\nbacklog = 6\n";
        let settings = merge(&[], Some(file)).unwrap();
        let socket = SocketSettings {
            keepalive: Some(Duration::from_secs(30)),
            send_buffer_bytes: Some(8192),
            receive_buffer_bytes: Some(16384),
            backlog: 5,
        };
        assert_eq!(settings.socket, socket);
        let relay = RelaySettings {
            connect_timeout: Duration::from_millis(250),
            mark: Some(16),
            source: Some("127.0.0.2".parse().unwrap()),
            family: Some(Family::V4),
        };
        assert_eq!(settings.relay, relay);
        let connection = ConnectionSettings {
            idle_timeout: Some(Duration::from_secs(9)),
            high_water_bytes: 8192,
            low_water_bytes: 1,
        };
        assert_eq!(settings.connection, connection);
        assert_eq!(settings.listen.iter().map(|l| l.backlog).collect::<Vec<_>>(), [5, 6]);
        let Service::Relay(upstream) = &settings.listen[0].service else { panic!("{settings:?}") };
        assert_eq!(upstream[..], ["127.0.0.1:1".parse().unwrap()]);
    }

    #[test]
    fn zero_switches_off() {
        let file = format!(
            "[socket]\nkeepalive_secs = 0\nsend_buffer_bytes = 0\nreceive_buffer_bytes = 0\n\
             [relay]\nmark = 0\n[connection]\nidle_timeout_secs = 0\n{ECHO}"
        );
        let settings = merge(&[], Some(&file)).unwrap();
        assert_eq!(settings.socket.keepalive, None);
        assert_eq!(settings.socket.send_buffer_bytes, None);
        assert_eq!(settings.socket.receive_buffer_bytes, None);
        assert_eq!(settings.relay.mark, None);
        assert_eq!(settings.connection.idle_timeout, None);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named_with_its_place() {
        for (keys, start, part) in [
            ("core_mask = \"4095\"", "v.toml:1:13: core_mask: ", "core 4095 is not one"),
            ("core_mask = \"0x0\"", "v.toml:1:13: core_mask: ", "empty"),
            ("core_mask = 3", "v.toml:1:13: core_mask: ", "3 is not a string in quotes"),
            ("placement = \"best\"", "v.toml:1:13: placement: ", "balanced, reuseport, round-"),
            ("spin_us = 10001", "v.toml:1:11: spin_us: ", "0 to 10000"),
            ("max_connections = 0", "v.toml:1:19: max_connections: ", "1 to 10000000"),
            ("max_connections = \"9\"", "v.toml:1:19: max_connections: ", "\"9\" is not allowed"),
            ("drain_timeout_secs = 3601", "v.toml:1:22: drain_timeout_secs: ", "0 to 3600"),
            ("log_level = \"loud\"", "v.toml:1:13: log_level: ", "off, error, warn"),
            ("[socket]\nkeepalive_secs = 32768", "v.toml:2:18: socket.keepalive_secs: ", "32767"),
            ("[socket]\nsend_buffer_bytes = 1", "v.toml:2:21: socket.send_buffer_b", "4096 to"),
            ("[socket]\nreceive_buffer_bytes = 1", "v.toml:2:24: socket.receive_b", "4096 to"),
            ("[socket]\nbacklog = 0", "v.toml:2:11: socket.backlog: ", "1 to 65535"),
            ("[relay]\nconnect_timeout_ms = 0", "v.toml:2:22: relay.connect_timeout_ms: ", "1 to"),
            ("[relay]\nmark = 0x100000000", "v.toml:2:8: relay.mark: ", "4294967295"),
            ("[relay]\nfamily = \"inet\"", "v.toml:2:10: relay.family: ", "any, ipv4, ipv6"),
            ("[relay]\nsource = \"eth0\"", "v.toml:2:10: relay.source: ", "not an IP address"),
            ("[connection]\nidle_timeout_secs = -1", "v.toml:2:21: connection.idle_t", "0 (off)"),
            ("[connection]\nhigh_water_bytes = 1", "v.toml:2:20: connection.high_w", "4096 to"),
            ("[connection]\nlow_water_bytes = 262144", "v.toml:2:19: connection.low_", "raise"),
            ("[connection]\nhigh_water_bytes = 65536", "v.toml:2:20: connection.high", "raise"),
        ] {
            let text = refused(keys);
            assert!(text.starts_with(start) && text.contains(part), "{keys:?}: {text}");
        }
    }

    #[test]
    fn what_is_wrong_on_the_command_line_is_named_with_its_option() {
        for (words, start, part) in [
            (["--core-mask", "4095"], "--core-mask: ", "core 4095 is not one"),
            (["--core-mask", "0x0"], "--core-mask: ", "empty"),
            (["--core-mask", ""], "--core-mask: ", "a list like 0-1,4"),
            (["--placement", "best"], "--placement: ", "balanced, reuseport, round-robin"),
            (["--spin-us", "10001"], "--spin-us: ", "0 to 10000"),
            (["--spin-us", "-1"], "--spin-us: ", "0 to 10000"),
            (["--max-connections", "many"], "--max-connections: ", "1 to 10000000"),
            (["--drain-timeout", "1.5"], "--drain-timeout: ", "0 to 3600"),
            (["--log-level", "loud"], "--log-level: ", "off, error, warn"),
        ] {
            let text = merge(&words, None).unwrap_err().to_string();
            assert!(text.starts_with(start) && text.contains(part), "{words:?}: {text}");
        }
    }

    #[test]
    fn a_source_that_cannot_reach_an_upstream_is_refused() {
        let file = "[relay]\nsource = \"::1\"\n";
        let text = merge(&["-l", "127.0.0.1:0=relay:127.0.0.1:1"], Some(file)).unwrap_err();
        let text = text.to_string();
        assert!(
            text.starts_with("relay.source: ::1 cannot reach the upstream of relay:"),
            "{text}"
        );
        assert!(text.contains("has no IPv6 address"), "{text}");
        assert!(merge(&["-l", "127.0.0.1:0=relay:[::1]:1"], Some(file)).is_ok());
        assert!(merge(&["-l", "127.0.0.1:0=relay:original-dst"], Some(file)).is_ok());
    }
}
