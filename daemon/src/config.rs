//! The configuration file: its keys, and where in the file each value stands.
//!
//! Only the shape is checked here (TOML, known keys). What a value means, and whether it is
//! allowed, is decided where it is merged with the command line.

use crate::given::{Given, Origin};
use crate::mistake;
use crate::refusal::Refusal;
use serde::Deserialize;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use toml::{Spanned, Value};

/// No configuration is this large; a file that is was not meant.
const LARGEST_BYTES: u64 = 1 << 20;

/// A value and where it stands, if the key is there.
pub type Leaf = Option<Spanned<Value>>;

/// The configuration file.
#[derive(Debug)]
pub struct File {
    path: String,
    text: String,
    keys: Keys,
}

/// The top level of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub core_mask: Leaf,
    pub placement: Leaf,
    pub spin_us: Leaf,
    pub max_connections: Leaf,
    pub drain_timeout_secs: Leaf,
    pub log_level: Leaf,
    #[serde(default)]
    pub listen: Vec<ListenKeys>,
    #[serde(default)]
    pub socket: SocketKeys,
    #[serde(default)]
    pub relay: RelayKeys,
    #[serde(default)]
    pub connection: ConnectionKeys,
    #[serde(default)]
    pub applications: ApplicationKeys,
}

/// One `[[listen]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[listen]]")]
pub struct ListenKeys {
    pub address: Spanned<Value>,
    pub service: Spanned<Value>,
    pub backlog: Leaf,
}

/// `[socket]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [socket]")]
pub struct SocketKeys {
    pub keepalive_secs: Leaf,
    pub send_buffer_bytes: Leaf,
    pub receive_buffer_bytes: Leaf,
    pub backlog: Leaf,
}

/// `[relay]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [relay]")]
pub struct RelayKeys {
    pub connect_timeout_ms: Leaf,
    pub mark: Leaf,
    pub source: Leaf,
    pub family: Leaf,
}

/// `[connection]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [connection]")]
pub struct ConnectionKeys {
    pub idle_timeout_secs: Leaf,
    pub high_water_bytes: Leaf,
    pub low_water_bytes: Leaf,
}

/// `[applications]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [applications]")]
pub struct ApplicationKeys {
    pub socket: Leaf,
    pub max_endpoints: Leaf,
    pub max_segment_bytes: Leaf,
    pub max_held_bytes: Leaf,
    pub max_linger_secs: Leaf,
    #[serde(default)]
    pub allow: Vec<AllowKeys>,
}

/// One `[[applications.allow]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[applications.allow]]")]
pub struct AllowKeys {
    pub user: Leaf,
    pub listen: Option<Vec<Spanned<Value>>>,
    pub connect: Option<Vec<Spanned<Value>>>,
}

/// What one `[[applications.allow]]` says, as far as it says it.
#[derive(Debug)]
pub struct AllowGiven {
    pub user: Option<Given>,
    pub listen: Option<Vec<Given>>,
    pub connect: Option<Vec<Given>>,
}

impl File {
    /// Reads and parses the file at `path`.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        let name = path.display().to_string();
        let text = read_text(path).map_err(|error| {
            Refusal::new(&name, format_args!("the configuration file cannot be read: {error}"))
        })?;
        Self::parse(name, text)
    }

    /// Parses `text`; `path` is what messages call it.
    pub fn parse(path: String, text: String) -> Result<Self, Refusal> {
        match toml::from_str(&text) {
            Ok(keys) => Ok(Self { path, text, keys }),
            Err(error) => {
                let (line, column) = position(&text, error.span().map_or(0, |span| span.start));
                let place = format_args!("{path}:{line}:{column}");
                Err(Refusal::new(place, mistake::explained(error.message())))
            }
        }
    }

    /// What the file says for `key`, which lies at `leaf`.
    pub fn given(&self, key: &'static str, leaf: fn(&Keys) -> &Leaf) -> Option<Given> {
        leaf(&self.keys).as_ref().map(|value| self.locate(key, value))
    }

    /// Address, service and backlog of each listener.
    pub fn listen(&self) -> impl Iterator<Item = (Given, Given, Option<Given>)> {
        self.keys.listen.iter().map(|keys| {
            let backlog = keys.backlog.as_ref();
            (
                self.locate("listen.address", &keys.address),
                self.locate("listen.service", &keys.service),
                backlog.map(|value| self.locate("listen.backlog", value)),
            )
        })
    }

    /// Who may attach, and what for.
    pub fn allow(&self) -> impl Iterator<Item = AllowGiven> {
        self.keys.applications.allow.iter().map(|keys| {
            let all = |key, values: &Option<Vec<Spanned<Value>>>| {
                let values = values.as_ref()?;
                Some(values.iter().map(|value| self.locate(key, value)).collect())
            };
            let user = keys.user.as_ref();
            AllowGiven {
                user: user.map(|value| self.locate("applications.allow.user", value)),
                listen: all("applications.allow.listen", &keys.listen),
                connect: all("applications.allow.connect", &keys.connect),
            }
        })
    }

    /// The file as the user named it.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn locate(&self, key: &'static str, value: &Spanned<Value>) -> Given {
        let (line, column) = position(&self.text, value.span().start);
        let origin = Origin::File { path: self.path.clone(), line, column, key };
        Given::in_file(value.get_ref().clone(), origin)
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(LARGEST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_BYTES {
        return Err(io::Error::other(format_args!("more than {LARGEST_BYTES} bytes").to_string()));
    }
    Ok(text)
}

