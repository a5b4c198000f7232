//! Values of options, and what is said of those that cannot be.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Connections, messages in flight, rounds.
pub const MANY: usize = 1_000_000;

/// Of one message.
pub const MAX_BYTES: usize = 1 << 30;

/// Where somebody listens.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    resolved(text, 1)
}

/// An address of which the port has this value at least: only who listens can ask for any port.
pub fn resolved(text: &str, least: u16) -> Result<SocketAddr, String> {
    let form = format!("write HOST:PORT, with a port from {least} to 65535");
    if text.contains("://") {
        return Err(format!("a URL is no address; {form}"));
    }
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none_or(|port| port < least) {
        return Err(form);
    }
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "it has no address".to_owned())
}

/// At least one: what is counted is made room for.
pub fn up_to<const MOST: usize>(text: &str) -> Result<usize, String> {
    within::<1, MOST>(text)
}

/// A count, both ends included.
pub fn within<const LEAST: usize, const MOST: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (LEAST..=MOST).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from {LEAST} to {MOST}")),
    }
}

/// Bytes of an operation, or of a message that is copied.
pub fn operation(text: &str) -> Result<u32, String> {
    within::<1, { 4 << 20 }>(text).map(|bytes| bytes as u32)
}

/// Messages a second: at most more than the generator can send.
pub fn due(text: &str) -> Result<u32, String> {
    within::<1, 10_000_000>(text).map(|rate| rate as u32)
}

/// Until a sample is undisturbed.
pub fn attempts(text: &str) -> Result<u32, String> {
    within::<1, 100>(text).map(|attempts| attempts as u32)
}

/// Of looking again.
pub fn microseconds(text: &str) -> Result<u64, String> {
    within::<0, 10_000>(text).map(|microseconds| microseconds as u64)
}

/// As applications may ask for.
pub fn ring(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && (4096..=16 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("must be a power of two from 4096 to 16777216".to_owned()),
    }
}

/// Which there are is looked at later.
pub fn core_number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "must be the number of one core, such as 0".to_owned())
}

/// Whether it is there is looked at later.
pub fn process_id(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "must be the number of one process, as pgrep prints it".to_owned())
}

/// More than nothing, at most a day.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("must be a number of seconds above 0, at most 86400".to_owned()),
    }
}

/// More than nothing.
pub fn per_second(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(rate),
        _ => Err("must be a number above 0, at most 1e9".to_owned()),
    }
}

/// A part of the whole.
pub fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        assert_eq!(address("127.0.0.1:7400").unwrap().port(), 7400);
        assert_eq!(resolved("127.0.0.1:0", 0).unwrap().port(), 0);
        for bad in ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "http://127.0.0.1:7400", ":", ""]
        {
            assert!(address(bad).unwrap_err().ends_with("with a port from 1 to 65535"), "{bad}");
        }
        assert!(resolved("127.0.0.1:99999", 0).unwrap_err().ends_with("from 0 to 65535"));
        assert_eq!(up_to::<1000>("1000"), Ok(1000));
        for bad in ["0", "-1", "1001", "99999999999999999999", "1k"] {
            assert_eq!(up_to::<1000>(bad), Err("must be a whole number from 1 to 1000".to_owned()));
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "nan", "inf", "1e9", "2s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!([share("0"), share("0.7"), share("1")], [Ok(0.0), Ok(0.7), Ok(1.0)]);
        assert!(share("1.1").is_err() && share("-0.1").is_err() && share("nan").is_err());
    }
}
