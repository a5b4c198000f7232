//! What it means when it is not a Ceph daemon that answers.

use std::io::{self, ErrorKind};
use std::time::Duration;
use thiserror::Error;
use vmsgr_messenger::msgr2::{Banner, Rule, Violation};

/// Why there is nothing to report, or not all.
#[derive(Debug, Error)]
pub enum Diagnosis {
    #[error("cannot be looked up: {0}")]
    Unresolved(io::Error),
    #[error("refused: the host answers, and nothing listens on that port")]
    Refused,
    #[error(
        "filtered: no answer within {}; a firewall drops what is sent there, or the host is down",
        seconds(*.0)
    )]
    Filtered(Duration),
    #[error("unreachable: {0}")]
    Unreachable(io::Error),
    #[error("silent: it accepts connections, and says nothing within {}", seconds(*.0))]
    Silent(Duration),
    #[error("closed: it accepts connections, and closes them without a word")]
    ClosedAtOnce,
    #[error(
        "silent: it begins as Ceph's banner does, with {said} bytes, and says nothing more within \
         {}",
        seconds(*.within)
    )]
    SilentAfter { said: usize, within: Duration },
    #[error("closed: it begins as Ceph's banner does, with {0} bytes, and closes the connection")]
    ClosedAfter(usize),
    #[error("no whole banner within {}: {said} bytes of one", seconds(*.within))]
    HalfBanner { said: usize, within: Duration },
    #[error("closed the connection within its banner, after {0} bytes")]
    ClosedInBanner(usize),
    #[error(
        "Ceph's protocol v1: this is a legacy port; daemons since Nautilus have one for v2, too"
    )]
    Legacy,
    #[error("msgr2 of revision 0: Ceph before 15.2.5 or 14.2.11, which is not spoken here")]
    Revision0,
    #[error("msgr2 with required features {0:#x}, which are not known here")]
    Required(u64),
    #[error("not Ceph: this is TLS")]
    Tls,
    #[error("not Ceph: this is HTTP")]
    Http,
    #[error("not Ceph: it echoes what is sent to it")]
    Echo,
    #[error("not Ceph: it begins with \"{0}\"")]
    NotCeph(String),
    #[error("breaks the protocol: {0}")]
    Violation(#[from] Violation),
    #[error("no answer to {asked} within {}", seconds(*.within))]
    Unanswered { asked: &'static str, within: Duration },
    #[error("closed the connection instead of answering {0}")]
    Closed(&'static str),
    #[error(
        "closed the connection: another address is its own, most likely with another nonce than {0}"
    )]
    WrongNonce(u32),
    #[error("answers {asked} with {answer}")]
    Unexpected { asked: &'static str, answer: String },
    #[error("the connection failed: {0}")]
    Failed(io::Error),
}

/// Bytes at the front of a banner that are Ceph's alone. Who has said fewer may be anything.
const MAGIC_BYTES: usize = b"ceph v2\n".len();

/// The daemon cannot be reached.
const UNREACHED: u8 = 3;
/// Something is there that does not speak this protocol.
const FOREIGN: u8 = 4;
/// It does, and failed at it.
const FAILED: u8 = 1;

impl Diagnosis {
    /// Why nothing answered when connecting for so long.
    pub fn of_connecting(error: io::Error, time_out: Duration) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::Filtered(time_out),
            _ => Self::Unreachable(error),
        }
    }

    /// What said so many bytes of a banner, and then nothing.
    pub fn of_silence(said: usize, within: Duration) -> Self {
        match said {
            0 => Self::Silent(within),
            1..MAGIC_BYTES => Self::SilentAfter { said, within },
            _ => Self::HalfBanner { said, within },
        }
    }

    /// What said so many bytes of a banner, and then closed the connection.
    pub fn of_closing(said: usize) -> Self {
        match said {
            0 => Self::ClosedAtOnce,
            1..MAGIC_BYTES => Self::ClosedAfter(said),
            _ => Self::ClosedInBanner(said),
        }
    }

    /// What began with these bytes, which are no banner by this rule.
    pub fn of_first_bytes(bytes: &[u8], rule: Rule) -> Self {
        if rule != Rule::Banner {
            return Self::Violation(rule.into());
        }
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        if bytes.starts_with(b"ceph v0") {
            return Self::Legacy;
        }
        // A record of TLS: an alert, or of a handshake, then the version 3.x.
        if let [0x15 | 0x16, 3, ..] = bytes {
            return Self::Tls;
        }
        if ["http/", "<html", "<!doctype"].iter().any(|start| text.starts_with(start)) {
            return Self::Http;
        }
        let shown = &bytes[..bytes.len().min(32)];
        Self::NotCeph(shown.escape_ascii().to_string())
    }

    /// Whether this banner's sender can be talked to.
    pub fn of_banner(banner: &Banner) -> Option<Self> {
        match banner.check() {
            Ok(()) => None,
            Err(Rule::RequiredFeatures(features)) => Some(Self::Required(features)),
            Err(Rule::Revision) => Some(Self::Revision0),
            Err(rule) => Some(Self::Violation(rule.into())),
        }
    }

    /// Which kind of failure, in one word, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unresolved(_) => "unresolved",
            Self::Refused => "refused",
            Self::Filtered(_) => "filtered",
            Self::Unreachable(_) => "unreachable",
            Self::Silent(_) | Self::SilentAfter { .. } => "silent",
            Self::ClosedAtOnce | Self::ClosedAfter(_) => "closed",
            Self::Legacy => "legacy",
            Self::Revision0 => "revision-0",
            Self::Required(_) => "features",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Echo => "echo",
            Self::NotCeph(_) => "not-ceph",
            Self::Violation(_) => "violation",
            Self::HalfBanner { .. }
            | Self::ClosedInBanner(_)
            | Self::Unanswered { .. }
            | Self::Closed(_)
            | Self::Unexpected { .. } => "handshake",
            Self::WrongNonce(_) => "nonce",
            Self::Failed(_) => "failed",
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Unresolved(_) | Self::Refused | Self::Filtered(_) | Self::Unreachable(_) => {
                UNREACHED
            }
            Self::Silent(_)
            | Self::SilentAfter { .. }
            | Self::ClosedAtOnce
            | Self::ClosedAfter(_)
            | Self::Legacy
            | Self::Revision0
            | Self::Required(_)
            | Self::Tls
            | Self::Http
            | Self::Echo
            | Self::NotCeph(_) => FOREIGN,
            Self::HalfBanner { .. }
            | Self::ClosedInBanner(_)
            | Self::Violation(_)
            | Self::Unanswered { .. }
            | Self::Closed(_)
            | Self::WrongNonce(_)
            | Self::Unexpected { .. }
            | Self::Failed(_) => FAILED,
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_what_it_is() {
        for (bytes, name) in [
            (&b"ceph v027\0\0\0"[..], "legacy"),
            (b"\x15\x03\x01\0\x02\x02F", "tls"),
            (b"\x16\x03\x03\0\x7a", "tls"),
            (b"HTTP/1.1 400 Bad Request\r\n", "http"),
            (b"<html>\r\n<head><title>400", "http"),
            (b"<!DOCTYPE html>", "http"),
            (b"SSH-2.0-OpenSSH", "not-ceph"),
            (b"\x16\x02", "not-ceph"),
        ] {
            assert_eq!(Diagnosis::of_first_bytes(bytes, Rule::Banner).name(), name, "{bytes:?}");
        }
        let redis = Diagnosis::of_first_bytes(b"-ERR unknown command\r\n", Rule::Banner);
        let text = redis.to_string();
        assert!(text.contains("-ERR unknown command\\r\\n"), "{text}");
        let rule = Rule::BannerLength { length: 9, most: 256 };
        let (wrong, code) = (Diagnosis::of_first_bytes(b"ceph v2\n\x09\0", rule), FAILED);
        assert_eq!((wrong.name(), wrong.code()), ("violation", code), "its banner is Ceph's");
    }

    #[test]
    fn who_stops_within_a_banner_is_ceph_once_it_has_said_so() {
        let within = Duration::from_secs(5);
        for (said, silence, closing, code) in [
            (0, "silent", "closed", FOREIGN),
            (7, "silent", "closed", FOREIGN),
            (8, "handshake", "handshake", FAILED),
            (25, "handshake", "handshake", FAILED),
        ] {
            let stopped = [Diagnosis::of_silence(said, within), Diagnosis::of_closing(said)];
            assert_eq!(stopped.each_ref().map(Diagnosis::name), [silence, closing], "{said}");
            assert_eq!(stopped.each_ref().map(Diagnosis::code), [code; 2], "{said}");
            for text in stopped.map(|it| it.to_string()).iter().filter(|_| said > 0) {
                assert!(text.contains(&format!("{said} bytes")), "{text}");
            }
        }
    }

    #[test]
    fn banners_that_cannot_be_talked_to_are_told_apart() {
        let name = |supported, required| {
            let banner = Banner { supported, required };
            Diagnosis::of_banner(&banner).map(|diagnosis| diagnosis.name())
        };
        assert_eq!(name(1, 0), None);
        assert_eq!(name(3, 1), None);
        assert_eq!(name(0, 0), Some("revision-0"));
        assert_eq!(name(5, 4), Some("features"));
    }
}