/// Line and column, from 1, the column in characters, of the byte at `offset`.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, Refusal> {
        File::parse("v.toml".into(), text.into())
    }

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_value_knows_its_place() {
        let file = parse("# Käse\n\nspin_us = 5\n[socket]\n  backlog = 7\n").unwrap();
        let spin = file.given("spin_us", |keys| &keys.spin_us).unwrap();
        assert!(spin.refuse("x").to_string().starts_with("v.toml:3:11: spin_us: "));
        let backlog = file.given("socket.backlog", |keys| &keys.socket.backlog).unwrap();
        assert!(backlog.refuse("x").to_string().starts_with("v.toml:5:13: socket.backlog: "));
        assert!(file.given("relay.mark", |keys| &keys.relay.mark).is_none());
    }

    #[test]
    fn columns_count_characters() {
        let file = parse("relay = { \"source\" = \"ü\", mark = 7 }").unwrap();
        let mark = file.given("relay.mark", |keys| &keys.relay.mark).unwrap();
        assert_eq!(mark.refuse("x").to_string(), "v.toml:1:34: relay.mark: x");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_known_ones() {
        let text = refused("spin_us = 5\ncore_msk = \"0x1\"\n");
        assert!(
            text.starts_with("v.toml:2:1: unknown key `core_msk`; did you mean `core_mask`?"),
            "{text}"
        );
        let text = refused("[socket]\nbacklog = 1\nnodelay = true\n");
        assert!(text.starts_with("v.toml:3:1: unknown key `nodelay`"), "{text}");
        let text = refused("[relay]\nport = 1\n");
        assert!(text.starts_with("v.toml:2:1: unknown key `port`"), "{text}");
        let text = refused("[connection]\nhigh = 1\n");
        assert!(text.starts_with("v.toml:2:1: unknown key `high`"), "{text}");
        let text = refused("[[listen]]\naddress = \"a\"\nservice = \"b\"\nport = 1\n");
        assert!(text.starts_with("v.toml:4:1: unknown key `port`"), "{text}");
        let text = refused("[applications]\nsize = 1\n");
        assert!(text.starts_with("v.toml:2:1: unknown key `size`"), "{text}");
        let text = refused("[[applications.allow]]\nusers = \"*\"\n");
        assert!(text.starts_with("v.toml:2:1: unknown key `users`"), "{text}");
        let text = refused("[sockets]\n");
        assert!(text.starts_with("v.toml:1:2: unknown key `sockets`"), "{text}");
    }

    #[test]
    fn a_missing_key_is_named() {
        let text = refused("spin_us = 5\n\n[[listen]]\naddress = \"127.0.0.1:0\"\n");
        assert!(text.starts_with("v.toml:3:1: missing key `service`"), "{text}");
    }

    #[test]
    fn broken_toml_is_named_with_its_place() {
        for (text, start) in [
            ("spin_us = \n", "v.toml:1:11: "),
            ("spin_us = 1\nspin_us = 2\n", "v.toml:2:1: duplicate key"),
            ("[socket\n", "v.toml:1:8: "),
            ("x\n", "v.toml:1:2: "),
            ("spin_us = 99999999999999999999\n", "v.toml:1:11: "),
            ("socket = 3\n", "v.toml:1:10: invalid type: integer `3`, expected a table [socket]"),
            ("[[socket]]\nbacklog = 1\n", "v.toml:1:1: expected a table [socket], in single brac"),
            (
                "[listen]\n",
                "v.toml:1:1: invalid type: map, expected a list, or [[tables]] in double",
            ),
            (
                "listen = [\"a\"]\n",
                "v.toml:1:11: invalid type: string \"a\", expected a table [[lis",
            ),
            ("[[applications.allow]]\nlisten = \"*:*\"\n", "v.toml:2:10: invalid type: string"),
            ("listen = \"127.0.0.1:1=echo\"\n", "v.toml:1:10: invalid type: string"),
        ] {
            let refusal = refused(text);
            assert!(refusal.starts_with(start), "{text:?}: {refusal}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let text = File::read(Path::new("/no/such/file.toml")).unwrap_err().to_string();
        assert!(text.starts_with("/no/such/file.toml: the configuration file cannot"), "{text}");
        let text = File::read(Path::new("/")).unwrap_err().to_string();
        assert!(text.contains("Is a directory"), "{text}");
        let text = File::read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(text.contains("more than 1048576 bytes"), "{text}");
    }
}
