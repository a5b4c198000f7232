//! What is printed: lines for people, or one object of JSON.

use super::diagnosis::Diagnosis;
use super::probe::Found;
use super::round_trips::{RoundTrips, Summary, milliseconds, rounded};
use crate::standard_streams::{self, Reader, say};
use serde_json::{Value, json};
use std::process;
use vmsgr_messenger::msgr2::Banner;

/// Names of numbers, and the numbers that have none.
fn names(numbers: &[u32], names: &[(u32, &str)]) -> Vec<String> {
    let name = |number: &u32| {
        let known = names.iter().find(|(known, _)| known == number);
        known.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
    };
    numbers.iter().map(name).collect()
}

fn methods(found: &Found) -> Vec<String> {
    names(&found.methods, &[(1, "none"), (2, "cephx"), (4, "gss")])
}

fn modes(found: &Found) -> Vec<String> {
    names(&found.modes, &[(1, "crc"), (2, "secure")])
}

fn features(banner: &Banner) -> String {
    let known = [(Banner::REVISION_1, "revision 1"), (Banner::COMPRESSION, "compression")];
    let names = known.iter().filter(|(bit, _)| banner.supported & bit != 0).map(|(_, name)| *name);
    let names: Vec<_> = names.collect();
    format!("{:#x} ({})", banner.supported, names.join(", "))
}

/// Writes a line, or several. Where that cannot be, nothing is worth being asked any more: the
/// program ends here. Who has stopped reading is told to the caller, who may have a worse exit code
/// to give than that.
fn line(text: &str) -> Reader {
    standard_streams::print(&format!("{text}\n")).unwrap_or_else(|error| {
        say(format_args!("vmsgrctl: standard output: {error}"));
        process::exit(1)
    })
}

/// What the daemon told.
pub fn found(found: &Found) -> Reader {
    let Found { address, entity, seen_as, banner, .. } = found;
    let (features, methods, modes) = (features(banner), methods(found), modes(found));
    let (connect, handshake) = (milliseconds(found.connect), milliseconds(found.handshake));
    line(&format!(
        "{address} is a Ceph {entity}, msgr2 features {features}\n  \
           it sees us at {seen_as}\n  \
           it offers authentication {} and connections in mode {}\n  \
           connected in {connect:.3} ms, banner and hello in {handshake:.3} ms",
        methods.join(", "),
        modes.join(", ")
    ))
}

/// Why there are no round trips, which is no fault.
pub fn note(text: &str) {
    line(&format!("  {text}"));
}

/// One round trip.
pub fn round_trip(trips: &RoundTrips, time: Option<std::time::Duration>) -> Reader {
    let sent = trips.sent;
    match time {
        Some(time) => line(&format!("keepalive {sent}: {:.3} ms", milliseconds(time))),
        None => line(&format!("keepalive {sent}: no answer")),
    }
}

/// All round trips.
pub fn summary(found: &Found, trips: &RoundTrips) {
    let (sent, answered) = (trips.sent, trips.answered());
    line(&format!("--- {} keepalive statistics ---", found.address));
    line(&format!("{sent} sent, {answered} answered"));
    if let Some(Summary { min, avg, max, mdev }) = trips.summary() {
        line(&format!("min/avg/max/mdev = {min:.3}/{avg:.3}/{max:.3}/{mdev:.3} ms"));
    }
}

/// Everything at once, for programs; times to the microsecond, as in the lines.
pub fn json(
    target: &str,
    found: Option<&Found>,
    note: Option<&str>,
    trips: Option<&RoundTrips>,
    diagnosis: Option<&Diagnosis>,
) {
    let daemon = found.map(|found| {
        json!({
            "address": found.address.to_string(),
            "entity": found.entity.to_string(),
            "features": { "supported": found.banner.supported, "required": found.banner.required },
            "seen_as": found.seen_as.to_string(),
            "methods": methods(found),
            "modes": modes(found),
            "connect_ms": rounded(milliseconds(found.connect)),
            "handshake_ms": rounded(milliseconds(found.handshake)),
        })
    });
    let keepalive = trips.map(|trips| {
        let summary = trips.summary();
        let of = |field: fn(&Summary) -> f64| {
            summary.as_ref().map_or(Value::Null, |it| rounded(field(it)).into())
        };
        json!({
            "sent": trips.sent,
            "answered": trips.answered(),
            "min_ms": of(|it| it.min),
            "avg_ms": of(|it| it.avg),
            "max_ms": of(|it| it.max),
            "mdev_ms": of(|it| it.mdev),
        })
    });
    let error = diagnosis
        .map(|diagnosis| json!({ "kind": diagnosis.name(), "text": diagnosis.to_string() }));
    let all = json!({
        "target": target,
        "daemon": daemon,
        "note": note,
        "keepalive": keepalive,
        "error": error,
    });
    line(&all.to_string());
}
