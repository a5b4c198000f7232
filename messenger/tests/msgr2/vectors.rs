//! The captured streams of `tests/vectors`.

use std::fs;
use std::path::{Path, PathBuf};

/// One direction of a captured connection.
pub struct Stream {
    /// `none-crc.mon-1`, say.
    pub connection: String,
    pub from_client: bool,
    pub bytes: Vec<u8>,
}

/// What authentication agreed on.
pub struct Secrets {
    pub session_key: Vec<u8>,
    pub connection_secret: Vec<u8>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// All streams of a run.
pub fn streams(run: &str) -> Vec<Stream> {
    let mut streams = Vec::new();
    for file in fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(name) = name.strip_suffix(".bin").filter(|name| name.starts_with(run)) else {
            continue;
        };
        let (connection, direction) = name.rsplit_once('.').unwrap();
        streams.push(Stream {
            connection: connection.to_owned(),
            from_client: direction == "c2s",
            bytes: fs::read(&path).unwrap(),
        });
    }
    assert_eq!(streams.len(), 22, "{run}");
    streams.sort_by(|a, b| (&a.connection, a.from_client).cmp(&(&b.connection, b.from_client)));
    streams
}

/// Both directions of the connections of a run, the client's first.
pub fn pairs(run: &str) -> Vec<(Stream, Stream)> {
    let mut streams = streams(run).into_iter();
    let mut pairs = Vec::new();
    while let (Some(server), Some(client)) = (streams.next(), streams.next()) {
        assert!(client.from_client && !server.from_client);
        pairs.push((client, server));
    }
    pairs
}

/// The secrets of a connection of a cephx run.
pub fn secrets(connection: &str) -> Secrets {
    let (run, _) = connection.split_once('.').unwrap();
    let text = fs::read_to_string(folder().join(format!("{run}.secrets.txt"))).unwrap();
    let prefix = format!("{connection} ");
    let line = text.lines().find(|line| line.starts_with(&prefix)).unwrap();
    let field = |name: &str| {
        let words = line.split_whitespace();
        let hex = words.filter_map(|word| word.strip_prefix(name)).next().unwrap();
        match hex {
            "-" => Vec::new(),
            hex => from_hex(hex),
        }
    };
    Secrets { session_key: field("session_key="), connection_secret: field("connection_secret=") }
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Cuts bytes into pieces: whole, single bytes, and random ones from several seeds.
pub fn cuts(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut cuts = vec![vec![bytes], bytes.chunks(1).collect()];
    for seed in 1..=5 {
        cuts.push(random_pieces(bytes, seed));
    }
    cuts
}

/// Pieces of lengths that the seed gives, most of them short.
pub fn random_pieces(mut bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let most = 1 << (state % 12);
        let length = (1 + (state >> 8) as usize % most).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
